import type { ErrorCode, HostError } from '../../errors/index.js';
import type { JsonObject } from '../../lib/json.js';
import type { LogLevel } from '../plugin-facts.js';

/**
 * - `starting`: being loaded for the first time.
 * - `serving`: calls are sent to its process.
 * - `restarting`: its process ended, or the machine had nothing left to start it; it is started after a back-off.
 * - `quarantined`: it crashed repeatedly and is held back; it is tried again after the quarantine.
 * - `failed`: it could not be loaded, or changed on disk in a way that needs a reload.
 * - `skipped`: load() decided that it has nothing to serve here.
 * - `stopped`: the host stopped it.
 */
export type PluginState = 'starting' | 'serving' | 'restarting' | 'quarantined' | 'failed' | 'skipped' | 'stopped';

export interface StateChange {
  readonly pluginId: string;
  readonly state: PluginState;
  readonly previous: PluginState;
  readonly reason: string;
  readonly code: ErrorCode | undefined;
  readonly pid: number | undefined;
  readonly restarts: number;
}

export interface PluginLogEvent {
  /** The plugin, or `shared:<group>` for a line of a shared process that cannot be told apart. */
  readonly pluginId: string;
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: JsonObject;
  /** `plugin`: ctx.logger; `stdout`, `stderr`: a line it printed; `host`: the host about the plugin. */
  readonly source: 'plugin' | 'stdout' | 'stderr' | 'host';
}

export interface PluginMetricEvent {
  readonly pluginId: string;
  readonly kind: 'count' | 'gauge' | 'observe';
  readonly name: string;
  readonly value: number;
}

/** A restart found other code on disk than ran before. */
export interface PluginChange {
  readonly pluginId: string;
  readonly version: string;
  readonly previousVersion: string;
  /** Start of the SHA-256 of the module's own file; empty where it could not be read. */
  readonly digest: string;
  readonly previousDigest: string;
}

/** Where the host sends what happens; called synchronously, must not throw. All of it is bounded before it gets here. */
export interface HostEvents {
  log(event: PluginLogEvent): void;
  metric(event: PluginMetricEvent): void;
  lifecycle(event: StateChange): void;
  /** Called before the plugin serves again. */
  changed(event: PluginChange): void;
}

/** What became of one configured entry. */
export interface LoadResult {
  /** The id where it is known, else the source as configured. */
  readonly label: string;
  readonly pluginId: string | undefined;
  readonly source: string;
  readonly required: boolean;
  /** `starved`: the machine had nothing left for it, and it is tried again. */
  readonly outcome: 'loaded' | 'skipped' | 'starved' | 'failed';
  /** Why it failed, skipped itself or has to wait. */
  readonly error: HostError | undefined;
}
