import type { JsonObject } from '../lib/json.js';
import type { DataStore, InputReader, OutputWriter, SecretManager } from './data.js';
import type { LiteralType } from './literal-type.js';

/** Structured log lines; they appear in the daemon's log with the plugin's id. Fields must be plain data. */
export interface PluginLogger {
  debug(message: string, fields?: Record<string, unknown>): void;
  info(message: string, fields?: Record<string, unknown>): void;
  warn(message: string, fields?: Record<string, unknown>): void;
  error(message: string, fields?: Record<string, unknown>): void;
}

/** The plugin's own metrics, exposed by the daemon as `pluginhost_plugin_custom_*` with label `plugin`. */
export interface PluginMetrics {
  /** Adds `by` (1 unless given) to a counter. `name` in snake_case; at most 50 names a plugin. */
  count(name: string, by?: number): void;
  /** Sets a gauge. */
  gauge(name: string, value: number): void;
  /** Observes a duration in seconds. */
  observe(name: string, seconds: number): void;
}

/** What every call of a plugin method carries. */
export interface CallContext {
  /**
   * Aborted at the deadline, or earlier when the answer is no longer wanted. Pass it to fetch. Of several replicas (docs/scaling.md) the
   * one that calls has a lease, and reading `aborted` asks whether that still holds: what is sent without the signal asks nobody.
   */
  readonly signal: AbortSignal;
  /** When the call is given up, in milliseconds since the epoch. */
  readonly deadlineMs: number;
  /**
   * When the daemon sent the call, which is when its limiter token was taken: milliseconds on the machine's monotonic clock, which
   * all processes share (`process.hrtime`). For measuring, such as how long the call was on its way.
   */
  readonly sentAtMs: number;
  readonly logger: PluginLogger;
  readonly metrics: PluginMetrics;
}

export interface TaskIdentifier {
  readonly project: string;
  readonly domain: string;
  readonly name: string;
  readonly version: string;
}

/** Which attempt of which node of which execution this is (flyteidl.core.TaskExecutionIdentifier, flattened). */
export interface TaskExecutionId {
  readonly task: TaskIdentifier;
  readonly project: string;
  readonly domain: string;
  readonly execution: string;
  readonly nodeId: string;
  readonly retryAttempt: number;
}

/** What the engine says about the execution. Text fields are empty where the engine sent nothing. */
export interface TaskExecutionMetadata {
  /** A name unique to this attempt. Native clients choose it; for Flyte it is made of the attempt key. */
  readonly generatedName: string;
  readonly taskExecutionId: TaskExecutionId;
  /** The engine's namespace (Kubernetes) of the execution. */
  readonly namespace: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly serviceAccount: string;
  readonly environmentVariables: Readonly<Record<string, string>>;
  /** 0 where the engine does not say. */
  readonly maxAttempts: number;
  readonly interruptible: boolean;
}

/** A task template, decoded (flyteidl.core.TaskTemplate as proto3 JSON-like plain data, camelCase). */
export interface TaskTemplate {
  readonly type: string;
  readonly taskTypeVersion: number;
  readonly id?: { readonly project: string; readonly domain: string; readonly name: string; readonly version: string };
  /** The plugin-specific configuration; google.protobuf.Struct as plain JSON. */
  readonly custom: JsonObject;
  /** String options of the task (flyteidl `config`). */
  readonly config: Readonly<Record<string, string>>;
  /** Names of the declared outputs, in declaration order. */
  readonly outputNames: readonly string[];
  readonly inputNames: readonly string[];
  /** Declared types by name, in declaration order. */
  readonly inputTypes: ReadonlyMap<string, LiteralType>;
  readonly outputTypes: ReadonlyMap<string, LiteralType>;
  readonly container?: {
    readonly image: string;
    readonly command: readonly string[];
    /** Rendered by the engine already; do not render again. */
    readonly args: readonly string[];
    readonly env: Readonly<Record<string, string>>;
    readonly resources: {
      readonly requests: Readonly<Record<string, string>>;
      readonly limits: Readonly<Record<string, string>>;
    };
  };
  readonly sql?: { readonly statement: string; readonly dialect: string };
  readonly metadata?: {
    readonly timeoutMs?: number;
    readonly retries?: number;
    readonly discoverable?: boolean;
    readonly interruptible?: boolean;
  };
}

export interface TaskReader {
  /** The decoded template. Decoding happens once, at the first call. */
  read(): TaskTemplate;
  /** The template as its protobuf bytes, for fields that TaskTemplate does not show. */
  readonly bytes: Uint8Array;
}

/** Flyte 2's connection of a request: values that live in memory only and must not be written anywhere. */
export interface ConnectionInfo {
  readonly configs: Readonly<Record<string, string>>;
  readonly secrets: Readonly<Record<string, string>>;
}

/** For `resourceRequirements`: the task, before anything is created. No I/O may be done here. */
export interface RequirementsContext extends CallContext {
  readonly taskReader: TaskReader;
  readonly taskExecutionMetadata: TaskExecutionMetadata;
}

/** For `create` and `do`. */
export interface CreateContext extends CallContext {
  readonly taskReader: TaskReader;
  readonly inputReader: InputReader;
  readonly outputWriter: OutputWriter;
  readonly dataStore: DataStore;
  readonly secretManager: SecretManager;
  readonly connection: ConnectionInfo | undefined;
  readonly taskExecutionMetadata: TaskExecutionMetadata;
  /** Where outputs belong, such as `s3://bucket/path`; empty where the engine sent none. */
  readonly outputPrefix: string;
  /** 0 means no bound was given. */
  readonly maxDatasetSizeBytes: number;
  /**
   * Stable over repeats of one incarnation of one attempt: lower-case letters, digits and dashes, at most 48
   * characters. Hand it to the remote as its idempotency token, job name or comment.
   */
  readonly idempotencyKey: string;
}

/** For `get`, `delete`, `getLogs`, `getMetrics`: no template here; what these need, `create` puts into the meta. */
export interface ResourceContext<Meta> extends CallContext {
  readonly resourceMeta: Meta;
  readonly outputPrefix: string;
  /**
   * Names of the declared outputs, in declaration order: what a success must bring. Undefined where they are not known: the
   * engine sent no interface, or the task was taken up by a handle that they did not fit into. Their types are known to `create`
   * alone.
   */
  readonly outputNames: readonly string[] | undefined;
  readonly outputWriter: OutputWriter;
  readonly dataStore: DataStore;
  readonly secretManager: SecretManager;
  readonly connection: ConnectionInfo | undefined;
  readonly idempotencyKey: string;
}

export interface DeleteContext<Meta> extends ResourceContext<Meta> {
  /** Why the task is cancelled, for a person. */
  readonly reason: string;
}

export interface LogsContext<Meta> extends ResourceContext<Meta> {
  /** Lines wanted on this page; 0 lets the plugin choose. */
  readonly lines: number;
  /** Empty for the first page, else the token of the page before. */
  readonly token: string;
}

export interface MetricsContext<Meta> extends ResourceContext<Meta> {
  readonly queries: readonly string[];
  readonly startTimeMs: number | undefined;
  readonly endTimeMs: number | undefined;
  readonly stepMs: number | undefined;
}

/** For `status`: pure, no I/O, called right after the read that produced `resource`. */
export interface StatusContext<Meta, Resource> {
  readonly resourceMeta: Meta;
  readonly resource: Resource;
  readonly outputPrefix: string;
  /** As in the context of `get`; after `create`, those of the template. */
  readonly outputNames: readonly string[] | undefined;
}
