import type { Clock } from '../lib/clock.js';

/** For how long no owner answers before it is stood in for. Milliseconds. */
const STAND_IN_AFTER_MS = 1_000;
/** The most of it that a caller's time is spent on. */
const SHARE_OF_LEFT = 1 / 3;

/**
 * How long a call has found no owner that answers, so that it is known when another replica is to stand in for one. One that answers
 * slowly is none of it, nor one that says that the part is not its.
 *
 * States: answered, or not asked yet → `begin` → absent, and due after a second, or a third of what the caller had left → `end` → answered.
 */
export class Absence {
  readonly #clock: Clock;
  readonly #deadlineMs: number;
  #dueMs = Number.POSITIVE_INFINITY;

  constructor(clock: Clock, deadlineMs: number) {
    this.#clock = clock;
    this.#deadlineMs = deadlineMs;
  }

  /** Nobody is seen, or a connection broke. Goes on where it has begun. */
  begin(): void {
    if (this.#dueMs === Number.POSITIVE_INFINITY) this.again();
  }

  /** Counts anew: who stood in could not answer. */
  again(): void {
    const nowMs = this.#clock.now();
    this.#dueMs = nowMs + Math.min(STAND_IN_AFTER_MS, Math.max(0, this.#deadlineMs - nowMs) * SHARE_OF_LEFT);
  }

  end(): void {
    this.#dueMs = Number.POSITIVE_INFINITY;
  }

  get dueMs(): number {
    return this.#dueMs;
  }

  get isDue(): boolean {
    return this.#clock.now() >= this.#dueMs;
  }
}
