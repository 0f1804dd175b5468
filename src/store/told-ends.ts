import { createHash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { Clock } from '../lib/clock.js';
import type { PhaseState } from '../model/phase-state.js';
import { aging } from './aging.js';

/** Anybody can make handles up: these push out what was told of others, and nothing else. */
const MAX = 10_000;

/** `atMs`: when it was told first, epoch milliseconds. */
export interface ToldEnd {
  readonly state: PhaseState;
  readonly atMs: number;
}

/**
 * Ends that were told of handles without any record, since memory held nothing of their tasks: the create is lost, the task
 * was deleted. What comes to be known of the task later must not tell the same handle otherwise (rule 7).
 */
export class ToldEnds {
  /** Made with the first one: it takes its room at once, and a store of one key, of which there is one a call, has none. */
  #ends: LRUCache<string, ToldEnd> | undefined;
  readonly #clock: Clock;
  readonly #ttlMs: number;

  constructor({ clock, ttlMs }: { readonly clock: Clock; readonly ttlMs: number }) {
    this.#clock = clock;
    this.#ttlMs = ttlMs;
  }

  of(handle: Buffer): ToldEnd | undefined {
    return this.#ends?.get(digest(handle));
  }

  add(handle: Buffer, state: PhaseState): void {
    this.#ends ??= new LRUCache({ max: MAX, ...aging(this.#clock, this.#ttlMs) });
    this.#ends.set(digest(handle), { state, atMs: this.#clock.now() });
  }
}

function digest(handle: Buffer): string {
  return createHash('sha256').update(handle).digest('base64');
}
