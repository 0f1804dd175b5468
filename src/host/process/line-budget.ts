import type { Clock, Timer } from '../../lib/clock.js';

const SECOND_MS = 1_000;

export interface LineBudgetOptions {
  readonly clock: Clock;
  readonly linesPerSecond: number;
  /** Default: no such bound. */
  readonly bytesPerSecond?: number;
  /** Told at the end of a second how many lines were left out in it, if any. */
  readonly onDropped: (lines: number) => void;
}

/**
 * So many log lines, and bytes of them, a second and no more.
 *
 * States: no second runs; one runs, from the first line on, until its timer or `end`.
 */
export class LineBudget {
  readonly #options: LineBudgetOptions;
  #used = 0;
  #bytes = 0;
  #dropped = 0;
  #window: Timer | undefined;

  constructor(options: LineBudgetOptions) {
    this.#options = options;
  }

  /** Whether one more line, of so many bytes, may go now. */
  hasRoom(bytes = 0): boolean {
    const { linesPerSecond, bytesPerSecond = Number.POSITIVE_INFINITY } = this.#options;
    return this.#used < linesPerSecond && this.#bytes + bytes <= bytesPerSecond;
  }

  /** The same, and counts it either way. */
  take(bytes = 0): boolean {
    if (!this.hasRoom(bytes)) {
      this.leaveOut(1);
      return false;
    }
    this.#begin();
    this.#used++;
    this.#bytes += bytes;
    return true;
  }

  /** Counts lines that do not go. */
  leaveOut(lines: number): void {
    this.#begin();
    this.#dropped += lines;
  }

  #begin(): void {
    this.#window ??= this.#options.clock.setTimer(SECOND_MS, () => this.end());
  }

  /** Ends the second early, as when nothing more comes. Callable twice. */
  end(): void {
    this.#window?.cancel();
    this.#window = undefined;
    const dropped = this.#dropped;
    this.#used = 0;
    this.#bytes = 0;
    this.#dropped = 0;
    if (dropped > 0) this.#options.onDropped(dropped);
  }
}
