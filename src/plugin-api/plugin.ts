import type { StandardSchemaV1 } from '@standard-schema/spec';
import type { JsonValue } from '../lib/json.js';
import type { PluginConfig, PluginConfigInput } from './config.js';
import type {
  CreateContext,
  DeleteContext,
  LogsContext,
  MetricsContext,
  PluginLogger,
  PluginMetrics,
  RequirementsContext,
  ResourceContext,
  StatusContext,
} from './contexts.js';
import type { SecretManager } from './data.js';
import type { PhaseInfo } from './phase.js';

/** The version of this contract; a plugin states the one it was written for. */
export const PLUGIN_API_VERSION = 1;

/** Bounds on how many tokens of a quota namespace the tasks of one project, or of one engine namespace, may hold. */
export interface ResourceConstraints {
  readonly project?: number;
  readonly namespace?: number;
}

export interface ResourceRequirements {
  /** The quota namespace, a key of `resourceQuotas`; `default` where a plugin leaves requirements out. */
  readonly namespace: string;
  readonly constraints?: ResourceConstraints;
}

export interface CreateResult<Meta, Resource> {
  /** Identifies the job at the remote. Must survive a JSON round trip unless `metaCodec` is given. Keep it to some hundred bytes. */
  readonly resourceMeta: Meta;
  /** If the create call already told the state, its status is computed at once and a read is saved. */
  readonly resource?: Resource | PhaseInfo;
  /**
   * True if the job was found under the idempotency key rather than made by this call; never of a job that this call made.
   * A job that is found is the attempt's own, over or not: the answer to its create may have been lost. Only one whose
   * `resource` says that it was cancelled (phase ABORTED) is taken for a deleted earlier life of the key; the host then
   * calls create again with the next key. So answer `resource` with what is found, and tell a cancelled job from a failed one.
   */
  readonly existing?: boolean;
}

/** One settled outcome of a batch read, as Promise.allSettled gives it. */
export type Settled<T> = { status: 'fulfilled'; value: T } | { status: 'rejected'; reason: unknown };

export interface BatchReader<Meta, Resource> {
  /** Most items one call may carry, at least 1. */
  readonly maxBatch: number;
  /** Items with different keys (clusters, credentials) never share a call. At most 1,024 characters. */
  batchKey?(meta: Meta): string;
  /** One settled outcome per context, in order. Takes one limiter token a call. */
  read(contexts: readonly ResourceContext<Meta>[]): Promise<readonly Settled<Resource | PhaseInfo>[]>;
}

export interface LogLine {
  readonly message: string;
  readonly timestampMs?: number;
  readonly originator?: 'UNKNOWN' | 'USER' | 'SYSTEM';
}

export interface LogsPage {
  readonly lines: readonly LogLine[];
  /** Token of the next page; empty or absent when there is none. */
  readonly token?: string;
}

export interface MetricSeries {
  readonly metric: string;
  readonly points: readonly { readonly timestampMs: number; readonly value: number }[];
}

export interface MetaCodec<Meta> {
  encode(meta: Meta): Uint8Array;
  /** Throws on bytes it did not make. */
  decode(bytes: Uint8Array): Meta;
}

/**
 * A plugin whose remote runs jobs by itself. `create` is called at least once per idempotency key, the rest any number
 * of times; every method may run concurrently with any other, but the host never has two reads of one resource in
 * flight. Every method must give up when `ctx.signal` is aborted.
 */
export interface AsyncPlugin<Meta = JsonValue, Resource = unknown> {
  resourceRequirements?(ctx: RequirementsContext): ResourceRequirements | Promise<ResourceRequirements>;
  /**
   * Submits the job. A repeat with the same `ctx.idempotencyKey` must find the job it made before; where no answer ever came,
   * repeats go on for some hours after the task ended, to cancel what they find. One write token.
   */
  create(ctx: CreateContext): Promise<CreateResult<Meta, Resource>>;
  /**
   * Whether `create` finds by `ctx.idempotencyKey` the job that an earlier call made, because the remote takes the key or can be
   * searched for it. True unless set. A plugin that searches and then submits may find several jobs of one key, since two creates
   * can pass each other (one of them of a daemon that was killed): it keeps the oldest, whoever looks, and cancels the others, in
   * create and in its reads.
   *
   * False says that the remote can do neither. Then a create that may have been sent is never repeated: unless the plugin says
   * `notCreated`, throttled or permanent, the task ends as the retryable failure CREATE_UNCLEAR, and is listed for the operator.
   */
  readonly findsByKey?: boolean;
  /** Reads the job. One read token. */
  get(ctx: ResourceContext<Meta>): Promise<Resource | PhaseInfo>;
  getMany?: BatchReader<Meta, Resource>;
  /** Needed when `get` answers a Resource of the plugin's own. Pure, no I/O. */
  status?(ctx: StatusContext<Meta, Resource>): PhaseInfo;
  /** Cancels the job. NotFoundError is success, and so is a job that is over. One write token. */
  delete(ctx: DeleteContext<Meta>): Promise<void>;
  getLogs?(ctx: LogsContext<Meta>): Promise<LogsPage>;
  getMetrics?(ctx: MetricsContext<Meta>): Promise<readonly MetricSeries[]>;
  metaCodec?: MetaCodec<Meta>;
  /**
   * Takes over a resource meta that another service made (such as the JSON of a Python connector). Answers undefined
   * for bytes it does not know.
   */
  adoptMeta?(foreign: Uint8Array, taskType: string): Meta | undefined;
  /** Called once before the process ends. */
  close?(): Promise<void> | void;
}

/** A plugin that answers within one call. */
export interface SyncPlugin {
  /** Runs the task to its end; must answer a terminal phase. One write token. */
  do(ctx: CreateContext): Promise<PhaseInfo>;
  close?(): Promise<void> | void;
}

/** What `load` receives. */
export interface SetupContext<Settings> {
  readonly pluginId: string;
  /** The operator's settings, validated by the plugin's schema; the raw object where it has none. */
  readonly settings: Settings;
  /** The limits in force. */
  readonly config: PluginConfig;
  readonly secretManager: SecretManager;
  readonly logger: PluginLogger;
  readonly metrics: PluginMetrics;
  /** Aborted when the loading deadline passes. */
  readonly signal: AbortSignal;
}

/** A task type by name, in every version; or only in the versions listed. */
export type TaskTypeSupport = string | { readonly name: string; readonly versions?: readonly number[] };

/** The default export of a plugin module. */
export interface PluginDefinition<Settings = Record<string, JsonValue>, Meta = JsonValue, Resource = unknown> {
  /** Lower-case letters, digits and dashes, starting with a letter; at most 40 characters. Unique in a daemon. */
  readonly id: string;
  readonly apiVersion: typeof PLUGIN_API_VERSION;
  /** The plugin's own version, shown in the load report. */
  readonly version?: string;
  readonly taskTypes: readonly TaskTypeSupport[];
  /** Serves task types that no plugin names. */
  readonly isDefault?: boolean;
  readonly config?: PluginConfigInput;
  /** A Standard Schema (zod, valibot, arktype, …) of the operator's settings. */
  readonly settings?: StandardSchemaV1<unknown, Settings>;
  /** Names of environment variables the plugin's process needs; a trailing `*` takes a prefix. It sees no others. */
  readonly environment?: readonly string[];
  load(
    setup: SetupContext<Settings>,
  ): AsyncPlugin<Meta, Resource> | SyncPlugin | Promise<AsyncPlugin<Meta, Resource> | SyncPlugin>;
}

/** Adds types and nothing else. */
export function definePlugin<Settings = Record<string, JsonValue>, Meta = JsonValue, Resource = unknown>(
  definition: PluginDefinition<Settings, Meta, Resource>,
): PluginDefinition<Settings, Meta, Resource> {
  return definition;
}
