import type { Clock, ManualClock, Timer } from '../../../src/lib/clock.js';

/** The clock of one life of the daemon: it stops with it, while the remote's goes on. */
export class MortalClock implements Clock {
  readonly #clock: ManualClock;
  readonly #timers = new Set<Timer>();
  #dead = false;

  constructor(clock: ManualClock) {
    this.#clock = clock;
  }

  get alive(): boolean {
    return !this.#dead;
  }

  now(): number {
    return this.#clock.now();
  }

  setTimer(delayMs: number, fn: () => void): Timer {
    if (this.#dead) return { cancel: () => undefined };
    const timer = this.#clock.setTimer(delayMs, () => {
      this.#timers.delete(timer);
      fn();
    });
    this.#timers.add(timer);
    return {
      cancel: () => {
        timer.cancel();
        this.#timers.delete(timer);
      },
    };
  }

  /** Everything that waits for time waits for ever. */
  kill(): void {
    this.#dead = true;
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
  }
}
