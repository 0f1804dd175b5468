import { LRUCache } from 'lru-cache';
import type { Clock } from '../lib/clock.js';
import type { AttemptKey } from '../model/attempt-key.js';
import { compactState, type PhaseState } from '../model/phase-state.js';
import { aging } from './aging.js';
import { stateBytes } from './state-bytes.js';
import { noState, type StateFeed } from './state-feed.js';

export interface ReplayCacheOptions {
  readonly clock: Clock;
  readonly feed?: StateFeed;
  readonly ttlMs: number;
  readonly max: number;
  readonly maxBytes: number;
}

/** How a run of `do` ended, and when: epoch milliseconds. */
export interface DoEnd {
  readonly state: PhaseState;
  readonly endedAtMs: number;
}

/** Results of `do` by attempt key, since engines repeat the call after a failed write of their own. */
export class ReplayCache {
  readonly #clock: Clock;
  readonly #feed: StateFeed;
  readonly #results: LRUCache<AttemptKey, DoEnd>;

  constructor({ clock, feed = noState, ttlMs, max, maxBytes }: ReplayCacheOptions) {
    this.#clock = clock;
    this.#feed = feed;
    this.#results = new LRUCache({
      max,
      maxSize: maxBytes,
      sizeCalculation: ({ state }) => stateBytes(state),
      dispose: (_end, key, reason) => {
        if (reason !== 'set') feed.changed('do', key);
      },
      ...aging(clock, ttlMs),
    });
  }

  get(key: AttemptKey): PhaseState | undefined {
    return this.#results.get(key)?.state;
  }

  get size(): number {
    return this.#results.size;
  }

  /** Does not count as use. */
  end(key: AttemptKey): DoEnd | undefined {
    return this.#results.peek(key);
  }

  keys(): Iterable<AttemptKey> {
    return this.#results.keys();
  }

  /** Takes back an end that an earlier run wrote, as old as it is. */
  restore(key: AttemptKey, { state, endedAtMs }: DoEnd): void {
    const start = Math.min(endedAtMs, this.#clock.now());
    this.#results.set(key, { state: compactState(state), endedAtMs: start }, { start });
  }

  /** Takes on an end that another replica saw, unless one is known. */
  takeOn(key: AttemptKey, end: DoEnd): void {
    if (this.#results.has(key)) return;
    this.restore(key, end);
    this.#feed.changed('do', key);
  }

  /** Lets go of what is past its time. */
  dropOld(): void {
    this.#results.purgeStale();
  }

  /** Resolves once the end is safe. Rejects when it cannot be written; it is kept here all the same. */
  set(key: AttemptKey, state: PhaseState): Promise<void> {
    this.#results.set(key, { state: compactState(state), endedAtMs: this.#clock.now() });
    this.#feed.changed('do', key);
    return this.#feed.safe();
  }
}
