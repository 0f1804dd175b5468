import type { PluginConfig } from '../plugin-api/config.js';
import type { RefreshConfig } from './types.js';

/** Settings of the schedule that the original framework does not have; the operator's, for all plugins alike. */
export type RefreshTuning = Pick<
  RefreshConfig,
  | 'pollShare'
  | 'minIntervalMs'
  | 'minFailingMs'
  | 'visibilityGraceMs'
  | 'notFoundMinMs'
  | 'outageGraceMs'
  | 'idleAfterMs'
  | 'maxIntervalMs'
>;

/** The schedule's settings for a plugin with these limits; `maxBatch` is 1 for a plugin without getMany. */
export function refreshConfig(config: PluginConfig, maxBatch: number, tuning: RefreshTuning): RefreshConfig {
  return {
    ...tuning,
    readQps: config.readRateLimiter.qps,
    readConcurrency: config.caching.workers,
    maxBatch,
    resyncIntervalMs: config.caching.resyncIntervalMs,
    maxSystemFailures: config.caching.maxSystemFailures,
  };
}
