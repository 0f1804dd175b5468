import type { PluginHost } from '../host/types.js';
import type { Clock } from '../lib/clock.js';
import type { TaskEvents } from '../model/events/tasks.js';
import type { Runtimes } from '../runtime/runtime.js';
import type { ReplayCache } from '../store/replay-cache.js';
import type { TaskStore } from '../store/task-store.js';
import type { HandleTrust } from './read/handle-trust.js';

/** Times and bounds of the use cases. Milliseconds throughout. */
export interface TasksOptions {
  /** Share of a create's deadline after which it is answered as accepted. */
  readonly acceptShare: number;
  /** How long a create is repeated after its first failure before the task ends. */
  readonly createBudgetMs: number;
  /** First and longest delay between two tries of a create or a delete. */
  readonly retryInitialMs: number;
  readonly retryMaxMs: number;
  /** How long after its end an attempt is told from a new one of the same key. */
  readonly replayWindowMs: number;
  /** After this, a create whose answer never arrived and that nobody confirmed is deleted (rule 9). */
  readonly orphanGraceMs: number;
  /** An owed delete whose tries failed for this long holds no quota token any more (rule 10). */
  readonly deleteGraceMs: number;
  /** Within this after its creation a job that the remote does not find may still be there. */
  readonly visibilityGraceMs: number;
  /** Not found on a delete that is owed is believed once it is all that the tries were answered for this long. */
  readonly notFoundMinMs: number;
  /** Tasks known from handles alone that are held, what they hold in bytes, and how many are taken up in a second, or at once. */
  readonly maxAdopted: number;
  readonly maxAdoptedBytes: number;
  readonly adoptionsPerSecond: number;
  readonly adoptionsAtOnce: number;
  /** Whether plugins may take over resource metas that another service made. */
  readonly adoptForeign: boolean;
  /** How long secrets that came with a call are kept for the task. */
  readonly connectionTtlMs: number;
  /** Status of an adopted task answers this long before the caller's deadline at the latest. */
  readonly answerMarginMs: number;
  /** Outputs above this go to the output prefix: an engine's client refuses larger answers. Bytes. */
  readonly maxInlineOutputBytes: number;
  /** How long a success is read again while the data store that takes its large outputs is away. */
  readonly outputsBudgetMs: number;
  /** Accepted tasks that may wait to be created. */
  readonly maxWaiting: number;
  /** Bound of the payloads (template and inputs) that waiting creates hold together. Bytes. */
  readonly maxWaitingBytes: number;
  /** Owed deletes that are carried out at a time. */
  readonly deleteConcurrency: number;
  /** How often a create of unclear outcome is repeated, to find and cancel a job that it may have left; 0: never. */
  readonly unclearLooks: number;
  /** Bounds of the list of such creates, and of the payloads it holds in bytes. */
  readonly maxUnclear: number;
  readonly maxUnclearBytes: number;
}

/** The bounds among them that the operator does not set. */
export const TASKS_BOUNDS = {
  retryInitialMs: 1_000,
  retryMaxMs: 60_000,
  maxAdoptedBytes: 512 * 1024 * 1024,
  adoptionsPerSecond: 1_000,
  adoptionsAtOnce: 20_000,
  answerMarginMs: 250,
  deleteConcurrency: 64,
  maxUnclear: 10_000,
  maxUnclearBytes: 64 * 1024 * 1024,
} as const satisfies Partial<TasksOptions>;

/** What every use case is built from. */
export interface TasksDeps {
  readonly clock: Clock;
  readonly random: () => number;
  readonly store: TaskStore;
  readonly host: PluginHost;
  readonly runtimes: Runtimes;
  readonly replays: ReplayCache;
  readonly options: TasksOptions;
  readonly events: TaskEvents;
  readonly handles: HandleTrust;
  /** Whether the state is this daemon's for sure; absent where there are no replicas. */
  readonly mayWork?: (() => boolean) | undefined;
  /** Writes a LiteralMap as outputs.pb under the prefix. Absent where no data store is configured. */
  readonly writeOutputs: ((outputPrefix: string, literalMap: Buffer) => Promise<void>) | undefined;
}
