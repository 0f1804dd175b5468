import type { PluginConfig } from '../plugin-api/config.js';
import type { RefreshConfig } from './types.js';

/** Settings of the schedule that the original framework does not have, with this daemon's defaults. */
export const DEFAULT_REFRESH_TUNING = Object.freeze({
  pollShare: 0.5,
  minIntervalMs: 1_000,
  minFailingMs: 120_000,
  visibilityGraceMs: 60_000,
  notFoundMinMs: 120_000,
  outageGraceMs: 3_600_000,
  unaskedAfterMs: 600_000,
  maxIntervalMs: 3_600_000,
});

export type RefreshTuning = { readonly [K in keyof typeof DEFAULT_REFRESH_TUNING]: number };

/** The schedule's settings for a plugin with these limits; `maxBatch` is 1 for a plugin without getMany. */
export function refreshConfig(
  config: PluginConfig,
  maxBatch: number,
  tuning: Partial<RefreshTuning> = {},
): RefreshConfig {
  return {
    ...DEFAULT_REFRESH_TUNING,
    ...tuning,
    readQps: config.readRateLimiter.qps,
    readConcurrency: config.caching.workers,
    maxBatch,
    resyncIntervalMs: config.caching.resyncIntervalMs,
    maxSystemFailures: config.caching.maxSystemFailures,
  };
}
