import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

export const MIB = 1024 * 1024;

export interface Latency {
  readonly n: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

export function latencyOf(times: readonly number[]): Latency {
  const sorted = [...times].sort((a, b) => a - b);
  const at = (part: number) =>
    Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))]! * 10) / 10;
  return { n: sorted.length, p50: at(0.5), p99: at(0.99), max: at(1) };
}

/** A line of /proc/PID/status in bytes. */
export function memoryOf(pid: number, line: 'VmRSS' | 'VmHWM'): number {
  const [, kib] = readFileSync(`/proc/${pid}/status`, 'utf8').match(new RegExp(`^${line}:\\s+(\\d+) kB`, 'm')) ?? [];
  return Number(kib) * 1024;
}

/** Makes a call again and again, with a pause between, until it is stopped. */
export class Honest {
  readonly errors: unknown[] = [];
  readonly #pauseMs: number;
  #times: number[] = [];
  #stopped = false;
  readonly #done: Promise<void>;

  constructor(call: () => Promise<unknown>, pauseMs = 2) {
    this.#pauseMs = pauseMs;
    this.#done = this.#run(call);
  }

  async #run(call: () => Promise<unknown>): Promise<void> {
    while (!this.#stopped) {
      const since = performance.now();
      try {
        await call();
      } catch (error) {
        this.errors.push(error);
      }
      this.#times.push(performance.now() - since);
      await sleep(this.#pauseMs);
    }
  }

  /** Of the calls since the last time it was asked. */
  take(): Latency {
    const times = this.#times;
    this.#times = [];
    return latencyOf(times);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#done;
  }
}
