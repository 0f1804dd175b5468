import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { partitionOf, partOf } from '../../src/model/handle.js';
import type { MemberRow } from '../../src/state/index.js';
import { type Fate, VirtualReplica } from './virtual-replicas.js';
import { AT_ONCE, evenly, LEASE_MS, WITHIN_MS, World } from './virtual-world.js';

const spread = (counts: readonly number[]) => [...counts].sort((a, b) => b - a);

test('parts are divided evenly among the replicas that are there, each knows where each is, and then nothing moves', async () => {
  const world = await evenly(8, 3, { hookMs: () => 200 });
  assert.deepEqual(spread(world.counts()), [3, 3, 2]);
  const { takes } = world.table;
  await world.run(10 * LEASE_MS);
  assert.equal(world.table.takes, takes);
  for (const [part, { owner }] of world.table.parts.entries()) {
    const seen = world.all.map(({ seat }) => seat.ownerOf(part));
    const others = seen.filter((one): one is MemberRow => one !== 'here' && one !== undefined);
    assert.deepEqual([seen.length, others.map(({ epoch }) => epoch)], [3, [owner, owner]]);
  }
  for (const { seat } of world.all) await seat.settle();
});

test('a replica that comes is given its share, part after part, and nothing else moves', async () => {
  const world = await evenly(16, 3, { hookMs: () => 100 });
  const { takes } = world.table;
  await world.add({ hookMs: () => 100 });
  await world.run(4 * LEASE_MS);
  assert.deepEqual(world.counts(), [4, 4, 4, 4]);
  assert.equal(world.table.takes, takes + 4);
});

test('one that came, and does not look yet, is given nothing, and no part waits for it', async () => {
  const world = await evenly(8, 2);
  const { takes } = world.table;
  const third = new VirtualReplica({
    name: 'r2',
    world: world.clock,
    table: world.table,
    leaseMs: LEASE_MS,
    rate: 1,
    fate: () => AT_ONCE,
  });
  world.all.push(third);
  void third.seat.join('10.0.0.3:8000');
  await world.run(4 * LEASE_MS);
  assert.deepEqual([world.counts(), world.table.takes], [[4, 4, 0], takes]);
  world.all[0]?.kill();
  await world.msUntil('owner of each', () => world.counts()[1] === 8, LEASE_MS + WITHIN_MS);
  void third.seat.settle();
  await world.msUntil('share', () => world.counts()[2] === 4, LEASE_MS + WITHIN_MS);
});

test('who leaves gives all its parts, and each has another owner within two seconds', async () => {
  const world = await evenly(8, 3, { hookMs: () => 100 });
  const [first] = world.all as [VirtualReplica];
  const { takes } = world.table;
  const had = world.counts()[0] as number;
  void first.seat.leave();
  await world.msUntil('owner of each', () => world.isWhole() && first.seat.role === 'left', WITHIN_MS);
  assert.deepEqual(spread(world.counts()), [4, 4, 0]);
  assert.equal(world.table.takes, takes + had);
});

test('who hands over is there still while others take its parts, and takes none back', async () => {
  const world = await evenly(8, 3, { hookMs: () => 100 });
  const [first] = world.all as [VirtualReplica];
  void first.seat.handOver();
  await world.msUntil('owner of each', () => world.isWhole() && world.counts()[0] === 0, WITHIN_MS);
  await world.run(10 * LEASE_MS);
  assert.deepEqual([first.seat.role, first.seat.leaseLeftMs > 0, world.counts()[0]], ['standby', true, 0]);
  assert.equal(world.table.rows.size, 3);
  assert.equal(first.seat.isGone('r0'), false);
});

test('all see one holder and one tenure of a part, also where the same one takes it again; who died holds none, and is gone once others have its parts', async () => {
  const world = await evenly(4, 3);
  const holders = () => world.all.filter(({ killed }) => !killed).map(({ seat }) => seat.holderOf(0));
  const owner = world.all.find(({ seat }) => seat.ownerOf(0) === 'here') as VirtualReplica;
  const before = owner.seat.holderOf(0);
  assert.deepEqual(holders(), [before, before, before]);
  let told = 0;
  for (const { seat } of world.all) if (seat !== owner.seat) seat.onChange(() => told++);
  // As it gave the part up, and took it again, between two looks.
  const row = world.table.parts[0] as { tenure: number };
  row.tenure += 1;
  owner.freeze();
  await world.run(LEASE_MS / 2);
  assert.deepEqual([told, holders()[world.all.findIndex((one) => one !== owner)]?.tenure], [2, String(row.tenure)]);
  owner.kill();
  await world.run(2 * LEASE_MS + WITHIN_MS);
  const [next] = holders();
  assert.notEqual(next?.epoch, owner.seat.epoch);
  for (const { seat, killed } of world.all) if (!killed) assert.equal(seat.isGone(owner.seat.epoch), true);
});

test('where there are several parts, one whose row was taken away does not come back, also without a part', async () => {
  const world = await evenly(2, 3);
  const idle = world.all.find(({ seat }) => seat.role === 'standby') as VirtualReplica;
  idle.freeze();
  await world.run(3 * LEASE_MS);
  idle.wake();
  await world.run(LEASE_MS);
  assert.deepEqual([idle.seat.role, world.table.rows.size], ['lost', 2]);
});

test('who gives a part up says so once, and why', async () => {
  const gives: string[] = [];
  const events = { gives: (part: number, why: string) => gives.push(`${part} ${why}`) };
  const world = await evenly(4, 1, { hookMs: () => 100, events });
  const [first] = world.all as [VirtualReplica];
  await world.add();
  await world.run(4 * LEASE_MS);
  assert.deepEqual(
    gives.map((text) => text.split(' ')[1]),
    ['balance', 'balance'],
  );
  const own = [0, 1, 2, 3].filter((part) => first.seat.ownerOf(part) === 'here');
  gives.length = 0;
  void first.seat.handOver();
  await world.msUntil('owner of each', () => world.counts().join() === '0,4');
  void first.seat.leave();
  await world.run(LEASE_MS);
  assert.deepEqual(
    gives.sort(),
    own.map((part) => `${part} leaving`),
  );
});

test('the parts of one that died are divided among the others within a lease and two seconds, and not before the lease is over', async () => {
  const world = await evenly(16, 4, { hookMs: () => 100 });
  const [first] = world.all as [VirtualReplica];
  first.kill();
  await world.msUntil('owner of each', () => world.isWhole(), LEASE_MS + WITHIN_MS);
  assert.equal(first.seat.leaseLeftMs, 0);
  assert.deepEqual(spread(world.counts()), [6, 5, 5, 0]);
  await world.run(2 * LEASE_MS);
  assert.equal(world.table.rows.size, 3);
});

test('one that was frozen for longer than a lease loses all its parts, and the others keep theirs', async () => {
  const lost: string[] = [];
  const world = await evenly(8, 3, { events: { lost: ({ code }) => lost.push(code) } });
  world.all[0]?.freeze();
  await world.run(2 * LEASE_MS);
  world.all[0]?.wake();
  await world.run(LEASE_MS);
  assert.equal(world.all[0]?.seat.role, 'lost');
  assert.deepEqual(lost, ['STATE_LOCKED']);
  assert.deepEqual(world.counts().slice(1), [4, 4]);
});

test('parts move from who alone cannot reach a remote that their tasks need, and stay where nobody can', async () => {
  const world = await evenly(4, 2);
  const [first, second] = world.all as [VirtualReplica, VirtualReplica];
  for (const row of world.table.parts.slice(0, 2)) {
    row.needs = { plugins: ['x'], leastVersion: undefined, hasLimits: false };
  }
  for (const { seat } of world.all) seat.say({ plugins: ['x'], unreachable: [] });
  await world.run(LEASE_MS);
  const needed = () => [0, 1].map((part) => world.table.parts[part]?.owner);
  first.seat.say({ plugins: ['x'], unreachable: ['x'] });
  await world.msUntil('move', () => world.isWhole() && needed().every((owner) => owner === 'r1'), WITHIN_MS);
  assert.deepEqual(world.counts(), [2, 2]);
  second.seat.say({ plugins: ['x'], unreachable: ['x'] });
  const { takes } = world.table;
  await world.run(4 * LEASE_MS);
  assert.equal(world.table.takes, takes);
});

test('the part whose owner has the limits of a plugin goes to who serves it, though no task of its needs that', async () => {
  const world = await evenly(4, 2);
  const part = partOf(partitionOf('x'), 4);
  const [first, second] = world.all as [VirtualReplica, VirtualReplica];
  const [has, lacks] = first.seat.ownerOf(part) === 'here' ? [second, first] : [first, second];
  has.seat.say({ plugins: ['x'], unreachable: ['x'] });
  await world.msUntil('move', () => has.seat.ownerOf(part) === 'here', WITHIN_MS);
  await world.run(LEASE_MS);
  assert.deepEqual(world.counts(), [2, 2]);
  lacks.seat.say({ plugins: ['x'], unreachable: [] });
  const { takes } = world.table;
  await world.run(2 * LEASE_MS);
  assert.equal(world.table.takes, takes, 'and stays there, whoever else comes to serve it');
});

test('a part that cannot be loaded here is loaded elsewhere, and what works goes on', async () => {
  const refused: string[] = [];
  const world = new World(4);
  const broken = new Set([1, 2]);
  await world.add({
    begin: async (part) => {
      if (broken.has(part)) throw new Error(`part ${part} is damaged`);
    },
    events: { refused: (part, why) => refused.push(`${part}: ${why}`) },
  });
  await world.run(LEASE_MS / 2);
  assert.deepEqual([...new Set(refused)].sort(), ['1: part 1 is damaged', '2: part 2 is damaged']);
  assert.deepEqual(world.counts(), [2]);
  assert.equal(world.all[0]?.seat.role, 'owner');
  assert.deepEqual(
    [1, 2].map((part) => world.table.parts[part]?.owner),
    [undefined, undefined],
  );
  await world.add();
  await world.msUntil('owner of each', () => world.isWhole(), LEASE_MS);
  assert.equal(world.table.parts[1]?.owner, 'r1');
});

test('what is late of a tenure that was given up ends nothing, and a part that is not held has none', async () => {
  const world = await evenly(2, 2);
  const [first] = world.all as [VirtualReplica];
  const part = world.table.parts.findIndex(({ owner }) => owner === 'r0');
  const tenure = first.seat.tenureOf(part);
  assert.throws(() => first.seat.tenureOf(1 - part), { code: 'STATE_LOCKED' });
  assert.equal(first.seat.lostPart(part, String(Number(tenure) - 1)).code, 'STATE_LOCKED');
  assert.equal(first.seat.role, 'owner');
  await Promise.all([
    first.seat.describe(part, { plugins: ['x'], leastVersion: '1', hasLimits: true }),
    world.run(100),
  ]);
  assert.equal(world.table.parts[part]?.needs.hasLimits, true);
  assert.equal(first.seat.lostPart(part, tenure).code, 'STATE_LOCKED');
  assert.equal(first.seat.role, 'lost');
});

test('a part that was taken again is not given up by what was asked before that, and comes late', async () => {
  const world = new World(2);
  let late = 1;
  const first = await world.add({
    // Given up here after a third of a lease, and made anew.
    fate: (statement) => (statement === 'give' && late-- > 0 ? { ...AT_ONCE, there: 2 * LEASE_MS } : AT_ONCE),
  });
  await world.msUntil('owner of each', () => world.isWhole());
  const second = await world.add();
  await world.msUntil('move', () => world.counts()[1] === 1);
  void second.seat.leave();
  await world.msUntil('owner of each', () => world.counts()[0] === 2, WITHIN_MS);
  await world.run(3 * LEASE_MS);
  assert.deepEqual([late < 0, first.seat.role, world.counts()], [true, 'owner', [2, 0]]);
  assert.ok(world.table.parts.every(({ owner }) => owner === 'r0'));
});

/** What happens in a run, in order: to whom, and for how long. */
const trouble = fc.record({
  afterMs: fc.integer({ min: 0, max: 4_000 }),
  replica: fc.nat({ max: 2 }),
  what: fc.constantFrom('freeze', 'cut', 'cutAnswers', 'leave', 'kill', 'slow', 'away', 'unreachable'),
  forMs: fc.integer({ min: 100, max: 3 * LEASE_MS }),
});

const PARTS = 8;

test('over delays, losses, freezes, outages and clocks that run differently, no two replicas ever work on one part at a time, and at last each part has an owner', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.double({ min: 0.98, max: 1.02, noNaN: true }), { minLength: 3, maxLength: 3 }),
      fc.array(trouble, { maxLength: 6 }),
      fc.infiniteStream(
        fc.record({ there: fc.nat({ max: 400 }), back: fc.nat({ max: 400 }), luck: fc.nat({ max: 19 }) }),
      ),
      async (rates, troubles, fates) => {
        const world = new World(PARTS);
        const bad = new Map<number, string>();
        let well = false;
        const fateOf = (i: number) => (): Fate => {
          if (well) return AT_ONCE;
          const { there = 0, back = 0, luck = 0 } = fates.next().value ?? {};
          const now = bad.get(i) ?? bad.get(-1);
          const lost = now === 'cut' || luck === 0 ? 'request' : now === 'cutAnswers' || luck === 1 ? 'answer' : 'no';
          return { there: now === 'slow' ? there * 5 : there, back: now === 'slow' ? back * 5 : back, lost };
        };
        const hookMs = () => (fates.next().value?.there ?? 0) * 2;
        for (const [i, rate] of rates.entries()) await world.add({ rate, fate: fateOf(i), hookMs });
        await world.run(2_000);
        for (const { afterMs, replica, what, forMs } of troubles) {
          await world.run(afterMs);
          const one = world.all[replica] as VirtualReplica;
          if (what === 'freeze') one.freeze();
          else if (what === 'leave') void one.seat.leave().catch(() => undefined);
          else if (what === 'kill') one.kill();
          else if (what === 'unreachable') one.seat.say({ plugins: ['x'], unreachable: ['x'] });
          else bad.set(what === 'away' ? -1 : replica, what === 'away' ? 'cut' : what);
          await world.run(forMs);
          one.wake();
          bad.clear();
        }
        well = true;
        const isLeft = () => world.all.some(({ seat, killed }) => !killed && !['lost', 'left'].includes(seat.role));
        const isAtRest = () => !isLeft() || world.isWhole();
        await world.msUntil('owner of each', isAtRest, 3 * LEASE_MS + WITHIN_MS);
        await world.run(2 * LEASE_MS);
        const { takes } = world.table;
        await world.run(4 * LEASE_MS);
        assert.equal(world.table.takes, takes, 'what lies well stays');
        assert.ok(isAtRest());
      },
    ),
    { numRuns: 40, endOnFailure: true },
  );
});
