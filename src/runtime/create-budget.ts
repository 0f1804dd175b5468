import type { Clock } from '../lib/clock.js';

/**
 * How long one create has failed, without what is no fault of it. Only the time between two failed tries in a row counts:
 * neither a throttle nor a call that was not made is a failure, and what lies about it is none of the budget. Nor does the
 * wait for the gate count (limit, slot, a pause of the operator, a quarantine), nor what an outage takes of the time. What was spent in
 * an earlier run of the daemon is.
 *
 * States: `resting`, from `waits` until the call is `sent`; `running` otherwise. A row of failures begins with a failed try
 * and breaks with the first outcome that does not count.
 */
export class CreateBudget {
  readonly #clock: Clock;
  readonly #frozenTotalMs: (nowMs: number) => number;
  #spentMs: number;
  /** What ran since the last failed try of the row; undefined where there is no row. */
  #rowMs: number | undefined;
  #runs = true;
  #atMs: number;
  #frozenAtMs: number;

  /** `frozenTotalMs`: all time until then during which an outage made budgets stand still; it may be told in hindsight. */
  constructor(clock: Clock, frozenTotalMs: (nowMs: number) => number, spentMs = 0) {
    this.#clock = clock;
    this.#frozenTotalMs = frozenTotalMs;
    this.#spentMs = spentMs;
    this.#atMs = clock.now();
    this.#frozenAtMs = frozenTotalMs(this.#atMs);
  }

  /** The next try waits for its admission from now on. */
  waits(): void {
    this.#pass();
    this.#runs = false;
  }

  /** The next try is on its way. */
  sent(): void {
    this.#pass();
    this.#runs = true;
  }

  /** A try failed. Answers how long they have failed, in milliseconds. */
  failed(): number {
    this.sent();
    this.#spentMs = Math.max(0, this.#spentMs + (this.#rowMs ?? 0));
    this.#rowMs = 0;
    return this.#spentMs;
  }

  /** A try came to nothing that counts. */
  uncounted(): void {
    this.sent();
    this.#rowMs = undefined;
  }

  #pass(): void {
    const now = this.#clock.now();
    const frozenMs = this.#frozenTotalMs(now);
    const passedMs = now - this.#atMs - (frozenMs - this.#frozenAtMs);
    this.#atMs = now;
    this.#frozenAtMs = frozenMs;
    // An outage begins with the failures that showed it: what has run of it before is taken back, also in a rest.
    if (this.#rowMs !== undefined) this.#rowMs += this.#runs ? passedMs : Math.min(0, passedMs);
  }
}
