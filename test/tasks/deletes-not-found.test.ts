import assert from 'node:assert/strict';
import { test } from 'node:test';
import { created, fail, type Harness, HINTS, literals, makeHarness, ok, running, settle, success } from './harness.js';

const QUOTA = { resourceQuotas: { default: 1 } };

/** A task whose job runs, at a remote that finds it or not as the test says. */
async function task(h: Harness, name = 'a') {
  const remote = { finds: true, cancelled: 0 };
  h.plugin.on.create = (args) => created(args.idempotencyKey);
  h.plugin.on.get = () => (remote.finds ? running() : fail('not_found'));
  h.plugin.on.delete = () => {
    if (!remote.finds) return fail('not_found');
    remote.cancelled += 1;
    return ok({});
  };
  const answer = await settle(h.clock, h.tasks.create(h.spec(name), h.scope()));
  return { ...answer, remote };
}

test('a short fault of not found leaves no cancelled job running: the delete stays owed, without its token, and is sent again', async () => {
  const h = await makeHarness({ config: QUOTA });
  const { handle, task: record, remote } = await task(h);
  await h.clock.advance(60_000);
  remote.finds = false;
  await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
  await h.clock.advance(1_000);
  assert.equal(h.tasks.owedDeletes.size, 1);
  assert.equal(h.runtime.quotas.holds(record.id), false, 'the next task need not wait for the confirmation');
  remote.finds = true;
  await h.clock.advance(60_000);
  assert.equal(remote.cancelled, 1);
  assert.equal(h.tasks.owedDeletes.size, 0);
  await h.stop();
});

test('a job that stays not found is believed gone after the minimum time and three tries, and no sooner', async () => {
  const h = await makeHarness();
  const { handle, remote } = await task(h);
  remote.finds = false;
  await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
  await h.clock.advance(110_000);
  assert.equal(h.tasks.owedDeletes.size, 1);
  await h.clock.advance(20_000);
  assert.equal(h.tasks.owedDeletes.size, 0);
  assert.equal(h.plugin.count('delete'), 4);
  await h.stop();
});

test('a failure between two answers of not found breaks the row', async () => {
  const h = await makeHarness();
  const { handle, remote } = await task(h);
  remote.finds = false;
  await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
  await h.clock.advance(61_000);
  h.plugin.on.delete = () => fail('transient');
  await h.clock.advance(60_000);
  h.plugin.on.delete = () => fail('not_found');
  await h.clock.advance(60_000);
  assert.equal(h.tasks.owedDeletes.size, 1);
  await h.clock.advance(180_000);
  assert.equal(h.tasks.owedDeletes.size, 0);
  await h.stop();
});

test('while a wave of not found is on, no delete is believed done; it is carried out when the remote finds jobs again', async () => {
  const h = await makeHarness();
  const { handle, remote } = await task(h);
  for (const name of ['b', 'c', 'd']) await settle(h.clock, h.tasks.create(h.spec(name), h.scope()));
  await h.clock.advance(60_000);
  remote.finds = false;
  await h.clock.advance(60_000);
  assert.equal(h.runtime.refresher.stats().notFoundFrozen, 4);
  await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
  await h.clock.advance(1_200_000);
  assert.equal(h.tasks.owedDeletes.size, 1);
  remote.finds = true;
  await h.clock.advance(120_000);
  assert.deepEqual([remote.cancelled, h.tasks.owedDeletes.size], [1, 0]);
  await h.stop();
});

test('a job that is lost, and one that a handle alone tells of, is looked for over the minimum time before its delete is done', async () => {
  const h = await makeHarness();
  const { task: record, remote } = await task(h);
  await h.clock.advance(60_000);
  remote.finds = false;
  for (let i = 0; i < 60 && record.stage !== 'over'; i++) await h.clock.advance(5_000);
  assert.equal(record.state.error?.code, 'RESOURCE_LOST');
  await h.clock.advance(60_000);
  assert.equal(h.tasks.owedDeletes.size, 1);
  remote.finds = true;
  await h.clock.advance(60_000);
  assert.deepEqual([remote.cancelled, h.tasks.owedDeletes.size], [1, 0]);
  await h.stop();
});

test('where the daemon knows that the job was over, one answer of not found is enough', async () => {
  const h = await makeHarness({ dataStore: 'none' });
  await task(h);
  h.plugin.on.get = () => success(literals('undeclared'));
  h.plugin.on.delete = () => fail('not_found');
  const { task: record } = await settle(h.clock, h.tasks.create(h.spec('b', { outputNames: ['x'] }), h.scope()));
  await h.clock.advance(60_000);
  assert.equal(record.state.error?.kind, 'SYSTEM');
  assert.equal(h.tasks.owedDeletes.size, 0);
  await h.stop();
});
