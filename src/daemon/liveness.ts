import type { Liveness } from '../admin/index.js';
import type { Clock } from '../lib/clock.js';
import type { Runtimes } from '../runtime/runtime.js';

/** A tick that is later than this says that the event loop is stuck. Milliseconds. */
const TICK_LATE_MS = 15_000;
/** A poll that could be made and is overdue by this much, beyond three of its intervals, says that the schedule is. */
const POLL_LATE_MS = 120_000;

/** Whether the daemon itself makes progress (design 4): its event loop turns, and its schedules send what they could. */
export class LivenessProbe {
  readonly #clock: Clock;
  readonly #runtimes: Pick<Runtimes, 'all'>;
  readonly #interval: NodeJS.Timeout;
  #lastTickMs: number;

  constructor(clock: Clock, runtimes: Pick<Runtimes, 'all'>) {
    this.#clock = clock;
    this.#runtimes = runtimes;
    this.#lastTickMs = clock.now();
    this.#interval = setInterval(() => {
      this.#lastTickMs = clock.now();
    }, 1_000);
    this.#interval.unref();
  }

  check(): Liveness {
    const tickAgeMs = Math.round(this.#clock.now() - this.#lastTickMs);
    const stuck = [...this.#runtimes.all()]
      .filter(({ refresher, gate, plugin }) => {
        const { oldestOverdueMs, longestIntervalMs, remote, inFlight } = refresher.stats();
        const could = inFlight === 0 && remote === 'up' && plugin.state === 'serving' && gate.capacity('read').open;
        return could && oldestOverdueMs > Math.max(POLL_LATE_MS, 3 * longestIntervalMs);
      })
      .map(({ plugin }) => plugin.id);
    return {
      ok: tickAgeMs < TICK_LATE_MS && stuck.length === 0,
      detail: { eventLoopTickAgeMs: tickAgeMs, stuckSchedules: stuck },
    };
  }

  stop(): void {
    clearInterval(this.#interval);
  }
}
