import { LRUCache } from 'lru-cache';
import type { Clock } from '../lib/clock.js';
import type { AttemptKey } from '../model/attempt-key.js';

export interface TombstonesOptions {
  readonly clock: Clock;
  readonly max: number;
  readonly ttlMs: number;
}

/**
 * Remembers for a time which incarnation of an attempt was deleted last, so that the same key starts the next one and a
 * late call with the old handle touches nothing new (rule 8).
 */
export class Tombstones {
  readonly #incarnations: LRUCache<AttemptKey, number>;

  constructor({ clock, max, ttlMs }: TombstonesOptions) {
    this.#incarnations = new LRUCache({
      // A bound by size and not by count: for the latter the cache allocates its arrays in full, 34 MB for a million.
      maxSize: max,
      sizeCalculation: () => 1,
      ttl: ttlMs,
      ttlResolution: 0,
      perf: { now: () => clock.now() },
    });
  }

  /** The last incarnation that ended, or undefined if none is remembered. */
  last(key: AttemptKey): number | undefined {
    return this.#incarnations.get(key);
  }

  set(key: AttemptKey, incarnation: number): void {
    const last = this.#incarnations.get(key) ?? 0;
    this.#incarnations.set(key, Math.max(last, incarnation));
  }

  get size(): number {
    return this.#incarnations.size;
  }
}
