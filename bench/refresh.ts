import { setTimeout as sleep } from 'node:timers/promises';
import { type BenchOptions, defineBench } from './lib/bench.js';
import { machine, mainThreadMicros } from './lib/cpu.js';
import { Daemon } from './lib/daemon.js';
import { Load } from './lib/load.js';
import { median, rounded } from './lib/numbers.js';

interface Reads {
  readonly perSecond: number;
  readonly cpuMicros: number;
  readonly mainThreadShare: number;
}

/** What the tasks cost that the plugin reads within this time. */
async function window(daemon: Daemon, seconds: number): Promise<Reads> {
  const readBefore = daemon.tasksRead();
  const cpuBefore = mainThreadMicros(daemon.pid);
  const startedAt = performance.now();
  await sleep(seconds * 1000);
  const read = daemon.tasksRead() - readBefore;
  const cpu = mainThreadMicros(daemon.pid) - cpuBefore;
  const took = (performance.now() - startedAt) / 1000;
  if (read === 0) throw new Error(`no task was read within ${seconds} s`);
  return { perSecond: read / took, cpuMicros: cpu / read, mainThreadShare: cpu / 1e6 / took };
}

async function measure(batch: boolean, tasks: number, options: BenchOptions): Promise<Record<string, number>> {
  const daemon = await Daemon.start({ batch, maxTasks: tasks, readQps: 100_000, resyncInterval: '5s' });
  const load = new Load({ connections: 2, streams: 50 });
  try {
    await load.create(daemon.port, tasks);
    await window(daemon, options.warmup!);
    const rounds: Reads[] = [];
    for (let index = 0; index < options.rounds!; index++) rounds.push(await window(daemon, options.seconds!));
    const middle = (pick: (one: Reads) => number, digits: number) => rounded(median(rounds.map(pick)), digits);
    return {
      cpu_us: middle((one) => one.cpuMicros, 2),
      cpu_us_min: rounded(Math.min(...rounds.map((one) => one.cpuMicros)), 2),
      tasks_per_second: middle((one) => one.perSecond, 0),
      main_thread_share: middle((one) => one.mainThreadShare, 2),
      tasks,
    };
  } finally {
    await Promise.all([load.stop(), daemon.stop()]);
  }
}

export const bench = defineBench({
  summary: 'polling: what a refreshed task costs, a hundred a call and one a call',
  defaults: { batched: 20_000, single: 5000, seconds: 5, rounds: 4, warmup: 15 },
  fields: ['cpu_us_batched', 'cpu_us_single', 'cpu_us_batched_min', 'cpu_us_single_min', 'by_getMany', 'by_get'],

  // The lowest window: work beside it takes caches, and makes a window dearer, never cheaper.
  targets: { cpu_us_batched_min: { atMost: 10 }, cpu_us_single_min: { atMost: 60 } },

  async run(options, progress) {
    const batched = await measure(true, options.batched!, options);
    progress(`batched: ${batched.cpu_us} µs a task`);
    const single = await measure(false, options.single!, options);
    return {
      bench: 'refresh',
      cpu_us_batched: batched.cpu_us,
      cpu_us_single: single.cpu_us,
      cpu_us_batched_min: batched.cpu_us_min,
      cpu_us_single_min: single.cpu_us_min,
      by_getMany: batched,
      by_get: single,
      ...options,
      machine: machine(),
    };
  },

  describe: (result) => {
    // biome-ignore lint/suspicious/noExplicitAny: `run` makes it
    const { by_getMany: many, by_get: one } = result as any;
    return [
      `refresh by getMany of 100  ${many.cpu_us} µs of the main thread a task, at ${many.tasks_per_second} tasks/s`,
      `refresh by get             ${one.cpu_us} µs of the main thread a task, at ${one.tasks_per_second} tasks/s`,
    ].join('\n');
  },
});
