import { readFileSync } from 'node:fs';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { configOf, FIXTURE_PLUGINS, startServe } from '../daemon/support.js';

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

const BASE_MS = 1_500;

/**
 * A daemon with an honest plugin, one of whose tasks is asked for all the time, and with a fixture that will attack. `base` is what the honest
 * caller sees until then, `grown` what the daemon's memory has grown by since, at its highest. Bytes.
 */
export async function besideHonest(t: TestContext, id: string, entry: object) {
  const daemon = await startServe(
    t,
    configOf({
      steady: { source: `${FIXTURE_PLUGINS}/steady.mjs` },
      [id]: { source: `${FIXTURE_PLUGINS}/${id}.mjs`, ...entry },
    }),
  );
  const { handle } = await daemon.client.create({ generatedName: 'honest', template: { type: 'steady_task' } });
  const honest = new Honest(() => daemon.client.status(handle, { deadlineMs: 30_000 }));
  await sleep(BASE_MS);
  const base = honest.take();
  const before = memoryOf(daemon.pid, 'VmRSS');
  return { daemon, honest, base, grown: () => memoryOf(daemon.pid, 'VmHWM') - before };
}
