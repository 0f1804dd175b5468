import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostError } from '../../src/errors/index.js';
import { decodeHandle, encodeHandle, type Handle } from '../../src/model/handle.js';
import { phaseState } from '../../src/model/phase-state.js';
import { created, fail, type Harness, HINTS, makeHarness, ok, running, settle } from './harness.js';

const key = (i: number) => i.toString(16).padStart(32, '0');

/** What somebody makes of a handle that they saw. */
function forge(handle: Buffer, parts: Partial<Handle['identity']>, meta?: string): Buffer {
  const seen = decodeHandle(handle);
  return encodeHandle({
    identity: { ...seen.identity, ...parts },
    meta: meta === undefined ? seen.meta : Buffer.from(meta),
  });
}

const status = (h: Harness, handle: Buffer) => settle(h.clock, h.tasks.status(handle, HINTS, h.scope(1_000)));
const create = (h: Harness, name: string) => settle(h.clock, h.tasks.create(h.spec(name), h.scope()));

/** Allocation tokens that are out. */
const heldOf = (h: Harness) => h.runtime.quotas.snapshot().reduce((sum, { used }) => sum + used, 0);

test('three thousand made-up handles of one live job starve no honest create: not of room, and not of its quota', async () => {
  const h = await makeHarness({
    config: { resourceQuotas: { default: 3 }, readRateLimiter: { qps: 100_000, burst: 10_000 } },
    maxTasks: 500,
    options: { maxAdopted: 500 },
  });
  h.plugin.on.create = () => created('{"job":"victim"}');
  h.plugin.on.get = () => running();
  const victim = await create(h, 'victim');
  for (let i = 1; i <= 3_000; i++) {
    const task = await status(h, forge(victim.handle, { key: key(i) }));
    assert.equal(task.state.phase, 'RUNNING', 'no Status is refused for want of room: engines count that');
  }
  assert.ok(h.store.adopted.size <= 500, `${h.store.adopted.size} are held`);
  assert.equal(h.runtime.quotas.snapshot()[0]?.used, 1);
  h.plugin.on.create = ({ idempotencyKey }) => created(JSON.stringify(idempotencyKey));
  for (const name of ['b', 'c']) assert.equal((await create(h, name)).task.stage, 'live', name);
  await h.stop();
});

test('handles of jobs that no read has shown take no token and give way to newcomers; those of jobs that run stay', async () => {
  const h = await makeHarness({
    config: { resourceQuotas: { default: 2 }, readRateLimiter: { qps: 100_000, burst: 10_000 } },
    options: { maxAdopted: 10 },
  });
  h.plugin.on.create = () => created('{"job":"sample"}');
  h.plugin.on.get = ({ meta }) => (meta.toString().includes('real') ? running() : fail('not_found'));
  const sample = await create(h, 'sample');
  const honest = [1, 2, 3].map((i) => forge(sample.handle, { key: key(i) }, `{"job":"real-${i}"}`));
  for (const handle of honest) await status(h, handle);
  for (let i = 100; i < 300; i++) await status(h, forge(sample.handle, { key: key(i) }, `{"job":"none-${i}"}`));
  for (const handle of honest) assert.equal(h.tasks.peek(handle)?.stage, 'live');
  const late = forge(sample.handle, { key: key(4) }, '{"job":"real-4"}');
  await status(h, late);
  assert.equal(h.tasks.peek(late)?.state.reason, 'runs', 'there is room for one more that runs');
  assert.equal(h.store.adopted.size, 10);
  assert.equal(h.runtime.quotas.snapshot()[0]?.used, 3, 'one that was created, and two, as many as the quota has');
  await h.stop();
});

test('where even that is full Status answers RUNNING without keeping anything, Get is told to wait, and room is used once it is there', async () => {
  const h = await makeHarness({ options: { maxAdopted: 1 } });
  h.plugin.on.create = () => created('{"job":"sample"}');
  let phase: 'RUNNING' | 'SUCCESS' = 'RUNNING';
  h.plugin.on.get = () => ok(phaseState(phase, { reason: 'read' }));
  const sample = await create(h, 'sample');
  const [one, two] = [1, 2].map((i) => forge(sample.handle, { key: key(i) })) as [Buffer, Buffer];
  await status(h, one);
  const unheld = await status(h, two);
  assert.deepEqual([unheld.state.phase, h.tasks.peek(two)], ['RUNNING', undefined]);
  await assert.rejects(
    settle(h.clock, h.tasks.get(two, HINTS, h.scope())),
    (error) => HostError.is(error) && error.code === 'STORE_FULL' && error.retryAfterMs !== undefined,
  );
  phase = 'SUCCESS';
  await h.clock.advance(60_000);
  assert.equal((await status(h, two)).state.reason, 'read');
  await h.stop();
});

test('handles are taken up at a rate, and no faster', async () => {
  const h = await makeHarness({ options: { adoptionsPerSecond: 10, adoptionsAtOnce: 20 } });
  h.plugin.on.create = () => created('{"job":"sample"}');
  h.plugin.on.get = () => fail('throttled', { retryAfterMs: 1_000_000 });
  const sample = await create(h, 'sample');
  const flood = () =>
    Promise.all(
      Array.from({ length: 100 }, (_, i) =>
        h.tasks.status(forge(sample.handle, { key: key(i + 1) }), HINTS, { ...h.scope(), deadlineMs: 0 }),
      ),
    );
  await flood();
  assert.equal(h.store.adopted.size, 20);
  await h.clock.advance(1_000);
  await flood();
  assert.equal(h.store.adopted.size, 30);
  await h.stop();
});

test('handles that say the victim’s key, of this or a higher incarnation, change nothing for the victim', async () => {
  const h = await makeHarness({ finished: { maxCount: 1 } });
  h.plugin.on.create = () => created('{"job":"victim"}');
  h.plugin.on.get = ({ meta }) =>
    meta.toString().includes('victim') ? running('the real one') : ok(phaseState('ABORTED'));
  h.plugin.on.delete = () => ok({});
  const victim = await create(h, 'victim');
  for (const incarnation of [2, 3, 77]) {
    const higher = forge(victim.handle, { incarnation }, '{"job":"other"}');
    await status(h, higher);
    assert.deepEqual((await create(h, 'victim')).handle, victim.handle);
    await settle(h.clock, h.tasks.delete(higher, 'r', HINTS));
    assert.deepEqual((await create(h, 'victim')).handle, victim.handle);
    assert.equal((await status(h, victim.handle)).stage, 'live');
  }
  h.plugin.on.get = () => ok(phaseState('PERMANENT_FAILURE', { reason: 'its own end' }));
  await h.clock.advance(60_000);
  await create(h, 'filler');
  await h.clock.advance(60_000);
  const again = await create(h, 'victim');
  assert.deepEqual([again.handle, again.task.state.reason], [victim.handle, 'its own end']);
  await h.stop();
});

test('after a restart a made-up handle of the victim’s own incarnation stands neither in its Status nor in its create', async () => {
  const before = await makeHarness();
  before.plugin.on.create = () => created('{"job":"victim"}');
  before.plugin.on.get = () => running();
  const { handle } = await create(before, 'victim');
  await before.stop();
  const h = await makeHarness();
  h.plugin.on.create = () => created('{"job":"victim"}', phaseState('RUNNING', { reason: 'the real one' }), true);
  h.plugin.on.get = ({ meta }) =>
    meta.toString().includes('victim')
      ? running('the real one')
      : ok(phaseState('PERMANENT_FAILURE', { reason: 'forged' }));
  const forged = forge(handle, {}, '{"job":"other"}');
  assert.equal((await status(h, forged)).state.reason, 'forged');
  assert.equal((await status(h, handle)).state.reason, 'the real one');
  const again = await create(h, 'victim');
  assert.deepEqual(
    [again.handle, again.task.state.reason, again.task.identity.incarnation],
    [handle, 'the real one', 1],
  );
  await h.stop();
});

test('a create that is repeated after a restart finds its job, keeps the handle that the engine asked by, and its token', async () => {
  const before = await makeHarness();
  before.plugin.on.create = () => created('{"job":"a"}');
  before.plugin.on.get = () => running();
  const { handle } = await create(before, 'a');
  await before.stop();
  const h = await makeHarness({ config: { resourceQuotas: { default: 1 } } });
  h.plugin.on.get = () => running('runs on');
  h.plugin.on.create = () => created('{"job":"a"}', phaseState('QUEUED'), true);
  h.plugin.on.delete = () => ok({});
  const { phaseVersion } = await status(h, handle);
  assert.equal(heldOf(h), 1);
  const again = await create(h, 'a');
  assert.deepEqual([again.handle, again.task.state.phase, h.plugin.count('create')], [handle, 'RUNNING', 1]);
  assert.ok(again.task.phaseVersion > phaseVersion, 'the version a caller saw goes on');
  assert.deepEqual([h.store.unfinished, h.store.adopted.size, heldOf(h)], [1, 0, 1]);
  assert.deepEqual((await create(h, 'a')).handle, handle);
  await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
  await h.clock.advance(1_000);
  assert.deepEqual([h.store.unfinished, h.plugin.count('delete'), heldOf(h)], [0, 1, 0]);
  await h.stop();
});

test('a delete by the handle of an earlier daemon ends the repeated create that is under way as well', async () => {
  const before = await makeHarness();
  before.plugin.on.create = () => created('{"job":"a"}');
  before.plugin.on.get = () => running();
  const { handle } = await create(before, 'a');
  await before.stop();
  const h = await makeHarness();
  h.plugin.on.get = () => running();
  h.plugin.on.delete = () => ok({});
  h.plugin.on.create = () => fail('throttled', { retryAfterMs: 60_000 });
  await status(h, handle);
  await create(h, 'a');
  await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
  h.plugin.on.create = () => created('{"job":"b"}');
  await h.clock.advance(600_000);
  assert.deepEqual([h.store.unfinished, h.plugin.count('create'), h.plugin.count('delete')], [0, 1, 1]);
  assert.equal(h.clock.pending >= 0, true);
  await h.stop();
});

test('made-up accepted handles hold nothing: each is answered CREATE_LOST, and no finished task gives way to them', async () => {
  const h = await makeHarness({ finished: { maxCount: 2 } });
  h.plugin.on.create = () => created('{"job":1}', phaseState('SUCCESS'));
  const done = await create(h, 'done');
  const { identity } = decodeHandle(done.handle);
  for (let i = 1; i <= 50; i++) {
    const task = await status(h, encodeHandle({ identity: { ...identity, key: key(i) }, meta: undefined }));
    assert.equal(task.state.error?.code, 'CREATE_LOST');
  }
  assert.equal(h.tasks.peek(done.handle)?.state.phase, 'SUCCESS');
  assert.equal(h.store.finished, 1);
  await h.stop();
});
