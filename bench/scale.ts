import { type AssignedMember, type AssignedPart, type Move, nextMoves } from '../src/cluster/assignment.js';
import { LeaseWatch } from '../src/cluster/lease.js';
import { refreshTuning } from '../src/daemon/options.js';
import { GrantDrawer } from '../src/limits/grants/grant-drawer.js';
import { GrantOwner } from '../src/limits/grants/grant-owner.js';
import { PARTITIONS, partitionOf, partOf } from '../src/model/handle.js';
import { defaultsOf } from '../src/model/options/defaults.js';
import { DEFAULT_PLUGIN_CONFIG } from '../src/model/options/plugin.js';
import { CONFIG_SCHEMA } from '../src/model/options/schema.js';
import { phaseState } from '../src/model/phase-state.js';
import { refreshConfig } from '../src/refresh/config.js';
import { createRefresher } from '../src/refresh/refresher.js';
import type { PolledTask, ReadReport, ReadRequest, TaskReader } from '../src/refresh/types.js';
import { type BenchOptions, defineBench } from './lib/bench.js';
import { machine } from './lib/cpu.js';
import { seeded } from './lib/jobs.js';
import { rounded } from './lib/numbers.js';
import { VirtualClock } from './lib/virtual-time.js';

const DEFAULTS = {
  replicas: 50,
  /** In all, evenly of `plugins`; of those plugins the first `simulated` are run, and their messages are multiplied. */
  tasks: 2_000_000,
  plugins: 100,
  simulated: 1,
  /** Mean time from a task's Create to its end. Seconds. */
  life: 1800,
  parts: 256,
  /** Read limit of each plugin, calls a second, and tasks of one call. */
  qps: 100,
  batch: 100,
  lease: 10,
  grant: 3,
  /** Virtual seconds that are counted, after as many in which all comes to rest. */
  seconds: 60,
  moving: 2,
  seed: 1,
} satisfies BenchOptions;

type Options = Record<keyof typeof DEFAULTS, number>;

const READ_MS = 50;
/** From a message's sending to its coming, and the same for a statement. */
const HOP_MS = 2;
/** Between two looks of a replica at what is due, for what it wants. */
const WANT_EVERY_MS = 100;
/** As the seat has them. */
const LOOK_MS = 500;
const RENEWALS_A_LEASE = 3;
const RUNNING = { ok: true as const, value: phaseState('RUNNING') };
const ENDED = { ok: true as const, value: phaseState('SUCCESS') };
/** Measured by the bench `replicas` of one daemon: tasks loaded a second, commits that a task's life awaits, and how wide a group is. */
const LOADED_PER_SECOND = 11_500;
const COMMITS_A_LIFE = 3.1;
const GROUP_MS = 5;
/** A part is given up when its calls have ended and its last group is written. */
const GIVE_UP_MS = 300;

interface Counted {
  draws: number;
  grants: number;
  granted: number;
  calls: number;
  reads: number;
  ends: number;
}

class SimulatedTask implements PolledTask {
  readonly identity = { quotaNamespace: '' };
  readonly state = { nextPollAfterMs: undefined };
  readonly id: string;
  readonly liveSinceMs: number;
  readonly endsAtMs: number;
  readonly #clock: VirtualClock;
  lastReadAtMs: number;

  constructor(id: string, liveSinceMs: number, endsAtMs: number, clock: VirtualClock) {
    this.id = id;
    this.liveSinceMs = liveSinceMs;
    this.endsAtMs = endsAtMs;
    this.#clock = clock;
    this.lastReadAtMs = clock.now();
  }

  get lastAskedAtMs(): number {
    return this.#clock.now();
  }
}

/** The polls of one plugin at one replica: the daemon's schedule, which reads as it is granted. */
class Replica implements TaskReader {
  readonly drawer: GrantDrawer;
  readonly #lane: Lane;
  readonly #tasks = new Map<string, SimulatedTask>();
  readonly #refresher;

  constructor(lane: Lane, name: string) {
    const { clock, options, counted } = lane;
    const { qps, batch, seed } = options;
    this.#lane = lane;
    const limits = { ...DEFAULT_PLUGIN_CONFIG, readRateLimiter: { qps, burst: 10 * qps } };
    // The spare part of the limit is shared as its tasks are.
    const own = { ...limits, readRateLimiter: { qps: qps / options.replicas, burst: 10 * qps } };
    const config = refreshConfig(own, batch, refreshTuning(defaultsOf(CONFIG_SCHEMA)));
    this.#refresher = createRefresher({ reader: this, clock, random: seeded(seed), config });
    this.drawer = new GrantDrawer({
      drawer: name,
      grantMs: options.grant * 1_000,
      clock,
      bootMs: () => clock.now(),
      send: (draw) => {
        counted.draws += 1;
        clock.setTimer(HOP_MS, () => lane.owner.onDraw(draw));
      },
      changed: () => this.#refresher.wake(),
    });
    this.drawer.follow('e');
    const look = () => {
      this.#want();
      clock.setTimer(WANT_EVERY_MS, look);
    };
    clock.setTimer((partitionOf(name) * WANT_EVERY_MS) / PARTITIONS, look);
  }

  track(task: SimulatedTask): void {
    this.#tasks.set(task.id, task);
    this.#refresher.track(task, { lastReadAtMs: task.lastReadAtMs });
  }

  capacity() {
    const tokensNow = this.drawer.available();
    const msUntilToken = this.drawer.msUntil(1);
    return { slotsFree: 1, tokensNow, msUntilToken, pausedUntilMs: undefined, queued: 0, open: tokensNow > 0 };
  }

  read({ ids }: ReadRequest): ReturnType<TaskReader['read']> {
    const { clock, counted } = this.#lane;
    if (this.drawer.take() === undefined) throw new Error('a read was made that was not granted');
    counted.calls += 1;
    counted.reads += ids.length;
    const outcomes = ids.map((id) => {
      const task = this.#tasks.get(id) as SimulatedTask;
      this.#lane.read(task);
      return task.endsAtMs <= clock.now() ? ENDED : RUNNING;
    });
    return new Promise((resolve) =>
      clock.setTimer(READ_MS, () => {
        this.drawer.ended();
        resolve(outcomes);
      }),
    );
  }

  tokenWanted(): boolean {
    return false;
  }

  onOutcome({ id, outcome }: ReadReport): void {
    if (!outcome.ok || outcome.value.phase !== 'SUCCESS') return;
    this.#tasks.delete(id);
    this.#refresher.untrack(id);
    this.#lane.counted.ends += 1;
    this.#lane.add();
  }

  #want(): void {
    this.drawer.want(Math.ceil(this.#refresher.countDue() / this.#lane.options.batch));
  }
}

/** The reads of one plugin over all replicas: its limits have one owner, its tasks lie with whoever has their parts. */
class Lane {
  readonly clock = new VirtualClock();
  readonly options: Options;
  readonly counted: Counted = { draws: 0, grants: 0, granted: 0, calls: 0, reads: 0, ends: 0 };
  readonly owner: GrantOwner;
  readonly #replicas: readonly Replica[];
  readonly #random: () => number;
  readonly #waits: number[] = [];
  #made = 0;

  constructor(options: Options) {
    const { qps, grant, replicas, seed, tasks, plugins } = options;
    const { clock, counted } = this;
    this.options = options;
    this.#random = seeded(seed);
    this.owner = new GrantOwner({
      epoch: 'e',
      bounds: { rate: { qps, burst: 10 * qps }, concurrency: Math.max(10, qps), callMs: READ_MS },
      grantMs: grant * 1_000,
      clock,
      mayGrant: () => true,
      send: (given) => {
        counted.grants += 1;
        counted.granted += given.calls;
        clock.setTimer(HOP_MS, () => this.#byName.get(given.drawer)?.drawer.onGrant(given));
      },
    });
    this.#replicas = Array.from({ length: replicas }, (_, index) => new Replica(this, `r${index}`));
    this.#byName = new Map(this.#replicas.map((replica, index) => [`r${index}`, replica]));
    for (let index = 0; index < tasks / plugins; index++) this.add(true);
  }

  readonly #byName: ReadonlyMap<string, Replica>;

  /** A new task, or one that has lived for a while: lives end at a constant rate. */
  add(before = false): void {
    const { parts, replicas, life } = this.options;
    const id = `task-${++this.#made}`;
    const now = this.clock.now();
    const meanMs = life * 1_000;
    const ageMs = before ? -meanMs * Math.log(1 - this.#random()) : 0;
    const task = new SimulatedTask(id, now - ageMs, now - meanMs * Math.log(1 - this.#random()), this.clock);
    if (before) task.lastReadAtMs = now - this.#random() * 30_000;
    const owner = this.#replicas[partOf(partitionOf(id), parts) % replicas] as Replica;
    owner.track(task);
  }

  read(task: SimulatedTask): void {
    this.#waits.push(this.clock.now() - task.lastReadAtMs);
    task.lastReadAtMs = this.clock.now();
  }

  async run() {
    const ms = this.options.seconds * 1_000;
    await this.clock.pass(ms);
    const before = { ...this.counted };
    this.#waits.length = 0;
    await this.clock.pass(ms);
    const { seconds } = this.options;
    const perSecond = (field: keyof Counted) => (this.counted[field] - before[field]) / seconds;
    const waits = this.#waits.sort((a, b) => a - b);
    return { perSecond, p99Ms: waits[Math.floor(waits.length * 0.99)] ?? 0 };
  }
}

interface Row {
  counter: number;
  leaving: boolean;
}

/** The parts of a state over replicas that come, stop and die: who has what, on the word of a table that all look at. */
class Spread {
  readonly clock = new VirtualClock();
  readonly #options: Options;
  readonly #rows = new Map<string, Row>();
  readonly #parts: { owner: string | undefined; working: boolean }[];
  readonly #dead = new Set<string>();
  #moved = 0;
  statements = 0;

  constructor(options: Options) {
    this.#options = options;
    this.#parts = Array.from({ length: options.parts }, () => ({ owner: undefined, working: false }));
  }

  get moved(): number {
    return this.#moved;
  }

  join(name: string): void {
    const { lease } = this.#options;
    this.#rows.set(name, { counter: 0, leaving: false });
    const renew = () => {
      const row = this.#rows.get(name);
      if (row === undefined || this.#dead.has(name)) return;
      row.counter += 1;
      this.statements += 1;
      this.clock.setTimer((lease * 1_000) / RENEWALS_A_LEASE, renew);
    };
    renew();
    this.#work(name);
  }

  /** It gives away all it has, and goes when it has nothing. */
  stop(name: string): void {
    (this.#rows.get(name) as Row).leaving = true;
  }

  kill(name: string): void {
    this.#dead.add(name);
    for (const part of this.#parts) if (part.owner === name) part.working = false;
  }

  /** Seconds until all parts are worked on, as many by one as by another, and nothing more moves. */
  async settled(): Promise<number> {
    const fromMs = this.clock.now();
    for (let stillMs = fromMs; ; await this.clock.pass(20)) {
      const counts = new Map<string, number>();
      for (const name of this.#rows.keys()) if (!this.#dead.has(name)) counts.set(name, 0);
      for (const { owner, working } of this.#parts) {
        if (working) counts.set(owner as string, (counts.get(owner as string) as number) + 1);
      }
      const all = [...counts.values()];
      const whole = all.reduce((sum, count) => sum + count, 0) === this.#parts.length;
      const even = Math.max(...all) - Math.min(...all) <= 1;
      if (!whole || !even) stillMs = this.clock.now();
      if (this.clock.now() - stillMs > 3 * LOOK_MS) return (stillMs - fromMs) / 1_000;
      if (this.clock.now() - fromMs > 600_000) throw new Error('the parts never come to rest');
    }
  }

  /** Whether every part is worked on by somebody. */
  get whole(): boolean {
    return this.#parts.every(({ working }) => working);
  }

  #work(name: string): void {
    const watch = new LeaseWatch(this.#options.lease * 1_000, LOOK_MS);
    const busy = new Set<number>();
    let loadedAtMs = 0;
    const give = (part: number) => {
      busy.add(part);
      this.#later(GIVE_UP_MS, name, () => {
        Object.assign(this.#parts[part] as object, { owner: undefined, working: false });
        this.statements += 1;
        busy.delete(part);
      });
    };
    const take = (part: number, from: string | undefined) => {
      const row = this.#parts[part] as { owner: string | undefined; working: boolean };
      this.statements += 1;
      if (row.owner !== from) return;
      Object.assign(row, { owner: name, working: false });
      this.#moved += 1;
      this.statements += 1;
      const { tasks, parts } = this.#options;
      loadedAtMs = Math.max(loadedAtMs, this.clock.now()) + (tasks / parts / LOADED_PER_SECOND) * 1_000;
      this.#later(loadedAtMs - this.clock.now(), name, () => {
        row.working = true;
      });
    };
    const look = () => {
      if (this.#dead.has(name)) return;
      this.statements += 1;
      const counters = new Map([...this.#rows].map(([epoch, { counter }]) => [epoch, `${counter}`]));
      watch.saw({ askedAtMs: this.clock.now(), answeredAtMs: this.clock.now(), counters });
      for (const { part, from, to } of this.#moves(watch)) {
        if (from === name && !busy.has(part)) give(part);
        if (to === name && from === undefined) take(part, this.#parts[part]?.owner);
      }
      const row = this.#rows.get(name);
      if (row?.leaving === true && !this.#parts.some(({ owner }) => owner === name)) this.#rows.delete(name);
      else this.clock.setTimer(LOOK_MS, look);
    };
    this.clock.setTimer((partitionOf(name) * LOOK_MS) / PARTITIONS, look);
  }

  #later(ms: number, name: string, work: () => void): void {
    this.clock.setTimer(ms, () => {
      if (!this.#dead.has(name)) work();
    });
  }

  #moves(watch: LeaseWatch): readonly Move[] {
    const plugins = new Set(['p']);
    const rest = { version: '1', joinedAtMs: 0, plugins, unreachable: new Set<string>() };
    const members = [...this.#rows]
      .filter(([epoch]) => !watch.isDead(epoch))
      .map(([epoch, { leaving }]): AssignedMember => ({ epoch, leaving, ...rest }));
    const parts = this.#parts.map(({ owner }, part): AssignedPart => {
      return { part, owner, needs: plugins, leastVersion: '1', hasLimits: false };
    });
    return nextMoves({ members, parts, maxMoving: this.#options.moving });
  }
}

const CHANGES = ['join', 'stop', 'crash'] as const;
const CHANGE_FIELDS = CHANGES.flatMap((name) => [`${name}_s`, `${name}_moved`] as const);

async function rebalance(options: Options) {
  const spread = new Spread(options);
  for (let index = 0; index < options.replicas; index++) spread.join(`r${index}`);
  await spread.settled();
  const fromMs = spread.clock.now();
  const before = spread.statements;
  await spread.clock.pass(60_000);
  const quiet = (spread.statements - before) / ((spread.clock.now() - fromMs) / 1_000);
  const times: Partial<Record<(typeof CHANGE_FIELDS)[number], number>> = {};
  const changes = { join: () => spread.join('new'), stop: () => spread.stop('r1'), crash: () => spread.kill('r2') };
  for (const name of CHANGES) {
    const moved = spread.moved;
    changes[name]();
    times[`${name}_s`] = rounded(await spread.settled(), 1);
    times[`${name}_moved`] = spread.moved - moved;
  }
  return { ...(times as Required<typeof times>), membership_statements_per_second: rounded(quiet, 1) };
}

/** What a writer asks the server for when so many commits a second are awaited of it: those that come while a group is open go with it. */
function groupsPerSecond(commits: number): number {
  return commits === 0 ? 0 : 1 / (1 / commits + GROUP_MS / 1_000);
}

export const bench = defineBench({
  summary:
    'a simulation of tasks that are spread over replicas, in virtual time: messages, statements, time to rebalance',
  defaults: DEFAULTS,
  fields: [
    'simulated_share',
    'draws_per_second_extrapolated',
    'grants_per_second_extrapolated',
    'calls_per_second_extrapolated',
    'task_reads_per_second_extrapolated',
    'messages_per_call',
    'tasks_per_call',
    'limit_used',
    'read_interval_p99_s',
    'lives_per_second',
    'commits_per_second_computed',
    'statements_per_second_by_replica_computed',
    'statements_per_second_by_part_computed',
    'membership_statements_per_second',
    ...CHANGE_FIELDS,
  ],

  async run(given, progress) {
    const options = given as Options;
    const { replicas, tasks, plugins, simulated, life, parts, qps } = options;
    const sums = { draws: 0, grants: 0, granted: 0, calls: 0, reads: 0, ends: 0 };
    let p99Ms = 0;
    for (let index = 0; index < simulated; index++) {
      const lane = await new Lane({ ...options, seed: options.seed + index }).run();
      for (const field of Object.keys(sums) as (keyof Counted)[]) sums[field] += lane.perSecond(field);
      p99Ms = Math.max(p99Ms, lane.p99Ms);
      progress(`plugin ${index + 1} of ${simulated}: ${rounded(lane.perSecond('calls'), 1)} reads a second`);
    }
    const times = await rebalance(options);
    const of = (perSecond: number) => rounded((perSecond * plugins) / simulated, 0);
    const lives = tasks / life;
    const commits = lives * COMMITS_A_LIFE;
    return {
      bench: 'scale',
      simulated_share: rounded(simulated / plugins, 4),
      draws_per_second_extrapolated: of(sums.draws),
      grants_per_second_extrapolated: of(sums.grants),
      calls_per_second_extrapolated: of(sums.calls),
      task_reads_per_second_extrapolated: of(sums.reads),
      messages_per_call: rounded((sums.draws + sums.grants) / sums.calls, 2),
      tasks_per_call: rounded(sums.reads / sums.calls, 1),
      limit_used: rounded(sums.calls / simulated / qps),
      read_interval_p99_s: rounded(p99Ms / 1_000, 1),
      lives_per_second: rounded(lives, 0),
      commits_per_second_computed: rounded(commits, 0),
      statements_per_second_by_replica_computed: rounded(replicas * groupsPerSecond(commits / replicas), 0),
      statements_per_second_by_part_computed: rounded(parts * groupsPerSecond(commits / parts), 0),
      ...times,
      ...options,
      machine: machine(),
    };
  },

  describe: (result) =>
    `scale  ${result.replicas} replicas, ${result.tasks} tasks, of which ${Number(result.simulated_share) * 100} % were run and the rest is extrapolated\n` +
    `       a second: ${result.calls_per_second_extrapolated} calls of remotes, ${result.draws_per_second_extrapolated} draws, ${result.grants_per_second_extrapolated} grants (${result.messages_per_call} messages a call)\n` +
    `       statements a second: ${result.membership_statements_per_second} of members, ${result.statements_per_second_by_replica_computed} of tasks with a writer for each replica, ${result.statements_per_second_by_part_computed} with one for each part\n` +
    `       spread again after a join ${result.join_s} s (${result.join_moved} parts), a stop ${result.stop_s} s (${result.stop_moved}), a crash ${result.crash_s} s (${result.crash_moved})`,
});
