import type { Clock } from '../lib/clock.js';

/** Leases until a part is tried here again: twice as long after each failure, until it is loaded here. */
const MOST_LEASES = 8;

/** Parts that could not be loaded here, and are for others to try meanwhile. */
export class RefusedParts {
  readonly #clock: Clock;
  readonly #leaseMs: number;
  readonly #parts = new Map<number, { readonly untilMs: number; readonly times: number }>();

  constructor(clock: Clock, leaseMs: number) {
    this.#clock = clock;
    this.#leaseMs = leaseMs;
  }

  failed(part: number): void {
    const times = (this.#parts.get(part)?.times ?? 0) + 1;
    const leases = Math.min(MOST_LEASES, 2 ** (times - 1));
    this.#parts.set(part, { untilMs: this.#clock.now() + leases * this.#leaseMs, times });
  }

  loaded(part: number): void {
    this.#parts.delete(part);
  }

  has(part: number): boolean {
    return (this.#parts.get(part)?.untilMs ?? 0) > this.#clock.now();
  }

  get all(): readonly number[] {
    return [...this.#parts.keys()].filter((part) => this.has(part));
  }
}
