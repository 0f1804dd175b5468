import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { configOf, type DaemonProcess, FIXTURE_PLUGINS, startServe, WIDE_LIMITS } from '../daemon/support.js';
import { fixture } from '../host/support.js';

/**
 * What an honest caller sees while a plugin's process misuses its channel: Status of another plugin's task is asked for all
 * the time, before the attack and during it. The figures are printed; what is asserted leaves room for a busy machine.
 * ATTACKS=pongs,drip looks at these alone.
 */

const MIB = 1024 * 1024;
const BASE_MS = 1_500;
/** From the attack on, at least; longer where the process is not yet ended. */
const ATTACK_MS = 4_000;
/** A process that only holds its frame back is ended by its missing heartbeats. */
const PATIENCE_MS = 90_000;
const MOST_GROWTH_BYTES = 400 * MIB;
const MOST_P99_MS = 1_000;

interface Latency {
  readonly n: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

function latencyOf(times: readonly number[]): Latency {
  const sorted = [...times].sort((a, b) => a - b);
  const at = (part: number) =>
    Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))]! * 10) / 10;
  return { n: sorted.length, p50: at(0.5), p99: at(0.99), max: at(1) };
}

/** A line of /proc/PID/status in bytes. */
function memoryOf(pid: number, line: 'VmRSS' | 'VmHWM'): number {
  const [, kib] = readFileSync(`/proc/${pid}/status`, 'utf8').match(new RegExp(`^${line}:\\s+(\\d+) kB`, 'm')) ?? [];
  return Number(kib) * 1024;
}

/** Asks for Status without a pause of note until it is stopped. */
class Honest {
  readonly errors: unknown[] = [];
  #times: number[] = [];
  #stopped = false;
  readonly #done: Promise<void>;

  constructor(daemon: DaemonProcess, handle: Uint8Array) {
    this.#done = this.#run(daemon, handle);
  }

  async #run(daemon: DaemonProcess, handle: Uint8Array): Promise<void> {
    while (!this.#stopped) {
      const since = performance.now();
      try {
        await daemon.client.status(handle, { deadlineMs: 30_000 });
      } catch (error) {
        this.errors.push(error);
      }
      this.#times.push(performance.now() - since);
      await sleep(2);
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

async function play(t: TestContext, attack: string): Promise<void> {
  const own = { config: WIDE_LIMITS, callTimeout: '2s' };
  const daemon = await startServe(
    t,
    configOf({
      steady: { source: `${FIXTURE_PLUGINS}/steady.mjs` },
      hostile: { source: `${FIXTURE_PLUGINS}/hostile.mjs`, settings: { attack }, ...own },
    }),
  );
  const { handle } = await daemon.client.create({ generatedName: 'honest', template: { type: 'steady_task' } });
  const honest = new Honest(daemon, handle);
  await sleep(BASE_MS);
  const base = honest.take();
  const before = memoryOf(daemon.pid, 'VmRSS');

  const since = performance.now();
  await daemon.client.create({ generatedName: 'attack', template: { type: 'hostile' } });
  let endedMs: number | undefined;
  const ended = async () => {
    const { state, restarts } = await daemon.plugin('hostile');
    return restarts > 0 || state !== 'SERVING';
  };
  while (performance.now() - since < (endedMs === undefined ? PATIENCE_MS : ATTACK_MS)) {
    if (endedMs === undefined && (await ended())) endedMs = Math.round(performance.now() - since);
    await sleep(50);
  }
  const during = honest.take();
  await honest.stop();
  const growth = memoryOf(daemon.pid, 'VmHWM') - before;
  console.log(JSON.stringify({ attack, base, during, endedMs, growthMiB: Math.round(growth / MIB) }));

  assert.equal(daemon.running.child.exitCode, null, 'the daemon lives');
  assert.deepEqual(honest.errors, []);
  assert.ok(endedMs !== undefined, 'the process of the plugin was not ended');
  assert.ok(growth < MOST_GROWTH_BYTES, `the daemon took ${growth} bytes more`);
  assert.ok(during.p99 < MOST_P99_MS, `p99 of Status ${during.p99} ms`);
}

const { ATTACKS, SLOW } = (await import(pathToFileURL(fixture('hostile.mjs')).href)) as Record<string, object>;
const wanted = process.env.ATTACKS?.split(',');
for (const attack of Object.keys({ ...ATTACKS, ...SLOW })) {
  if (wanted !== undefined && !wanted.includes(attack)) continue;
  test(`honest callers are answered while a plugin's process plays "${attack}"`, { timeout: 180_000 }, (t) =>
    play(t, attack),
  );
}
