import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type AdminParts, adminSource } from '../../src/daemon/admin-source.js';
import { figuresOf } from '../../src/daemon/figures.js';
import { fail, HINTS, makeHarness, settle } from '../tasks/harness.js';

test('creates of unclear outcome and owed deletes stand in the operator’s view and the figures, without inputs and secrets', async () => {
  const h = await makeHarness({ options: { createBudgetMs: 20_000, connectionTtlMs: 60_000 } });
  const { tasks, store } = h;
  const runtimes = { get: () => h.runtime, all: () => [h.runtime] };
  const host = { plugins: () => [h.plugin] };
  const source = adminSource({ tasks, store, runtimes, host } as unknown as AdminParts);
  const figures = () =>
    figuresOf({
      tasks,
      store,
      runtimes,
      host,
      access: { certificates: [] },
      kept: { facts: () => ({}) },
      state: () => 'ready',
    } as unknown as Parameters<typeof figuresOf>[0]);
  const page = { limit: 10, after: '' };

  h.plugin.on.create = () => fail('deadline', { message: 'no answer' });
  const connection = { secrets: { key: 'hush' }, configs: {} };
  const spec = h.spec('a', { connection, inputs: Buffer.from('inputs') });
  const { task } = await settle(h.clock, h.tasks.create(spec, h.scope()));
  await h.clock.advance(50_000);
  assert.deepEqual(figures().plugins[0]?.unclearCreates, { looking: 1, left: 0 });
  const [row] = source.unclearCreates(page).rows;
  assert.deepEqual([row?.id, row?.plugin, row?.taskType, row?.looks, row?.left], [task.id, 'fake', 't', 0, null]);
  assert.match(String(row?.nextLook), /^\d{4}-/);
  await h.clock.advance(600_000);
  assert.deepEqual(figures().plugins[0]?.unclearCreates, { looking: 0, left: 1 });
  const [left] = source.unclearCreates(page).rows;
  assert.match(String(left?.left), /secrets/);
  assert.equal(left?.nextLook, null);
  assert.match(JSON.stringify(left?.lastError), /no answer/);
  assert.ok(!JSON.stringify([row, left]).includes('hush'));

  h.plugin.on.create = () => ({ ok: true, value: { meta: Buffer.from('{}'), state: undefined, existing: false } });
  h.plugin.on.delete = () => fail('transient');
  const owed = await settle(h.clock, h.tasks.create(h.spec('b', { connection }), h.scope()));
  await settle(h.clock, h.tasks.delete(owed.handle, 'done with it', HINTS));
  await h.clock.advance(1);
  assert.equal(source.deletes(page).rows[0]?.needsCredentials, false);
  await h.clock.advance(120_000);
  assert.equal(source.deletes(page).rows[0]?.needsCredentials, true);
  await h.stop();
});
