import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ManualClock } from '../../../src/lib/clock.js';
import type { Fate } from '../../cluster/virtual-replicas.js';
import { type LaneReplica, LaneWorld, type LaneWorldOptions } from './virtual-lane.js';

const LEASE_MS = 3_000;
const GRANT_MS = 2_000;
/** No call takes as long, by any clock. */
const CALL_MS = 5_000;
const AT_ONCE: Fate = { there: 1, back: 1, lost: 'no' };

function calm(changes: Partial<LaneWorldOptions> = {}): LaneWorld {
  return new LaneWorld({
    world: new ManualClock(1_000_000),
    bounds: { rate: { qps: 20, burst: 20 }, concurrency: 10, callMs: CALL_MS },
    leaseMs: LEASE_MS,
    grantMs: GRANT_MS,
    rates: [1, 1, 1],
    fate: () => AT_ONCE,
    arrivals: () => [2],
    callMs: () => 50,
    ...changes,
  });
}

/** Until somebody owns the limits and has waited for a grant's life. */
async function opened(world: LaneWorld): Promise<number> {
  await world.pass(LEASE_MS + GRANT_MS);
  return world.options.world.now();
}

for (const bounds of [
  { rate: { qps: 20, burst: 20 }, concurrency: 10, callMs: CALL_MS },
  { rate: { qps: 100, burst: 300 }, concurrency: 20, callMs: CALL_MS },
  { rate: { qps: 10, burst: 1 }, concurrency: 3, callMs: CALL_MS },
  { rate: { qps: 0.5, burst: 2 }, concurrency: 10, callMs: CALL_MS },
]) {
  const { rate, concurrency } = bounds;
  test(`with all well ${rate.qps} a second, a burst of ${rate.burst} and ${concurrency} at a time are used, evenly by all who want them`, async () => {
    const world = calm({ bounds });
    for (const replica of world.replicas) replica.backlog = 100_000;
    const fromMs = await opened(world);
    const before = world.replicas.map(({ made }) => made);
    const seconds = rate.qps < 1 ? 120 : 20;
    await world.pass(seconds * 1_000);
    world.assertWithinRate();
    world.assertWithinConcurrency();
    const used = world.countSince(fromMs) / (rate.qps * seconds);
    assert.ok(used >= 0.9, `${used}`);
    const made = world.replicas.map((replica, index) => replica.made - (before[index] as number));
    assert.ok(Math.max(...made) - Math.min(...made) <= 0.1 * Math.max(...made) + 1, `${made}`);
  });
}

test('where calls are slow all of them that may be under way are, whoever makes them', async () => {
  const world = calm({
    bounds: { rate: { qps: 100, burst: 100 }, concurrency: 4, callMs: CALL_MS },
    callMs: () => 500,
  });
  for (const replica of world.replicas) replica.backlog = 100_000;
  const fromMs = await opened(world);
  await world.pass(20_000);
  world.assertWithinConcurrency();
  const used = world.countSince(fromMs) / ((4 / 0.5) * 20);
  assert.ok(used >= 0.9, `${used}`);
});

test('one who wants little has it though another one wants all there is, and gets no more than it wants', async () => {
  const world = calm();
  await opened(world);
  const [greedy, modest] = world.replicas;
  if (greedy === undefined || modest === undefined) throw new Error('no replicas');
  greedy.backlog = 100_000;
  for (let second = 0; second < 20; second++) {
    modest.backlog += 2;
    await world.pass(1_000);
  }
  assert.ok(modest.made >= 38, `${modest.made}`);
  assert.ok(greedy.made >= 0.9 * 18 * 20 - 1, `${greedy.made}`);
});

test('reads that nobody wants cost no message', async () => {
  let sent = 0;
  const world = calm({
    arrivals: () => {
      sent += 1;
      return [2];
    },
  });
  await opened(world);
  for (const replica of world.replicas) replica.backlog = 3;
  await world.pass(10_000);
  const before = sent;
  await world.pass(60_000);
  assert.equal(sent, before);
});

test('a throttle that one replica met rests all of them, and an owner that was only told has told them', async () => {
  const world = calm();
  await opened(world);
  for (const replica of world.replicas) replica.backlog = 100_000;
  await world.pass(3_000);
  const [, second] = world.replicas;
  if (second === undefined) throw new Error('no replicas');
  second.throttled = 5_000;
  while (second.drawer.pausedUntilMs() === undefined) await world.pass(10);
  const now = world.options.world.now();
  await world.pass(50);
  const fromMs = world.options.world.now();
  await world.pass(4_900);
  assert.equal(world.countSince(fromMs), 0);
  for (const { drawer } of world.replicas) assert.ok((drawer.pausedUntilMs() ?? 0) >= now + 4_980);
  await world.pass(3_100);
  assert.ok(world.countSince(fromMs) >= 0.9 * 2.5 * 20, 'it goes on after that');
  world.assertWithinRate();
});

test('after the owner died the lane rests for a lease and a grant’s life, and then is used by all again', async () => {
  const world = calm();
  await opened(world);
  for (const replica of world.replicas) replica.backlog = 100_000;
  await world.pass(5_000);
  const owner = world.replicas.find((replica) => replica.owner !== undefined);
  owner?.virtual.kill();
  owner?.end();
  await world.pass(LEASE_MS + 2_000 + GRANT_MS);
  const fromMs = world.options.world.now();
  await world.pass(10_000);
  world.assertWithinRate();
  const used = world.countSince(fromMs) / 200;
  assert.ok(used >= 0.9, `${used}`);
});

const trouble = fc.record({
  afterMs: fc.integer({ min: 0, max: 2_500 }),
  replica: fc.nat({ max: 2 }),
  /** Most of what goes wrong concerns who has the limits, or finds grants that wait to be used. */
  ofOwner: fc.boolean(),
  what: fc.constantFrom('freeze', 'freeze', 'cut', 'kill', 'kill', 'leave', 'leave', 'throttle', 'hoard', 'hoard'),
  forMs: fc.oneof(fc.integer({ min: 50, max: GRANT_MS }), fc.integer({ min: GRANT_MS, max: 2 * LEASE_MS })),
});

type Trouble = typeof trouble extends fc.Arbitrary<infer T> ? T : never;

async function suffer(world: LaneWorld, { replica: index, ofOwner, what, forMs }: Trouble): Promise<void> {
  const owner = ofOwner ? world.alive.find((each) => each.owner !== undefined) : undefined;
  const replica = owner ?? world.alive[index % world.alive.length];
  if (replica === undefined) return;
  const { virtual } = replica;
  if (what === 'freeze' || what === 'cut') {
    replica.troubled = true;
    if (what === 'cut') replica.cut = true;
    else virtual.freeze();
    await world.pass(forMs);
    replica.cut = false;
    virtual.wake();
  } else if (what === 'throttle') replica.throttled = forMs;
  else if (what === 'hoard') await hoard(world, ofOwner ? replica : undefined, forMs);
  else {
    replace(world, replica, what === 'leave');
    await world.pass(forMs);
  }
}

/** It goes, in good order or not, and another one comes. */
function replace(world: LaneWorld, replica: LaneReplica, inOrder: boolean): void {
  const { virtual } = replica;
  if (inOrder) void virtual.seat.leave().catch(() => undefined);
  else virtual.kill();
  replica.end();
  world.add(virtual.clock.now() / world.options.world.now()).give(500);
}

/** All that there is is granted and used by nobody, and then by all at once; `leaves` may leave in between. */
async function hoard(world: LaneWorld, leaves: LaneReplica | undefined, forMs: number): Promise<void> {
  const wait = async (ms: number, wanted: number) => {
    for (let passed = 0; passed < ms; passed += 100) {
      for (const each of world.alive) each.hoard(wanted);
      await world.pass(100);
    }
  };
  await wait(GRANT_MS, 0);
  await wait(forMs % GRANT_MS, 50);
  if (leaves !== undefined) replace(world, leaves, true);
  await wait(forMs % 1_700, 50);
  for (const each of world.alive) each.open();
}

/** A world in which all that may happen to messages, clocks and plugins does. */
function troubledWorld(rates: readonly number[], bounds: LaneWorldOptions['bounds'], seed: number): LaneWorld {
  let state = seed;
  const random = () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
    return (state >>> 0) / 2 ** 32;
  };
  const moody = random() < 0.5;
  const longMs = random() < 0.5 ? 400 : 0.9 * CALL_MS;
  const slowMs = [20, 300, 1_200][Math.floor(random() * 3)] as number;
  return new LaneWorld({
    world: new ManualClock(1_000_000),
    bounds,
    leaseMs: LEASE_MS,
    grantMs: GRANT_MS,
    rates,
    fate: () => ({ there: random() * 100, back: random() * 100, lost: random() < 0.03 ? 'answer' : 'no' }),
    arrivals: () => {
      const luck = random();
      if (luck < 0.05) return [];
      return luck < 0.2 ? [random() * slowMs, random() * 5 * slowMs] : [random() * slowMs];
    },
    callMs: () => 20 + random() * longMs,
    // Long enough to lose what was granted, or to use it in its last moment.
    moods: moody
      ? () => ({ openMs: random() * 800, shutMs: random() < 0.5 ? random() * 200 : random() * 1.2 * GRANT_MS })
      : undefined,
  });
}

test('over delays, losses, repeats, freezes, deaths and clocks a twentieth apart, the remote never sees more than its limits allow', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.record({
        rates: fc.array(fc.double({ min: 0.976, max: 1.024, noNaN: true }), { minLength: 3, maxLength: 3 }),
        bounds: fc.constantFrom(
          { rate: { qps: 10, burst: 5 }, concurrency: 20, callMs: CALL_MS },
          { rate: { qps: 10, burst: 20 }, concurrency: 60, callMs: CALL_MS },
          { rate: { qps: 20, burst: 60 }, concurrency: 6, callMs: CALL_MS },
          { rate: { qps: 1, burst: 12 }, concurrency: 50, callMs: CALL_MS },
          { rate: { qps: 2, burst: 1 }, concurrency: 50, callMs: CALL_MS },
        ),
        troubles: fc.array(trouble, { minLength: 2, maxLength: 10 }),
        seed: fc.integer(),
      }),
      async ({ rates, bounds, troubles, seed }) => {
        const world = troubledWorld(rates, bounds, seed);
        for (const replica of world.replicas) replica.give(500);
        await world.pass(LEASE_MS + GRANT_MS);
        for (const each of troubles) {
          await world.pass(each.afterMs);
          await suffer(world, each);
        }
        await world.pass(3 * LEASE_MS + CALL_MS);
        world.assertWithinRate();
        world.assertWithinConcurrency();
        // Nobody starves: once there is calm again everybody who works makes calls.
        world.calm = true;
        await world.pass(LEASE_MS + 4_000 + 3 * GRANT_MS);
        const before = world.alive.map(({ made }) => made);
        await world.pass(25_000);
        world.alive.forEach((replica, index) => {
          const { name, made, left, given, done } = replica;
          assert.ok(made > (before[index] as number) || left === 0, `${name} starves`);
          assert.equal(done + left, given, `${name} lost calls`);
        });
        world.assertWithinRate();
        world.assertWithinConcurrency();
      },
    ),
    { numRuns: 40 },
  );
});
