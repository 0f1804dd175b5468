import type { ConnectionInfo, TaskExecutionMetadata } from '../plugin-api/contexts.js';
import type { ResourceRequirements } from '../plugin-api/plugin.js';
import type { TaskId } from './attempt-key.js';
import type { TaskIdentity, TaskScope } from './handle.js';
import type { PhaseState } from './phase-state.js';

/**
 * Where a task is in the daemon (its phase says how it is doing at the remote):
 *
 * - `accepted`: promised to the engine, waits for quota, capacity, a limit or a recovering remote; nothing is created.
 * - `creating`: a create call is on its way, or waits to be repeated after one was; the remote may have the job.
 * - `live`: the remote has the job; it is polled.
 * - `over`: the phase is terminal and never changes again.
 *
 * accepted → creating → live → over; accepted and creating may go to over directly.
 */
export const TASK_STAGES = ['accepted', 'creating', 'live', 'over'] as const;
export type TaskStage = (typeof TASK_STAGES)[number];

/** What `create` needs; dropped as soon as the task is live or over, since inputs may be megabytes. */
export interface TaskPayload {
  readonly template: Buffer;
  readonly inputs: Buffer | undefined;
  readonly inputPrefix: string;
  readonly metadata: TaskExecutionMetadata;
  readonly maxDatasetSizeBytes: number;
}

/** Where the attempt stands among the attempts of its node; known from the create call only. */
export interface NodeAttempt {
  readonly nodeKey: string;
  readonly attempt: number;
}

/**
 * How the reads of a task fail, as of the last of them; restarts begin none of it anew (rule 4). Durations in milliseconds of a daemon
 * that ran, without the time that an outage froze.
 */
export interface FailingReads {
  /** Consecutive ones that counted. */
  readonly failures: number;
  readonly failingForMs: number;
  /** Answers of NotFound in a row. */
  readonly notFound: number;
  readonly notFoundForMs: number;
  /** Of one that a wave froze: how long its job has not been found. */
  readonly frozenForMs: number | undefined;
  /** Of one that succeeded: how long the data store has not taken its outputs. */
  readonly unwrittenForMs?: number | undefined;
}

/** The last failed read of a task. */
export interface ReadFailure {
  readonly message: string;
  readonly code: string;
}

/** A task as the store holds it. The store is the only writer; everyone else reads. Times are epoch milliseconds. */
export interface TaskRecord {
  readonly id: TaskId;
  /** Made anew each time it is asked for. */
  readonly identity: TaskIdentity;
  readonly scope: TaskScope;
  readonly stage: TaskStage;
  /** The encoded resource meta, once there is one. */
  readonly meta: Buffer | undefined;
  /** The same as it is kept, one character a byte; asking for it copies nothing. */
  readonly metaText: string | undefined;
  readonly outputPrefix: string;
  readonly payload: TaskPayload | undefined;
  readonly node: NodeAttempt | undefined;
  readonly requirements: ResourceRequirements | undefined;
  /** Memory only, and only for a time. */
  readonly connection: ConnectionInfo | undefined;
  readonly connectionUntilMs: number;
  /** A create call may have been sent, and may reach the remote until so long after; undefined before, and once it is answered. Milliseconds. */
  readonly sentBoundMs: number | undefined;
  /** For how long the tries of its create, or of what it asks before, have failed so far, over restarts; milliseconds. */
  readonly createFailingForMs: number;
  /** For how long its create has waited for what was before it, restarts left out; milliseconds. */
  readonly waitedForMs: number;

  readonly state: PhaseState;
  /** Rises whenever anything visible changed, from 0. */
  readonly phaseVersion: number;
  /** When the remote last confirmed the state; undefined if it never did. */
  readonly observedAtMs: number | undefined;
  readonly consecutiveFailures: number;
  readonly lastFailure: ReadFailure | undefined;
  /** Undefined after a read that succeeded. */
  readonly failing: FailingReads | undefined;

  /** The handle bytes that were answered; a repeated create answers the same ones. */
  readonly answeredHandle: Buffer | undefined;
  /** Whether there is an `answeredHandle`, which is a Buffer of its own each time it is asked for. */
  readonly hasHandle: boolean;
  readonly createdAtMs: number;
  /** When the job came to be at the remote, as far as the daemon knows; drives the poll interval. */
  readonly liveSinceMs: number;
  readonly lastAskedAtMs: number;
  /** Whether the schedule is told when an engine asks, which is so until it says otherwise; written by it alone. */
  asksMatter: boolean;
  /** Whether an engine has shown, by any later call, that it holds the handle. */
  readonly confirmed: boolean;
  /** Create calls about it that were answered here, less those whose answer is known to be lost. */
  readonly answersArrived: number;
  /** When the answer to the create visibly failed to reach the engine. */
  readonly undeliveredAtMs: number | undefined;
  /** How much of the grace that an undelivered create has is over, restarts left out; milliseconds. */
  readonly undeliveredForMs: number;
  /** Taken up from a handle, not created by this process. */
  readonly adopted: boolean;
  /** It was told as over, with outputs that did not stay in memory: until it is read again there is nothing to tell (rule 7). */
  readonly endedBefore: boolean;
  /** The engine deleted it after its end; its handle goes on answering that end, its key is free. */
  readonly deleted: boolean;

  /** Rises with every change of what an answer about the task shows; the transports keep encoded answers by it. */
  readonly revision: number;
}
