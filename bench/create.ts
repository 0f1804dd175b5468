import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { defineBench } from './lib/bench.js';
import { machine, mainThreadMicros } from './lib/cpu.js';
import { Daemon, type DaemonOptions } from './lib/daemon.js';
import type { RoundResult } from './lib/generator.js';
import { Load } from './lib/load.js';
import { median, rounded } from './lib/numbers.js';

interface Pairs {
  /** Creates alone. */
  readonly perSecond: number;
  readonly cpuMicros: number;
  readonly createMicros: number;
  readonly create: RoundResult;
  readonly delete: RoundResult;
}

async function round(load: Load, daemon: Daemon, pairs: number): Promise<Pairs> {
  const start = mainThreadMicros(daemon.pid);
  const { handles, rounds: creates } = await load.create(daemon.port, pairs);
  const created = mainThreadMicros(daemon.pid);
  const deletes = await load.delete(daemon.port, handles);
  const cpuMicros = (mainThreadMicros(daemon.pid) - start) / pairs;
  return {
    perSecond: pairs / creates.reduce((sum, one) => sum + one.seconds, 0),
    cpuMicros,
    createMicros: (created - start) / pairs,
    create: creates.at(-1)!,
    delete: deletes.at(-1)!,
  };
}

export const bench = defineBench({
  summary: 'Creates that survive a crash, against those of a daemon without a state; a plugin that answers at once',
  defaults: { pairs: 4000, rounds: 5, warmup: 20_000, connections: 2, streams: 50 },
  fields: [
    'per_second',
    'ratio_to_memory',
    'added_p50_ms',
    'create_p50_ms',
    'create_p99_ms',
    'delete_p50_ms',
    'delete_p99_ms',
    'cpu_us',
    'cpu_us_create',
    'memory_cpu_us',
    'memory_cpu_us_create',
    'memory_cpu_us_create_min',
  ],

  // The lowest round: work beside it takes caches, and makes a round dearer, never cheaper.
  targets: { memory_cpu_us_create_min: { atMost: 150 } },

  async run(options, progress) {
    const folder = mkdtempSync(path.join(os.tmpdir(), 'plugin-host-bench-'));
    const common: DaemonOptions = {
      maxTasks: options.pairs! + options.warmup!,
      readQps: 0.1,
      resyncInterval: '1h',
    };
    const load = new Load({ connections: options.connections!, streams: options.streams! });
    const daemons: Daemon[] = [];
    try {
      const durable = await Daemon.start({ ...common, stateDir: path.join(folder, 'state') });
      daemons.push(durable);
      const memory = await Daemon.start(common);
      daemons.push(memory);
      for (const daemon of daemons) await round(load, daemon, options.warmup!);
      progress(`both are warmed up with ${options.warmup} pairs`);
      const durables: Pairs[] = [];
      const memories: Pairs[] = [];
      // In turn, so that what the machine does besides meets both alike.
      for (let index = 0; index < options.rounds!; index++) {
        durables.push(await round(load, durable, options.pairs!));
        memories.push(await round(load, memory, options.pairs!));
      }
      const of = (rounds: readonly Pairs[], pick: (one: Pairs) => number, digits = 2) =>
        rounded(median(rounds.map(pick)), digits);
      const perSecond = (one: Pairs) => one.perSecond;
      const p50 = (one: Pairs) => one.create.p50Ms;
      return {
        bench: 'create',
        per_second: of(durables, perSecond, 0),
        ratio_to_memory: rounded(of(durables, perSecond) / of(memories, perSecond), 3),
        added_p50_ms: rounded(of(durables, p50) - of(memories, p50), 2),
        create_p50_ms: of(durables, p50),
        create_p99_ms: of(durables, (one) => one.create.p99Ms),
        delete_p50_ms: of(durables, (one) => one.delete.p50Ms),
        delete_p99_ms: of(durables, (one) => one.delete.p99Ms),
        cpu_us: of(durables, (one) => one.cpuMicros),
        cpu_us_create: of(durables, (one) => one.createMicros),
        memory_cpu_us: of(memories, (one) => one.cpuMicros),
        memory_cpu_us_create: of(memories, (one) => one.createMicros),
        memory_cpu_us_create_min: rounded(Math.min(...memories.map((one) => one.createMicros)), 2),
        ...options,
        machine: machine(),
      };
    } finally {
      await Promise.all([load.stop(), ...daemons.map((daemon) => daemon.stop())]);
      rmSync(folder, { recursive: true, force: true });
    }
  },

  describe: (result) =>
    `create  ${result.per_second} durable Creates a second, ${result.ratio_to_memory} of those without a state; p50 ${result.create_p50_ms} ms (${result.added_p50_ms} ms more), p99 ${result.create_p99_ms} ms\n` +
    `        with its Delete ${result.cpu_us} µs of the main thread (Create ${result.cpu_us_create}); without a state ${result.memory_cpu_us} (${result.memory_cpu_us_create})`,
});
