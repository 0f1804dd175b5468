import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LivenessProbe } from '../../src/daemon/liveness.js';
import { phaseState } from '../../src/model/phase-state.js';
import { IndexedHeap } from '../../src/refresh/heap.js';
import { created, type Harness, makeHarness, settle } from '../tasks/harness.js';

/** Members of all heaps that were looked at one after another while `act` ran. */
async function walked(act: () => Promise<unknown> | unknown): Promise<number> {
  const { prototype } = IndexedHeap;
  const counted = prototype.countUpTo;
  const iterated = prototype[Symbol.iterator];
  let members = 0;
  prototype.countUpTo = function (bound) {
    members += this.size;
    return counted.call(this, bound);
  };
  prototype[Symbol.iterator] = function () {
    members += this.size;
    return iterated.call(this);
  };
  try {
    await act();
  } finally {
    prototype.countUpTo = counted;
    prototype[Symbol.iterator] = iterated;
  }
  return members;
}

/** A daemon whose reads do not keep up: all of its tasks are overdue. */
async function overdue(tasks: number): Promise<Harness> {
  const readRateLimiter = { qps: 0.01, burst: 1 };
  const h = await makeHarness({ config: { readRateLimiter, writeRateLimiter: { qps: 10_000, burst: 10_000 } } });
  h.plugin.on.create = () => created('{"job":1}', phaseState('RUNNING'));
  h.plugin.on.get = () => ({ ok: true, value: phaseState('RUNNING') });
  for (let i = 0; i < tasks; i++) await settle(h.clock, h.tasks.create(h.spec(`t${i}`), h.scope()));
  await h.clock.advance(300_000);
  assert.ok(h.runtime.refresher.countDue() > tasks - 10);
  return h;
}

test('neither a create nor the load report nor the liveness probe walks what is due, however much it is', async () => {
  const h = await overdue(400);
  const probe = new LivenessProbe(h.clock, { all: () => [h.runtime] });
  const creates = await walked(async () => {
    for (let i = 0; i < 20; i++) await h.tasks.create(h.spec(`late${i}`), h.scope());
  });
  // A new solution of the intervals, once a second, looks at each pool; here all tasks share one.
  assert.ok(creates <= 20, `${creates} members were looked at for 20 creates`);
  assert.equal(await walked(() => h.tasks.listPlugins()), 0);
  assert.equal(await walked(() => probe.check()), 0);
  assert.ok((await walked(() => h.runtime.refresher.countDue())) >= 400, 'the counter counts');
  probe.stop();
  await h.stop();
});

test('the liveness probe names a schedule that sends nothing although it could, and none that has nothing to send', async () => {
  const h = await makeHarness();
  const probe = new LivenessProbe(h.clock, { all: () => [h.runtime] });
  assert.deepEqual(probe.check().detail, { eventLoopTickAgeMs: 0, stuckSchedules: [] });
  const { refresher } = h.runtime;
  const stuck = { ...refresher.stats(), inFlight: 0, oldestOverdueMs: 10_000_000 };
  const runtime = { ...h.runtime, refresher: { ...refresher, stats: () => stuck } };
  const other = new LivenessProbe(h.clock, { all: () => [runtime] });
  assert.deepEqual(other.check().detail.stuckSchedules, ['fake']);
  probe.stop();
  other.stop();
  await h.stop();
});
