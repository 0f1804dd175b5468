import type { Clock, Timer } from '../../lib/clock.js';

/** What ends at a time; on the clock handed in, Infinity for never. */
export interface Ending {
  endsAtMs: number;
  /** Its place among the watched; theirs to write. From -1, for none. */
  watchedAt: number;
}

/** Two looks lie at least so far apart, so that a thousand deadlines in a row cost a few looks and not a thousand. */
const MIN_LOOK_MS = 5;

/** Ended in one look: thousands that came at once end at once, too, and others are to be heard in between. */
const ENDED_PER_LOOK = 64;

/**
 * The deadlines of all open calls on one timer. A call costs a place in a list: the timer is armed for the earliest one that
 * was known, and most calls are over long before it.
 *
 * States of an item: watched, from `add` until `remove` or its end, which is told once. The timer is armed for the next look, and never
 * put off; without items there is at most one look more.
 */
export class Deadlines<T extends Ending> {
  readonly #clock: Clock;
  readonly #passed: (item: T) => void;
  /** In no order; a `Set` would keep what has left it (see `IdTable`). */
  readonly #items: T[] = [];
  #timer: Timer | undefined;
  #lookAtMs = Number.POSITIVE_INFINITY;

  /** `passed` is called once for an item, which is forgotten before; it may be added again. */
  constructor(clock: Clock, passed: (item: T) => void) {
    this.#clock = clock;
    this.#passed = passed;
  }

  get size(): number {
    return this.#items.length;
  }

  /** Takes an item on, or heeds its new deadline. */
  add(item: T): void {
    if (item.endsAtMs === Number.POSITIVE_INFINITY) {
      this.remove(item);
      return;
    }
    if (item.watchedAt < 0) item.watchedAt = this.#items.push(item) - 1;
    if (item.endsAtMs < this.#lookAtMs) this.#arm(item.endsAtMs, this.#clock.now());
  }

  remove(item: T): void {
    const at = item.watchedAt;
    if (at < 0) return;
    item.watchedAt = -1;
    const last = this.#items.pop() as T;
    if (last === item) return;
    this.#items[at] = last;
    last.watchedAt = at;
  }

  /** Never puts a look off: whoever adds one short deadline after the other would put off everybody's. */
  #arm(atMs: number, nowMs: number): void {
    const lookAtMs = Math.max(atMs, nowMs + MIN_LOOK_MS);
    if (lookAtMs >= this.#lookAtMs) return;
    this.#timer?.cancel();
    this.#lookAtMs = lookAtMs;
    // A timer may fire a fraction of a millisecond early.
    this.#timer = this.#clock.setTimer(Math.ceil(this.#lookAtMs - nowMs), () => this.#look());
  }

  #look(): void {
    this.#lookAtMs = Number.POSITIVE_INFINITY;
    const nowMs = this.#clock.now();
    const due: T[] = [];
    let next = Number.POSITIVE_INFINITY;
    for (const item of this.#items) {
      if (item.endsAtMs > nowMs) next = Math.min(next, item.endsAtMs);
      else if (due.length < ENDED_PER_LOOK) due.push(item);
      else {
        next = nowMs;
        break;
      }
    }
    for (const item of due) this.remove(item);
    if (next !== Number.POSITIVE_INFINITY) this.#arm(next, nowMs);
    for (const item of due) this.#passed(item);
  }
}
