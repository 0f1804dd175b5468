import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../src/lib/clock.js';
import { createDeferred } from '../../src/lib/deferred.js';
import { Stop } from '../../src/lib/stop.js';
import type { CreateAnswer, PluginOutcome } from '../../src/model/plugin-call.js';
import { CreateLane } from '../../src/runtime/create-lane.js';

test('a run that ends late takes no place of a later run of its task, which stays the one probe', async () => {
  const clock = new ManualClock();
  const lane = new CreateLane({ clock, random: () => 0.5, graceMs: 60_000, events: {} });
  const [early, later, other] = [Symbol('t'), Symbol('t'), Symbol('x')];
  const { signal } = { signal: new Stop() };
  assert.equal(await lane.pass(early, false, signal), true);
  lane.readsDown();
  assert.equal(await lane.pass(later, false, signal), true, 'as the probe');
  const answer = createDeferred<PluginOutcome<CreateAnswer>>();
  const sends = lane.send(later, signal, (_, sent) => {
    sent();
    return answer.promise;
  });
  let passed = false;
  const waits = lane.pass(other, false, signal).then(() => {
    passed = true;
  });
  lane.leave(early);
  await clock.advance(1_000);
  assert.deepEqual([passed, lane.waiting], [false, 1]);
  answer.resolve({ ok: true, value: { meta: 'job' } } as unknown as PluginOutcome<CreateAnswer>);
  await sends;
  await waits;
  for (const run of [later, other]) lane.leave(run);
  assert.deepEqual([lane.waiting, clock.pending], [0, 0]);
});
