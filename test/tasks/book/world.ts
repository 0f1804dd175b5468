import fc from 'fast-check';
import { ManualClock } from '../../../src/lib/clock.js';
import type { TaskRecord } from '../../../src/model/task-record.js';
import { isTerminal, type Phase } from '../../../src/plugin-api/phase.js';
import { type Harness, makeHarness } from '../harness.js';
import { BookEngine } from './engine.js';
import { MortalClock } from './life.js';
import { type Blind, BookRemote, type Job, UNSEEN } from './remote.js';
import { NODES, type Step, step } from './steps.js';
import { Story } from './story.js';

const QUOTA = 4;
const LIMITS = { readRateLimiter: { qps: 4, burst: 8 }, writeRateLimiter: { qps: 2, burst: 6 } };
const CONFIG = {
  ...LIMITS,
  resourceQuotas: { default: QUOTA },
  caching: { size: 1_000, resyncIntervalMs: 10_000, workers: 5, maxSystemFailures: 5 },
};
const RESYNC_MS = 10_000;
const NOT_FOUND_MS = 40_000;
const OUTAGE_GRACE_MS = 120_000;
const REFRESH = {
  visibilityGraceMs: 15_000,
  notFoundMinMs: NOT_FOUND_MS,
  outageGraceMs: OUTAGE_GRACE_MS,
  minFailingMs: 30_000,
};
const OPTIONS = {
  visibilityGraceMs: 15_000,
  notFoundMinMs: NOT_FOUND_MS,
  orphanGraceMs: 60_000,
  createBudgetMs: 60_000,
  retryMaxMs: 20_000,
};
/** Everything that is owed, looked for or frozen has come to its end this long after the last fault. */
const SETTLE_MS = 300_000;
/** New work starts this soon, whatever jobs cannot be read. */
const STARTS_WITHIN_MS = 120_000;

/** Ends of a task whose reads fail. */
const READ_ENDS = new Set(['READS_FAILING', 'REMOTE_OUTAGE']);

/** One daemon after another over one remote, with an engine that calls them. */
class World {
  readonly clock = new ManualClock();
  readonly story = new Story(this.clock);
  readonly remote: BookRemote;
  /** Jobs that only the memory of a daemon knew which is gone, and nothing survives without a state. */
  readonly excused = new Set<string>();
  engine!: BookEngine;
  h!: Harness;
  #life = new MortalClock(this.clock);
  #restarts = 0;
  /** A process that dies in a read may do so for the job's sake: of a plugin with one task that is no outage. */
  #diedInReads = false;
  readonly #lists: boolean;

  constructor(lists: boolean) {
    this.#lists = lists;
    this.remote = new BookRemote(this.clock, NOT_FOUND_MS, (name) => this.engine.lifeOf(name));
  }

  async start(): Promise<void> {
    const life = new MortalClock(this.clock);
    this.#life = life;
    this.h = await makeHarness({
      config: CONFIG,
      options: OPTIONS,
      refresh: REFRESH,
      world: { manual: this.clock, clock: life },
      warmUpMs: 0,
      plugin: (plugin) => {
        if (this.#lists) plugin.features.getMany = { maxBatch: 4, batchKeys: false };
        this.remote.serve(plugin, () => life.alive);
      },
      events: {
        ended: (task) => life.alive && this.#ended(task),
        orphanDeleted: (task) => life.alive && this.#orphanDeleted(task),
      },
    });
    if (this.engine === undefined) this.engine = new BookEngine(this.h, this.story);
    else this.engine.movesTo(this.h);
  }

  async restart(clean: boolean): Promise<void> {
    this.story.tell(clean ? 'the daemon stops and another starts' : 'the daemon is killed and another starts');
    if (clean) {
      this.h.tasks.drain();
      void this.h.stops();
      await this.clock.advance(25_000);
    }
    this.#life.kill();
    this.#faults();
    this.#restarts += 1;
    this.remote.daemon += 1;
    const known = new Set(this.engine.knownJobs());
    for (const job of this.remote.jobs.values()) {
      job.seen = { ...UNSEEN };
      if (this.remote.runs(job) && !known.has(job.key)) this.excused.add(job.key);
    }
    await this.start();
  }

  move(nth: number, to: Phase | 'purged' | 'poisoned'): void {
    const job = [...this.remote.jobs.values()][nth % Math.max(1, this.remote.jobs.size)];
    if (job === undefined || !this.remote.runs(job)) return;
    this.story.tell(`job ${job.name} (${job.key}) is ${to}`);
    if (to === 'purged' || to === 'poisoned') job[to] = true;
    else job.phase = to;
  }

  /** Rule 10, while no handle was adopted, and what must hold at every moment. */
  check(): void {
    if (this.#restarts > 0) return;
    const used = this.#tokens().used;
    this.story.check(used >= 0 && used <= QUOTA, () => `${used} tokens of ${QUOTA} are out`);
    // What the ledger says is one thing; each job is worth a token.
    let live = 0;
    for (const { stage } of this.h.store.unfinishedTasks()) if (stage === 'live') live += 1;
    this.story.check(live <= QUOTA, () => `${live} tasks are live with ${QUOTA} tokens`);
  }

  #tokens(): { readonly used: number; readonly waiting: number } {
    return this.h.runtime.quotas
      .snapshot()
      .reduce((sum, one) => ({ used: sum.used + one.used, waiting: sum.waiting + one.waiting }), {
        used: 0,
        waiting: 0,
      });
  }

  /** Rule 4: a job is lost only after it was not found over the minimum time, one of a wave only after the outage grace. */
  #ended(task: TaskRecord): void {
    this.story.tell(`${task.id} ends ${task.state.phase} ${task.state.error?.code ?? ''}`);
    this.#outageEndsNone(task);
    if (task.state.error?.code !== 'RESOURCE_LOST') return;
    const job = this.remote.jobs.get(task.meta?.toString() ?? '');
    if (job === undefined) return;
    const now = this.clock.now();
    const { missingSinceMs = now, reads } = job.seen;
    const confirmed = reads >= 3 && now - missingSinceMs >= NOT_FOUND_MS;
    this.story.check(confirmed, () => `${task.id} is lost after ${reads} reads in ${now - missingSinceMs} ms`);
    const wave = this.#turnedTogether(task, job);
    const frozen = wave >= 3 && now - missingSinceMs < OUTAGE_GRACE_MS;
    this.story.check(!frozen, () => `${task.id} is lost although ${wave} jobs were not found together`);
    // It may run all the same: the delete that is owed has to find out for itself.
    job.believedGone = false;
    job.seen = { ...UNSEEN };
  }

  /** Rule 4: what can be read while the remote is well is not ended because the remote is away, before the grace is over. */
  #outageEndsNone(task: TaskRecord): void {
    const job = this.remote.jobs.get(task.meta?.toString() ?? '');
    const error = task.state.error?.code ?? '';
    if (job === undefined || job.poisoned || this.#diedInReads || !READ_ENDS.has(error)) return;
    const unseenMs = this.clock.now() - (job.seen.foundAtMs ?? job.madeAtMs);
    this.story.check(unseenMs >= OUTAGE_GRACE_MS, () => `${task.id} ends ${error} ${unseenMs} ms after it was seen`);
  }

  /** Rule 9: only what runs is deleted, as far as the daemon can know. */
  #orphanDeleted(task: TaskRecord): void {
    this.story.check(task.stage !== 'over', () => `${task.id} is over, and is deleted as an orphan`);
    this.engine.orphanDeleted(task.outputPrefix.replace('s3://bucket/', ''));
  }

  /** Live tasks, this one among them, that were seen alive shortly before and turned NotFound with it. */
  #turnedTogether(task: TaskRecord, { seen }: Job): number {
    const since = seen.missingSinceMs;
    if (since === undefined || !turnedAlive(seen)) return 0;
    let count = 1;
    for (const other of this.h.store.unfinishedTasks()) {
      const sight = other === task ? undefined : this.remote.jobs.get(other.meta?.toString() ?? '')?.seen;
      if (sight?.missingSinceMs === undefined || !turnedAlive(sight)) continue;
      if (Math.abs(sight.missingSinceMs - since) <= RESYNC_MS / 2) count += 1;
    }
    return count;
  }

  async finish(): Promise<void> {
    const { remote, engine, story, clock } = this;
    story.tell('the faults end');
    Object.assign(remote.weather, { create: 'fine', read: 'fine', delete: 'fine' });
    remote.blind = 'no';
    engine.poll();
    await this.#newWorkGoesOn();
    for (let passed = 0; passed < SETTLE_MS; passed += 30_000) {
      await clock.advance(30_000);
      engine.poll();
      this.check();
    }
    this.#compare();
    this.#remoteIsUp();
    story.tell('the engine deletes everything');
    for (let i = 0; i < 3; i++) {
      engine.deleteAll();
      await clock.advance(15_000);
      for (const id of NODES) if (this.#unheld(id)) engine.create(id, 'arrives');
      await clock.advance(15_000);
    }
    engine.deleteAll();
    await clock.advance(SETTLE_MS / 2);
    engine.lookBack();
    await clock.advance(30_000);
    await engine.settled();
    this.#compare();
    this.#nothingLeft();
    this.#limits();
    this.#faults();
    this.#life.kill();
    story.judge();
  }

  /** An attempt whose answer was lost is held by nobody; the engine creates it again to get at it. */
  #unheld(id: string): boolean {
    for (const task of this.h.store.unfinishedTasks()) if (task.outputPrefix.includes(`/${id}/`)) return true;
    return false;
  }

  /** Jobs that cannot be read are left where they are: it is they that must not hold it up. */
  async #newWorkGoesOn(): Promise<void> {
    await this.clock.advance(RESYNC_MS);
    const { used, waiting } = this.#tokens();
    const readable = NODES.filter((id) => !this.#poisoned(id));
    for (const id of readable.slice(0, Math.max(0, used + waiting + 1 - QUOTA))) this.engine.delete(id);
    this.engine.create('new', 'arrives');
    await this.clock.advance(STARTS_WITHIN_MS);
    const made = [...this.remote.jobs.values()].some(({ name }) => name === 'new/0');
    // The tasks of handles that were taken up meanwhile have their tokens as well.
    this.story.check(
      made || this.#tokens().used >= QUOTA,
      () => `new work is not started within ${STARTS_WITHIN_MS / 1000} s`,
    );
  }

  #poisoned(id: string): boolean {
    return [...this.remote.jobs.values()].some(({ name, poisoned }) => poisoned && name.startsWith(`${id}/`));
  }

  /** What is read well says that the remote is there. */
  #remoteIsUp(): void {
    const readable = [...this.h.store.unfinishedTasks()].filter(({ meta, stage }) => {
      const job = this.remote.jobs.get(meta?.toString() ?? '');
      return stage === 'live' && job !== undefined && !job.poisoned && this.remote.runs(job);
    });
    const down = readable.length > 0 && this.h.runtime.refresher.remoteDown;
    this.story.check(!down, () => `the remote is down, although ${readable.length} jobs can be read`);
  }

  /** No job runs unseen, and no attempt keeps two. */
  #compare(): void {
    const { remote, story, h } = this;
    const owned = new Set<string>();
    for (const task of h.store.unfinishedTasks()) {
      owned.add(task.id);
      if (task.meta !== undefined) owned.add(task.meta.toString());
    }
    for (const { meta } of h.store.owed.listed()) owned.add(meta.toString());
    const unclear = new Set([...h.store.unclear.listed()].map(({ identity }) => identity.key));
    const kept = new Map<string, string[]>();
    for (const job of remote.jobs.values()) {
      const seen = owned.has(job.key) || this.excused.has(job.key) || job.believedGone;
      const listed = [...unclear].some((key) => job.key.includes(key));
      story.check(!remote.runs(job) || seen || listed, () => `job ${job.key} of ${job.name} runs unseen`);
      if (job.cancelled || job.purged) continue;
      const life = `${job.name}, life ${job.life}`;
      kept.set(life, [...(kept.get(life) ?? []), job.key]);
    }
    for (const [life, keys] of kept) story.check(keys.length === 1, () => `${life} has jobs ${keys.join(', ')}`);
    for (const task of h.store.unfinishedTasks()) {
      const job = remote.jobs.get(task.meta?.toString() ?? '');
      const over = job !== undefined && !job.poisoned && isTerminal(job.phase);
      story.check(!over, () => `${task.id} goes on although its job is over`);
    }
  }

  #nothingLeft(): void {
    const { h, story } = this;
    const { used, waiting } = this.#tokens();
    story.check(h.store.unfinished === 0, () => `${h.store.unfinished} tasks go on after all were deleted`);
    story.check(used + waiting === 0, () => `${used} tokens are out and ${waiting} wait after all was deleted`);
    story.check(h.tasks.owedDeletes.size === 0, () => `${h.tasks.owedDeletes.size} deletes are owed in fine weather`);
  }

  /** Rule 1 over all daemons: a bucket that starts full and lets no call pass that it has no token for. */
  #limits(): void {
    for (const lane of ['read', 'write'] as const) {
      const { qps, burst } = lane === 'read' ? LIMITS.readRateLimiter : LIMITS.writeRateLimiter;
      let level = burst;
      let lastMs = 0;
      for (const call of this.remote.calls) {
        if (call.lane !== lane) continue;
        level = Math.min(burst, level + ((call.atMs - lastMs) * qps) / 1_000) - 1;
        lastMs = call.atMs;
        this.story.check(level >= -1e-3, () => `a ${lane} call above the limit at ${call.atMs}`);
      }
    }
  }

  #faults(): void {
    for (const fault of this.h.faults) this.story.breaks(`the daemon is at fault: ${String(fault)}`);
    for (const broken of this.remote.broken.splice(0)) this.story.breaks(broken);
  }

  async #spell(of: 'down' | Blind, ms: number): Promise<void> {
    const { remote, engine, story, clock } = this;
    story.tell(`for ${ms / 1_000} s reads meet: ${of}`);
    if (of === 'down') remote.weather.read = of;
    else remote.blind = of;
    engine.poll();
    await clock.advance(ms);
    engine.poll();
    if (of === 'down') remote.weather.read = 'fine';
    else remote.blind = 'no';
    story.tell('which is over');
  }

  async do(one: Step): Promise<void> {
    const { engine, remote, story, clock } = this;
    switch (one.kind) {
      case 'create':
        engine.create(one.node, one.delivery);
        await clock.advance(500);
        break;
      case 'delete':
      case 'get':
      case 'tryAgain':
        engine[one.kind](one.node);
        break;
      case 'poll':
      case 'lookBack':
        engine[one.kind]();
        break;
      case 'wait':
        engine.poll();
        await clock.advance(one.ms);
        engine.poll();
        break;
      case 'weather':
        for (const doing of one.of) remote.weather[doing] = one.weather;
        if (remote.weather.read === 'lost') this.#diedInReads = true;
        story.tell(`the weather of ${one.of.join(', ')} is ${one.weather}`);
        break;
      case 'blind':
        remote.blind = one.blind;
        story.tell(`not found: ${one.blind}`);
        break;
      case 'crowd':
        for (const id of NODES) engine.create(id, 'arrives');
        await clock.advance(RESYNC_MS);
        engine.poll();
        break;
      case 'spell':
        await this.#spell(one.of, one.ms);
        break;
      case 'moves':
        this.move(one.nth, one.to);
        break;
      case 'restart':
        await this.restart(one.clean);
        break;
      default:
        one satisfies never;
    }
    await clock.advance(0);
    this.check();
  }
}

function turnedAlive({ foundAtMs, missingSinceMs }: Job['seen']): boolean {
  return foundAtMs !== undefined && missingSinceMs !== undefined && missingSinceMs - foundAtMs <= RESYNC_MS;
}

/** Runs that many cases; rejects with the shortest story that breaks a rule, and the seed and path that tell it again. */
export async function keepTheBook(
  runs: number,
  again: { readonly seed?: number; readonly path?: string },
): Promise<void> {
  const property = fc.asyncProperty(fc.boolean(), fc.array(step, { minLength: 1, maxLength: 40 }), tell);
  await fc.assert(property, { numRuns: runs, ...again });
}

async function tell(lists: boolean, steps: readonly Step[]): Promise<void> {
  const world = new World(lists);
  await world.start();
  for (const one of steps) await world.do(one);
  await world.finish();
}
