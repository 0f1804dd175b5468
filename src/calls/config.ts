import type { PluginConfig } from '../plugin-api/config.js';
import type { GateConfig } from './types.js';

/** What the operator sets for a plugin's calls, besides its limits. */
export interface GateTuning {
  /** Concurrent reads; `caching.workers` where undefined. */
  readonly readConcurrency: number | undefined;
  /** Concurrent writes; `caching.workers` where undefined. */
  readonly writeConcurrency: number | undefined;
  readonly callTimeoutMs: number;
}

/** Bounds that nobody sets. */
const BOUNDS = {
  maxQueue: 10_000,
  doTimeoutMs: 600_000,
  maxWaitMs: 900_000,
} as const;

/** The gate's settings for a plugin with these limits. */
export function gateConfig(config: PluginConfig, tuning: GateTuning): GateConfig {
  const { workers } = config.caching;
  return {
    ...BOUNDS,
    readConcurrency: tuning.readConcurrency ?? workers,
    writeConcurrency: tuning.writeConcurrency ?? workers,
    callTimeoutMs: tuning.callTimeoutMs,
    readRateLimiter: config.readRateLimiter,
    writeRateLimiter: config.writeRateLimiter,
  };
}
