import assert from 'node:assert/strict';
import { test } from 'node:test';
import { created, HINTS, held, makeHarness, ok, type running as Running, running, settle } from './harness.js';

/** An engine's handle of an earlier daemon, and the daemon that comes after it. */
async function afterRestart() {
  const earlier = await makeHarness();
  earlier.plugin.on.create = (args) => created(args.idempotencyKey);
  earlier.plugin.on.get = () => running();
  const { handle } = await settle(earlier.clock, earlier.tasks.create(earlier.spec('a'), earlier.scope()));
  await earlier.stop();
  const h = await makeHarness();
  h.plugin.on.create = (args) => created(args.idempotencyKey, undefined, true);
  const read = held<ReturnType<typeof Running>>();
  h.plugin.on.get = () => read.promise;
  return { h, handle, read };
}

for (const asks of ['status', 'get'] as const) {
  test(`a create that finds the job which ${asks} of its old handle is reading shares that read, and both answer the same task`, async () => {
    const { h, handle, read } = await afterRestart();
    const asked = h.tasks[asks](handle, HINTS, h.scope());
    await h.clock.advance(10);
    const { task } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
    await h.clock.advance(5_000);
    assert.equal(h.plugin.count('get'), 1, 'never two reads of one resource at a time');
    read.release(running('found'));
    assert.equal(await settle(h.clock, asked), task);
    assert.equal(task.state.reason, 'found');
    h.plugin.on.get = () => running('read again');
    await h.clock.advance(120_000);
    assert.equal(task.state.reason, 'read again', 'the schedule goes on under the new record');
    await h.stop();
    assert.deepEqual(h.faults, []);
  });
}

for (const asks of [[], ['status'], ['status', 'get']] as const) {
  test(`a Delete by an old handle cancels its job while a repeated create waits for a token${asks.length === 0 ? '' : `, after ${asks.join(' and ')}`}`, async () => {
    const earlier = await makeHarness();
    earlier.plugin.on.create = (args) => created(args.idempotencyKey);
    const { handle, task: before } = await settle(
      earlier.clock,
      earlier.tasks.create(earlier.spec('a'), earlier.scope()),
    );
    await earlier.stop();
    const h = await makeHarness({ config: { resourceQuotas: { default: 1 } }, warmUpMs: 90_000 });
    const deleted: string[] = [];
    h.plugin.on.create = (args) => created(args.idempotencyKey);
    h.plugin.on.get = () => running();
    h.plugin.on.delete = ({ meta }) => {
      deleted.push(meta.toString());
      return ok({});
    };
    await settle(h.clock, h.tasks.create(h.spec('b'), h.scope()));
    const again = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
    assert.equal(again.task.state.phase, 'WAITING_FOR_RESOURCES');
    for (const ask of asks) {
      const { state } = await settle(h.clock, h.tasks[ask](handle, HINTS, h.scope()));
      assert.equal(state.phase, 'RUNNING', 'what the handle knows is read');
    }
    await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
    await h.clock.advance(60_000);
    assert.deepEqual(deleted, [before.meta?.toString()]);
    for (const one of [handle, again.handle]) {
      const { state } = await settle(h.clock, h.tasks.status(one, HINTS, h.scope()));
      assert.equal(state.error?.code, 'TASK_DELETED');
    }
    assert.equal(h.plugin.count('create'), 1, 'the create that waited is not sent');
    assert.equal(h.tasks.owedDeletes.size, 0);
    await h.stop();
    assert.deepEqual(h.faults, []);
  });
}
