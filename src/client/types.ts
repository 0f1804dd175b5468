import type { JsonObject } from '../lib/json.js';
import type { Outputs } from '../model/phase-state.js';
import type { PluginReportState, PluginReport as Report } from '../model/plugin-report.js';
import type { LiteralInput, LiteralValue } from '../plugin-api/literals.js';
import type { ExecutionError, Phase, TaskLog } from '../plugin-api/phase.js';
import type { PluginHostError } from './error.js';

/** An encoded protobuf message, or its JSON form (field names in camelCase or as in the .proto file). */
export type MessageInput = Uint8Array | JsonObject;

export interface Connection {
  readonly secrets?: Readonly<Record<string, string>>;
  readonly configs?: Readonly<Record<string, string>>;
}

/** A task to start; see `TaskSpec` in plugin_host.proto. */
export interface TaskInput {
  /** Unique to the attempt. May be left out if `outputPrefix` and `metadata.taskExecutionId` identify it. */
  readonly generatedName?: string;
  /** flyteidl.core.TaskTemplate. */
  readonly template: MessageInput;
  /** flyteidl.core.LiteralMap. */
  readonly inputs?: MessageInput;
  /** The inputs as values instead, written as the template's interface declares them. */
  readonly inputValues?: Readonly<Record<string, LiteralInput>>;
  readonly inputPrefix?: string;
  readonly outputPrefix?: string;
  /** flyteidl.admin.TaskExecutionMetadata. */
  readonly metadata?: MessageInput;
  readonly maxDatasetSizeBytes?: number;
  readonly connection?: Connection;
}

export interface CallOptions {
  /** How long to wait for the answer, in milliseconds; the client's default unless given. */
  readonly deadlineMs?: number;
  /** Gives the call up. */
  readonly signal?: AbortSignal;
}

/** What calls about an existing task may bring along; see `StatusRequest`. */
export interface HandleOptions extends CallOptions {
  readonly outputPrefix?: string;
  readonly connection?: Connection;
}

export interface ExternalResource {
  readonly externalId: string;
  readonly index: number;
  readonly retryAttempt: number;
  readonly phase: Phase;
  readonly logs: readonly TaskLog[];
  readonly customInfo: JsonObject | undefined;
}

export interface PhaseInfo {
  readonly phase: Phase;
  readonly version: number;
  readonly reason: string;
  readonly error: ExecutionError | undefined;
  readonly logs: readonly TaskLog[];
  readonly customInfo: JsonObject | undefined;
  readonly externalResources: readonly ExternalResource[];
  /** Inline outputs are an encoded flyteidl.core.LiteralMap, with the names in it. */
  readonly outputs: Outputs;
  readonly remotePhase: string;
}

export interface TaskStatus {
  readonly phaseInfo: PhaseInfo;
  /** When the remote last confirmed the phase, epoch milliseconds; undefined if it never did. */
  readonly observedAtMs: number | undefined;
  readonly consecutiveFailures: number;
  readonly lastError: string;
  readonly lastErrorCode: string;
  readonly remoteDown: boolean;
}

export interface CreateResult {
  /** Store it, and send it back. */
  readonly handle: Buffer;
  readonly status: TaskStatus;
}

export interface WatchFilter {
  /** Only tasks of these plugins. */
  readonly plugins?: readonly string[];
  /** Only these tasks. */
  readonly handles?: readonly Uint8Array[];
  /** Continue after the update that carried this token. */
  readonly resumeToken?: string;
  /** Send the current state of every matching task first. */
  readonly includeCurrent?: boolean;
}

/**
 * What Watch yields. `lagged` says that changes were missed: read Status of what matters. `bookmark` is a sign of life
 * that moves the token; with `draining` the daemon is about to stop, and the client resumes by itself.
 */
export type WatchUpdate =
  | {
      readonly kind: 'change';
      readonly resumeToken: string;
      readonly handle: Buffer;
      readonly plugin: string;
      readonly taskType: string;
      readonly status: TaskStatus;
      readonly deleted: boolean;
    }
  | { readonly kind: 'lagged'; readonly resumeToken: string; readonly dropped: number }
  | { readonly kind: 'bookmark'; readonly resumeToken: string; readonly draining: boolean };

export type PluginState = PluginReportState;

export type PluginReport = Report<PluginLimits>;

export interface PluginLimits {
  readonly resourceQuotas: Readonly<Record<string, number>>;
  readonly readRateLimiter: { readonly qps: number; readonly burst: number };
  readonly writeRateLimiter: { readonly qps: number; readonly burst: number };
  readonly cacheSize: number;
  readonly resyncIntervalMs: number;
  readonly workers: number;
  readonly maxSystemFailures: number;
}

export interface WaitOptions extends HandleOptions {
  /** Gives up after so many milliseconds (24 days at most) with DEADLINE_EXCEEDED; waits for ever unless given. */
  readonly timeoutMs?: number;
  /** Called with every state seen, the first and the last included. */
  readonly onStatus?: (status: TaskStatus) => void;
  /** Called when the daemon cannot be reached, or is on its way out, while the task is followed; it is tried again. */
  readonly onUnreachable?: (error: PluginHostError) => void;
}

export interface WatchOptions {
  readonly signal?: AbortSignal;
  /** Called when a stream ended with UNAVAILABLE; the next one is tried after a while. */
  readonly onUnreachable?: (error: PluginHostError) => void;
}

/**
 * A client of the native API. A call that fails throws a PluginHostError; a template or input that cannot be encoded throws
 * a HostError before anything is sent. Both have a `code`.
 */
export interface Client {
  /** Starts a task, or finds the one that its attempt key started before. */
  create(task: TaskInput, options?: CallOptions): Promise<CreateResult>;
  /** The phase from the daemon's memory. */
  status(handle: Uint8Array, options?: HandleOptions): Promise<TaskStatus>;
  /** The phase as the remote has it now. */
  get(handle: Uint8Array, options?: HandleOptions): Promise<TaskStatus>;
  delete(
    handle: Uint8Array,
    options?: CallOptions & { readonly reason?: string; readonly connection?: HandleOptions['connection'] },
  ): Promise<void>;
  /** Runs a task of a sync plugin to its end. */
  do(task: TaskInput, options?: CallOptions): Promise<PhaseInfo>;
  /**
   * Changes as they come. The stream is resumed by itself after the daemon stopped or the connection broke; leave the
   * loop, or abort the signal, to end it. Throws what cannot be cured by resuming.
   */
  watch(filter?: WatchFilter, options?: WatchOptions): AsyncIterable<WatchUpdate>;
  listPlugins(options?: CallOptions): Promise<PluginReport[]>;
  /**
   * Resolves with the last state once the task is over. Throws TASK_DELETED when somebody deletes it meanwhile, and
   * DEADLINE_EXCEEDED after `timeoutMs`.
   */
  waitForEnd(handle: Uint8Array, options?: WaitOptions): Promise<TaskStatus>;
  /** Inline outputs as values; undefined where there are none, or where they lie at the output prefix. */
  outputValues(info: PhaseInfo): Record<string, LiteralValue> | undefined;
  close(): void;
}
