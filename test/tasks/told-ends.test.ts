import assert from 'node:assert/strict';
import { test } from 'node:test';
import { phaseState } from '../../src/model/phase-state.js';
import { created, fail, type Harness, HINTS, held, makeHarness, ok, running, settle, type success } from './harness.js';

async function tells(h: Harness, handle: Buffer, what: string): Promise<string> {
  const codes = new Set<string>();
  for (const ask of ['status', 'get'] as const) {
    const { state } = await settle(h.clock, h.tasks[ask](handle, HINTS, h.scope()));
    codes.add(`${state.phase} ${state.error?.code}`);
  }
  const peeked = h.tasks.peek(handle);
  if (peeked !== undefined) codes.add(`${peeked.state.phase} ${peeked.state.error?.code}`);
  assert.equal(codes.size, 1, `${what}: ${[...codes].join()}`);
  return [...codes].join();
}

test('a handle that was told that its create is lost is told so for good, whatever a create of the same attempt starts', async () => {
  const before = await makeHarness();
  before.plugin.on.create = () => fail('throttled', { retryAfterMs: 60_000 });
  const { handle } = await settle(before.clock, before.tasks.create(before.spec('a'), before.scope()));
  await before.stop();
  const h = await makeHarness({ warmUpMs: 90_000 });
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => running();
  h.plugin.on.delete = () => ok({});
  const lost = 'RETRYABLE_FAILURE CREATE_LOST';
  assert.equal(await tells(h, handle, 'first'), lost);
  const anew = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  assert.equal(await tells(h, handle, 'after a create'), lost);
  assert.equal(anew.task.confirmed, false, 'who asks by the old handle does not hold the new one');
  assert.equal(h.tasks.peek(anew.handle)?.stage, 'live', 'the new handle tells of the new task');
  await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
  assert.equal(
    h.plugin.count('delete'),
    1,
    'no Delete came before: this one is of the attempt, and its job must not go on',
  );
  assert.equal(await tells(h, handle, 'after its delete'), lost);
  await h.stop();
});

test('an accepted handle whose attempt is created again before anybody asked stands for that task', async () => {
  const before = await makeHarness();
  before.plugin.on.create = () => fail('throttled', { retryAfterMs: 60_000 });
  const { handle } = await settle(before.clock, before.tasks.create(before.spec('a'), before.scope()));
  await before.stop();
  const h = await makeHarness({ warmUpMs: 90_000 });
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => running();
  await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  await settle(h.clock, h.tasks.get(handle, HINTS, h.scope()));
  assert.equal(await tells(h, handle, 'first'), 'RUNNING undefined');
  await h.stop();
});

test('who was told that a task is deleted while the remote could not say how it ended is told so for good', async () => {
  const before = await makeHarness();
  before.plugin.on.create = () => created();
  const { handle } = await settle(before.clock, before.tasks.create(before.spec('a'), before.scope()));
  await before.stop();
  for (const [what, read] of [
    ['its read fails', fail('transient')],
    ['its read takes long', held<ReturnType<typeof success>>()],
  ] as const) {
    const h = await makeHarness();
    h.plugin.on.get = () => ('promise' in read ? read.promise : read);
    h.plugin.on.delete = () => fail('transient');
    await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
    await h.clock.advance(500);
    const deleted = 'ABORTED TASK_DELETED';
    assert.equal(await tells(h, handle, what), deleted);
    const end = ok(phaseState('RETRYABLE_FAILURE', { reason: 'the node went away' }));
    if ('release' in read) read.release(end);
    h.plugin.on.get = () => end;
    await h.clock.advance(120_000);
    assert.equal(h.tasks.owedDeletes.size, 0, 'the job was found to be over');
    assert.equal(await tells(h, handle, `${what}, and it is over`), deleted);
    await h.stop();
    assert.deepEqual(h.faults, []);
  }
});
