import type { Clock } from '../lib/clock.js';

/** Options of an lru-cache whose entries are told by this clock, to the millisecond, how old they are. */
export function aging(clock: Clock, ttlMs: number) {
  return { ttl: ttlMs, ttlResolution: 0, perf: { now: () => clock.now() } };
}
