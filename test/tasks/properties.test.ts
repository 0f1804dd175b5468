import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createDeferred } from '../../src/lib/deferred.js';
import { phaseRank, phaseState } from '../../src/model/phase-state.js';
import type { PluginOutcome } from '../../src/model/plugin-call.js';
import type { WatchReader } from '../../src/model/watch.js';
import { isTerminal, type Phase } from '../../src/plugin-api/phase.js';
import { created, fail, type Harness, HINTS, makeHarness, ok } from './harness.js';

const LIMITS = {
  resourceQuotas: { default: 3 },
  readRateLimiter: { qps: 2, burst: 5 },
  writeRateLimiter: { qps: 1, burst: 5 },
};
const KEYS = ['a', 'b', 'c', 'd', 'e', 'f'];

type Lane = 'read' | 'write';
type Weather = 'fine' | 'throttling' | 'down' | 'silent' | 'dying';

/** A remote that keeps its promises: a job per idempotency key, made at most once. Every call is recorded. */
class Remote {
  readonly weather: Record<Lane, Weather> = { read: 'fine', write: 'fine' };
  readonly jobs = new Map<string, { phase: Phase; deleted: boolean }>();
  readonly calls: { lane: Lane; atMs: number }[] = [];
  readonly reading = new Set<string>();
  violations: string[] = [];

  constructor(private readonly h: Harness) {
    h.plugin.on.create = (args) =>
      this.#answer('write', () => {
        const existing = this.jobs.has(args.idempotencyKey);
        if (!existing) this.jobs.set(args.idempotencyKey, { phase: 'QUEUED', deleted: false });
        return created(args.idempotencyKey, undefined, existing);
      });
    h.plugin.on.get = ({ meta }) => {
      const key = meta.toString();
      if (this.reading.has(key)) this.violations.push(`two reads of ${key} in flight`);
      this.reading.add(key);
      return this.#answer('read', () => this.#read(key)).finally(() => this.reading.delete(key));
    };
    h.plugin.on.delete = ({ meta }) =>
      this.#answer('write', () => {
        const job = this.jobs.get(meta.toString());
        if (job === undefined) return fail('not_found');
        job.deleted = true;
        return ok({});
      });
  }

  step(key: string, phase: Phase): void {
    const job = [...this.jobs.entries()].filter(([id]) => id.includes(key)).at(-1)?.[1];
    if (job !== undefined && !isTerminal(job.phase)) job.phase = phase;
  }

  #read(key: string) {
    const job = this.jobs.get(key);
    if (job === undefined || job.deleted) return fail('not_found');
    return ok(phaseState(job.phase));
  }

  /** In bad weather half of the work is done all the same: that is what makes creates hard. */
  #answer<T>(lane: Lane, work: () => PluginOutcome<T>): Promise<PluginOutcome<T>> {
    this.calls.push({ lane, atMs: this.h.clock.now() });
    const weather = this.weather[lane];
    switch (weather) {
      case 'fine':
        return Promise.resolve(work());
      case 'throttling':
        return Promise.resolve(fail('throttled', { retryAfterMs: 3_000 }));
      case 'down':
        return Promise.resolve(fail('transient'));
      case 'dying':
        work();
        return Promise.resolve(fail('process_died'));
      case 'silent': {
        work();
        const late = createDeferred<PluginOutcome<T>>();
        this.h.clock.setTimer(20_000, () => late.resolve(fail('deadline')));
        return late.promise;
      }
      default:
        return weather satisfies never;
    }
  }
}

const key = fc.constantFrom(...KEYS);
const command = fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('create' as const), key, undelivered: fc.boolean() }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('delete' as const), key }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('get' as const), key }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('status' as const), key }) },
  {
    weight: 5,
    arbitrary: fc.record({ kind: fc.constant('advance' as const), ms: fc.integer({ min: 0, max: 60_000 }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('weather' as const),
      lanes: fc.constantFrom<readonly Lane[]>(['read'], ['write'], ['read', 'write']),
      weather: fc.constantFrom<Weather>('fine', 'throttling', 'down', 'silent', 'dying'),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('hold' as const), paused: fc.boolean() }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('step' as const),
      key,
      phase: fc.constantFrom<Phase>('QUEUED', 'RUNNING', 'SUCCESS', 'PERMANENT_FAILURE'),
    }),
  },
);
type Command = typeof command extends fc.Arbitrary<infer T> ? T : never;

/** Everything a caller can see of one handle must move forwards. */
class Watcher {
  readonly #last = new Map<string, { rank: number; version: number; terminal: Phase | undefined }>();

  see(handle: Buffer, task: { state: { phase: Phase }; phaseVersion: number }): void {
    const name = handle.toString('hex');
    const { phase } = task.state;
    assert.notEqual(phase, 'UNDEFINED');
    const last = this.#last.get(name);
    // A handle that was deleted and asked again answers ABORTED; that is its end, whatever it was before.
    if (last !== undefined && phase !== 'ABORTED') {
      assert.ok(phaseRank(phase) >= last.rank, `${phase} after rank ${last.rank}`);
      assert.ok(task.phaseVersion >= last.version);
      if (last.terminal !== undefined) assert.equal(phase, last.terminal);
    }
    this.#last.set(name, {
      rank: phaseRank(phase),
      version: task.phaseVersion,
      terminal: isTerminal(phase) ? phase : undefined,
    });
  }
}

/** Follows Watch: what it tells of a handle goes forwards, and the last thing told is its end. */
class Follower {
  readonly #last = new Map<string, { version: number; ended: boolean }>();
  readonly #reader: WatchReader;
  readonly #done: Promise<void>;

  constructor(h: Harness) {
    this.#reader = h.tasks.watch({ plugins: [], handles: [], resumeToken: '', includeCurrent: false });
    this.#done = this.#follow();
    // What it found is thrown at the end, to the property.
    this.#done.catch(() => undefined);
  }

  async #follow(): Promise<void> {
    for (let event = await this.#reader.next(); event !== undefined; event = await this.#reader.next()) {
      assert.notEqual(event.kind, 'lagged');
      if (event.kind !== 'change') continue;
      const { handle, task, deleted } = event.change;
      const name = handle.toString('hex');
      const version = task.phaseVersion;
      assert.ok(version >= (this.#last.get(name)?.version ?? 0), 'the version went back');
      this.#last.set(name, { version, ended: deleted || isTerminal(task.state.phase) });
    }
  }

  async end(h: Harness): Promise<void> {
    h.tasks.drain();
    await this.#done;
    for (const { ended } of this.#last.values()) assert.ok(ended, 'the end of a task was not told');
  }
}

/** Two tasks that live before anything else happens: only reads that fail across tasks make an outage. */
const PRELUDE: readonly Command[] = ['e', 'f'].map((one) => ({ kind: 'create', key: one, undelivered: false }));

async function run(commands: readonly Command[]): Promise<Remote> {
  const h = await makeHarness({ config: LIMITS, options: { orphanGraceMs: 120_000, createBudgetMs: 20_000 } });
  const remote = new Remote(h);
  const watcher = new Watcher();
  const follower = new Follower(h);
  const handles = new Map<string, Buffer>();
  const pending: Promise<unknown>[] = [];
  const background = (work: Promise<unknown>) => pending.push(work.catch(() => undefined));
  for (const one of commands) {
    const handle = 'key' in one ? handles.get(one.key) : undefined;
    switch (one.kind) {
      case 'create':
        background(
          h.tasks.create(h.spec(one.key), h.scope(6_000)).then((answer) => {
            const before = handles.get(one.key);
            if (before !== undefined) assert.deepEqual(answer.handle, before);
            if (one.undelivered && before === undefined) answer.undelivered();
            else handles.set(one.key, answer.handle);
            watcher.see(answer.handle, answer.task);
          }),
        );
        await h.clock.advance(2_100);
        break;
      case 'delete':
        if (handle === undefined) break;
        handles.delete(one.key);
        background(h.tasks.delete(handle, 'test', HINTS));
        break;
      case 'get':
        if (handle !== undefined) background(h.tasks.get(handle, HINTS, h.scope(5_000)));
        break;
      case 'status': {
        const task = handle === undefined ? undefined : h.tasks.peek(handle);
        if (handle !== undefined && task !== undefined) watcher.see(handle, task);
        break;
      }
      case 'advance':
        await h.clock.advance(one.ms);
        break;
      case 'weather':
        for (const lane of one.lanes) remote.weather[lane] = one.weather;
        break;
      case 'hold':
        if (one.paused) h.runtime.gate.pause();
        else h.runtime.gate.resume();
        break;
      case 'step':
        remote.step(one.key, one.phase);
        break;
      default:
        one satisfies never;
    }
    await h.clock.advance(0);
    const used = h.runtime.quotas.snapshot().find(({ quotaNamespace }) => quotaNamespace === 'default')?.used ?? 0;
    assert.ok(used <= 3, `${used} tokens of 3 are out`);
  }
  // In fine weather everything that was deleted is gone in the end, and no token is left behind.
  h.runtime.gate.resume();
  Object.assign(remote.weather, { read: 'fine', write: 'fine' });
  for (const handle of handles.values()) background(h.tasks.delete(handle, 'end', HINTS));
  await h.clock.advance(1_800_000);
  for (const task of [...h.store.unfinishedTasks()]) {
    const { handle } = await h.tasks.create(
      h.spec(KEYS.find((k) => task.outputPrefix.endsWith(`/${k}`)) ?? ''),
      h.scope(),
    );
    background(h.tasks.delete(handle, 'end', HINTS));
  }
  await h.clock.advance(1_800_000);
  await Promise.all(pending);
  assert.deepEqual(h.faults, []);
  assert.deepEqual(remote.violations, []);
  assert.equal(h.tasks.owedDeletes.size, 0);
  assert.equal(h.store.unfinished, 0);
  assert.equal(
    h.runtime.quotas.snapshot().reduce((sum, { used, waiting }) => sum + used + waiting, 0),
    0,
  );
  for (const [id, job] of remote.jobs) {
    assert.ok(job.deleted || isTerminal(job.phase), `job ${id} is left in ${job.phase}, billing unseen`);
  }
  assertWithinLimits(remote.calls);
  await follower.end(h);
  await h.stop();
  assert.equal(h.clock.pending, 0, 'timers are left behind');
  return remote;
}

function assertWithinLimits(calls: Remote['calls']): void {
  for (const lane of ['read', 'write'] as const) {
    const { qps, burst } = lane === 'read' ? LIMITS.readRateLimiter : LIMITS.writeRateLimiter;
    const times = calls.filter((call) => call.lane === lane).map(({ atMs }) => atMs);
    for (let from = 0; from < times.length; from++) {
      for (let to = from; to < times.length; to++) {
        const allowed = burst + (qps * ((times[to] ?? 0) - (times[from] ?? 0))) / 1000;
        assert.ok(
          to - from + 1 <= Math.floor(allowed + 1e-6),
          `${to - from + 1} ${lane} calls where ${allowed} are allowed`,
        );
      }
    }
  }
}

test('no order of calls, weather and time breaks limits, phases, tokens or leaves a job behind', async () => {
  let jobs = 0;
  const property = fc.asyncProperty(
    fc.boolean(),
    fc.array(command, { minLength: 1, maxLength: 40 }),
    async (busy, commands) => {
      jobs += (await run(busy ? [...PRELUDE, ...commands] : commands)).jobs.size;
    },
  );
  await fc.assert(property, { numRuns: 150 });
  assert.ok(jobs > 60, `only ${jobs} jobs were made: the property was hardly tried`);
});
