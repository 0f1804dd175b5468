import type { Abortable } from '../lib/stop.js';
import type { TaskId } from '../model/attempt-key.js';
import type { ReadPurpose } from '../model/events/refresh.js';
import type { PhaseState } from '../model/phase-state.js';
import type { PluginFailure, PluginOutcome } from '../model/plugin-call.js';
import type { FailingReads } from '../model/task-record.js';
import type { FaultKind } from '../plugin-api/errors.js';

/** What the schedule looks up in a task's record; it keeps none of it. Times in milliseconds since the epoch. */
export interface PolledTask {
  readonly id: TaskId;
  /** When the job came to be: drives the interval and the visibility grace. */
  readonly liveSinceMs: number;
  /** When an engine last asked. */
  readonly lastAskedAtMs: number;
  /**
   * Whether an engine's asking may change when it is read; written by the schedule, which needs not be told while it does not. So nearly
   * every call that asks looks at the record alone. True where it is left out.
   */
  asksMatter?: boolean;
  /** The quota namespace whose token it holds; decayed tasks are read as often as others while somebody waits for one. */
  readonly identity: { readonly quotaNamespace: string };
  /** The plugin's wish from the last phase, counted from the last read. */
  readonly state: { readonly nextPollAfterMs: number | undefined };
  /** How its reads failed in an earlier run of the daemon; looked at when it is taken on. */
  readonly failing?: FailingReads | undefined;
}

/** What is known of a task's reads when the schedule takes it on. Times in milliseconds since the epoch. */
export interface PollHistory {
  /** undefined for a task that was never read here (adopted): it is due at once, and after a start as `Schedule` says. */
  readonly lastReadAtMs?: number | undefined;
  /** Consecutive failed reads so far, from an earlier life; 0 unless given. */
  readonly failures?: number | undefined;
  readonly failingSinceMs?: number | undefined;
  /** Items with different keys never share a `getMany`; '' unless given. */
  readonly batchKey?: string | undefined;
}

export interface ReadRequest {
  /** Never empty; one unless the plugin reads batches. All of one batch key. */
  readonly ids: readonly TaskId[];
  /** What `track` was given of each, in the order of the ids. */
  readonly tasks: readonly PolledTask[];
  readonly purpose: ReadPurpose;
  /** For `get` the engine's deadline; undefined leaves it to the gate. */
  readonly deadlineMs: number | undefined;
  readonly signal: Abortable | undefined;
}

/** How the daemon ends a task after a read. The task's remote may still run. */
export interface Verdict {
  readonly phase: 'RETRYABLE_FAILURE' | 'PERMANENT_FAILURE';
  /** READS_FAILING, REMOTE_OUTAGE or RESOURCE_LOST; for a permanent error the plugin's own code. */
  readonly code: string;
  readonly message: string;
  readonly faultKind: FaultKind;
  /** Whether the remote may still run the job, so that it goes on the durable delete list (rule 6). */
  readonly oweDelete: boolean;
}

/** How one read of one task ended. */
export interface ReadReport {
  readonly id: TaskId;
  /** What `track` was given. */
  readonly task: PolledTask;
  readonly outcome: PluginOutcome<PhaseState>;
  readonly startedAtMs: number;
  readonly finishedAtMs: number;
  /** Consecutive failed reads after this one; 0 after a success. */
  readonly failures: number;
  readonly failingSinceMs: number | undefined;
  /** Set while reads in a row, of which this is one, answered NotFound. */
  readonly missing: { readonly sinceMs: number; readonly reads: number; readonly wave: boolean } | undefined;
  /** The same as durations, for the next run of the daemon; undefined after a success. */
  readonly failing: FailingReads | undefined;
  /** The last failure that says something about the task or its remote; undefined after a success. */
  readonly lastFailure: PluginFailure | undefined;
  /** Present when this read ends the task. */
  readonly verdict: Verdict | undefined;
}

/** How much the gate would admit now; a part of the gate's own `LaneCapacity`. */
export interface ReadCapacity {
  readonly slotsFree: number;
  readonly tokensNow: number;
  readonly msUntilToken: number;
  readonly pausedUntilMs: number | undefined;
  readonly queued: number;
  readonly open: boolean;
}

/** What the refresher needs of the daemon: how to read, how much may be read, and where results go. */
export interface TaskReader {
  /** Must hand the call to the gate before it returns its promise. One outcome per id, in order. A rejection counts as `unknown`. */
  read(request: ReadRequest): Promise<readonly PluginOutcome<PhaseState>[]>;
  capacity(): ReadCapacity;
  /**
   * Called once at the end of each read of a tracked task, before anybody who waits for the read is answered. A task that is over by
   * it is to be untracked; every other is read again, unless it is held.
   */
  onOutcome(report: ReadReport): void;
  /** Where reads have to be asked for before `capacity` shows any: told how many calls would be started now if it were open. */
  due?: ((calls: number) => void) | undefined;
  /** Whether a create waits for a token of this quota namespace. */
  tokenWanted(quotaNamespace: string): boolean;
}

export interface RefreshConfig {
  /** Read limit of the plugin, tokens a second. */
  readonly readQps: number;
  /** Concurrent reads of the plugin. */
  readonly readConcurrency: number;
  /** Items one `getMany` may carry; 1 when the plugin has none. */
  readonly maxBatch: number;
  readonly resyncIntervalMs: number;
  readonly maxSystemFailures: number;
  /** Share of the read limit that polling beyond `resyncInterval` may use, 0 to 1. */
  readonly pollShare: number;
  /** No task is polled more often than this by the schedule. */
  readonly minIntervalMs: number;
  /** A task must have been failing for this long before it is given up. */
  readonly minFailingMs: number;
  /** NotFound this soon after creation is awaited. */
  readonly visibilityGraceMs: number;
  /** NotFound must be all that reads answer for this long before a task is lost. */
  readonly notFoundMinMs: number;
  /** How long failure counts stand still while the remote is down. */
  readonly outageGraceMs: number;
  /** A task that no engine asked for during this time is polled ever less. */
  readonly idleAfterMs: number;
  /** Upper bound of the interval of a task nobody asks for, and of `nextPollAfter`. */
  readonly maxIntervalMs: number;
}

/** For metrics and the load report. */
export interface RefreshStats {
  readonly tracked: number;
  readonly inFlight: number;
  /** How long the most overdue task has been due without a read in flight, in milliseconds; 0 when nothing is due. */
  readonly oldestOverdueMs: number;
  readonly remote: 'up' | 'down';
  /** The first failure of the outage. */
  readonly remoteDownSinceMs: number | undefined;
  /** The first failure since it last answered a read, which may be no outage yet; undefined where none was. */
  readonly firstFailureMs: number | undefined;
  /** When it last did; -Infinity where it never did. */
  readonly answeredAtMs: number;
  /** Tasks whose last read did not find the job, and those of them that a wave froze. */
  readonly notFound: number;
  readonly notFoundFrozen: number;
  /** The longest interval that asked tasks can be expected to have: resyncInterval, or more past capacity. */
  readonly longestIntervalMs: number;
  /** Factor c of the young tasks' interval c·√age, in ms^½; Infinity when there is no spare capacity. */
  readonly ageFactor: number;
}

/** The polls of one plugin. */
export interface Refresher {
  /** Takes a task on, or corrects what is known of one that is tracked. */
  track(task: PolledTask, history?: PollHistory): void;
  /** The same of many tasks at once, of whose reads nothing is known: what is computed anew after each is computed once. */
  trackAll(tasks: readonly PolledTask[], batchKeyOf?: (task: PolledTask) => string): void;
  /**
   * Forgets a task; a read in flight finishes and is not reported. `becomes`: it is the same resource as another task, which is
   * about to be tracked in its place: a read in flight is that one's, so that there are never two of one resource.
   */
  untrack(id: TaskId, becomes?: TaskId): void;
  /** Moves a task to those of this batch key, and nothing else: when it is due and how often it failed stays. */
  regroup(id: TaskId, batchKey: string): void;
  /** Reads the task no more until `resume`; not tracked, it is none of ours. For the time in which its owner is busy with what was read. */
  hold(id: TaskId): void;
  /** Goes on with a task that was held, after the delay. False where it is not tracked. */
  resume(id: TaskId, delayMs: number): boolean;
  /** Polls the task only once an engine asks for it: until then a read would lack what the engine's calls bring. */
  awaitAsked(id: TaskId): void;
  /** An engine asked for the task, and its record says so. O(1). */
  asked(id: TaskId): void;
  /**
   * The engine's Get: shares a read of this resource that is in flight, else starts one. Resolves with the outcome
   * after it was reported; `deadline`, `cancelled` or `not_admitted` where the caller's own bounds end the wait.
   */
  readNow(id: TaskId, deadlineMs: number, signal?: Abortable): Promise<PluginOutcome<PhaseState>>;
  /** Something may have changed that allows a read: the gate's `onReadCapacity` calls this. */
  wake(): void;
  reconfigure(config: RefreshConfig): void;
  /** What is known of a task whose last answer was NotFound; undefined for every other. O(1). */
  missing(id: TaskId): ReadReport['missing'];
  /** Whether the remote is taken to be down. O(1): every Status asks. */
  readonly remoteDown: boolean;
  /** How many tasks are tracked. O(1). */
  readonly tracked: number;
  /** How many tasks are due. Looks at each of them, so it is for a scrape only: creates, listings and probes have no use for it. */
  countDue(): number;
  /** O(1), however many tasks are tracked or due. */
  stats(): RefreshStats;
  /** Stops polling and resolves when no read is in flight. May be called twice. */
  stop(): Promise<void>;
}
