import type { Timer } from '../lib/clock.js';
import type { TasksDeps } from './deps.js';

/** Milliseconds. */
const EVERY_MS = 60_000;

/**
 * Lets go, each minute, of what is past its time while nobody asks for it. States: running from the start, until `stop`.
 */
export class Sweep {
  readonly #deps: Pick<TasksDeps, 'clock' | 'store' | 'replays'>;
  #timer: Timer | undefined;

  constructor(deps: Pick<TasksDeps, 'clock' | 'store' | 'replays'>) {
    this.#deps = deps;
    this.#arm();
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #arm(): void {
    const { clock, store, replays } = this.#deps;
    this.#timer = clock.setTimer(EVERY_MS, () => {
      store.dropOld();
      replays.dropOld();
      this.#arm();
    });
  }
}
