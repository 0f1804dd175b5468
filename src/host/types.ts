import type { DataOptions } from '../data/options.js';
import type { ErrorCode, HostError } from '../errors/index.js';
import type { Clock } from '../lib/clock.js';
import type { SecretMasks } from '../lib/secrets.js';
import type { Abortable } from '../lib/stop.js';
import type { HostEvents, LoadResult, PluginState, StateChange } from '../model/events/host.js';
import type { PluginEntry, PluginIsolation } from '../model/options/plugin.js';
import type { SandboxOptions } from '../model/options/sandbox.js';
import type { PluginMethod, PluginMethods, PluginOutcome } from '../model/plugin-call.js';
import type { ServedTaskType } from '../model/plugin-facts.js';
import type { PluginFeatures } from '../model/plugin-methods.js';
import type { SendingLease } from '../model/sending-lease.js';
import type { PluginConfig } from '../plugin-api/config.js';
import type { Claims } from './load/routing.js';

export interface CallOptions {
  /** When the call is given up, on the host's clock; the entry's `callTimeoutMs` from now where undefined. */
  readonly deadlineMs: number | undefined;
  /** Gives the call up: it settles at once as `cancelled`, and the plugin's signal is aborted. */
  readonly signal?: Abortable | undefined;
  /** The plugin's process begins the call before that or not at all, by the boot clock: what it was granted by ends then. */
  readonly beginByMs?: number | undefined;
}

export interface HostedPlugin {
  readonly id: string;
  /** Undefined until it was loaded for the first time: its methods say which it is. */
  readonly kind: 'async' | 'sync' | undefined;
  readonly state: PluginState;
  /** Why the plugin is in its state, for a person; empty while it serves. */
  readonly stateReason: string;
  /** The catalogue's code where the state comes from an error. */
  readonly stateCode: ErrorCode | undefined;
  /** The plugin's own version; empty where it states none. */
  readonly version: string;
  /** Where it was loaded from, as configured. */
  readonly source: string;
  readonly isolation: PluginIsolation;
  readonly taskTypes: readonly ServedTaskType[];
  readonly isDefault: boolean;
  readonly required: boolean;
  /** The limits in force. */
  readonly config: PluginConfig;
  readonly features: PluginFeatures;
  /** Of the process that serves it now; undefined while there is none, and for `worker`. */
  readonly pid: number | undefined;
  /** How often its process was started again after a crash. */
  readonly restarts: number;
  /** Resident memory of its process in bytes, as last measured; 0 while there is none. */
  readonly rssBytes: number;
  /** Calls sent and not settled. */
  readonly inFlight: number;
  /** False while the channel to the process is saturated; a call then settles as `not_admitted`. */
  readonly writable: boolean;
  /** Names of the environment variables its process was given, declared and configured ones, sorted. */
  readonly environment: readonly string[];
  /** Resolves when the channel can take calls again, or the process is gone. */
  drained(): Promise<void>;
  /**
   * Calls a method in the plugin's process. Never rejects: whatever happens there is an outcome. While the plugin is
   * not serving, calls settle at once as `process_died` with code PLUGIN_NOT_SERVING or PLUGIN_QUARANTINED.
   */
  call<M extends PluginMethod>(
    method: M,
    args: PluginMethods[M]['args'],
    options: CallOptions,
  ): Promise<PluginOutcome<PluginMethods[M]['answer']>>;
  /** Tells of every change of state; answers how to stop listening. */
  onStateChange(listener: (change: StateChange) => void): () => void;
}

/** What became of one plugin when all were loaded anew. */
export interface ReloadResult {
  readonly pluginId: string;
  /** Why it did not come up; undefined where it runs anew. */
  readonly error: HostError | undefined;
}

export interface LoadReport {
  readonly results: readonly LoadResult[];
  /**
   * Errors that forbid to go on: failures of required plugins and conflicts of routes. PLUGIN_START_STARVED is none: the
   * host goes on trying.
   */
  readonly fatal: readonly HostError[];
}

/** Bounds and paces of the host; every one has a default (limits.ts). */
export interface HostLimits {
  /** Largest message to a plugin process, in bytes. */
  readonly maxRequestBytes: number;
  /** Largest message from a plugin process, in bytes. */
  readonly maxAnswerBytes: number;
  /** Bytes a second, and values in them, above which a plugin process has to wait with what it sends. */
  readonly answerBytesPerSecond: number;
  readonly answerValuesPerSecond: number;
  /** Bytes waiting towards one process above which `writable` is false. */
  readonly highWaterBytes: number;
  /** Bytes waiting towards one process above which calls are refused. */
  readonly maxQueuedBytes: number;
  /** Between two heartbeats, in milliseconds. */
  readonly heartbeatMs: number;
  /** A process that answers no heartbeat for this long while a call of it passed its deadline is killed. */
  readonly hangMs: number;
  /** A process that answers no heartbeat for this long is killed, calls or not. */
  readonly silentMs: number;
  /** Between two looks at the resident memory, in milliseconds. */
  readonly memoryPollMs: number;
  /** Calls that passed their deadline and still run in the plugin, above which its process is replaced. */
  readonly maxAbandonedCalls: number;
  readonly restartInitialMs: number;
  readonly restartMaxMs: number;
  /** Crashes within `crashWindowMs` that lead to quarantine. */
  readonly maxCrashes: number;
  readonly crashWindowMs: number;
  readonly quarantineMs: number;
  /** Log lines a second that one plugin may send, and that its stdout and stderr may carry. */
  readonly logLinesPerSecond: number;
  /** For a step of an orderly stop: close(), then the end of the process, then SIGTERM. Milliseconds each. */
  readonly stopStepMs: number;
  /** Processes that are started at a time. */
  readonly startConcurrency: number;
}

export interface PluginHostOptions {
  readonly entries: readonly PluginEntry[];
  readonly events: HostEvents;
  readonly clock: Clock;
  /** What calls to remotes are sent under, where it may end. */
  readonly lease?: SendingLease | undefined;
  /** In [0, 1); for the jitter of restarts. */
  readonly random: () => number;
  /** Data store and secrets as the plugin processes build them. */
  readonly data: DataOptions;
  /** Task type -> plugin id, where several plugins serve one type. Default {}. */
  readonly defaultForTaskTypes?: Readonly<Record<string, string>>;
  /**
   * What an earlier run served, by the ids of this one: a plugin that fails before it tells its task types keeps those. Asked whenever
   * routes are made. Default: nothing is known of one.
   */
  readonly servedBefore?: () => readonly Claims[];
  /** Where relative sources and package names start from. Default: the working directory. */
  readonly baseDir?: string;
  /** The variables that plugins may be given from. Default: process.env. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly limits?: Partial<HostLimits>;
  /** The daemon's own secrets: masked in all that plugins say, too. Default: none. */
  readonly masks?: SecretMasks;
  /** What plugin processes may do where an entry says nothing else. Default: what the options' defaults say. */
  readonly sandbox?: SandboxOptions;
  /** Files and folders of the daemon that no plugin under Node's permission model may be able to reach. Default: none. */
  readonly guarded?: readonly string[];
}

export interface PluginHost {
  /**
   * Starts the processes of some plugins ahead of `start`, and imports nothing: they come up while the daemon does something
   * else. Callable once, before `start`; what it started is ended by `stop` and `killAll`.
   */
  prepare(): void;
  /**
   * Loads every entry and answers what became of each. Does not throw for plugins; the caller decides by
   * `report.fatal`, and must call `stop` in either case.
   */
  start(): Promise<LoadReport>;
  /** Every plugin whose id is known, in the order of the entries, failed ones included. */
  plugins(): readonly HostedPlugin[];
  plugin(id: string): HostedPlugin | undefined;
  /** The plugin of a task type, which may have failed. Throws TASK_TYPE_UNKNOWN or TASK_TYPE_VERSION_UNKNOWN. */
  route(taskType: string, version: number): HostedPlugin;
  /** Makes the routes anew, since `servedBefore` has more to say. Before the start is through it does nothing. */
  reroute(): void;
  /**
   * Loads a plugin anew beside the old one, then switches; the old process ends when its calls are done. The old one
   * goes on serving when the new one fails to load. Throws HostError: the load error, or PLUGIN_NOT_SERVING for an
   * unknown id.
   */
  reload(id: string): Promise<void>;
  /**
   * Loads every plugin anew as `reload` does, those that failed or skipped themselves too, and answers what became of
   * each once all have switched or failed. What an old process still does is not waited for.
   */
  reloadAll(): Promise<readonly ReloadResult[]>;
  /** Lets calls in flight finish for at most `graceMs`, then ends every process, in reverse order. Callable twice. */
  stop(graceMs: number): Promise<void>;
  /**
   * Kills every process, and what they started, before it returns, and starts none again: the last thing that a daemon
   * does which cannot stop in order. Calls settle as `process_died` if the event loop still turns afterwards.
   */
  killAll(): void;
}
