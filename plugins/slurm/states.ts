import type { FaultKind } from 'webapi-plugin-host';
import type { SlurmJob } from './jobs.js';

/** A job that is not over. */
interface LiveRule {
  readonly kind: 'queued' | 'initializing' | 'running';
}

/** A job that is over. `retryable` says whether another attempt may end better, `fault` whose failure it is. */
interface FailedRule {
  readonly kind: 'failed';
  readonly code: string;
  readonly fault: FaultKind;
  readonly retryable: boolean;
  readonly meaning: string;
}

export type StateRule = LiveRule | FailedRule | { readonly kind: 'succeeded' } | { readonly kind: 'cancelled' };

const failed = (code: string, fault: FaultKind, retryable: boolean, meaning: string): FailedRule => ({
  kind: 'failed',
  code,
  fault,
  retryable,
  meaning,
});

const QUEUED: StateRule = { kind: 'queued' };
const INITIALIZING: StateRule = { kind: 'initializing' };
const RUNNING: StateRule = { kind: 'running' };

/**
 * What each job state of Slurm means here; docs/plugins/slurm.md shows this table. A limit that the job itself ran into
 * (time, memory, deadline) is the user's and ends the same way with the same request, so it is permanent. What the
 * cluster did to the job (node, boot, preemption) is the system's, and another attempt may do better. A failing script
 * is the user's and may be tried again, as far as the task's retries go. FAILED is refined by FAILED_REASONS.
 */
export const STATE_TABLE: Readonly<Record<string, StateRule>> = {
  PENDING: QUEUED,
  REQUEUED: QUEUED,
  REQUEUE_FED: QUEUED,
  REQUEUE_HOLD: QUEUED,
  RESV_DEL_HOLD: QUEUED,
  SPECIAL_EXIT: QUEUED,
  CONFIGURING: INITIALIZING,
  POWER_UP_NODE: INITIALIZING,
  RUNNING: RUNNING,
  SUSPENDED: RUNNING,
  STOPPED: RUNNING,
  RESIZING: RUNNING,
  SIGNALING: RUNNING,
  STAGE_OUT: RUNNING,
  // the processes are being ended and the outcome hides behind this flag
  COMPLETING: RUNNING,
  COMPLETED: { kind: 'succeeded' },
  CANCELLED: { kind: 'cancelled' },
  FAILED: failed('NonZeroExitCode', 'USER', true, 'the job failed'),
  TIMEOUT: failed('TimeLimit', 'USER', false, 'the job ran into its time limit'),
  DEADLINE: failed('Deadline', 'USER', false, 'the job could not end before its deadline'),
  OUT_OF_MEMORY: failed('OutOfMemory', 'USER', false, 'the job needed more memory than it asked for'),
  NODE_FAIL: failed('NodeFail', 'SYSTEM', true, 'a node of the job failed'),
  BOOT_FAIL: failed('BootFail', 'SYSTEM', true, "the job's node could not be started"),
  PREEMPTED: failed('Preempted', 'SYSTEM', true, 'the job had to give way to another one'),
  LAUNCH_FAILED: failed('LaunchFailed', 'SYSTEM', true, 'the job could not be launched'),
  RECONFIG_FAIL: failed('ReconfigFail', 'SYSTEM', true, 'the node could not be reconfigured for the job'),
  REVOKED: failed('Revoked', 'SYSTEM', true, 'another cluster of the federation took the job'),
};

/**
 * The state reason tells apart what FAILED lumps together (names as Slurm prints them; a reason that is not listed
 * leaves the rule of FAILED).
 */
export const FAILED_REASONS: Readonly<Record<string, FailedRule>> = {
  BadConstraints: failed('BadConstraints', 'USER', false, 'no node satisfies what the job asks for'),
  InvalidAccount: failed('InvalidAccount', 'USER', false, 'the account is not valid'),
  InvalidQOS: failed('InvalidQOS', 'USER', false, 'the QOS is not valid'),
  InactiveLimit: failed('InactiveLimit', 'USER', false, 'the job was inactive for too long'),
  TimeLimit: failed('TimeLimit', 'USER', false, 'the job ran into its time limit'),
  OutOfMemory: failed('OutOfMemory', 'USER', false, 'the job needed more memory than it asked for'),
  DependencyNeverSatisfied: failed('Dependency', 'USER', false, 'a job it depends on failed'),
  NodeDown: failed('NodeFail', 'SYSTEM', true, 'a node of the job failed'),
  SystemFailure: failed('SystemFailure', 'SYSTEM', true, 'Slurm failed the job'),
  JobLaunchFailure: failed('LaunchFailed', 'SYSTEM', true, 'the job could not be launched'),
  Prolog: failed('PrologFailed', 'SYSTEM', true, "the node's prolog failed"),
};

/**
 * An end by a state that is not listed. Slurm has a state of its own for a good end, so this is none, unless the exit code
 * that the script left behind says so.
 */
const UNKNOWN_END = failed('UnknownState', 'SYSTEM', true, 'the job ended in a state that is not known here');

/** Whether only the times of the job's record tell that it is over. */
export function isUnknownEnd(job: Pick<SlurmJob, 'state' | 'ended'>): boolean {
  return job.ended && entryOf(STATE_TABLE, job.state) === undefined;
}

/** The rule for one job. A state that is not listed counts as running as long as the record's times tell no end. */
export function ruleFor(
  job: Pick<SlurmJob, 'state' | 'ended' | 'reason' | 'exitCode' | 'signal'>,
  permanentExitCodes: readonly number[],
): StateRule {
  if (isUnknownEnd(job)) {
    const { exitCode, signal } = job;
    if (exitCode === 0 && signal === 0) return UNKNOWN_END;
    return ruleFor({ ...job, state: 'FAILED', reason: '' }, permanentExitCodes);
  }
  const rule = entryOf(STATE_TABLE, job.state) ?? RUNNING;
  if (job.state !== 'FAILED' || rule.kind !== 'failed') return rule;
  const byReason = entryOf(FAILED_REASONS, job.reason);
  // 22.05 names JobLaunchFailure also where the script was killed by a signal of its own
  if (byReason !== undefined && (job.reason !== 'JobLaunchFailure' || job.signal === 0)) return byReason;
  if (job.signal !== 0) return failed('KilledBySignal', 'USER', true, `the job was killed by signal ${job.signal}`);
  return permanentExitCodes.includes(job.exitCode) ? { ...rule, retryable: false } : rule;
}

/** What Slurm, or whoever speaks in its name, calls a state is a text like any other: `constructor` is in no table. */
function entryOf<T>(table: Readonly<Record<string, T>>, name: string): T | undefined {
  return Object.hasOwn(table, name) ? table[name] : undefined;
}

/** Whether a job by this rule is not over. */
export function isLive(rule: StateRule): rule is LiveRule {
  return rule.kind === 'queued' || rule.kind === 'initializing' || rule.kind === 'running';
}

/** The outcome of a job whose record Slurm has dropped, from the exit code it left behind. */
export function ruleForExit(exitCode: number, permanentExitCodes: readonly number[]): StateRule {
  if (exitCode === 0) return { kind: 'succeeded' };
  const job = { state: 'FAILED', ended: true, reason: 'NonZeroExitCode', exitCode, signal: 0 };
  return ruleFor(job, permanentExitCodes);
}
