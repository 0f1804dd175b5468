import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '../src/lib/clock.js';
import { PostgresEngine, type PostgresPlace } from '../src/state/index.js';
import { PostgresServer } from '../test/postgres/server.js';
import type { Bench, BenchOptions } from './lib/bench.js';
import { asking, LOOK_MS, withLoads } from './lib/callers.js';
import { machine, mainThreadMicros } from './lib/cpu.js';
import { Daemon } from './lib/daemon.js';
import { Load } from './lib/load.js';
import { fillState, madeHandle } from './lib/made-state.js';
import { median, rounded } from './lib/numbers.js';
import { PROTOCOLS } from './lib/protocols.js';
import { describeSpread, runSpread } from './lib/spread.js';

const NATIVE = PROTOCOLS.native();
/** What is asked for while calls are passed on. */
const LIVE = 1_000;
/** How long a life's job runs, and how many live one after the other. */
const END_S = 1;
const ALONE = 40;
/** `parts` above 1: the tasks are spread. */
type Options = Record<keyof typeof DEFAULTS, number>;

const DEFAULTS = {
  tasks: 100_000,
  lease: 10,
  rounds: 5,
  calls: 10_000,
  warmup: 20_000,
  rate: 200,
  seconds: 5,
  pairs: 3000,
  lives: 1000,
  connections: 2,
  streams: 48,
  parts: 1,
} satisfies BenchOptions;

/** Replicas of one state, of which the first one works; the bench's own database. */
class Fleet {
  readonly #place: PostgresPlace;
  readonly #options: Options;
  readonly #endS: number;
  readonly #daemons: Daemon[] = [];

  constructor(place: PostgresPlace, options: Options, endS = 0) {
    this.#place = place;
    this.#options = options;
    this.#endS = endS;
  }

  /** The one that works first. */
  get daemons(): readonly Daemon[] {
    return this.#daemons;
  }

  async add(): Promise<Daemon> {
    const { tasks, warmup, lease } = this.#options;
    const { host, port, database, user, schema } = this.#place;
    const ends = this.#endS > 0;
    const daemon = await Daemon.start({
      batch: true,
      maxTasks: Math.max(tasks, warmup) + LIVE,
      readQps: ends ? 100 : 0.1,
      resyncInterval: ends ? '5s' : '1h',
      endS: this.#endS,
      database: { host, port, database, user, schema, lease: lease * 1000 },
    });
    this.#daemons.push(daemon);
    return daemon;
  }

  /** Ends the one that works; resolves once another one does, which is the first from then on. Answers how long that took. Seconds. */
  async replace(signal: 'SIGTERM' | 'SIGKILL'): Promise<number> {
    const [first, ...others] = this.#daemons;
    const from = performance.now();
    const gone = first!.end(signal);
    for (;;) {
      for (const other of others) {
        if ((await other.metric('pluginhost_cluster_role{role="owner"}')) !== 1) continue;
        const tookS = (performance.now() - from) / 1000;
        await gone;
        await first!.stop();
        this.#daemons.splice(0, this.#daemons.length, other, ...others.filter((each) => each !== other));
        return tookS;
      }
      await sleep(LOOK_MS);
    }
  }

  async stop(): Promise<void> {
    // Those that stand by first, so that nobody takes anything over.
    for (const daemon of this.#daemons.splice(0).reverse()) await daemon.stop();
  }
}

interface Passed {
  readonly ownUs: number;
  readonly standbyUs: number;
  readonly ownerUs: number;
  readonly ownP50Ms: number;
  readonly passedP50Ms: number;
}

/** Status of the one that works, and of one that passes it on: CPU with all streams full, latency at a rate that leaves room. */
async function passing(load: Load, [owner, standby]: readonly Daemon[], options: Options): Promise<Passed> {
  const { calls, rate, seconds } = options;
  const cpu = () => [mainThreadMicros(owner!.pid), mainThreadMicros(standby!.pid)] as const;
  const [ownFrom] = cpu();
  await load.statusCalls(owner!.port, calls);
  const [ownTo, standbyFrom] = cpu();
  await load.statusCalls(standby!.port, calls);
  const [ownerTo, standbyTo] = cpu();
  const own = await load.statusOpen(owner!.port, rate, seconds);
  const passed = await load.statusOpen(standby!.port, rate, seconds);
  return {
    ownUs: (ownTo - ownFrom) / calls,
    standbyUs: (standbyTo - standbyFrom) / calls,
    ownerUs: (ownerTo - ownTo) / calls,
    ownP50Ms: own.p50Ms,
    passedP50Ms: passed.p50Ms,
  };
}

interface Creates {
  readonly perSecond: number;
  readonly ownerUs: number;
}

/** So many Creates over as many ports, with the same calls under way in sum; their tasks are deleted again. */
async function creates(loads: readonly Load[], daemons: readonly Daemon[], pairs: number): Promise<Creates> {
  const share = Math.ceil(pairs / daemons.length);
  const owner = daemons[0]!;
  const cpuFrom = mainThreadMicros(owner.pid);
  const from = performance.now();
  const made = await Promise.all(daemons.map(({ port }, index) => loads[index]!.create(port, share, share)));
  const seconds = (performance.now() - from) / 1000;
  const micros = mainThreadMicros(owner.pid) - cpuFrom;
  for (const { handles } of made) await loads[0]!.delete(owner.port, handles);
  const count = share * daemons.length;
  return { perSecond: count / seconds, ownerUs: micros / count };
}

/** Calls that are passed on, and Creates over one replica and over three, in turns. */
async function serving(place: PostgresPlace, options: Options, progress: (line: string) => void) {
  const { rounds, warmup, pairs } = options;
  const fleet = new Fleet(place, options);
  try {
    for (let index = 0; index < 3; index++) await fleet.add();
    return await withLoads(options, 1, ([one]) =>
      withLoads(options, 3, async (three) => {
        const [owner, standby] = fleet.daemons;
        await one!.delete(owner!.port, (await one!.create(owner!.port, Math.ceil(warmup / 4))).handles);
        const { handles } = await one!.create(standby!.port, LIVE);
        for (const { port } of [owner!, standby!]) {
          await one!.loadStatus(port, NATIVE, handles);
          await one!.statusCalls(port, warmup);
        }
        progress('three replicas are warmed up');
        const passed: Passed[] = [];
        const alone: Creates[] = [];
        const spread: Creates[] = [];
        for (let round = 0; round < rounds; round++) {
          passed.push(await passing(one!, fleet.daemons, options));
          alone.push(await creates([one!], fleet.daemons.slice(0, 1), pairs));
          spread.push(await creates(three, fleet.daemons, pairs));
        }
        const of = <R>(list: readonly R[], pick: (one: R) => number, digits = 1) =>
          rounded(median(list.map(pick)), digits);
        return {
          own_cpu_us: of(passed, (each) => each.ownUs),
          passed_cpu_us_standby: of(passed, (each) => each.standbyUs),
          passed_cpu_us_owner: of(passed, (each) => each.ownerUs),
          own_p50_ms: of(passed, (each) => each.ownP50Ms, 2),
          passed_p50_ms: of(passed, (each) => each.passedP50Ms, 2),
          creates_per_second_1: of(alone, (each) => each.perSecond, 0),
          creates_per_second_3: of(spread, (each) => each.perSecond, 0),
          create_cpu_us_owner_1: of(alone, (each) => each.ownerUs),
          create_cpu_us_owner_3: of(spread, (each) => each.ownerUs),
        };
      }),
    );
  } finally {
    await fleet.stop();
  }
}

interface Statements {
  readonly commits: number;
  readonly others: number;
  readonly walBytes: number;
}

/** What the database was asked so far, by its own count. */
function statementsOf(server: PostgresServer): Statements {
  const [commits, others, walBytes] = server
    .sql(
      `SELECT coalesce(sum(calls) FILTER (WHERE query LIKE '%put_facts%'), 0),
        coalesce(sum(calls) FILTER (WHERE query LIKE '%members%'), 0),
        coalesce(sum(wal_bytes) FILTER (WHERE query LIKE '%put_facts%'), 0) FROM pg_stat_statements`,
    )
    .split('|')
    .map(Number);
  return { commits: commits!, others: others!, walBytes: walBytes! };
}

/** Tasks from their Create over their end to their Delete; how often the database was asked for each, and by what is beside them. */
async function lives(server: PostgresServer, daemon: Daemon, load: Load, count: number, width: number) {
  const before = statementsOf(server);
  const from = performance.now();
  const { handles } = await load.create(daemon.port, count, width);
  for (let left = handles; left.length > 0; ) {
    await sleep(200);
    const still: Buffer[] = [];
    for (const handle of left) {
      if (NATIVE.phaseOf(await load.status(daemon.port, NATIVE, handle)) !== 'SUCCESS') still.push(handle);
      else if (width === 1) await load.delete(daemon.port, [handle]);
    }
    left = still;
  }
  if (width > 1) await load.delete(daemon.port, handles);
  // What is not awaited is written within this time.
  await sleep(300);
  const after = statementsOf(server);
  return {
    perLife: (after.commits - before.commits) / count,
    walPerLife: (after.walBytes - before.walBytes) / count,
    othersPerSecond: (after.others - before.others) / ((performance.now() - from) / 1000),
  };
}

async function statements(server: PostgresServer, place: PostgresPlace, options: Options) {
  const fleet = new Fleet(place, options, END_S);
  try {
    const daemon = await fleet.add();
    for (let index = 0; index < 2; index++) await fleet.add();
    return await withLoads(options, 1, async ([load]) => {
      await lives(server, daemon, load!, 200, 200);
      const many = await lives(server, daemon, load!, options.lives, options.lives);
      const alone = await lives(server, daemon, load!, ALONE, 1);
      return {
        statements_per_life: rounded(many.perLife, 2),
        statements_per_life_alone: rounded(alone.perLife, 2),
        wal_bytes_per_life: rounded(many.walPerLife, 0),
        cluster_statements_per_second: rounded(many.othersPerSecond, 1),
      };
    });
  } finally {
    await fleet.stop();
  }
}

/** The one that works is ended, in one way and the other, while somebody asks one that stands by. */
async function takeovers(place: PostgresPlace, options: Options, progress: (line: string) => void) {
  const fleet = new Fleet(place, options);
  const took = { SIGTERM: [] as number[], SIGKILL: [] as number[] };
  const away = { SIGTERM: [] as number[], SIGKILL: [] as number[] };
  try {
    for (let index = 0; index < 3; index++) await fleet.add();
    await withLoads(options, 1, async ([load]) => {
      const [handle] = (await load!.create(fleet.daemons[0]!.port, 1)).handles;
      for (let round = 0; round < options.rounds; round++) {
        for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
          const caller = asking(load!, fleet.daemons.at(-1)!.port, handle!);
          await sleep(500);
          took[signal].push(await fleet.replace(signal));
          await sleep(500);
          away[signal].push(await caller.stop());
          await fleet.add();
        }
        progress(
          `take-overs: ${took.SIGTERM.at(-1)?.toFixed(2)} s after a stop, ${took.SIGKILL.at(-1)?.toFixed(2)} s after a kill`,
        );
      }
    });
    return {
      stop_s: rounded(median(took.SIGTERM), 2),
      stop_outage_s: rounded(median(away.SIGTERM), 2),
      kill_s: rounded(median(took.SIGKILL), 2),
      kill_outage_s: rounded(median(away.SIGKILL), 2),
    };
  } finally {
    await fleet.stop();
  }
}

/** A replica with many tasks is killed. */
async function takeoverOfMany(place: PostgresPlace, options: Options, progress: (line: string) => void) {
  const { tasks } = options;
  const patience = { place, clock: systemClock, random: Math.random };
  const fillFrom = performance.now();
  await fillState(new PostgresEngine(patience), tasks);
  progress(`${tasks} tasks were written in ${((performance.now() - fillFrom) / 1000).toFixed(1)} s`);
  const fleet = new Fleet(place, options);
  try {
    await fleet.add();
    const next = await fleet.add();
    const manyS = await fleet.replace('SIGKILL');
    const load = new Load({ connections: 1, streams: 1 });
    try {
      const phase = NATIVE.phaseOf(await load.status(next.port, NATIVE, madeHandle(tasks - 1)));
      if (phase !== 'RUNNING') throw new Error(`the last of ${tasks} tasks is ${phase}`);
    } finally {
      await load.stop();
    }
    return { many_s: rounded(manyS, 2), many_load_s: rounded(next.loggedField('cluster.owner', 'tookMs') / 1000, 2) };
  } finally {
    await fleet.stop();
  }
}

const FIELDS = [
  'own_cpu_us',
  'passed_cpu_us_standby',
  'passed_cpu_us_owner',
  'own_p50_ms',
  'passed_p50_ms',
  'creates_per_second_1',
  'creates_per_second_3',
  'create_cpu_us_owner_1',
  'create_cpu_us_owner_3',
  'statements_per_life',
  'statements_per_life_alone',
  'wal_bytes_per_life',
  'cluster_statements_per_second',
  'stop_s',
  'stop_outage_s',
  'kill_s',
  'kill_outage_s',
  'many_s',
  'many_load_s',
] as const;

/** With all tasks at the replica that works. */
async function runWhole(
  server: PostgresServer,
  place: (schema: string) => PostgresPlace,
  options: Options,
  progress: (line: string) => void,
): Promise<Record<(typeof FIELDS)[number], number>> {
  const served = await serving(place('serving'), options, progress);
  const asked = await statements(server, place('lives'), options);
  progress(`a life takes ${asked.statements_per_life} statements`);
  const taken = await takeovers(place('takeovers'), options, progress);
  const many = await takeoverOfMany(place('many'), options, progress);
  return { ...served, ...asked, ...taken, ...many };
}

export const bench: Bench = {
  summary:
    'three replicas on a PostgreSQL of its own: calls that are passed on, Creates, take-overs, statements of a life; --parts 8: with the tasks spread',
  defaults: DEFAULTS,
  // Without `parts`; with it they are `SPREAD_FIELDS`.
  fields: FIELDS,

  async run(given, progress) {
    const options = given as Options;
    const undo: (() => unknown)[] = [];
    try {
      const settings = ["shared_preload_libraries = 'pg_stat_statements'"];
      const server = await PostgresServer.start({ after: (done) => undo.unshift(done) }, settings);
      server.sql('CREATE EXTENSION pg_stat_statements');
      const place = (schema: string) => server.place({ schema });
      const figures = await (options.parts > 1
        ? runSpread(place, options, progress)
        : runWhole(server, place, options, progress));
      return { bench: 'replicas', ...figures, ...options, machine: machine() };
    } finally {
      for (const done of undo) await done();
    }
  },

  describe: (result) =>
    (result.parts as number) > 1
      ? describeSpread(result)
      : `replicas  Status ${result.own_cpu_us} µs of the main thread where it works; passed on ${result.passed_cpu_us_standby} and ${result.passed_cpu_us_owner} there; p50 ${result.own_p50_ms} and ${result.passed_p50_ms} ms\n` +
        `          Creates a second ${result.creates_per_second_1} over one, ${result.creates_per_second_3} over three\n` +
        `          statements a life ${result.statements_per_life} (one after the other ${result.statements_per_life_alone}), beside them ${result.cluster_statements_per_second} a second\n` +
        `          taken over ${result.stop_s} s after a stop (away ${result.stop_outage_s}), ${result.kill_s} s after a kill (away ${result.kill_outage_s}), lease ${result.lease} s; ${result.tasks} tasks ${result.many_s} s, of which ${result.many_load_s} to load`,
};
