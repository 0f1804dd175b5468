import { LRUCache } from 'lru-cache';
import type { Clock } from '../lib/clock.js';
import type { AttemptKey } from '../model/attempt-key.js';
import type { PhaseState } from '../model/phase-state.js';
import { aging } from './aging.js';
import { stateBytes } from './state-bytes.js';

export interface ReplayCacheOptions {
  readonly clock: Clock;
  readonly ttlMs: number;
  readonly max: number;
  readonly maxBytes: number;
}

/** Results of `do` by attempt key, since engines repeat the call after a failed write of their own. */
export class ReplayCache {
  readonly #results: LRUCache<AttemptKey, PhaseState>;

  constructor({ clock, ttlMs, max, maxBytes }: ReplayCacheOptions) {
    this.#results = new LRUCache({
      max,
      maxSize: maxBytes,
      sizeCalculation: stateBytes,
      ...aging(clock, ttlMs),
    });
  }

  get(key: AttemptKey): PhaseState | undefined {
    return this.#results.get(key);
  }

  set(key: AttemptKey, state: PhaseState): void {
    this.#results.set(key, state);
  }
}
