import assert from 'node:assert/strict';
import { test } from 'node:test';
import { created, fail, HINTS, makeHarness, ok, running, settle } from './harness.js';

test('a mistaken Retry-After of years puts a create and a delete off for an hour, as long as the limit rests', async () => {
  const h = await makeHarness();
  const years = () => fail('throttled', { retryAfterMs: 1e12 });
  h.plugin.on.get = () => running();
  h.plugin.on.create = () => {
    h.plugin.on.create = () => created();
    return years();
  };
  h.plugin.on.delete = () => {
    h.plugin.on.delete = () => ok({});
    return years();
  };
  const { handle } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  await h.clock.advance(3_700_000);
  const task = await h.tasks.status(handle, HINTS, h.scope());
  assert.equal(task.stage, 'live');
  await h.tasks.delete(handle, 'no longer wanted', HINTS);
  await h.clock.advance(3_700_000);
  assert.equal(h.plugin.count('delete'), 2);
  assert.equal(h.tasks.owedDeletes.size, 0);
  await h.stop();
});
