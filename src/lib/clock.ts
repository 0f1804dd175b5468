/** A cancellable timer. `cancel` may be called more than once, also after the timer has fired. */
export interface Timer {
  cancel(): void;
}

/**
 * Time, injected wherever a rule depends on it.
 *
 * `now` is in milliseconds since the Unix epoch and never goes backwards, so that differences may be taken from it.
 */
export interface Clock {
  now(): number;
  /** Calls `fn` once, `delayMs` from now (at once for a delay of 0 or less, but never synchronously). */
  setTimer(delayMs: number, fn: () => void): Timer;
}

/** setTimeout turns a delay above this into 1 ms; a longer wait is cut here and its owner looks again. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/** It does not change, and is looked up each time. */
const { timeOrigin } = performance;

/**
 * The machine's clock: the epoch time of the process start plus a monotonic reading, so that a step of the wall clock
 * neither refills a rate limiter nor freezes the poll schedule. Timers do not keep the process alive.
 */
export const systemClock: Clock = {
  now: () => timeOrigin + performance.now(),
  setTimer(delayMs, fn) {
    const handle = setTimeout(fn, Math.min(Math.max(0, delayMs), MAX_TIMEOUT_MS));
    handle.unref();
    return { cancel: () => clearTimeout(handle) };
  },
};

/** Milliseconds on the machine's monotonic clock: comparable between processes, unlike `Clock.now` of two of them. */
export const machineMs = (): number => Number(process.hrtime.bigint()) / 1e6;

/** A clock for tests: time moves only when `advance` is called, and due timers fire in order of their time. */
export class ManualClock implements Clock {
  #now: number;
  #order = 0;
  readonly #timers = new Set<{ at: number; order: number; fn: () => void }>();

  constructor(startMs = 1_700_000_000_000) {
    this.#now = startMs;
  }

  now(): number {
    return this.#now;
  }

  setTimer(delayMs: number, fn: () => void): Timer {
    const entry = { at: this.#now + Math.max(0, delayMs), order: this.#order++, fn };
    this.#timers.add(entry);
    return { cancel: () => void this.#timers.delete(entry) };
  }

  /** Number of timers that wait; a test of clean-up asserts that it is zero. */
  get pending(): number {
    return this.#timers.size;
  }

  /** Moves time by `ms`, firing each due timer at its own time and letting promise callbacks run after each. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (;;) {
      await settle();
      const next = [...this.#timers].filter((t) => t.at <= end).sort((a, b) => a.at - b.at || a.order - b.order)[0];
      if (next === undefined) break;
      this.#timers.delete(next);
      this.#now = Math.max(this.#now, next.at);
      next.fn();
    }
    this.#now = end;
    await settle();
  }
}

/** Lets promise callbacks that are already queued run, and those that they lead to. */
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
