import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PluginOutcome } from '../../src/model/plugin-call.js';
import { created, fail, type Harness, HINTS, ok, running, settle } from './harness.js';
import { Machine } from './machine.js';

const MINUTE = 60_000;
const GRACE = 60 * MINUTE;
const CONFIG = { config: { resourceQuotas: { default: 1 } } };

/** A machine whose daemon has one running task in a quota of one; what a delete is answered changes with `answer`. */
async function world() {
  const machine = new Machine();
  const answer = { on: (): PluginOutcome<Record<string, never>> => fail('transient') };
  const told: unknown[][] = [];
  const events = { deleteFreed: (...what: unknown[]) => void told.push(what) };
  const start = async () => {
    const h = await machine.start({ ...CONFIG, events });
    h.plugin.on.create = (args) => created(args.idempotencyKey);
    h.plugin.on.get = () => running();
    h.plugin.on.delete = () => answer.on();
    return h;
  };
  const h = await start();
  const { handle, task } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  await h.clock.advance(MINUTE);
  await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
  return { machine, answer, start, h, id: task.id, told };
}

const holds = (h: Harness, id: string) => [h.runtime.quotas.holds(id), h.store.owed.get(id)?.holdsToken];

for (const [name, kind] of [
  ['with errors that pass', 'transient'],
  ['with permanent errors', 'permanent'],
  ['with errors nobody knows', 'unknown'],
  ['by its deadline', 'deadline'],
  ['with the death of its process', 'process_died'],
] as const) {
  test(`a delete that fails ${name} past the grace gives its token back, and no sooner, and is repeated until it is done`, async () => {
    const { h, id, answer, told } = await world();
    answer.on = () => fail(kind);
    const next = await settle(h.clock, h.tasks.create(h.spec('b'), h.scope()));
    await h.clock.advance(GRACE - 3 * MINUTE);
    assert.deepEqual(holds(h, id), [true, true]);
    assert.equal(next.task.stage, 'accepted');
    await h.clock.advance(6 * MINUTE);
    assert.deepEqual(holds(h, id), [false, false]);
    assert.equal(next.task.stage, 'live', 'a dead cluster starves no quota');
    const tries = h.plugin.count('delete');
    await h.clock.advance(10 * MINUTE);
    assert.ok(h.plugin.count('delete') > tries, 'it is repeated');
    answer.on = () => ok({});
    await h.clock.advance(2 * MINUTE);
    assert.equal(h.tasks.owedDeletes.size, 0);
    assert.equal(h.runtime.quotas.holds(next.task.id), true, 'its end frees nothing twice');
    assert.deepEqual(
      told.map(([taskId, plugin]) => [taskId, plugin]),
      [[id, h.plugin.id]],
    );
    const failingForMs = Number(told[0]?.[2]);
    assert.ok(failingForMs >= GRACE && failingForMs < GRACE + 2 * MINUTE, `${failingForMs}`);
    assert.deepEqual(h.faults, []);
    await h.stop();
  });
}

test('a throttle is no failure: it uses nothing of the grace up, however long it lasts', async () => {
  const { h, id, answer } = await world();
  answer.on = () => fail('throttled', { retryAfterMs: MINUTE });
  await h.clock.advance(5 * GRACE);
  assert.deepEqual(holds(h, id), [true, true]);
  answer.on = () => fail('transient');
  await h.clock.advance(GRACE - 3 * MINUTE);
  assert.deepEqual(holds(h, id), [true, true]);
  await h.clock.advance(6 * MINUTE);
  assert.deepEqual(holds(h, id), [false, false]);
  await h.stop();
});

test('time from a failure to a throttle, and from a throttle to a failure, is none in which it failed', async () => {
  const { h, id, answer } = await world();
  let tries = 0;
  answer.on = () => (tries++ % 2 === 0 ? fail('transient') : fail('throttled', { retryAfterMs: MINUTE }));
  await h.clock.advance(8 * GRACE);
  assert.ok(tries > 100);
  assert.deepEqual(holds(h, id), [true, true]);
  await h.stop();
});

test('a daemon that is killed again and again gets to the end of the grace; time without a daemon is none of it', async () => {
  const { machine, start, id, h: first } = await world();
  let h = first;
  const crash = async (awayMs: number) => {
    await h.clock.advance(1_000);
    machine.kill();
    await machine.manual.advance(awayMs);
    h = await start();
  };
  await crash(10 * GRACE);
  await h.clock.advance(10 * MINUTE);
  assert.deepEqual(holds(h, id), [true, true]);
  let runs = 0;
  for (; runs < 40 && holds(h, id)[0] === true; runs++) {
    await h.clock.advance(6 * MINUTE);
    await crash(0);
  }
  assert.ok(runs >= 8 && runs <= 20, `${runs} runs of six minutes`);
  assert.deepEqual(holds(h, id), [false, false], 'not taken again by the next start');
  machine.kill();
});
