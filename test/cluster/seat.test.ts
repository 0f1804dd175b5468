import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ManualClock } from '../../src/lib/clock.js';
import type { MemberRow } from '../../src/state/index.js';
import { type Fate, VirtualReplica, VirtualTable } from './virtual-replicas.js';

const LEASE_MS = 3_000;
const AT_ONCE: Fate = { there: 1, back: 1, lost: 'no' };

function replicas(count: number, changes: Partial<ConstructorParameters<typeof VirtualReplica>[0]> = {}) {
  const world = new ManualClock(1_000_000);
  const table = new VirtualTable();
  const all = Array.from(
    { length: count },
    (_, i) =>
      new VirtualReplica({
        name: `r${i}`,
        world,
        table,
        leaseMs: LEASE_MS,
        rate: 1,
        fate: () => AT_ONCE,
        ...changes,
      }),
  );
  return { world, table, all };
}

async function start(world: ManualClock, all: readonly VirtualReplica[]): Promise<void> {
  for (const [i, { seat }] of all.entries()) {
    void seat.join(`10.0.0.${i}:8000`);
    await world.advance(10);
    void seat.settle();
    await world.advance(10);
  }
}

/** How long it takes, in steps of 50 ms. */
async function msUntil(world: ManualClock, what: string, seen: () => boolean): Promise<number> {
  const startMs = world.now();
  while (!seen()) {
    assert.ok(world.now() < startMs + 60_000, `waited in vain for ${what}`);
    await world.advance(50);
  }
  return world.now() - startMs;
}

test('replicas that live and give one address tell of each other once, and of nobody whose row is all that is left', async () => {
  const told: string[] = [];
  const events = { sharesAddress: ({ name, address }: MemberRow) => told.push(`${name} ${address}`) };
  const { world, table, all } = replicas(3, { events });
  const row = { epoch: 'dead', name: 'dead', address: '10.0.0.1:8000', version: '1', counter: '7', joinedAtMs: 0 };
  table.rows.set('dead', { ...row, ownsSinceMs: undefined });
  for (const [i, { seat }] of all.entries()) {
    void seat.join(i === 0 ? '10.0.0.0:8000' : '10.0.0.1:8000');
    await world.advance(10);
    void seat.settle();
  }
  await world.advance(3 * LEASE_MS);
  assert.deepEqual(told.sort(), ['r1 10.0.0.1:8000', 'r2 10.0.0.1:8000']);
});

test('the first replica takes the state, and the others stand by, know where it is, and are ready', async () => {
  const { world, all } = replicas(3);
  await start(world, all);
  await world.advance(LEASE_MS);
  assert.deepEqual(
    all.map(({ seat }) => seat.role),
    ['owner', 'standby', 'standby'],
  );
  assert.equal(all[1]?.seat.owner?.address, '10.0.0.0:8000');
  assert.equal(all[0]?.seat.owner, undefined, 'it asks nobody else');
  await all[2]?.seat.settle();
});

test('after a clean stop another replica has the state within two seconds', async () => {
  const { world, all } = replicas(3);
  await start(world, all);
  await world.advance(LEASE_MS);
  void all[0]?.seat.leave();
  assert.ok((await msUntil(world, 'an owner', () => all.some(({ sends }) => sends))) <= 2_000);
});

test('after a crash another replica has the state within a lease and two seconds, and not before the lease is over', async () => {
  const { world, all } = replicas(3);
  await start(world, all);
  await world.advance(LEASE_MS);
  const [killed, ...others] = all;
  killed?.kill();
  const tookMs = await msUntil(world, 'an owner', () => others.some(({ sends }) => sends));
  assert.ok(tookMs <= LEASE_MS + 2_000, `${tookMs} ms`);
  assert.equal(killed?.seat.leaseLeftMs, 0);
});

test('a replica that is frozen for two leases and woken sends nothing, and learns that it was replaced', async () => {
  const lost: string[] = [];
  const { world, all } = replicas(2, { events: { lost: ({ code }) => lost.push(code) } });
  await start(world, all);
  await world.advance(LEASE_MS);
  const [first, second] = all;
  first?.freeze();
  await world.advance(2 * LEASE_MS);
  assert.equal(second?.sends, true);
  first?.wake();
  assert.equal(first?.sends, false);
  await world.advance(LEASE_MS);
  assert.equal(first?.seat.role, 'lost');
  assert.deepEqual(lost, ['STATE_LOCKED']);
  assert.equal(second?.sends, true);
});

test('an owner that is cut off from its database sends nothing past its lease, and goes on where nobody took the state', async () => {
  let cut = false;
  const told: string[] = [];
  const fate = (): Fate => (cut ? { ...AT_ONCE, lost: 'request' } : AT_ONCE);
  const events = { lapsed: () => told.push('lapsed'), renewed: () => told.push('renewed') };
  const { world, all } = replicas(1, { fate, events });
  await start(world, all);
  await world.advance(LEASE_MS);
  cut = true;
  await world.advance(2 * LEASE_MS);
  assert.equal(all[0]?.sends, false);
  cut = false;
  await world.advance(LEASE_MS);
  assert.equal(all[0]?.sends, true);
  assert.deepEqual(told, ['lapsed', 'renewed']);
});

test('where nobody reached the database, for however long, the one that worked goes on', async () => {
  const outages = [0.3, 0.4, 0.45, 0.5, 0.7, 0.9, 1, 1.5, 2, 4].map((leases) => leases * LEASE_MS);
  for (const lost of ['request', 'refused'] as const) {
    for (const outMs of outages) {
      for (let afterMs = 0; afterMs < LEASE_MS / 3; afterMs += 90) {
        let out = false;
        const fate = (): Fate => ({ there: 100, back: 10, lost: out ? lost : 'no' });
        const { world, table, all } = replicas(3, { fate });
        await start(world, all);
        await world.advance(LEASE_MS + afterMs);
        out = true;
        await world.advance(outMs);
        out = false;
        const backMs = await msUntil(world, 'its lease', () => all[0]?.sends === true);
        if (lost === 'refused') assert.ok(backMs <= LEASE_MS / 6 + 200, `${backMs} ms later`);
        await world.advance(2 * LEASE_MS);
        assert.deepEqual(table.owners, ['r0'], `${lost} for ${outMs} ms, begun ${afterMs} ms later`);
        assert.equal(all[0]?.sends, true);
      }
    }
  }
});

test('a take whose answer was lost is found, and is worked on', async () => {
  let lose = false;
  const { world, table, all } = replicas(1, { fate: () => (lose ? { ...AT_ONCE, lost: 'answer' } : AT_ONCE) });
  const [only] = all;
  void only?.seat.join('10.0.0.0:8000');
  await world.advance(10);
  void only?.seat.settle();
  await world.advance(1);
  lose = true;
  await msUntil(world, 'the row', () => table.owner === 'r0');
  lose = false;
  assert.equal(only?.sends, false);
  await msUntil(world, 'an owner', () => only?.sends === true);
});

test('the rows of standbys that were killed go, and one that was only slow comes back', async () => {
  const { world, table, all } = replicas(3);
  await start(world, all);
  await world.advance(LEASE_MS);
  all[1]?.kill();
  all[2]?.freeze();
  await world.advance(3 * LEASE_MS);
  assert.deepEqual([...table.rows.keys()], ['r0']);
  all[2]?.wake();
  await world.advance(LEASE_MS);
  assert.deepEqual([...table.rows.keys()], ['r0', 'r2']);
});

test('a replica whose state cannot be loaded is lost, and gives the work back when it leaves', async () => {
  const { world, table, all } = replicas(1, { begin: () => Promise.reject(new Error('damaged')) });
  await start(world, all);
  await world.advance(LEASE_MS);
  assert.equal(all[0]?.seat.role, 'lost');
  assert.equal(table.owner, 'r0');
  void all[0]?.seat.leave();
  await world.advance(10);
  assert.deepEqual([table.owner, table.rows.size], [undefined, 0]);
});

test('one that retires takes nothing any more, and one that has nothing leaves without a trace', async () => {
  const { world, table, all } = replicas(2);
  await start(world, all);
  await world.advance(LEASE_MS);
  await all[1]?.seat.retire();
  all[0]?.kill();
  await world.advance(3 * LEASE_MS);
  assert.equal(table.owner, 'r0');
  void all[1]?.seat.leave();
  await world.advance(10);
  assert.deepEqual([...table.rows.keys()], ['r0']);
  assert.equal(all[1]?.seat.role, 'left');
});

/** What happens in a run, in order: to whom, and for how long. */
const trouble = fc.record({
  afterMs: fc.integer({ min: 0, max: 4_000 }),
  replica: fc.nat({ max: 2 }),
  what: fc.constantFrom('freeze', 'cut', 'cutAnswers', 'leave', 'slow'),
  forMs: fc.integer({ min: 100, max: 3 * LEASE_MS }),
});

test('over delays, losses, freezes and clocks that run differently, no two replicas ever send at a time, nor their plugins’ processes', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.double({ min: 0.98, max: 1.02, noNaN: true }), { minLength: 3, maxLength: 3 }),
      fc.array(trouble, { maxLength: 6 }),
      fc.infiniteStream(
        fc.record({ there: fc.nat({ max: 400 }), back: fc.nat({ max: 400 }), luck: fc.nat({ max: 19 }) }),
      ),
      async (rates, troubles, fates) => {
        const world = new ManualClock(1_000_000);
        const table = new VirtualTable();
        const bad = new Map<number, 'cut' | 'cutAnswers' | 'slow'>();
        const fateOf = (i: number) => (): Fate => {
          const { value } = fates.next();
          const { there = 0, back = 0, luck = 0 } = value ?? {};
          const now = bad.get(i);
          const lost = now === 'cut' || luck === 0 ? 'request' : now === 'cutAnswers' || luck === 1 ? 'answer' : 'no';
          return { there: now === 'slow' ? there * 5 : there, back: now === 'slow' ? back * 5 : back, lost };
        };
        const all = rates.map(
          (rate, i) => new VirtualReplica({ name: `r${i}`, world, table, leaseMs: LEASE_MS, rate, fate: fateOf(i) }),
        );
        for (const { seat } of all) {
          const join = (): unknown => seat.join('10.0.0.1:8000').catch(() => world.setTimer(100, join));
          join();
          void seat.settle();
        }
        const run = async (ms: number) => {
          for (let left = ms; left > 0; left -= 100) {
            await world.advance(Math.min(100, left));
            for (const one of all) one.call();
            const sending = all.filter(({ sends, pluginSends }) => sends || pluginSends).map(({ seat }) => seat.epoch);
            assert.ok(sending.length <= 1, `${sending.join(' and ')} send`);
          }
        };
        await run(2_000);
        for (const { afterMs, replica, what, forMs } of troubles) {
          await run(afterMs);
          const one = all[replica];
          if (what === 'freeze') one?.freeze();
          else if (what === 'leave') void one?.seat.leave().catch(() => undefined);
          else bad.set(replica, what);
          await run(forMs);
          one?.wake();
          bad.delete(replica);
        }
        await run(4 * LEASE_MS);
      },
    ),
    { numRuns: 40 },
  );
});
