/** Calls a second on average, and how many may come at once after a pause. */
export interface RateLimiterConfig {
  /** Tokens a second; may be fractional. Allowed 0.001 to 100,000. */
  readonly qps: number;
  /** Capacity of the bucket in calls. Allowed 1 to 10,000 (the original framework starts at 5). */
  readonly burst: number;
}

export interface CachingConfig {
  /** Live tasks this plugin may hold; further creates wait. 1 to 500,000. */
  readonly size: number;
  /** No live task waits longer for its next read while the read limit can bear it. Milliseconds, 5,000 to 3,600,000. */
  readonly resyncIntervalMs: number;
  /** Concurrent calls, reads and writes each. 1 to 10,000. */
  readonly workers: number;
  /** Consecutive failed reads after which (and after a minimum time) the task ends in a system failure. 0 to 100. */
  readonly maxSystemFailures: number;
}

/**
 * The limits of one plugin, with the names, defaults and ranges of the original framework (flyteplugins
 * `webapi.PluginConfig`). Operators override every key.
 */
export interface PluginConfig {
  /** Tokens a quota namespace holds; a namespace that is not listed is unlimited. */
  readonly resourceQuotas: Readonly<Record<string, number>>;
  readonly readRateLimiter: RateLimiterConfig;
  readonly writeRateLimiter: RateLimiterConfig;
  readonly caching: CachingConfig;
}

/** What a plugin or operator may write: everything optional, intervals in milliseconds or as text such as `30s`. */
export interface PluginConfigInput {
  readonly resourceQuotas?: Readonly<Record<string, number>>;
  readonly readRateLimiter?: Partial<RateLimiterConfig>;
  readonly writeRateLimiter?: Partial<RateLimiterConfig>;
  readonly caching?: Partial<Omit<CachingConfig, 'resyncIntervalMs'>> & { readonly resyncInterval?: number | string };
}
