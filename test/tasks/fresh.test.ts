import assert from 'node:assert/strict';
import { test } from 'node:test';
import { phaseState } from '../../src/model/phase-state.js';
import { created, fail, HINTS, held, makeHarness, ok, running, settle } from './harness.js';

/** A task that was read a moment ago, and whose next read is far away. */
async function liveTask() {
  const h = await makeHarness();
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => ok(phaseState('RUNNING', { nextPollAfterMs: 3_000_000 }));
  const { handle } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  await h.clock.advance(120_000);
  const task = h.tasks.peek(handle);
  assert.ok(task?.observedAtMs !== undefined);
  const ageMs = () => h.clock.now() - (task.observedAtMs as number);
  const reads = () => h.plugin.count('get');
  const status = (maxStalenessMs?: number, deadlineMs = 30_000) =>
    settle(h.clock, h.tasks.status(handle, HINTS, h.scope(deadlineMs), maxStalenessMs));
  return { h, handle, task, ageMs, reads, status };
}

test('a task that is older than its caller bears is read for it, and one that is not, or of no bound, is not', async () => {
  const { h, handle, ageMs, reads, status } = await liveTask();
  const before = reads();
  const age = ageMs();
  assert.ok(age > 0);
  assert.notEqual(h.tasks.peek(handle, age), undefined);
  await status(age + 1_000);
  await status(0);
  await status();
  assert.equal(reads(), before);
  assert.equal(h.tasks.peek(handle, age - 1), undefined);
  h.plugin.on.get = () => running('as of now');
  assert.equal((await status(age - 1)).state.reason, 'as of now');
  assert.equal(reads(), before + 1);
  await h.stop();
});

test('a read for a stale task that fails is answered with the last known state', async () => {
  const { h, ageMs, reads, status } = await liveTask();
  const before = reads();
  h.plugin.on.get = () => fail('transient');
  const task = await status(ageMs() - 1);
  assert.equal(reads(), before + 1);
  assert.equal(task.state.phase, 'RUNNING');
  await h.stop();
});

test('a read for a stale task takes no more than a third of the deadline, and the last known state is answered then', async () => {
  const { h, handle, ageMs } = await liveTask();
  const reading = held<ReturnType<typeof running>>();
  h.plugin.on.get = () => reading.promise;
  const startMs = h.clock.now();
  let answeredMs: number | undefined;
  const answer = h.tasks.status(handle, HINTS, h.scope(9_000), ageMs() - 1).then((task) => {
    answeredMs = h.clock.now() - startMs;
    return task;
  });
  await h.clock.advance(2_900);
  assert.equal(answeredMs, undefined);
  await h.clock.advance(200);
  assert.equal((await answer).state.phase, 'RUNNING');
  assert.ok(answeredMs !== undefined && answeredMs <= 3_100, String(answeredMs));
  reading.release(running());
  await h.clock.advance(0);
  await h.stop();
});

test('what is stale is not read while its remote is down, nor once it is over', async () => {
  const { h, handle, ageMs, reads, status } = await liveTask();
  const { refresher } = h.runtime;
  const down = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(refresher), 'remoteDown');
  Object.defineProperty(refresher, 'remoteDown', { get: () => true, configurable: true });
  const before = reads();
  assert.notEqual(h.tasks.peek(handle, ageMs() - 1), undefined);
  await status(ageMs() - 1);
  assert.equal(reads(), before);
  Object.defineProperty(refresher, 'remoteDown', down as PropertyDescriptor);
  h.plugin.on.get = () => ok(phaseState('SUCCESS'));
  await status(ageMs() - 1);
  assert.equal(reads(), before + 1);
  await h.clock.advance(60_000);
  assert.equal((await status(1)).state.phase, 'SUCCESS');
  assert.equal(reads(), before + 1);
  await h.stop();
});
