import { defineBench } from './lib/bench.js';
import { machine, mainThreadMicros } from './lib/cpu.js';
import { Daemon } from './lib/daemon.js';
import type { RoundResult } from './lib/generator.js';
import { Load } from './lib/load.js';
import { median, rounded } from './lib/numbers.js';

interface Round {
  readonly createMicros: number;
  readonly deleteMicros: number;
  readonly delete: RoundResult;
}

export const bench = defineBench({
  summary: 'Deletes of live tasks, and the Creates before them, without a state, while other tasks are live',
  defaults: { pairs: 5000, live: 1000, rounds: 5, warmup: 20_000, connections: 2, streams: 50 },
  fields: ['cpu_us', 'cpu_us_create', 'cpu_us_min', 'cpu_us_create_min', 'p50_ms', 'p99_ms'],
  // The lowest round: work beside it takes caches, and makes a round dearer, never cheaper.
  targets: { cpu_us_min: { atMost: 80 } },

  async run(options, progress) {
    const { pairs, live, warmup } = options as Record<'pairs' | 'live' | 'warmup', number>;
    const load = new Load({ connections: options.connections!, streams: options.streams! });
    const daemon = await Daemon.start({ maxTasks: live + pairs + warmup, readQps: 0.1, resyncInterval: '1h' });
    try {
      await load.create(daemon.port, live);
      await load.delete(daemon.port, (await load.create(daemon.port, warmup)).handles);
      progress(`${live} tasks are live, ${warmup} pairs went before`);
      const rounds: Round[] = [];
      for (let round = 0; round < options.rounds!; round++) {
        const start = mainThreadMicros(daemon.pid);
        const { handles } = await load.create(daemon.port, pairs);
        const created = mainThreadMicros(daemon.pid);
        const [last] = (await load.delete(daemon.port, handles)).slice(-1);
        rounds.push({
          createMicros: (created - start) / pairs,
          deleteMicros: (mainThreadMicros(daemon.pid) - created) / pairs,
          delete: last!,
        });
      }
      const of = (pick: (one: Round) => number) => rounded(median(rounds.map(pick)), 2);
      const lowest = (pick: (one: Round) => number) => rounded(Math.min(...rounds.map(pick)), 2);
      return {
        bench: 'delete',
        cpu_us: of((one) => one.deleteMicros),
        cpu_us_create: of((one) => one.createMicros),
        cpu_us_min: lowest((one) => one.deleteMicros),
        cpu_us_create_min: lowest((one) => one.createMicros),
        p50_ms: of((one) => one.delete.p50Ms),
        p99_ms: of((one) => one.delete.p99Ms),
        ...options,
        machine: machine(),
      };
    } finally {
      await Promise.all([load.stop(), daemon.stop()]);
    }
  },

  describe: (result) =>
    `delete  ${result.cpu_us} µs of the main thread, a Create before it ${result.cpu_us_create}; p50 ${result.p50_ms} ms, p99 ${result.p99_ms} ms; ${result.live} other tasks live`,
});
