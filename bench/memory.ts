import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Bench } from './lib/bench.js';
import { machine, residentBytes } from './lib/cpu.js';
import { Daemon } from './lib/daemon.js';
import { Load } from './lib/load.js';
import { rounded } from './lib/numbers.js';
import { PROTOCOLS } from './lib/protocols.js';

const HOOK = new URL('./hook.js', import.meta.url).href;

interface Left {
  readonly resident: number;
  readonly heapUsed: number;
  readonly external: number;
  readonly arrayBuffers: number;
}

/** What the daemon holds after full collections; freed pages go back to the system a moment later. */
async function collected(daemon: Daemon, hookPort: number, settleSeconds: number): Promise<Left> {
  const url = `http://127.0.0.1:${hookPort}/`;
  await sleep(settleSeconds * 1000);
  await (await fetch(url)).text();
  await sleep(1000);
  const { heapUsed, external, arrayBuffers } = (await (await fetch(url)).json()) as NodeJS.MemoryUsage;
  return { resident: residentBytes(daemon.pid), heapUsed, external, arrayBuffers };
}

export const bench: Bench = {
  summary: 'resident bytes of a live task in the running daemon, after a full collection',
  defaults: { tasks: 100_000, warmup: 2000, settle: 5 },

  async run(options, progress) {
    const folder = mkdtempSync(path.join(os.tmpdir(), 'plugin-host-bench-'));
    const file = path.join(folder, 'hook');
    const daemon = await Daemon.start({
      maxTasks: options.tasks! + options.warmup!,
      readQps: 0.1,
      resyncInterval: '1h',
      execArgv: ['--expose-gc', '--import', HOOK],
      env: { BENCH_HOOK_FILE: file },
    });
    const load = new Load({ connections: 2, streams: 50 });
    try {
      const hookPort = Number(readFileSync(file, 'utf8'));
      // Code is compiled and pools are filled before the empty daemon is weighed; the few tasks are over then.
      const first = await load.create(daemon.port, options.warmup!);
      await load.delete(daemon.port, first.handles);
      const empty = await collected(daemon, hookPort, options.settle!);
      const { handles } = await load.create(daemon.port, options.tasks!);
      progress(`${handles.length} tasks`);
      const full = await collected(daemon, hookPort, options.settle!);
      const native = PROTOCOLS.native();
      const phase = native.phaseOf(await load.status(daemon.port, native, handles[0]!));
      if (phase !== 'RUNNING') throw new Error(`Status answered ${phase}, not RUNNING`);
      const perTask = (pick: (left: Left) => number) => rounded((pick(full) - pick(empty)) / options.tasks!, 0);
      return {
        bench: 'memory',
        bytes_per_task: perTask((left) => left.resident),
        heap_bytes_per_task: perTask((left) => left.heapUsed),
        external_bytes_per_task: perTask((left) => left.external),
        array_buffer_bytes_per_task: perTask((left) => left.arrayBuffers),
        empty_resident_bytes: empty.resident,
        full_resident_bytes: full.resident,
        handle_bytes: handles[0]!.length,
        ...options,
        machine: machine(),
      };
    } finally {
      await Promise.all([load.stop(), daemon.stop()]);
      rmSync(folder, { recursive: true, force: true });
    }
  },

  describe: (result) =>
    `memory  ${result.bytes_per_task} bytes a live task, resident (heap ${result.heap_bytes_per_task}, external ${result.external_bytes_per_task}); ` +
    `${result.tasks} tasks, handles of ${result.handle_bytes} bytes`,
};
