import { decisiveState, stateNamesOf } from './state-names.js';

/**
 * Numbers come plain from the older API versions and as `{ set, infinite, number }` from v0.0.40 on. Anything else, also in
 * the other fields, counts as not said: a field that is odd must not hide what the rest of a record says.
 */
export function numberOf(raw: unknown): number | undefined {
  if (typeof raw === 'number') return Number.isFinite(raw) ? raw : undefined;
  if (typeof raw === 'string') return /^\d{1,15}$/.test(raw) ? Number(raw) : undefined;
  if (typeof raw !== 'object' || raw === null) return undefined;
  const { set, infinite, number } = raw as Record<string, unknown>;
  return set === false || infinite === true || typeof number === 'object' ? undefined : numberOf(number);
}

/** A text may come as a list of its parts. */
function textOf(raw: unknown): string {
  if (Array.isArray(raw)) return raw.filter((part) => typeof part === 'string').join(',');
  return typeof raw === 'string' ? raw : '';
}

/** As a raw wait status (as wait(2) gives it), as `code:signal`, or apart. */
function exitOf(raw: unknown): { code: number; signal: number } {
  if (typeof raw === 'number') return { code: (raw >> 8) & 0xff, signal: raw & 0x7f };
  const match = typeof raw === 'string' ? /^(\d{1,3}):(\d{1,3})$/.exec(raw) : null;
  if (match !== null) return { code: Number(match[1]), signal: Number(match[2]) };
  if (typeof raw !== 'object' || raw === null) return { code: 0, signal: 0 };
  const { return_code, signal } = raw as Record<string, unknown>;
  const { id, signal_id } = (typeof signal === 'object' && signal !== null ? signal : {}) as Record<string, unknown>;
  return { code: numberOf(return_code) ?? 0, signal: numberOf(id) ?? numberOf(signal_id) ?? 0 };
}

/** How long after its planned end a job is taken for over where its state does not tell: Slurm may let jobs overrun. */
const OVERRUN_SECONDS = 600;

/**
 * Whether the times of a record tell that the job is over. Of a job that runs, `end_time` is when its time limit ends it,
 * so an end that its limit does not explain was a real one.
 */
function hasEnded(record: Record<string, unknown>, nowMs: number): boolean {
  const end = numberOf(record.end_time) ?? 0;
  if (end <= 0 || end * 1000 > nowMs) return false;
  const start = numberOf(record.start_time) ?? 0;
  const limitMinutes = numberOf(record.time_limit);
  const isPlanned = start > 0 && limitMinutes !== undefined && end >= start + limitMinutes * 60;
  return !isPlanned || (end + OVERRUN_SECONDS) * 1000 <= nowMs;
}

/** One record of Slurm's job list, as far as it matters here. */
export interface SlurmJob {
  readonly jobId: number;
  /** The array this job is an element of; undefined outside arrays. */
  readonly arrayJobId: number | undefined;
  /** The element's index; undefined for the record that stands for elements not started yet. */
  readonly arrayTaskId: number | undefined;
  /** The name that decides of all that the record has. */
  readonly state: string;
  /** Whether the record's times tell that the job is over; decides where the state is none that is known. */
  readonly ended: boolean;
  readonly reason: string;
  readonly description: string;
  readonly exitCode: number;
  readonly signal: number;
  readonly restarts: number;
  readonly comment: string;
  readonly standardOutput: string;
  readonly nodes: string;
  readonly partition: string;
  /** Seconds since the epoch on the cluster's clock; for a running job, when its time limit ends it. */
  readonly endTime: number;
}

/** The few fields by which a record is picked. */
export interface JobView {
  /** The id that submit answered; 0 where the record has none. */
  readonly leader: number;
  readonly comment: string;
  readonly standardOutput: string;
}

/** What a list of jobs holds. */
export interface JobList {
  readonly jobs: readonly SlurmJob[];
  /** Records that could not be read, as text: of those picked all, of those that are not even JSON whosever they are. */
  readonly unread: readonly string[];
}

/** The id that submit answered: of the array for its elements, else of the job. */
export function leaderOf(job: Pick<SlurmJob, 'jobId' | 'arrayJobId'>): number {
  return job.arrayJobId ?? job.jobId;
}

export function groupBy<K>(jobs: readonly SlurmJob[], keyOf: (job: SlurmJob) => K): Map<K, SlurmJob[]> {
  const groups = new Map<K, SlurmJob[]>();
  for (const job of jobs) {
    const known = groups.get(keyOf(job));
    if (known === undefined) groups.set(keyOf(job), [job]);
    else known.push(job);
  }
  return groups;
}

/** Undefined where the record does not say which job it is of, or no state at all. */
function readJob(record: Record<string, unknown>, nowMs: number): SlurmJob | undefined {
  const names = stateNamesOf(record.job_state);
  const arrayJobId = numberOf(record.array_job_id) || undefined;
  const jobId = numberOf(record.job_id) ?? arrayJobId ?? 0;
  if (names === undefined || jobId <= 0) return undefined;
  const exit = exitOf(record.exit_code);
  const reason = textOf(record.state_reason);
  return {
    jobId,
    arrayJobId,
    arrayTaskId: arrayJobId === undefined ? undefined : numberOf(record.array_task_id),
    state: decisiveState(names),
    ended: hasEnded(record, nowMs),
    reason: reason === 'None' ? '' : reason,
    description: textOf(record.state_description),
    exitCode: exit.code,
    signal: exit.signal,
    restarts: numberOf(record.restart_cnt) ?? 0,
    comment: textOf(record.comment),
    standardOutput: textOf(record.standard_output),
    nodes: textOf(record.nodes),
    partition: textOf(record.partition),
    endTime: numberOf(record.end_time) ?? 0,
  };
}

/**
 * Reads the `jobs` of an answer and keeps those that `wanted` picks; the rest, on a large cluster nearly all, is not looked
 * at further and may look as it likes. Undefined where the answer is not a job list.
 */
export function parseJobs(answer: unknown, wanted: (view: JobView) => boolean, nowMs: number): JobList | undefined {
  const list = (answer as { jobs?: unknown } | null | undefined)?.jobs;
  if (!Array.isArray(list)) return undefined;
  const isRecord = (raw: unknown): raw is Record<string, unknown> => typeof raw === 'object' && raw !== null;
  const records = (list as unknown[]).filter(isRecord);
  if (list.length > 0 && records.length === 0) return undefined;
  const jobs: SlurmJob[] = [];
  const unread: string[] = [];
  for (const record of records) {
    const leader = numberOf(record.array_job_id) || numberOf(record.job_id) || 0;
    const view = { leader, comment: textOf(record.comment), standardOutput: textOf(record.standard_output) };
    if (!wanted(view)) continue;
    const job = readJob(record, nowMs);
    if (job === undefined) unread.push(JSON.stringify(record));
    else jobs.push(job);
  }
  return { jobs: withoutRepeats(jobs), unread };
}

/**
 * One record for each job or element. A list that shows one twice (a federation's sibling, a page joined badly) contradicts
 * itself at most until the next read; meanwhile the record that keeps the job alive counts, and a revoked one last.
 */
function withoutRepeats(jobs: readonly SlurmJob[]): SlurmJob[] {
  const byJob = new Map<string, SlurmJob>();
  const rank = (job: SlurmJob) => (job.state === 'REVOKED' ? 0 : job.ended ? 1 : 2);
  for (const job of jobs) {
    const id = `${job.jobId} ${job.arrayTaskId ?? ''}`;
    const other = byJob.get(id);
    if (other === undefined || rank(job) > rank(other)) byJob.set(id, job);
  }
  return [...byJob.values()];
}
