import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostError } from '../../src/errors/index.js';
import { createDeferred } from '../../src/lib/deferred.js';
import { phaseState } from '../../src/model/phase-state.js';
import type { PluginOutcome } from '../../src/model/plugin-call.js';
import { fail, type Harness, makeHarness, ok, settle, success } from './harness.js';
import { Machine } from './machine.js';

const SYNC = {
  plugin: (plugin: Harness['plugin']) => {
    plugin.kind = 'sync' as const;
  },
};

const FAILURES: Record<string, PluginOutcome<never>> = {
  'an error that passes': fail('transient'),
  'an error nobody knows': fail('unknown'),
  'something that was not found': fail('not_found'),
  'the bound of its run': fail('deadline'),
  'the death of its process': fail('process_died'),
  'a permanent error': fail('permanent'),
};

const run = (h: Harness, name = 'a', ms = 9_000) => settle(h.clock, h.tasks.do(h.spec(name), h.scope(ms)));

for (const [what, failure] of Object.entries({
  ...FAILURES,
  'the plugin’s own word': ok(phaseState('RETRYABLE_FAILURE', { error: { code: 'X', message: 'x', kind: 'USER' } })),
})) {
  test(`a run that ended by ${what} is told again to a repeat, also after a crash, and another attempt runs`, async () => {
    const machine = new Machine();
    let h = await machine.start({ ...SYNC });
    h.plugin.on.do = () => failure;
    const first = await run(h);
    h.plugin.on.do = () => success();
    assert.deepEqual(await run(h), first);
    assert.equal(h.plugin.count('do'), 1);
    machine.kill();
    h = await machine.start({ ...SYNC });
    h.plugin.on.do = () => success();
    const again = await run(h);
    assert.deepEqual([again.phase, again.error], [first.phase, first.error]);
    assert.equal(h.plugin.count('do'), 0);
    assert.equal((await run(h, 'another attempt')).phase, 'SUCCESS');
    machine.kill();
  });
}

test('what runs hold in memory is bounded like what creates do, and its room is free again when they end', async () => {
  const h = await makeHarness({ ...SYNC, options: { maxWaitingBytes: 6_000 } });
  const ends = createDeferred<void>();
  h.plugin.on.do = async () => {
    await ends.promise;
    return success();
  };
  const large = { inputs: Buffer.alloc(4_000) };
  const first = h.tasks.do(h.spec('a', large), h.scope());
  const second = () => settle(h.clock, h.tasks.do(h.spec('b', large), h.scope()));
  await assert.rejects(second(), (error) => HostError.is(error) && error.code === 'STORE_FULL');
  const joined = h.tasks.do(h.spec('a', large), h.scope());
  ends.resolve();
  assert.deepEqual(
    (await settle(h.clock, Promise.all([first, joined]))).map(({ phase }) => phase),
    ['SUCCESS', 'SUCCESS'],
  );
  assert.equal((await second()).phase, 'SUCCESS');
  await h.stop();
});

test('a run that ends aborted is told with an error, as an async task is', async () => {
  const h = await makeHarness(SYNC);
  h.plugin.on.do = () => ok(phaseState('ABORTED', { reason: 'somebody stopped it' }));
  const { phase, error } = await run(h);
  assert.deepEqual([phase, error], ['ABORTED', { code: 'TASK_ABORTED', message: 'somebody stopped it', kind: 'USER' }]);
  await h.stop();
});

test('an end is forgotten after some minutes, and then a repeat runs the task', async () => {
  const h = await makeHarness(SYNC);
  h.plugin.on.do = () => fail('transient');
  await run(h);
  h.plugin.on.do = () => success();
  await h.clock.advance(11 * 60_000);
  assert.equal((await run(h)).phase, 'SUCCESS');
  await h.stop();
});

test('what was throttled never ran, and what its caller’s deadline cut short has not ended: a repeat runs both', async () => {
  const h = await makeHarness(SYNC);
  h.plugin.on.do = () => fail('throttled', { retryAfterMs: 1_000 });
  await assert.rejects(run(h), (error) => HostError.is(error) && error.code === 'PLUGIN_THREW_THROTTLED');
  await h.clock.advance(5_000);
  h.plugin.on.do = (_args, { deadlineMs = 0 }) =>
    new Promise((resolve) => {
      h.clock.setTimer(deadlineMs - h.clock.now(), () => resolve(fail('deadline')));
    });
  await run(h, 'a', 2_000).catch((error: unknown) => assert.ok(HostError.is(error), String(error)));
  await h.clock.advance(5_000);
  h.plugin.on.do = () => success();
  assert.equal((await run(h)).phase, 'SUCCESS');
  await h.stop();
});
