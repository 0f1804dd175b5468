import { backoffMs } from '../lib/backoff.js';

const BACKOFF = { initialMs: 1_000, maxMs: 60_000 };

/**
 * How long a lane rests after a throttle: as long as the remote asked (the gate cuts that to MAX_PAUSE_MS); where it
 * named no time, a back-off that grows with each throttle in a row. Calls that were on their way when the rest began are
 * part of the same throttle and do not make it grow.
 */
export class ThrottleBackoff {
  readonly #random: () => number;
  #inRow = 0;
  #rests = 0;

  constructor(random: () => number) {
    this.#random = random;
  }

  /** Which rest a call that is sent now follows; hand it in with the call's outcome. */
  get mark(): number {
    return this.#rests;
  }

  /** The rest after a throttle of a call sent at `mark`, in milliseconds from now. */
  restMs(mark: number, retryAfterMs: number | undefined): number {
    if (mark === this.#rests) {
      this.#inRow += 1;
      this.#rests += 1;
    }
    return retryAfterMs ?? backoffMs(this.#inRow, BACKOFF, this.#random);
  }

  /** The remote took a call sent at `mark`; ends the row unless it was sent before the last throttle. */
  accepted(mark: number): void {
    if (mark === this.#rests) this.#inRow = 0;
  }
}
