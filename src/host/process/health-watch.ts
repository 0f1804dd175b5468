import { readFileSync } from 'node:fs';
import type { Clock, Timer } from '../../lib/clock.js';

const MIB = 1024 * 1024;

export interface HealthWatchOptions {
  readonly clock: Clock;
  readonly heartbeatMs: number;
  readonly hangMs: number;
  readonly silentMs: number;
  readonly memoryPollMs: number;
  readonly memoryLimitMb: number;
  readonly maxAbandonedCalls: number;
  /** Undefined for a worker thread: its memory is the daemon's own and cannot be told apart. */
  readonly pid: number | undefined;
  readonly ping: () => void;
  /** Calls that passed their deadline since the last pong. */
  readonly expiredCalls: () => number;
  readonly clearExpired: () => void;
  /** Called at most once. */
  readonly condemn: (why: string) => void;
}

/**
 * Looks after one plugin process: whether its event loop turns, and how much memory it holds. Silence is counted in
 * heartbeats that went unanswered, not in time, so that a pause of the daemon itself condemns nobody.
 *
 * States: watching, with a heartbeat under way (`pong` answers it) or not; stopped, by `stop` or by the one verdict.
 */
export class HealthWatch {
  readonly #options: HealthWatchOptions;
  #unanswered = 0;
  #waiting = false;
  #timers: Timer[] = [];
  #stopped = false;
  /** Resident memory in bytes as last seen; 0 before. */
  rssBytes = 0;

  constructor(options: HealthWatchOptions) {
    this.#options = options;
    this.#every(options.heartbeatMs, () => this.#beat());
    if (options.pid !== undefined) this.#every(options.memoryPollMs, () => this.#measure(this.#readRss()));
  }

  pong(rss: number, abandoned: number): void {
    this.#waiting = false;
    this.#unanswered = 0;
    this.#options.clearExpired();
    if (this.#options.pid !== undefined) this.#measure(rss);
    const { maxAbandonedCalls } = this.#options;
    if (abandoned > maxAbandonedCalls) {
      this.#condemn(`was replaced: ${abandoned} calls go on after their deadline, ${maxAbandonedCalls} are allowed`);
    }
  }

  /** Callable twice. */
  stop(): void {
    this.#stopped = true;
    for (const timer of this.#timers) timer.cancel();
    this.#timers = [];
  }

  #every(ms: number, fn: () => void): void {
    const index = this.#timers.length;
    const next = (): void => {
      this.#timers[index] = this.#options.clock.setTimer(ms, () => {
        fn();
        if (!this.#stopped) next();
      });
    };
    next();
  }

  #beat(): void {
    if (!this.#waiting) {
      this.#waiting = true;
      this.#options.ping();
      return;
    }
    this.#unanswered++;
    const { heartbeatMs, hangMs, silentMs } = this.#options;
    const silent = this.#unanswered * heartbeatMs;
    if (silent >= silentMs || (silent >= hangMs && this.#options.expiredCalls() > 0)) {
      this.#condemn(`was killed: its event loop has not turned for ${silent} ms`);
    }
  }

  #measure(rss: number): void {
    if (rss > 0) this.rssBytes = rss;
    const { memoryLimitMb } = this.#options;
    if (rss > memoryLimitMb * MIB) {
      this.#condemn(
        `was killed: ${Math.round(rss / MIB)} MiB of memory, ${memoryLimitMb} MiB are allowed (memoryLimit)`,
      );
    }
  }

  /** 0 where the system does not tell; then only the heartbeat's figure counts. */
  #readRss(): number {
    try {
      const match = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${this.#options.pid}/status`, 'latin1'));
      return match === null ? 0 : Number(match[1]) * 1024;
    } catch {
      return 0;
    }
  }

  #condemn(why: string): void {
    if (this.#stopped) return;
    this.stop();
    this.#options.condemn(why);
  }
}
