import type { JsonObject } from '../lib/json.js';
import type { PluginEntryConfig } from '../model/options/plugin.js';
import type { PluginConfigInput } from '../plugin-api/config.js';

/** A configured plugin in the form that the plugin host takes. */
export interface CompiledPluginEntry {
  readonly id: string;
  readonly source: string;
  readonly required: boolean;
  readonly settings: JsonObject;
  readonly config: PluginConfigInput;
  readonly environment: { readonly pass: readonly string[]; readonly set: Readonly<Record<string, string>> };
  readonly isolation: 'process' | 'worker' | `shared:${string}`;
  readonly memoryLimitMb: number;
  readonly loadTimeoutMs: number;
  readonly callTimeoutMs: number;
  readonly nodeOptions: readonly string[];
}

const MIB = 1024 * 1024;

/** Keeps what was set: an option that is left out must not hide the plugin's own value. */
function given<T extends object>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as never;
}

/** Turns one entry of `plugins` into what the plugin host takes. Paths in it are absolute already. */
export function compilePluginEntry(id: string, entry: PluginEntryConfig): CompiledPluginEntry {
  const { resourceQuotas, readRateLimiter, writeRateLimiter, caching } = entry.config;
  const { resyncIntervalMs, ...counts } = caching;
  return {
    id,
    source: entry.source,
    required: entry.required,
    settings: structuredClone(entry.settings) as JsonObject,
    config: {
      resourceQuotas,
      readRateLimiter: given(readRateLimiter),
      writeRateLimiter: given(writeRateLimiter),
      caching: given({ ...counts, resyncInterval: resyncIntervalMs }),
    },
    environment: entry.environment,
    // The pattern of the option allows nothing else.
    isolation: entry.isolation as CompiledPluginEntry['isolation'],
    memoryLimitMb: entry.memoryLimitBytes / MIB,
    loadTimeoutMs: entry.loadTimeoutMs,
    callTimeoutMs: entry.callTimeoutMs,
    nodeOptions: entry.nodeOptions,
  };
}
