import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { HostError } from '../../src/errors/index.js';
import type { WatchEvent } from '../../src/model/watch.js';
import { isTerminal, type Phase } from '../../src/plugin-api/phase.js';
import type { CreateAnswerView } from '../../src/tasks/types.js';
import { tempFolder } from '../support/temp.js';
import { HINTS, settle } from '../tasks/harness.js';
import { hostOf, namesIn, PARTS, type PartHost, type World, worldOf } from './part-hosts.js';

const ALL_PARTS = [...Array(PARTS).keys()];
const GRACE_MS = 5_000;

async function pair(world: World): Promise<[PartHost, PartHost]> {
  return [await hostOf(world, ALL_PARTS), await hostOf(world, [])];
}

async function move(world: World, part: number, from: PartHost, to: PartHost, graceMs = GRACE_MS): Promise<void> {
  await settle(world.clock, from.parts.give(part, graceMs));
  await settle(world.clock, to.parts.take(part));
}

function create(
  { clock, spec, scope }: World,
  { parts }: PartHost,
  name: string,
  ms?: number,
): Promise<CreateAnswerView> {
  return settle(clock, parts.tasks.create(spec(name), scope(ms)));
}

const isAway = (error: unknown): boolean => HostError.is(error) && error.code === 'OWNER_AWAY';

function toldBy(event: WatchEvent | undefined): string {
  if (event?.kind === 'change') return `${event.change.task.outputPrefix} ${event.change.task.state.phase}`;
  return event?.kind === 'bookmark' && event.draining ? 'draining' : (event?.kind ?? 'the end');
}

test('a part goes from host to host with its tasks, and back: they go on under their handles, and nobody else answers for them', async () => {
  const world = await worldOf();
  const [a, b] = await pair(world);
  const [first, other] = [namesIn(1, 1)[0] as string, namesIn(2, 1)[0] as string];
  const { handle } = await create(world, a, first);
  const kept = await create(world, a, other);
  await assert.rejects(b.parts.tasks.status(handle, HINTS, world.scope()), isAway);
  await move(world, 1, a, b);
  assert.deepEqual([a.parts.indices, b.parts.indices], [[0, 2, 3], [1]]);
  await assert.rejects(a.parts.tasks.status(handle, HINTS, world.scope()), isAway);
  assert.equal(a.parts.tasks.peek(handle), undefined);
  await assert.rejects(create(world, a, first), isAway);
  assert.deepEqual((await create(world, b, first)).handle, handle);
  assert.equal(
    (await settle(world.clock, a.parts.tasks.status(kept.handle, HINTS, world.scope()))).state.phase,
    'RUNNING',
  );
  await world.clock.advance(60_000);
  assert.equal(b.parts.tasks.peek(handle)?.state.phase, 'SUCCESS');
  await move(world, 1, b, a);
  assert.equal((await settle(world.clock, a.parts.tasks.status(handle, HINTS, world.scope()))).state.phase, 'SUCCESS');
  assert.equal(world.remote.creates, 2);
  assert.deepEqual([...a.faults, ...b.faults], []);
});

test('a task is found in its part, whichever was asked about before, and nowhere once that is given', async () => {
  const world = await worldOf();
  const [a, b] = await pair(world);
  const tasksOf = ({ parts, runtime }: PartHost) =>
    [...parts.store.unfinishedOf(runtime.plugin.id)].map(({ id }) => id);
  const idOf = async (part: number): Promise<string> => {
    const before = new Set(tasksOf(a));
    await create(world, a, namesIn(part, 1)[0] as string);
    return tasksOf(a).find((id) => !before.has(id)) as string;
  };
  const [first, other] = [await idOf(1), await idOf(2)];
  assert.deepEqual(
    [first, first, other, 'none', first].map((id) => a.parts.partOfTask(id)),
    [1, 1, 2, undefined, 1],
  );
  await move(world, 1, a, b);
  assert.deepEqual(
    [a.parts.partOfTask(first), b.parts.partOfTask(first), a.parts.partOfTask(other)],
    [undefined, 1, 2],
  );
});

test('a part that was taken and given two hundred times has left nothing', async () => {
  const world = await worldOf();
  world.remote.lastsMs = 1e9;
  const [a, b] = await pair(world);
  for (const part of ALL_PARTS) for (const name of namesIn(part, 3)) await create(world, a, name);
  const [gone] = namesIn(1, 4).slice(3) as [string];
  const { handle } = await create(world, a, gone);
  await settle(world.clock, a.parts.tasks.delete(handle, 'no more', HINTS, world.scope()));
  await move(world, 1, a, b);
  await move(world, 1, b, a);
  await world.clock.advance(60_000);
  const sizes = async () => {
    // Reads and commits come and go.
    let timers = Number.POSITIVE_INFINITY;
    for (let looks = 0; looks < 200; looks++) {
      await world.clock.advance(997);
      timers = Math.min(timers, world.clock.pending);
    }
    return { a: a.sizes(), b: b.sizes(), timers, facts: world.engine.facts.size };
  };
  const before = await sizes();
  for (let times = 0; times < 100; times++) {
    await move(world, 1, a, b);
    await move(world, 1, b, a);
  }
  assert.deepEqual(await sizes(), before);
  assert.equal(before.b.tracked, 0);
  assert.equal(before.a.tracked, 12);
  assert.deepEqual([...a.faults, ...b.faults], []);
});

test('what is under way when a part is given up ends first, and is told; what takes longer than its time is not', async () => {
  const world = await worldOf();
  const [a, b] = await pair(world);
  const [quick, slow, late] = namesIn(1, 3) as [string, string, string];
  const ends = a.parts.tasks.create(world.spec(quick), world.scope());
  await world.clock.advance(100);
  const gives = a.parts.give(1, GRACE_MS);
  await assert.rejects(a.parts.tasks.create(world.spec(late), world.scope()), isAway);
  const { handle, task } = await settle(world.clock, ends);
  assert.deepEqual([task.stage, await settle(world.clock, gives)], ['live', { finished: true }]);
  await settle(world.clock, b.parts.take(1));
  assert.equal(b.parts.tasks.peek(handle)?.stage, 'live');

  world.remote.createMs = 20_000;
  const told = b.parts.tasks.create(world.spec(slow), world.scope(60_000));
  told.catch(() => undefined);
  await world.clock.advance(100);
  const { finished } = await settle(world.clock, b.parts.give(1, GRACE_MS));
  assert.equal(finished, false);
  await assert.rejects(told, isAway);
  await settle(world.clock, a.parts.take(1));
  const again = await create(world, a, slow, 600_000);
  await world.clock.advance(300_000);
  assert.equal(a.parts.tasks.peek(again.handle)?.state.phase, 'SUCCESS');
  assert.equal(world.remote.jobs.length, 2, 'one job each');
  assert.deepEqual([b.sizes().tracked, b.sizes().calls, b.runtime.quotas.snapshot()[0]?.used], [0, 0, 0]);
});

test('a part is given up only once all of it is written, and where that fails what was told is safe', async () => {
  const world = await worldOf();
  const [a, b] = await pair(world);
  const [first, second] = namesIn(1, 2) as [string, string];
  const { handle } = await create(world, a, first);
  const deleted = a.parts.tasks.delete(handle, 'no more', HINTS, world.scope());
  const gives = a.parts.give(1, GRACE_MS);
  await settle(world.clock, Promise.all([deleted, gives]));
  await settle(world.clock, b.parts.take(1));
  await world.clock.advance(60_000);
  assert.deepEqual(
    world.remote.jobs.map(({ state }) => state),
    ['CANCELLED'],
  );

  const answered = await create(world, b, second);
  const { quotas } = b.runtime;
  const handsAway = quotas.handAway.bind(quotas);
  const handed: boolean[] = [];
  quotas.handAway = (id, isWritten) => {
    handed.push(isWritten);
    handsAway(id, isWritten);
  };
  world.engine.fails = true;
  await world.clock.advance(10_000);
  await assert.rejects(settle(world.clock, b.parts.give(1, GRACE_MS)), { code: 'STATE_UNWRITABLE' });
  assert.deepEqual(handed, [false], 'a commit that failed may be there all the same');
  world.engine.fails = false;
  await settle(world.clock, a.parts.take(1));
  await world.clock.advance(60_000);
  assert.equal(a.parts.tasks.peek(answered.handle)?.state.phase, 'SUCCESS');
  assert.equal(world.remote.jobs.length, 2);
});

test('the token of a task goes with its part: who gives the part hands it away once all is written, and gives none back', async () => {
  const world = await worldOf();
  world.remote.lastsMs = 1e9;
  const [a, b] = await pair(world);
  const [live, late] = namesIn(1, 2) as [string, string];
  const { task } = await create(world, a, live);
  const { quotas } = a.runtime;
  const told: string[] = [];
  const facts = () => [...world.engine.facts.keys()].filter((key) => /task\//.test(key)).length;
  const handsAway = quotas.handAway.bind(quotas);
  const releases = quotas.release.bind(quotas);
  quotas.handAway = (id, isWritten) => {
    told.push(`hands ${id} away, ${facts()} written`);
    quotas.release = releases;
    handsAway(id, isWritten);
  };
  quotas.release = (id) => {
    told.push(`releases ${id}`);
    return releases(id);
  };

  const { task: other } = await create(world, a, late);
  await settle(world.clock, a.parts.give(1, GRACE_MS));
  assert.deepEqual(told, [`hands ${task.id} away, 2 written`, `hands ${other.id} away, 2 written`]);
  await settle(world.clock, b.parts.take(1));
  assert.equal(b.runtime.quotas.snapshot()[0]?.used, 2);
});

test('the token of a task that comes to its end as its part is given up stays with nobody', async () => {
  const world = await worldOf();
  world.remote.lastsMs = 1e9;
  const [a] = await pair(world);
  const [first, late] = namesIn(1, 2) as [string, string];
  const { handle } = await create(world, a, first);
  const commit = world.engine.commit.bind(world.engine);
  world.engine.commit = async (puts, drops) => {
    await new Promise<void>((resolve) => world.clock.setTimer(500, resolve));
    await commit(puts, drops);
  };
  let ordered = false;
  void a.parts.tasks.delete(handle, 'no more', HINTS, world.scope()).then(() => {
    ordered = true;
  });
  for (let ms = 0; !ordered && ms < 5_000; ms += 10) await world.clock.advance(10);
  a.parts.tasks.create(world.spec(late), world.scope()).catch(() => undefined);
  assert.equal(a.parts.store.owed.size, 1, 'its job is being cancelled');
  await settle(world.clock, a.parts.give(1, 0));
  assert.deepEqual([world.remote.jobs[0]?.state, a.runtime.quotas.snapshot()[0]?.used], ['CANCELLED', 0]);
});

test('a part whose keys cannot be read is not taken, nothing of it goes on here, and it can be taken once they can be', async (t) => {
  const world = await worldOf();
  world.remote.lastsMs = 1e9;
  const file = path.join(tempFolder(t), 'keys');
  const [a, b] = [await hostOf(world, ALL_PARTS), await hostOf(world, [], file)];
  t.after(() => settle(world.clock, b.parts.give(1, 1)));
  const { handle } = await create(world, a, namesIn(1, 1)[0] as string);
  await settle(world.clock, a.parts.give(1, GRACE_MS));
  await assert.rejects(settle(world.clock, b.parts.take(1)), { code: 'HANDLE_KEYS_UNREADABLE' });
  await world.clock.advance(60_000);
  const { tracked, unfinished, facts } = b.sizes();
  assert.deepEqual(
    { tracked, unfinished, facts, indices: b.parts.indices },
    { tracked: 0, unfinished: 0, facts: {}, indices: [] },
  );
  assert.equal(b.runtime.quotas.snapshot()[0]?.used, 0);
  writeFileSync(file, 'a-key-0123456789abcdef0123456789abcdef');
  await settle(world.clock, b.parts.take(1));
  assert.equal(b.parts.tasks.peek(handle)?.stage, 'live');
});

test('a part that fails once it is put in is out again, with nothing left here, and another one takes it', async () => {
  const world = await worldOf();
  world.remote.lastsMs = 1e9;
  const [a, b] = [
    await hostOf(world, ALL_PARTS),
    await hostOf(world, [], undefined, () => {
      throw new Error('as the test has it');
    }),
  ];
  const [live, waiting] = namesIn(1, 2) as [string, string];
  const { handle } = await create(world, a, live);
  world.remote.createMs = 1e6;
  void create(world, a, waiting).catch(() => undefined);
  await world.clock.advance(100);
  await settle(world.clock, a.parts.give(1, 100));
  await assert.rejects(settle(world.clock, b.parts.take(1)), /as the test has it/);
  const { creates } = world.remote;
  await world.clock.advance(120_000);
  const { tracked, unfinished, facts } = b.sizes();
  assert.deepEqual(
    { tracked, unfinished, facts, indices: b.parts.indices, creates: world.remote.creates },
    { tracked: 0, unfinished: 0, facts: {}, indices: [], creates },
  );
  assert.equal(b.runtime.quotas.snapshot()[0]?.used, 0);
  await settle(world.clock, a.parts.take(1));
  assert.equal(a.parts.tasks.peek(handle)?.stage, 'live');
});

test('a stream over all parts ends with a good token when one goes, and is told of one that comes as it stands', async () => {
  const world = await worldOf();
  world.remote.lastsMs = 1e9;
  const [a, b] = await pair(world);
  const [here, moves] = [namesIn(0, 2), namesIn(1, 2)] as [[string, string], [string, string]];
  await create(world, a, here[0]);
  await create(world, a, moves[0]);
  await world.clock.advance(60_000);
  const filter = { plugins: [], handles: [], resumeToken: '', includeCurrent: true };
  const stream = a.parts.tasks.watch(filter);
  const told = [toldBy(await stream.next()), toldBy(await stream.next())].sort();
  assert.deepEqual(told, [here[0], moves[0]].map((name) => `s3://bucket/${name} RUNNING`).sort());
  const next = stream.next();
  await settle(world.clock, a.parts.give(1, GRACE_MS));
  const end = await next;
  assert.equal(toldBy(end), 'draining');
  assert.equal(await stream.next(), undefined);
  assert.equal(a.sizes().watches, 0);

  await settle(world.clock, b.parts.take(1));
  await create(world, b, moves[1]);
  await create(world, a, here[1]);
  const resumed = a.parts.tasks.watch({ ...filter, resumeToken: end?.resumeToken ?? '' });
  assert.match(toldBy(await resumed.next()), new RegExp(`${here[1]} `), 'what was told is not told again');
  await settle(world.clock, b.parts.give(1, GRACE_MS));
  await settle(world.clock, a.parts.take(1));
  const came = new Set<string>();
  for (let event = await resumed.next(); came.size < 3; event = await resumed.next()) {
    came.add(toldBy(event).split(' ')[0] as string);
    if (came.size === 3) break;
  }
  assert.deepEqual([...came].sort(), ['lagged', ...moves.map((name) => `s3://bucket/${name}`)].sort());
  resumed.close();
  assert.throws(() => b.parts.tasks.watch({ ...filter, handles: [Buffer.from('any')] }), isAway);
});

test('parts that are here, away or on the move cannot be taken or given again', async () => {
  const world = await worldOf();
  const [a, b] = await pair(world);
  const refused = { code: 'DAEMON_STATE' };
  await assert.rejects(a.parts.take(1), refused);
  await assert.rejects(b.parts.give(1, GRACE_MS), refused);
  const gives = a.parts.give(1, GRACE_MS);
  await assert.rejects(a.parts.give(1, GRACE_MS), refused);
  await assert.rejects(a.parts.take(1), refused);
  await settle(world.clock, gives);
  const takes = b.parts.take(1);
  await assert.rejects(b.parts.take(1), refused);
  await settle(world.clock, takes);
});

type Step =
  | { readonly what: 'create' | 'delete'; readonly task: number }
  | { readonly what: 'move'; readonly part: number; readonly graceMs: number }
  | { readonly what: 'wait'; readonly ms: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ what: fc.constant('create' as const), task: fc.nat(11) }) },
  { weight: 1, arbitrary: fc.record({ what: fc.constant('delete' as const), task: fc.nat(11) }) },
  {
    weight: 4,
    arbitrary: fc.record({
      what: fc.constant('move' as const),
      part: fc.nat(PARTS - 1),
      graceMs: fc.constantFrom(0, 200, GRACE_MS),
    }),
  },
  { weight: 3, arbitrary: fc.record({ what: fc.constant('wait' as const), ms: fc.nat(1_500) }) },
);

/** Asks whoever has the part, again and again, as an engine does. */
async function ask<T>(world: World, hosts: readonly PartHost[], call: (host: PartHost) => Promise<T>): Promise<T> {
  for (let tries = 0; ; tries++) {
    try {
      return await call(hosts[tries % hosts.length] as PartHost);
    } catch (error) {
      if (!isAway(error) && !(HostError.is(error) && error.code === 'STATE_SLOW')) throw error;
      await new Promise<void>((resolve) => world.clock.setTimer(150, resolve));
    }
  }
}

class Story {
  readonly world: World;
  readonly hosts: readonly [PartHost, PartHost];
  readonly names = ALL_PARTS.flatMap((part) => namesIn(part, 3));
  readonly handles = new Map<string, Buffer>();
  readonly deleted = new Set<string>();
  readonly ends = new Map<string, Phase>();
  readonly #moves = new Map<number, Promise<void>>();
  readonly #under: Promise<unknown>[] = [];

  constructor(world: World, hosts: readonly [PartHost, PartHost]) {
    this.world = world;
    this.hosts = hosts;
  }

  async take(step: Step): Promise<void> {
    if (step.what === 'wait') await this.world.clock.advance(step.ms);
    else if (step.what !== 'move') {
      const name = this.names[step.task] as string;
      this.#under.push(step.what === 'create' ? this.#create(name) : this.#delete(name));
    } else {
      const before = this.#moves.get(step.part) ?? Promise.resolve();
      const moved = before.then(() => this.#move(step.part, step.graceMs));
      this.#moves.set(step.part, moved);
      this.#under.push(moved);
    }
    await this.world.clock.advance(1);
    this.#look();
  }

  async finish(): Promise<void> {
    await settle(this.world.clock, Promise.all(this.#under), 3_600_000);
    for (let passed = 0; passed < 900; passed++) {
      await this.world.clock.advance(1_000);
      this.#look();
    }
  }

  async #create(name: string): Promise<void> {
    const { spec, scope } = this.world;
    if (this.deleted.has(name)) return;
    const { handle } = await ask(this.world, this.hosts, ({ parts }) => parts.tasks.create(spec(name), scope()));
    const before = this.handles.get(name) ?? handle;
    if (!this.deleted.has(name)) assert.deepEqual(handle, before, `${name} has one handle`);
    this.handles.set(name, before);
  }

  async #delete(name: string): Promise<void> {
    const handle = this.handles.get(name);
    if (handle === undefined) return;
    this.deleted.add(name);
    await ask(this.world, this.hosts, ({ parts }) => parts.tasks.delete(handle, 'story', HINTS, this.world.scope()));
  }

  async #move(part: number, graceMs: number): Promise<void> {
    const [from, to] = this.hosts[0].parts.indices.includes(part) ? this.hosts : [this.hosts[1], this.hosts[0]];
    await from.parts.give(part, graceMs);
    await to.parts.take(part);
  }

  /** What is told as an end stays one. */
  #look(): void {
    for (const [name, handle] of this.handles) {
      const held = this.hosts.map(({ parts }) => parts.tasks.peek(handle)).filter((task) => task !== undefined);
      assert.ok(held.length <= 1, `${name} is with one host`);
      const phase = held[0]?.state.phase;
      const end = this.ends.get(name);
      if (phase === undefined || this.deleted.has(name)) continue;
      if (end !== undefined) assert.equal(phase, end, `${name} has ended once`);
      if (isTerminal(phase)) this.ends.set(name, phase);
    }
  }
}

test('however parts move, every task ends once, no job is made twice and no delete is lost', {
  timeout: 280_000,
}, async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), fc.boolean(), async (steps, finds) => {
      const world = await worldOf(finds);
      const story = new Story(world, await pair(world));
      for (const one of steps) await story.take(one);
      await story.finish();
      const keys = world.remote.jobs.map(({ key }) => key);
      assert.deepEqual(keys, [...new Set(keys)], 'each job was made once');
      for (const name of story.handles.keys()) {
        if (!story.deleted.has(name)) assert.ok(story.ends.has(name), `${name} has ended`);
      }
      const [a, b] = story.hosts;
      for (const { faults, runtime, parts } of [a, b]) {
        assert.deepEqual(faults, []);
        assert.deepEqual([parts.store.unfinished, parts.store.owed.size, runtime.refresher.stats().tracked], [0, 0, 0]);
        assert.equal(
          runtime.quotas.snapshot().reduce((sum, { used }) => sum + used, 0),
          0,
        );
      }
      assert.ok(!world.remote.jobs.some(({ state }) => state === 'RUNNING'));
    }),
    { numRuns: 25 },
  );
});
