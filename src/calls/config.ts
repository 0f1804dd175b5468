import type { PluginConfig } from '../plugin-api/config.js';
import type { GateConfig } from './types.js';

/** Bounds of a gate that the original framework does not have, with this daemon's defaults. */
export interface GateTuning {
  readonly readConcurrency: number;
  readonly writeConcurrency: number;
  readonly maxQueue: number;
  readonly callTimeoutMs: number;
  readonly doTimeoutMs: number;
  readonly maxWaitMs: number;
}

export const DEFAULT_GATE_TUNING = Object.freeze({
  maxQueue: 10_000,
  callTimeoutMs: 60_000,
  doTimeoutMs: 600_000,
  maxWaitMs: 900_000,
});

/** The gate's settings for a plugin with these limits; both concurrency bounds are `caching.workers` unless given. */
export function gateConfig(config: PluginConfig, tuning: Partial<GateTuning> = {}): GateConfig {
  return {
    ...DEFAULT_GATE_TUNING,
    readConcurrency: config.caching.workers,
    writeConcurrency: config.caching.workers,
    ...tuning,
    readRateLimiter: config.readRateLimiter,
    writeRateLimiter: config.writeRateLimiter,
  };
}
