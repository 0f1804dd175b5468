import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PhaseState } from '../../src/model/phase-state.js';
import type { PluginOutcome } from '../../src/model/plugin-call.js';
import { created, fail, HINTS, makeHarness, running, settle } from './harness.js';

test('an engine whose Gets are shorter than the remote takes neither ends the task nor calls the remote down', async () => {
  const h = await makeHarness();
  h.plugin.on.create = () => created();
  h.plugin.on.get = (_args, { deadlineMs, signal }) =>
    new Promise<PluginOutcome<PhaseState>>((resolve) => {
      h.clock.setTimer(2_000, () => resolve(running()));
      h.clock.setTimer((deadlineMs ?? Number.POSITIVE_INFINITY) - h.clock.now(), () => resolve(fail('deadline')));
      signal?.addEventListener('abort', () => resolve(fail('cancelled')));
    });
  const handles = [];
  for (const name of ['a', 'b']) handles.push(await settle(h.clock, h.tasks.create(h.spec(name), h.scope())));
  for (let round = 0; round < 300; round++) {
    for (const { handle } of handles) {
      const get = h.tasks.get(handle, HINTS, h.scope(1_000));
      get.catch(() => undefined);
    }
    await h.clock.advance(1_000);
    assert.equal(h.runtime.refresher.remoteDown, false);
  }
  for (const { handle } of handles) {
    const task = await h.tasks.status(handle, HINTS, h.scope());
    assert.deepEqual([task.state.phase, task.consecutiveFailures], ['RUNNING', 0]);
  }
  assert.equal(h.plugin.count('delete'), 0);
  await h.stop();
});
