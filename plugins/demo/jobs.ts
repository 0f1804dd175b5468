/** What a demo job does, as the task's `custom` field says it. Everything may be left out. */
export interface JobSpec {
  /** How long the job runs, in seconds. Default 0: it is over when first looked at. */
  readonly seconds?: number;
  /** How long it waits in the remote's queue first, in seconds. Default 0. */
  readonly queueSeconds?: number;
  /** How it ends. `hang` never does. Default `succeed`. */
  readonly outcome?: 'succeed' | 'fail' | 'abort' | 'hang';
  /** Of a failure: whose fault. Default `user`. */
  readonly blame?: 'user' | 'system';
  /** Of a failure: whether another attempt may help. Default false. */
  readonly retryable?: boolean;
  /** Of a failure. Default `DemoFailure`. */
  readonly code?: string;
  /** Of a failure or an abort. */
  readonly message?: string;
  /** The first this many attempts of the job's node fail as the failure fields say, later ones succeed. */
  readonly failAttempts?: number;
}

export type JobState = 'QUEUED' | 'RUNNING' | 'SUCCEEDED' | 'FAILED' | 'CANCELLED';

/** A job as the remote's API shows it. */
export interface JobView {
  readonly id: string;
  readonly token: string;
  readonly state: JobState;
  readonly message: string;
  readonly code: string;
  readonly blame: 'user' | 'system';
  readonly retryable: boolean;
  /** What the job was given to echo, once it has succeeded. */
  readonly outputs: Readonly<Record<string, unknown>> | null;
}

export interface Job {
  readonly id: string;
  readonly token: string;
  /** What the task is called, so that calls can be told apart by task. */
  readonly name: string;
  readonly spec: JobSpec;
  readonly attempt: number;
  readonly outputs: Readonly<Record<string, unknown>>;
  readonly createdAtMs: number;
  cancelledAtMs: number | undefined;
}

/** The state of a job follows from the time alone, so the remote needs no timers. */
export function viewOf(job: Job, nowMs: number): JobView {
  const { seconds = 0, queueSeconds = 0, outcome = 'succeed', failAttempts } = job.spec;
  const {
    blame = 'user',
    retryable = false,
    code = 'DemoFailure',
    message = 'the demo job was asked to fail',
  } = job.spec;
  const startMs = job.createdAtMs + queueSeconds * 1000;
  const endMs = outcome === 'hang' ? Number.POSITIVE_INFINITY : startMs + seconds * 1000;
  const show = (
    state: JobState,
    text: string,
    failure = { code: '', blame: 'user' as const, retryable: false },
  ): JobView => ({
    id: job.id,
    token: job.token,
    state,
    message: text,
    ...failure,
    outputs: state === 'SUCCEEDED' ? job.outputs : null,
  });
  if (job.cancelledAtMs !== undefined && job.cancelledAtMs < endMs) return show('CANCELLED', 'cancelled on request');
  if (nowMs < startMs) return show('QUEUED', 'waiting for a machine');
  if (nowMs < endMs) return show('RUNNING', 'running');
  const fails = failAttempts === undefined ? outcome === 'fail' : job.attempt < failAttempts;
  if (fails) return { ...show('FAILED', message), code, blame, retryable };
  return outcome === 'abort' ? show('CANCELLED', message) : show('SUCCEEDED', 'done');
}
