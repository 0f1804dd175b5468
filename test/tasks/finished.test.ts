import assert from 'node:assert/strict';
import { test } from 'node:test';
import { phaseState } from '../../src/model/phase-state.js';
import { created, fail, type Harness, HINTS, held, literals, makeHarness, ok, settle, success } from './harness.js';

/** Creates a task that is answered as accepted and ends by what `ends` does with its create. */
async function acceptedThenOver(
  h: Harness,
  name: string,
  outcome: ReturnType<typeof created> | ReturnType<typeof fail>,
) {
  const answer = held<typeof outcome>();
  h.plugin.on.create = () => answer.promise;
  const { handle, task } = await settle(h.clock, h.tasks.create(h.spec(name), h.scope()));
  answer.release(outcome);
  await h.clock.advance(1);
  assert.equal(task.stage, 'over');
  return { handle, task };
}

async function pushOut(h: Harness): Promise<void> {
  h.plugin.on.create = () => created('{}', phaseState('SUCCESS'));
  await settle(h.clock, h.tasks.create(h.spec('filler'), h.scope()));
}

test('a task that ended before its accepted handle was asked about is answered the same after it gave way in memory', async () => {
  for (const outcome of [
    created('{"job":1}', phaseState('SUCCESS')),
    created('{"job":1}', phaseState('SUCCESS', { outputs: { kind: 'prefix' } })),
    created('{"job":1}', phaseState('ABORTED', { reason: 'killed' })),
    fail('permanent', { code: 'BadPartition' }),
  ]) {
    const h = await makeHarness({ finished: { maxCount: 1 } });
    const { handle, task } = await acceptedThenOver(h, 'a', outcome);
    await pushOut(h);
    assert.equal(h.tasks.peek(handle), undefined);
    const again = await settle(h.clock, h.tasks.status(handle, HINTS, h.scope()));
    assert.equal(again.state.phase, task.state.phase);
    assert.deepEqual([again.state.error, again.state.outputs], [task.state.error, task.state.outputs]);
    assert.ok(again.phaseVersion > task.phaseVersion);
    assert.equal(h.plugin.count('get'), 0);
    await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
    await h.clock.advance(60_000);
    assert.equal(h.plugin.count('delete'), 0);
    await h.stop();
  }
});

test('outputs of a task that gave way are read again by what its accepted handle stands for', async () => {
  const h = await makeHarness({ finished: { maxCount: 1 } });
  const outputs = literals('o');
  const { handle } = await acceptedThenOver(h, 'a', created('{"job":1}', phaseState('SUCCESS', { outputs })));
  await pushOut(h);
  h.plugin.on.get = ({ meta }) => (meta.toString() === '{"job":1}' ? success(outputs) : fail('not_found'));
  const again = await settle(h.clock, h.tasks.status(handle, HINTS, h.scope()));
  assert.deepEqual([again.state.phase, again.state.outputs], ['SUCCESS', outputs]);
  await h.stop();
});

test('a repeated create of a task that ended and gave way answers the same bytes and makes no second job', async () => {
  const h = await makeHarness({ finished: { maxCount: 1 } });
  const { handle, task } = await acceptedThenOver(h, 'a', created('{"job":1}', phaseState('SUCCESS')));
  await pushOut(h);
  const before = h.plugin.count('create');
  const again = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  assert.deepEqual([again.handle, again.task.id, again.task.state.phase], [handle, task.id, 'SUCCESS']);
  assert.equal(h.plugin.count('create'), before);
  await settle(h.clock, h.tasks.delete(again.handle, 'r', HINTS));
  const anew = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  assert.equal(anew.task.identity.incarnation, 2, 'a delete ends the incarnation all the same');
  await h.stop();
});

test('a finished task larger than the whole cache is not read again at each Status', async () => {
  const h = await makeHarness({ finished: { maxBytes: 1_000 } });
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => ok(phaseState('SUCCESS', { reason: 'x'.repeat(5_000) }));
  const { handle } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  await h.clock.advance(60_000);
  for (let i = 0; i < 5; i++) {
    const { state } = await settle(h.clock, h.tasks.status(handle, HINTS, h.scope()));
    assert.equal(state.phase, 'SUCCESS');
  }
  assert.equal(h.plugin.count('get'), 1);
  await h.stop();
});

test('a task that the daemon ended is answered the same after it gave way, also while its delete is owed', async () => {
  const h = await makeHarness({ finished: { maxCount: 1 } });
  h.plugin.on.get = () => success();
  h.plugin.on.delete = () => fail('transient');
  h.plugin.on.create = () => created();
  const { handle, task } = await settle(h.clock, h.tasks.create(h.spec('a', { outputNames: ['o'] }), h.scope()));
  await h.clock.advance(60_000);
  assert.deepEqual([task.state.error?.code, h.tasks.owedDeletes.size], ['OUTPUTS_UNUSABLE', 1]);
  await pushOut(h);
  const again = await settle(h.clock, h.tasks.status(handle, HINTS, h.scope()));
  assert.deepEqual([again.state.phase, again.state.error], [task.state.phase, task.state.error]);
  await h.stop();
});

test('a task that was deleted after it gave way does not come back once the delete is forgotten', async () => {
  const h = await makeHarness({ finished: { maxCount: 1 }, replayWindowMs: 60_000 });
  const { handle, task } = await acceptedThenOver(h, 'a', created('{"job":1}', phaseState('SUCCESS')));
  await pushOut(h);
  await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
  await h.clock.advance(70_000);
  h.plugin.on.create = () => created('{"job":2}');
  const before = h.plugin.count('create');
  const anew = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  assert.equal(h.plugin.count('create'), before + 1);
  assert.notEqual(anew.task.state.phase, task.state.phase);
  await h.stop();
});

test('an owed delete of a task that the daemon ended takes the secrets of the engine’s own Delete', async () => {
  const h = await makeHarness();
  const connection = { secrets: { key: 'hush' }, configs: {} };
  h.plugin.on.get = () => success();
  h.plugin.on.delete = () => fail('transient');
  h.plugin.on.create = () => created();
  const spec = h.spec('a', { outputNames: ['o'], connection });
  const { handle } = await settle(h.clock, h.tasks.create(spec, h.scope()));
  await h.clock.advance(2 * 3_600_000);
  const lacking = () => [...h.store.owed.listed()].map((one) => one.needsCredentials);
  assert.deepEqual(lacking(), [true]);
  await settle(h.clock, h.tasks.delete(handle, 'r', { outputPrefix: '', connection }));
  await h.clock.advance(60_000);
  assert.deepEqual(lacking(), [false]);
  await h.stop();
});
