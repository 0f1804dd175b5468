import type { Abortable } from '../lib/stop.js';
import type { AttemptIdentity } from '../model/attempt-key.js';
import type { PhaseState } from '../model/phase-state.js';
import type { PluginReport } from '../model/plugin-report.js';
import type { NodeAttempt, TaskRecord } from '../model/task-record.js';
import type { WatchFilter, WatchReader } from '../model/watch.js';
import type { ConnectionInfo, TaskExecutionMetadata } from '../plugin-api/contexts.js';
import type { LogLine, MetricSeries } from '../plugin-api/plugin.js';

/** A task to start, whichever protocol it came by. */
export interface TaskSpec {
  readonly taskType: string;
  readonly taskTypeVersion: number;
  readonly attempt: AttemptIdentity;
  /** Set if the protocol tells the node apart from the attempt (rule 9). */
  readonly node: NodeAttempt | undefined;
  /** flyteidl.core.TaskTemplate. */
  readonly template: Buffer;
  /** Declared outputs in order; undefined if the template has no interface. */
  readonly outputNames: readonly string[] | undefined;
  /** flyteidl.core.LiteralMap. */
  readonly inputs: Buffer | undefined;
  readonly inputPrefix: string;
  readonly outputPrefix: string;
  readonly metadata: TaskExecutionMetadata;
  readonly maxDatasetSizeBytes: number;
  readonly connection: ConnectionInfo | undefined;
}

/** How long a caller waits, and whether it still does. */
export interface CallScope {
  /** When the call came, which is from when the caller waits: at its first header. On the daemon's clock, in milliseconds. */
  readonly arrivedMs: number;
  /** On the daemon's clock, in milliseconds; the transport fills in its default where the caller set none. */
  readonly deadlineMs: number;
  readonly signal: Abortable;
  /** Another replica passes the answer on: whether it reaches the caller is not seen here. Absent: nobody does. */
  readonly relayed?: boolean;
}

/** What calls about an existing task may bring along. */
export interface HandleHints {
  readonly outputPrefix: string;
  readonly connection: ConnectionInfo | undefined;
}

/** A task as answered to a caller. `handle` is what Create answers for it. */
export interface TaskAnswer {
  readonly handle: Buffer;
  readonly task: TaskRecord;
}

export interface CreateAnswerView extends TaskAnswer {
  /** To be called when the transport sees that the answer did not reach the caller (rule 9). */
  undelivered(): void;
}

export interface LogsRequest {
  readonly lines: number;
  readonly token: string;
}

export interface MetricsRequest {
  readonly queries: readonly string[];
  readonly startTimeMs: number | undefined;
  readonly endTimeMs: number | undefined;
  readonly stepMs: number | undefined;
}

/**
 * The use cases, one method each; all protocols are thin translations over these. Every method throws HostError and
 * nothing else.
 */
export interface Tasks {
  /** Rule 8, and design 1a Create. Resolves within a third of the deadline, with what is known by then. */
  create(spec: TaskSpec, scope: CallScope): Promise<CreateAnswerView>;
  /**
   * The task of a handle, if it is in memory: no promise, no decoding, no allocation. The hot path of Status and GetTask.
   * Counts as being asked for. Undefined as well where it was last read longer ago than `maxStalenessMs` (unless 0).
   */
  peek(handle: Buffer, maxStalenessMs?: number): TaskRecord | undefined;
  /**
   * The task of a handle; adopts what memory does not hold, awaiting its first read within the deadline. One that was read
   * longer ago than `maxStalenessMs` (unless 0) is read now, where the limit has room; else its last known state is the answer.
   */
  status(handle: Buffer, hints: HandleHints, scope: CallScope, maxStalenessMs?: number): Promise<TaskRecord>;
  /** Reads the remote now. */
  get(handle: Buffer, hints: HandleHints, scope: CallScope): Promise<TaskRecord>;
  /** Without a scope it waits as long as it takes until the order is safe. */
  delete(handle: Buffer, reason: string, hints: HandleHints, scope?: CallScope): Promise<void>;
  do(spec: TaskSpec, scope: CallScope): Promise<PhaseState>;
  watch(filter: WatchFilter): WatchReader;
  /**
   * The same of one part, where tasks are divided among replicas: the reader ends, without a draining bookmark or with one, when this replica
   * gives the part up. Throws OWNER_AWAY where it does not have it, and RESUME_TOKEN_INVALID.
   */
  watchPart?(part: number, filter: WatchFilter): WatchReader;
  listPlugins(): readonly PluginReport[];
  getLogs(
    handle: Buffer,
    request: LogsRequest,
    hints: HandleHints,
    scope: CallScope,
  ): Promise<{ lines: readonly LogLine[]; token: string }>;
  getMetrics(
    handle: Buffer,
    request: MetricsRequest,
    hints: HandleHints,
    scope: CallScope,
  ): Promise<readonly MetricSeries[]>;
  /**
   * Makes bytes that are no handle of this daemon known as one, if the plugin of the task type takes over resource metas
   * of another service. Does nothing for our own handles; answers the id of the task that other bytes stand for.
   */
  adoptForeign(
    handle: Buffer,
    taskType: string,
    taskTypeVersion: number,
    hints: HandleHints,
    scope: CallScope,
  ): Promise<string | undefined>;
  /** Whether the remote of this plugin is taken to be down; part of every TaskStatus. */
  remoteDown(plugin: string): boolean;
}
