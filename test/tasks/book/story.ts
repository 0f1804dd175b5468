import type { Clock } from '../../../src/lib/clock.js';

/** What happened, line by line, for whoever reads a failure. */
export class Story {
  readonly #lines: string[] = [];
  readonly #clock: Clock;
  readonly #startMs: number;
  readonly broken: string[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#startMs = clock.now();
  }

  tell(line: string): void {
    this.#lines.push(`${((this.#clock.now() - this.#startMs) / 1000).toFixed(1).padStart(8)} s  ${line}`);
  }

  /** A rule that does not hold. */
  breaks(rule: string): void {
    if (this.broken.length < 5) this.broken.push(rule);
    this.tell(`BROKEN: ${rule}`);
  }

  check(holds: boolean, rule: () => string): void {
    if (!holds) this.breaks(rule());
  }

  /** Throws what was broken, with the story. */
  judge(): void {
    if (this.broken.length === 0) return;
    throw new Error(`${this.broken.join('\n')}\n\nthe story:\n${this.#lines.join('\n')}`);
  }
}
