import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ConnectionInfo } from '../../src/plugin-api/contexts.js';
import { created, fail, type HarnessOptions, HINTS, literals, ok, running, settle, success } from './harness.js';
import { Machine } from './machine.js';

const MINUTE = 60_000;
const connection: ConnectionInfo = { secrets: { key: 'hush' }, configs: {} };
const WITH = { outputPrefix: '', connection };

/** A daemon with a state, that has room for one running task. */
async function begin(options: HarnessOptions = {}) {
  const machine = new Machine();
  const h = await machine.start({ config: { resourceQuotas: { default: 1 } }, warmUpMs: MINUTE, ...options });
  h.plugin.on.create = (args) => created(args.idempotencyKey);
  h.plugin.on.get = () => running();
  h.plugin.on.delete = () => ok({});
  return { machine, h };
}

test('secrets are not kept past their time by a task that waits, nor by one that nobody reads, and those of a later call are', async () => {
  const { h } = await begin({ options: { connectionTtlMs: 10 * MINUTE } });
  const make = (name: string) => settle(h.clock, h.tasks.create(h.spec(name, { connection }), h.scope()));
  const [holder, waits, asked] = [await make('holder'), await make('waits'), await make('asked')];
  h.runtime.refresher.hold(holder.task.id);
  await h.clock.advance(8 * MINUTE);
  assert.equal(waits.task.connection, connection);
  await settle(h.clock, h.tasks.status(asked.handle, WITH, h.scope()));
  await h.clock.advance(4 * MINUTE);
  assert.deepEqual([holder.task.connection, waits.task.connection], [undefined, undefined]);
  assert.equal(asked.task.connection, connection);
  await h.clock.advance(8 * MINUTE);
  assert.equal(asked.task.connection, undefined);
  await h.stop();
  assert.deepEqual([h.faults, h.clock.pending], [[], 0]);
});

test('secrets are not kept past their time by an owed delete or by an unclear create between their tries, nor by an ended task', async () => {
  const options = {
    connectionTtlMs: 10 * MINUTE,
    createBudgetMs: 20_000,
    retryInitialMs: 600 * MINUTE,
    retryMaxMs: 600 * MINUTE,
  };
  const { h } = await begin({ options, config: {} });
  const make = (name: string) => settle(h.clock, h.tasks.create(h.spec(name, { connection }), h.scope()));
  const deleted = await make('deleted');
  h.plugin.on.delete = () => fail('transient');
  await settle(h.clock, h.tasks.delete(deleted.handle, 'r', WITH));
  h.plugin.on.get = () => success();
  const ended = await make('ended');
  await h.clock.advance(MINUTE);
  await settle(
    h.clock,
    h.tasks.getLogs(ended.handle, { lines: 1, token: '' }, WITH, h.scope()).catch(() => undefined),
  );
  const owed = () => [...h.store.owed.listed()].map((one) => [one.connection, one.needsCredentials]);
  assert.deepEqual([owed(), ended.task.connection], [[[connection, false]], connection]);
  await h.clock.advance(12 * MINUTE);
  assert.deepEqual([owed(), ended.task.connection], [[[undefined, true]], undefined]);
  await h.stop();
});

test('an ended task leaves memory and state when its time is over, with nobody asking and nothing pushing it out', async () => {
  const { machine, h } = await begin({ finished: { ttlMs: 30 * MINUTE } });
  h.plugin.on.get = () => success(literals('o'));
  const { task } = await settle(h.clock, h.tasks.create(h.spec('a', { outputNames: ['o'] }), h.scope()));
  await h.clock.advance(5 * MINUTE);
  assert.deepEqual([task.stage, h.store.finished], ['over', 1]);
  machine.kill();

  // A start gives it no time anew.
  const second = await machine.start({ finished: { ttlMs: 30 * MINUTE } });
  await second.clock.advance(20 * MINUTE);
  assert.equal(second.store.finished, 1);
  await second.clock.advance(8 * MINUTE);
  assert.equal(second.store.finished, 0);
  await settle(second.clock, second.store.safe());
  machine.kill();
  const third = await machine.start({ finished: { ttlMs: 3_000 * MINUTE } });
  assert.equal(third.store.finished, 0, 'nothing of it is on the disk');
  machine.kill();
});

test('a mark leaves memory when its window is over, with nobody asking', async () => {
  const { h } = await begin({ replayWindowMs: 30 * MINUTE });
  const { handle } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
  assert.equal(h.store.marks.size, 1);
  await h.clock.advance(29 * MINUTE);
  assert.equal(h.store.marks.size, 1);
  await h.clock.advance(2 * MINUTE);
  assert.equal(h.store.marks.size, 0);
  await h.stop();
});
