import { refreshTuning } from '../src/daemon/options.js';
import { defaultsOf } from '../src/model/options/defaults.js';
import { DEFAULT_PLUGIN_CONFIG } from '../src/model/options/plugin.js';
import { CONFIG_SCHEMA } from '../src/model/options/schema.js';
import { phaseState } from '../src/model/phase-state.js';
import { refreshConfig } from '../src/refresh/config.js';
import { createRefresher } from '../src/refresh/refresher.js';
import type { PolledTask, ReadReport, ReadRequest, TaskReader } from '../src/refresh/types.js';
import { type BenchOptions, defineBench } from './lib/bench.js';
import { machine } from './lib/cpu.js';
import { jobLengths, seeded } from './lib/jobs.js';
import { rounded } from './lib/numbers.js';
import { VirtualClock } from './lib/virtual-time.js';

/** Reads a second that the remote allows either side. */
const LIMIT = 10;
const TOKEN_MS = 1000 / LIMIT;
/** From a read's call to its answer, which says how the job was at the call. */
const READ_MS = 50;
/** The original queues every live task so often, which is its default, and ours as well. */
const RESYNC_MS = 30_000;
/** A task is starved when it is not read for so many times the time in which all can be read once. */
const STARVED = 3;
const HOUR_MS = 3_600_000;

/** What a run comes to, from its first third on, in which both sides come to rest. */
interface Detected {
  readonly meanMs: number;
  readonly ends: number;
  readonly starved: number;
}

interface Run {
  readonly tasks: number;
  /** Tasks that one read tells of. */
  readonly batch: number;
  readonly hours: number;
  readonly seed: number;
}

class Ends {
  readonly #fromMs: number;
  #sumMs = 0;
  #count = 0;

  constructor({ hours }: Run) {
    this.#fromMs = (hours * HOUR_MS) / 3;
  }

  visible(endedAtMs: number, nowMs: number): void {
    if (endedAtMs < this.#fromMs) return;
    this.#sumMs += nowMs - endedAtMs;
    this.#count += 1;
  }

  result(starved: number): Detected {
    return { meanMs: this.#sumMs / this.#count, ends: this.#count, starved };
  }
}

const RUNNING = { ok: true as const, value: phaseState('RUNNING') };
const ENDED = { ok: true as const, value: phaseState('SUCCESS') };

/** A task whose engine asks all the time. */
class SimulatedTask implements PolledTask {
  readonly id: string;
  readonly liveSinceMs: number;
  readonly endsAtMs: number;
  readonly identity = { quotaNamespace: '' };
  readonly state = { nextPollAfterMs: undefined };
  readonly #clock: VirtualClock;
  lastReadAtMs: number;

  constructor(id: string, lengthMs: number, clock: VirtualClock) {
    this.#clock = clock;
    this.id = id;
    this.liveSinceMs = clock.now();
    this.lastReadAtMs = clock.now();
    this.endsAtMs = clock.now() + lengthMs;
  }

  get lastAskedAtMs(): number {
    return this.#clock.now();
  }
}

/** The daemon's schedule as it is, with default settings, under a gate of `LIMIT` reads a second without a burst. */
class Ours implements TaskReader {
  readonly #clock = new VirtualClock();
  readonly #live = new Map<string, SimulatedTask>();
  readonly #lengths: () => number;
  readonly #ends: Ends;
  readonly #run: Run;
  readonly #refresher;
  #nextTokenMs = 0;
  #made = 0;
  #starved = 0;

  constructor(run: Run) {
    this.#run = run;
    this.#lengths = jobLengths(run.seed);
    this.#ends = new Ends(run);
    const limits = { ...DEFAULT_PLUGIN_CONFIG, readRateLimiter: { qps: LIMIT, burst: 1 } };
    const config = refreshConfig(limits, run.batch, refreshTuning(defaultsOf(CONFIG_SCHEMA)));
    this.#refresher = createRefresher({ reader: this, clock: this.#clock, random: seeded(run.seed), config });
  }

  async detect(): Promise<Detected> {
    for (let index = 0; index < this.#run.tasks; index++) this.#add();
    await this.#clock.pass(this.#run.hours * HOUR_MS);
    for (const task of this.#live.values()) this.#note(task);
    // Time stands still from here on, and with it what is being read.
    void this.#refresher.stop();
    return this.#ends.result(this.#starved);
  }

  read({ ids }: ReadRequest): ReturnType<TaskReader['read']> {
    this.#nextTokenMs = this.#clock.now() + TOKEN_MS;
    const outcomes = ids.map((id) => {
      const task = this.#live.get(id)!;
      this.#note(task);
      return task.endsAtMs <= this.#clock.now() ? ENDED : RUNNING;
    });
    return new Promise((resolve) => this.#clock.setTimer(READ_MS, () => resolve(outcomes)));
  }

  capacity() {
    const msUntilToken = Math.max(0, this.#nextTokenMs - this.#clock.now());
    const tokensNow = msUntilToken === 0 ? 1 : 0;
    return { slotsFree: 10, tokensNow, msUntilToken, pausedUntilMs: undefined, queued: 0, open: tokensNow > 0 };
  }

  /** Nobody waits for a token. */
  tokenWanted(): boolean {
    return false;
  }

  onOutcome({ id, outcome }: ReadReport): void {
    if (!outcome.ok || outcome.value.phase !== 'SUCCESS') return;
    this.#ends.visible(this.#live.get(id)!.endsAtMs, this.#clock.now());
    this.#live.delete(id);
    this.#refresher.untrack(id);
    this.#add();
  }

  #add(): void {
    const task = new SimulatedTask(`task-${++this.#made}`, this.#lengths(), this.#clock);
    this.#live.set(task.id, task);
    // The answer to its create has told the state, as a read would.
    this.#refresher.track(task, { lastReadAtMs: this.#clock.now() });
  }

  #note(task: SimulatedTask): void {
    const { tasks, batch } = this.#run;
    const roundMs = Math.max(RESYNC_MS, (tasks / batch) * TOKEN_MS);
    if (this.#clock.now() - task.lastReadAtMs > STARVED * roundMs) this.#starved += 1;
    task.lastReadAtMs = this.#clock.now();
  }
}

/**
 * The original's cache: every live task that is not in the queue is put there each 30 s, and read one by one, first in first
 * out. (The original queues again what is still in its queue; leaving that out is in its favour.)
 */
function original(run: Run): Detected {
  const lengths = jobLengths(run.seed);
  const ends = new Ends(run);
  const endsAtMs = Array.from({ length: run.tasks }, lengths);
  const queued = new Set<number>();
  let nextResyncMs = 0;
  for (let nowMs = 0; nowMs < run.hours * HOUR_MS; nowMs += TOKEN_MS) {
    if (nowMs >= nextResyncMs) {
      for (let task = 0; task < run.tasks; task++) queued.add(task);
      nextResyncMs += RESYNC_MS;
    }
    const [task] = queued;
    if (task === undefined) continue;
    queued.delete(task);
    if (endsAtMs[task]! > nowMs) continue;
    ends.visible(endsAtMs[task]!, nowMs + READ_MS);
    endsAtMs[task] = nowMs + READ_MS + lengths();
  }
  return ends.result(0);
}

async function compare(tasks: number, batch: number, { hours, seed }: BenchOptions) {
  const run = { tasks, batch, hours: hours!, seed: seed! };
  const ours = await new Ours(run).detect();
  const theirs = original(run);
  return { ours, theirs, ratio: ours.meanMs / theirs.meanMs };
}

/** Live tasks by the option of that name, and tasks that one read of ours tells of: 1, or `batch`. */
const COMPARED = ['light', 'capacity', 'capacity_many', 'overload', 'overload_many'] as const;
const FIELDS = [
  ...COMPARED.flatMap(
    (name) => [`${name}_ratio`, `${name}_mean_s`, `${name}_original_mean_s`, `${name}_ends`] as const,
  ),
  'starved' as const,
];
type Figures = Record<(typeof FIELDS)[number], number>;

export const bench = defineBench({
  summary: "from a job's end to its being visible, by the daemon's schedule and by the original's, in virtual time",
  defaults: { hours: 3, light: 30, capacity: 300, overload: 3000, batch: 100, seed: 1 },
  fields: FIELDS,

  targets: {
    light_ratio: { atMost: 0.25 },
    capacity_ratio: { atMost: 1 },
    capacity_many_ratio: { atMost: 0.1 },
    overload_ratio: { atMost: 1 },
    overload_many_ratio: { atMost: 0.04 },
    starved: { atMost: 0 },
  },

  async run(options, progress) {
    const result: Partial<Figures> = {};
    let starved = 0;
    for (const name of COMPARED) {
      const tasks = options[name.replace('_many', '')]!;
      const batch = name.endsWith('_many') ? options.batch! : 1;
      const { ours, theirs, ratio } = await compare(tasks, batch, options);
      result[`${name}_ratio`] = rounded(ratio);
      result[`${name}_mean_s`] = rounded(ours.meanMs / 1000);
      result[`${name}_original_mean_s`] = rounded(theirs.meanMs / 1000);
      result[`${name}_ends`] = ours.ends;
      starved += ours.starved;
      progress(`${name}: ${rounded(ours.meanMs / 1000)} s, original ${rounded(theirs.meanMs / 1000)} s`);
    }
    return { bench: 'detect', ...(result as Figures), starved, ...options, machine: machine() };
  },

  describe: (result) =>
    COMPARED.map((name) => {
      const ratio = `ratio ${result[`${name}_ratio`]}`;
      return `detect ${name}  ${ratio}: ${result[`${name}_mean_s`]} s, original ${result[`${name}_original_mean_s`]} s`;
    })
      .concat(`detect  ${result.starved} reads of starved tasks`)
      .join('\n'),
});
