import type { Clock, Timer } from '../../lib/clock.js';

export interface UpkeepOptions {
  readonly clock: Clock;
  /** Above this what was dropped is taken out of the files; 0 for never. Bytes. */
  readonly maxBytes: number;
  /** What the state takes, in bytes. */
  readonly measure: () => Promise<number>;
  /** Rewrites the files without what was dropped or replaced since; commits go on beside it. */
  readonly compact: () => Promise<void>;
}

/** How often the folder is measured. */
const MEASURE_MS = 5_000;
/** The least time between two compactions, and how many times what the last one took: a state that is really full is left alone. */
const PAUSE_MS = 30_000;
const PAUSE_SHARE = 10;

/**
 * Measures what a state takes, and takes out what was dropped where the state is above its bound: the database itself does that only
 * once enough is written on top, and a state that takes nothing new writes little.
 */
export class Upkeep {
  readonly #options: UpkeepOptions;
  #timer: Timer | undefined;
  #stopped = false;
  #committed = false;
  #againMs = Number.NEGATIVE_INFINITY;
  sizeBytes = 0;

  constructor(options: UpkeepOptions) {
    this.#options = options;
  }

  /** Something was committed, and may have left something behind. */
  committed(): void {
    this.#committed = true;
  }

  /** From here on it looks now and then, until `stop`. */
  start(): void {
    if (this.#stopped) return;
    this.#timer = this.#options.clock.setTimer(MEASURE_MS, () => {
      // The next commit finds out what is wrong with the folder, and says so.
      this.#look()
        .catch(() => undefined)
        .finally(() => this.start());
    });
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  async measure(): Promise<void> {
    this.sizeBytes = await this.#options.measure();
  }

  async #look(): Promise<void> {
    const { clock, maxBytes, compact } = this.#options;
    await this.measure();
    if (maxBytes === 0 || this.sizeBytes <= maxBytes) return;
    if (!this.#committed || clock.now() < this.#againMs || this.#stopped) return;
    this.#committed = false;
    const startMs = clock.now();
    try {
      await compact();
    } finally {
      this.#againMs = clock.now() + Math.max(PAUSE_MS, PAUSE_SHARE * (clock.now() - startMs));
    }
    await this.measure();
  }
}
