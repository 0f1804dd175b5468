import { defineBench } from './lib/bench.js';
import { machine, mainThreadMicros } from './lib/cpu.js';
import { Daemon } from './lib/daemon.js';
import { DEADLINE_MS } from './lib/h2-client.js';
import { Load } from './lib/load.js';
import { median, rounded } from './lib/numbers.js';

interface Burst {
  readonly latestMs: number;
  readonly p50Ms: number;
  readonly waiting: number;
  /** Microseconds of the main thread a create. */
  readonly cpu: number;
}

export const bench = defineBench({
  summary:
    'Creates that come all at once: how long the last of them waits for its answer, and how many are created by then',
  defaults: { creates: 10_000, rounds: 3, warmup: 20_000, connections: 20 },
  fields: ['latest_share', 'cpu_share', 'latest_ms', 'p50_ms', 'waiting', 'cpu_us', 'deadline_ms'],
  // Also by CPU, since delays beside other work say more of that work: what the last one waits for is the main thread.
  targets: { latest_share: { atMost: 1 / 3 }, cpu_share: { atMost: 1 / 3 } },

  async run(options, progress) {
    const {
      creates,
      rounds: times,
      warmup,
      connections,
    } = options as Record<'creates' | 'rounds' | 'warmup' | 'connections', number>;
    const daemon = await Daemon.start({
      // Deletes of those that went before may be owed still.
      maxTasks: creates + warmup,
      readQps: 0.1,
      resyncInterval: '1h',
    });
    const steady = new Load({ connections: 2, streams: 50 });
    const burst = new Load({ connections, streams: Math.ceil(creates / connections) });
    try {
      await steady.delete(daemon.port, (await steady.create(daemon.port, warmup)).handles);
      // So that every connection is open and knows how many streams it may have.
      await burst.delete(daemon.port, (await burst.create(daemon.port, connections * 2)).handles);
      const rounds: Burst[] = [];
      for (let round = 0; round < times; round++) {
        const cpuBefore = mainThreadMicros(daemon.pid);
        const { handles, phases, rounds: made } = await burst.create(daemon.port, creates, creates);
        const cpu = (mainThreadMicros(daemon.pid) - cpuBefore) / creates;
        const waiting = phases.filter((phase) => phase === 'WAITING_FOR_RESOURCES').length;
        rounds.push({ latestMs: made[0]!.maxMs, p50Ms: made[0]!.p50Ms, waiting, cpu });
        progress(`the last answer after ${made[0]!.maxMs.toFixed(0)} ms, ${waiting} WAITING`);
        await steady.delete(daemon.port, handles);
      }
      const of = (pick: (one: Burst) => number, digits = 0) => rounded(median(rounds.map(pick)), digits);
      return {
        bench: 'burst',
        latest_share: of(({ latestMs }) => latestMs / DEADLINE_MS, 3),
        cpu_share: rounded((Math.min(...rounds.map(({ cpu }) => cpu)) * creates) / 1000 / DEADLINE_MS, 3),
        latest_ms: of(({ latestMs }) => latestMs),
        p50_ms: of(({ p50Ms }) => p50Ms),
        waiting: of(({ waiting }) => waiting),
        cpu_us: of(({ cpu }) => cpu, 2),
        deadline_ms: DEADLINE_MS,
        ...options,
        machine: machine(),
      };
    } finally {
      await Promise.all([steady.stop(), burst.stop(), daemon.stop()]);
    }
  },

  describe: (result) =>
    `burst  ${result.creates} Creates at once: the last answer after ${result.latest_ms} ms, ${result.latest_share} of its deadline; p50 ${result.p50_ms} ms; ${result.waiting} WAITING`,
});
