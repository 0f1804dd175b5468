import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { Holder } from '../../src/cluster/index.js';
import { type LimitsParts, SpreadLimits } from '../../src/daemon/spread-limits.js';
import { ManualClock } from '../../src/lib/clock.js';
import type { HeldToken } from '../../src/limits/grants/quota-owner.js';
import type { PluginBounds } from '../../src/limits/shared-limits.js';
import type { QuotaRequest } from '../../src/limits/types.js';
import { partitionOf, partOf } from '../../src/model/handle.js';

const SELF = 'me';
const PLUGIN = 'slurm';
const PARTS = 8;
/** Whose owner has the limits. */
const OF_LIMITS = partOf(partitionOf(PLUGIN), PARTS);
/** Another one, in which tasks are. */
const OF_TASKS = (OF_LIMITS + 1) % PARTS;
const LEASE_MS = 60_000;
/** A grant's life as the owner counts it, at most. */
const GRANT_MS = 0.3 * LEASE_MS + 100;
const LANE = { rate: { qps: 10, burst: 10 }, concurrency: 10, callMs: 1_000 };
const BOUNDS: PluginBounds = { read: LANE, write: LANE, quotas: { quotas: { default: 1 }, capacity: 100 } };

const ask = (taskId: string): QuotaRequest => ({ taskId, quotaNamespace: 'default', project: 'p', namespace: 'n' });

/** One replica's limits, whose seat says what the test says. */
function makeLimits(t: TestContext, begins: { tenure: string; held?: readonly HeldToken[] }) {
  const clock = new ManualClock();
  const listeners = new Set<() => void>();
  const pauses: string[] = [];
  const seat = {
    epoch: SELF,
    parts: PARTS,
    mayWork: true,
    holders: new Map<number, Holder>([[OF_LIMITS, { epoch: SELF, tenure: begins.tenure }]]),
    turns: new Map<number, number>(),
  };
  const tasks = new Map<string, number>();
  const parts: LimitsParts = {
    partOfTask: (id) => tasks.get(id),
    restsUntilMs: () => undefined,
    keepPause: (plugin, lane) => pauses.push(`${plugin} ${lane}`),
  };
  const limits = new SpreadLimits({
    seat: {
      epoch: SELF,
      parts: PARTS,
      holderOf: (part) => seat.holders.get(part),
      turnOf: (part) => seat.turns.get(part) ?? 0,
      mayWork: () => seat.mayWork,
      isGone: () => false,
      onChange: (listener) => {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
    },
    clock,
    random: () => 0.5,
    leaseMs: LEASE_MS,
    tls: () => undefined,
    held: async () => begins.held ?? [],
    parts: () => parts,
    events: {},
  });
  const plugin = limits.plugin(PLUGIN, { maxWaiting: 100, events: {}, bounds: () => BOUNDS });
  const read = plugin.limiter('read', () => undefined);
  const quotas = plugin.quotas({ ...BOUNDS.quotas, clock, maxWaiting: 100, jobOf: () => undefined });
  t.after(() => limits.close());
  const changed = () => {
    for (const listener of listeners) listener();
  };
  const granted = async () => {
    read.want?.(1);
    await clock.advance(200);
    return read.available() > 0;
  };
  return { clock, seat, tasks, limits, quotas, read, granted, changed, pauses };
}

test('who owns limits that nobody had before grants at once, and any other waits for the life of a grant', async (t) => {
  const first = makeLimits(t, { tenure: '1' });
  assert.equal(await first.granted(), true);
  const later = makeLimits(t, { tenure: '2' });
  assert.equal(await later.granted(), false);
  await later.clock.advance(GRANT_MS - 1_000);
  assert.equal(await later.granted(), false, 'grants of the one before may still be used');
  await later.clock.advance(1_500);
  assert.equal(await later.granted(), true);
});

test('a tenure that ends and comes again here is another one, which waits anew', async (t) => {
  const world = makeLimits(t, { tenure: '1' });
  assert.equal(await world.granted(), true);
  world.seat.holders.delete(OF_LIMITS);
  world.changed();
  world.read.take();
  await world.clock.advance(1_000);
  world.seat.holders.set(OF_LIMITS, { epoch: SELF, tenure: '2' });
  world.changed();
  while (world.read.take() !== undefined);
  assert.equal(await world.granted(), false);
});

test('an owner whose lease is over grants nothing until it is renewed', async (t) => {
  const world = makeLimits(t, { tenure: '1' });
  world.seat.mayWork = false;
  assert.equal(await world.granted(), false);
  world.seat.mayWork = true;
  world.limits.look();
  assert.equal(await world.granted(), true);
});

test('a task speaks for its token with the tenure of the part that it lies in', async (t) => {
  const held = [{ drawer: 'other', turn: 5, request: ask('a') }];
  const world = makeLimits(t, { tenure: '1', held });
  world.tasks.set('a', OF_TASKS);
  world.seat.turns.set(OF_TASKS, 4);
  world.seat.turns.set(OF_LIMITS, 9);
  world.quotas.hold(ask('a'));
  await world.clock.advance(100);
  // Who had the task before the other one is not heard: it gives nothing back.
  world.quotas.release('a');
  const waiting = world.quotas.acquire(ask('b'));
  await world.clock.advance(100);
  assert.equal(world.quotas.holds('b'), false);
  world.seat.turns.set(OF_TASKS, 6);
  world.quotas.hold(ask('a'));
  world.quotas.release('a');
  await world.clock.advance(100);
  assert.deepEqual([waiting.status, world.quotas.holds('b')], ['waiting', true]);
});
