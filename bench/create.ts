import type { Bench } from './lib/bench.js';
import { machine, mainThreadMicros } from './lib/cpu.js';
import { Daemon } from './lib/daemon.js';
import type { RoundResult } from './lib/generator.js';
import { Load } from './lib/load.js';
import { median, rounded } from './lib/numbers.js';

interface Pairs {
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
  const seconds = [...creates, ...deletes].reduce((sum, one) => sum + one.seconds, 0);
  return {
    perSecond: pairs / seconds,
    cpuMicros,
    createMicros: (created - start) / pairs,
    create: creates.at(-1)!,
    delete: deletes.at(-1)!,
  };
}

export const bench: Bench = {
  summary: 'a Create and its Delete through the running daemon and a plugin process',
  defaults: { pairs: 4000, rounds: 5, warmup: 20_000, connections: 2, streams: 50 },

  async run(options, progress) {
    const daemon = await Daemon.start({
      maxTasks: Math.max(options.pairs!, options.warmup!),
      readQps: 0.1,
      resyncInterval: '1h',
    });
    const load = new Load({ connections: options.connections!, streams: options.streams! });
    try {
      await round(load, daemon, options.warmup!);
      progress(`warmed up with ${options.warmup} pairs`);
      const rounds: Pairs[] = [];
      for (let index = 0; index < options.rounds!; index++) rounds.push(await round(load, daemon, options.pairs!));
      const middle = (pick: (one: Pairs) => number, digits = 2) => rounded(median(rounds.map(pick)), digits);
      return {
        bench: 'create',
        cpu_us: middle((one) => one.cpuMicros),
        cpu_us_create: middle((one) => one.createMicros),
        per_second: middle((one) => one.perSecond, 0),
        create_p50_ms: middle((one) => one.create.p50Ms),
        create_p99_ms: middle((one) => one.create.p99Ms),
        delete_p50_ms: middle((one) => one.delete.p50Ms),
        delete_p99_ms: middle((one) => one.delete.p99Ms),
        ...options,
        machine: machine(),
      };
    } finally {
      await Promise.all([load.stop(), daemon.stop()]);
    }
  },

  describe: (result) =>
    `create  ${result.per_second} Creates with their Deletes a second, ${result.cpu_us} µs of the main thread each (Create ${result.cpu_us_create})\n` +
    `        Create p50 ${result.create_p50_ms} ms, p99 ${result.create_p99_ms} ms; Delete p50 ${result.delete_p50_ms} ms, p99 ${result.delete_p99_ms} ms`,
};
