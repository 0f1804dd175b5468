import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CreateArgs } from '../../src/model/plugin-call.js';
import type { CallScope } from '../../src/tasks/types.js';
import { created, type Harness, HINTS, held, makeHarness, running, settle } from './harness.js';

/** Of a call that came so long ago and may take nine seconds in all. */
function cameBefore(h: Harness, ms: number): CallScope {
  const arrivedMs = h.clock.now() - ms;
  return { ...h.scope(), arrivedMs, deadlineMs: arrivedMs + 9_000 };
}

async function answering(): Promise<Harness> {
  const h = await makeHarness();
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => running();
  return h;
}

const begun = (h: Harness): string[] =>
  h.plugin.calls
    .filter(({ method }) => method === 'create')
    .map(({ args }) => (args as CreateArgs).metadata.generatedName);

test('a create that is looked at late is answered at once, and begun after that', async () => {
  const h = await answering();
  const { task } = await h.tasks.create(h.spec('a'), cameBefore(h, 750));
  assert.equal(task.state.phase, 'WAITING_FOR_RESOURCES');
  assert.deepEqual(begun(h), []);
  await h.clock.advance(10);
  assert.deepEqual(begun(h), ['a']);
  assert.equal(task.stage, 'live');
  const again = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  assert.equal(again.task, task);
  assert.equal(h.plugin.count('create'), 1);
  await h.stop();
  assert.deepEqual(h.faults, []);
});

test('a create that is looked at in time is begun before it is answered', async () => {
  const h = await answering();
  const { task } = await settle(h.clock, h.tasks.create(h.spec('a'), cameBefore(h, 700)));
  assert.equal(task.stage, 'live');
  await h.stop();
});

test('creates that wait for their turn are begun in the order in which they came, and one that comes later after them', async () => {
  const h = await answering();
  const names = Array.from({ length: 40 }, (_, i) => `t${i}`);
  await Promise.all(names.map((name) => h.tasks.create(h.spec(name), cameBefore(h, 2_000))));
  const last = h.tasks.create(h.spec('last'), h.scope());
  assert.deepEqual(begun(h), []);
  await h.clock.advance(50);
  assert.deepEqual(begun(h), [...names, 'last']);
  assert.equal((await last).task.stage, 'live', 'it had the time to wait for that');
  await h.stop();
});

test('a create that is deleted before its turn is never begun, and one of a daemon that stops waits for the next', async () => {
  const h = await answering();
  const scope = cameBefore(h, 2_000);
  const [gone, left] = await Promise.all(['gone', 'left'].map((name) => h.tasks.create(h.spec(name), scope)));
  await h.tasks.delete(gone!.handle, 'not wanted', HINTS, h.scope());
  const stopping = h.stop();
  await h.clock.advance(1_000);
  await stopping;
  assert.deepEqual(begun(h), []);
  assert.equal(left!.task.stage, 'accepted');
  assert.deepEqual(h.faults, []);
});

test('of creates that wait together each is answered so much earlier that the others are answered in time as well', async () => {
  const h = await makeHarness();
  const answer = held<ReturnType<typeof created>>();
  h.plugin.on.create = () => answer.promise;
  const answered = new Set<number>();
  const all = Array.from({ length: 900 }, (_, i) =>
    h.tasks.create(h.spec(`t${i}`), h.scope(9_000)).then(() => answered.add(i)),
  );
  await h.clock.advance(2_870);
  assert.deepEqual([...answered], []);
  await h.clock.advance(20);
  assert.equal(answered.has(899), true, '90 ms before a third of the deadline');
  assert.equal(answered.has(0), false);
  await h.clock.advance(81);
  await Promise.all(all);
  answer.release(created());
  h.plugin.on.get = () => running();
  await h.stop();
});
