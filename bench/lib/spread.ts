import { setTimeout as sleep } from 'node:timers/promises';
import { partitionOfHandle, partOf } from '../../src/model/handle.js';
import type { PostgresPlace } from '../../src/state/index.js';
import { asking, LOOK_MS, withLoads } from './callers.js';
import { mainThreadMicros } from './cpu.js';
import { Daemon } from './daemon.js';
import type { Load } from './load.js';
import { median, rounded } from './numbers.js';
import { PROTOCOLS } from './protocols.js';

const NATIVE = PROTOCOLS.native();
const REPLICAS = 3;
/** What is asked for while calls are passed on. */
const LIVE = 1_000;
/** Within which parts lie evenly after a start. Milliseconds. */
const EVEN_MS = 60_000;

export interface SpreadOptions {
  readonly parts: number;
  readonly lease: number;
  readonly rounds: number;
  readonly calls: number;
  readonly warmup: number;
  readonly rate: number;
  readonly seconds: number;
  readonly pairs: number;
  readonly connections: number;
  readonly streams: number;
}

type Place = (schema: string) => PostgresPlace;

/** Replicas over which the tasks are spread. */
class SpreadFleet {
  readonly #place: PostgresPlace;
  readonly #options: SpreadOptions;
  readonly daemons: Daemon[] = [];

  constructor(place: PostgresPlace, options: SpreadOptions) {
    this.#place = place;
    this.#options = options;
  }

  async add(): Promise<Daemon> {
    const { warmup, pairs, lease, parts } = this.#options;
    const { host, port, database, user, schema } = this.#place;
    const daemon = await Daemon.start({
      batch: true,
      // Each part has a share of it, and tasks fall into parts by chance.
      maxTasks: 4 * (warmup + pairs + LIVE),
      readQps: 0.1,
      resyncInterval: '1h',
      database: { host, port, database, user, schema, lease: lease * 1000 },
      parts,
    });
    this.daemons.push(daemon);
    return daemon;
  }

  /** Resolves once every part is worked on, by each of them as many as by another within one. */
  async even(): Promise<void> {
    const until = performance.now() + EVEN_MS;
    for (;;) {
      const counts = await this.#owned();
      if (sum(counts) === this.#options.parts && Math.max(...counts) - Math.min(...counts) <= 1) return;
      if (performance.now() > until) throw new Error(`parts do not lie evenly: ${counts}`);
      await sleep(LOOK_MS);
    }
  }

  /** Ends one; resolves once the others work on all parts. Answers how long that took. Seconds. */
  async end(daemon: Daemon, signal: 'SIGTERM' | 'SIGKILL'): Promise<number> {
    const from = performance.now();
    this.daemons.splice(this.daemons.indexOf(daemon), 1);
    const gone = daemon.end(signal);
    while (sum(await this.#owned()) !== this.#options.parts) await sleep(LOOK_MS);
    const tookS = (performance.now() - from) / 1000;
    await gone;
    await daemon.stop();
    return tookS;
  }

  async stop(): Promise<void> {
    for (const daemon of this.daemons.splice(0)) await daemon.stop();
  }

  #owned(): Promise<number[]> {
    return Promise.all(this.daemons.map((daemon) => daemon.metric('pluginhost_cluster_parts{state="owned"}')));
  }
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, each) => total + each, 0);

const mainMicros = (daemons: readonly Daemon[]): number => sum(daemons.map(({ pid }) => mainThreadMicros(pid)));

/** Those of the tasks that a replica works on. */
async function tasksOf(daemon: Daemon, handles: readonly Buffer[], parts: number): Promise<Buffer[]> {
  const own = new Set(await daemon.parts());
  return handles.filter((handle) => own.has(partOf(partitionOfHandle(handle), parts)));
}

interface Asked {
  readonly askedUs: number;
  readonly ownerUs: number;
  readonly p50Ms: number;
}

/** Status of such tasks by one replica: CPU a call of it and of another one, and latency at a rate that leaves room. */
async function statuses(
  load: Load,
  [asked, owner]: readonly [Daemon, Daemon],
  handles: readonly Buffer[],
  { calls, rate, seconds, warmup }: SpreadOptions,
): Promise<Asked> {
  await load.loadStatus(asked.port, NATIVE, handles);
  await load.statusCalls(asked.port, Math.ceil(warmup / 4));
  const cpu = () => [mainThreadMicros(asked.pid), mainThreadMicros(owner.pid)] as const;
  const from = cpu();
  await load.statusCalls(asked.port, calls);
  const to = cpu();
  const { p50Ms } = await load.statusOpen(asked.port, rate, seconds);
  return { askedUs: (to[0] - from[0]) / calls, ownerUs: (to[1] - from[1]) / calls, p50Ms };
}

interface Creates {
  readonly perSecond: number;
  readonly cpuUs: number;
}

/** So many Creates over all that are there, with the same calls under way in sum; their tasks are deleted again. */
async function creates(loads: readonly Load[], daemons: readonly Daemon[], pairs: number): Promise<Creates> {
  const share = Math.ceil(pairs / daemons.length);
  const cpuFrom = mainMicros(daemons);
  const from = performance.now();
  const made = await Promise.all(daemons.map(({ port }, index) => loads[index]!.create(port, share, share)));
  const seconds = (performance.now() - from) / 1000;
  const micros = mainMicros(daemons) - cpuFrom;
  for (const [index, { handles }] of made.entries()) await loads[index]!.delete(daemons[index]!.port, handles);
  const count = share * daemons.length;
  return { perSecond: count / seconds, cpuUs: micros / count };
}

/** Creates over replicas among which the parts are divided, one or several. */
async function createRounds(place: PostgresPlace, replicas: number, options: SpreadOptions): Promise<Creates[]> {
  const fleet = new SpreadFleet(place, options);
  try {
    for (let index = 0; index < replicas; index++) await fleet.add();
    await fleet.even();
    return await withLoads(options, replicas, async (loads) => {
      await creates(loads, fleet.daemons, Math.ceil(options.warmup / 4));
      const rounds: Creates[] = [];
      for (let round = 0; round < options.rounds; round++) {
        rounds.push(await creates(loads, fleet.daemons, options.pairs));
      }
      return rounds;
    });
  } finally {
    await fleet.stop();
  }
}

interface Ended {
  readonly tookS: number;
  readonly awayS: number;
}

/** Calls about tasks of the replica that is asked and of another one; then that other one is ended, in both ways, while somebody asks for its task. */
async function serving(place: PostgresPlace, options: SpreadOptions, progress: (line: string) => void) {
  const { rounds, parts } = options;
  const fleet = new SpreadFleet(place, options);
  const own: Asked[] = [];
  const passed: Asked[] = [];
  const ended = { SIGTERM: [] as Ended[], SIGKILL: [] as Ended[] };
  try {
    for (let index = 0; index < REPLICAS; index++) await fleet.add();
    await fleet.even();
    await withLoads(options, 1, async ([load]) => {
      const { handles } = await load!.create(fleet.daemons[0]!.port, LIVE);
      for (let round = 0; round < rounds; round++) {
        const [asked, owner] = fleet.daemons as [Daemon, Daemon];
        own.push(await statuses(load!, [asked, owner], await tasksOf(asked, handles, parts), options));
        passed.push(await statuses(load!, [asked, owner], await tasksOf(owner, handles, parts), options));
      }
      progress('calls were passed on');
      for (let round = 0; round < rounds; round++) {
        for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
          const [asked, owner] = fleet.daemons as [Daemon, Daemon];
          const [handle] = await tasksOf(owner, handles, parts);
          const caller = asking(load!, asked.port, handle!);
          await sleep(500);
          const tookS = await fleet.end(owner, signal);
          await sleep(500);
          ended[signal].push({ tookS, awayS: await caller.stop() });
          await fleet.add();
          await fleet.even();
        }
        progress(
          `all parts again ${ended.SIGTERM.at(-1)?.tookS} s after a stop, ${ended.SIGKILL.at(-1)?.tookS} s after a kill`,
        );
      }
    });
    return { own, passed, ended };
  } finally {
    await fleet.stop();
  }
}

/** What `runSpread` comes to. */
export const SPREAD_FIELDS = [
  'own_cpu_us',
  'passed_cpu_us_asked',
  'passed_cpu_us_owner',
  'own_p50_ms',
  'passed_p50_ms',
  'creates_per_second_1',
  'creates_per_second_3',
  'create_cpu_us_1',
  'create_cpu_us_3',
  'stop_s',
  'stop_outage_s',
  'kill_s',
  'kill_outage_s',
] as const;

/** With the tasks spread over three replicas. */
export async function runSpread(
  place: Place,
  options: SpreadOptions,
  progress: (line: string) => void,
): Promise<Record<(typeof SPREAD_FIELDS)[number], number>> {
  const of = <R>(list: readonly R[], pick: (one: R) => number, digits = 1) => rounded(median(list.map(pick)), digits);
  const { own, passed, ended } = await serving(place('spread'), options, progress);
  const one = await createRounds(place('one'), 1, options);
  progress(`${of(one, (each) => each.perSecond, 0)} Creates a second over one replica`);
  const three = await createRounds(place('three'), REPLICAS, options);
  return {
    own_cpu_us: of(own, (each) => each.askedUs),
    passed_cpu_us_asked: of(passed, (each) => each.askedUs),
    passed_cpu_us_owner: of(passed, (each) => each.ownerUs),
    own_p50_ms: of(own, (each) => each.p50Ms, 2),
    passed_p50_ms: of(passed, (each) => each.p50Ms, 2),
    creates_per_second_1: of(one, (each) => each.perSecond, 0),
    creates_per_second_3: of(three, (each) => each.perSecond, 0),
    create_cpu_us_1: of(one, (each) => each.cpuUs),
    create_cpu_us_3: of(three, (each) => each.cpuUs),
    stop_s: of(ended.SIGTERM, (each) => each.tookS, 2),
    stop_outage_s: of(ended.SIGTERM, (each) => each.awayS, 2),
    kill_s: of(ended.SIGKILL, (each) => each.tookS, 2),
    kill_outage_s: of(ended.SIGKILL, (each) => each.awayS, 2),
  };
}

export function describeSpread(result: Record<string, unknown>): string {
  return (
    `replicas  ${result.parts} parts over ${REPLICAS}: Status ${result.own_cpu_us} µs of the main thread of its own; passed on ${result.passed_cpu_us_asked} and ${result.passed_cpu_us_owner} at the owner; p50 ${result.own_p50_ms} and ${result.passed_p50_ms} ms\n` +
    `          Creates a second ${result.creates_per_second_1} over one, ${result.creates_per_second_3} over three; ${result.create_cpu_us_1} and ${result.create_cpu_us_3} µs of all main threads each\n` +
    `          all parts again ${result.stop_s} s after a stop (away ${result.stop_outage_s}), ${result.kill_s} s after a kill (away ${result.kill_outage_s}), lease ${result.lease} s`
  );
}
