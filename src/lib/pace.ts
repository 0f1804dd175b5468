import type { Clock, Timer } from './clock.js';

export interface PaceOptions {
  readonly clock: Clock;
  readonly perSecond: number;
  /** That may come at once after a quiet time. */
  readonly atOnce: number;
  /** Called at the end of each rest. */
  readonly onGoOn: () => void;
}

const SECOND_MS = 1_000;
/** How long a rest takes at least, so that many small ones are not many timers. */
const REST_MS = 20;

/**
 * So much a second, evenly, of what somebody else sends: whoever reads it stops while this rests, and so makes the other one wait.
 *
 * States: flows; rests, from an amount that is more than its time allows for until its time has come; ended, for good, by `end`.
 */
export class Pace {
  readonly #options: PaceOptions;
  /** What is more than its time has allowed for, and as of when. */
  #ahead = 0;
  #aheadAt = 0;
  #rest: Timer | undefined;
  #ended = false;

  constructor(options: PaceOptions) {
    this.#options = options;
  }

  get rests(): boolean {
    return this.#rest !== undefined;
  }

  /** Counts what has come, also while it rests. */
  take(amount: number): void {
    this.#ahead = this.#stillAhead() + amount;
    if (!this.rests) this.#restWhileAhead();
  }

  /** No rest ends any more. Callable twice. */
  end(): void {
    this.#ended = true;
    this.#rest?.cancel();
    this.#rest = undefined;
  }

  #stillAhead(): number {
    const now = this.#options.clock.now();
    const ahead = Math.max(0, this.#ahead - ((now - this.#aheadAt) / SECOND_MS) * this.#options.perSecond);
    this.#aheadAt = now;
    return ahead;
  }

  #restWhileAhead(): void {
    const { clock, perSecond, atOnce } = this.#options;
    const over = this.#ahead - atOnce;
    if (this.#ended || over <= 0) return;
    this.#rest = clock.setTimer(Math.max(REST_MS, Math.ceil((over / perSecond) * SECOND_MS)), () => {
      this.#rest = undefined;
      this.#ahead = this.#stillAhead();
      this.#restWhileAhead();
      if (!this.rests) this.#options.onGoOn();
    });
  }
}
