import assert from 'node:assert/strict';
import { test } from 'node:test';
import { created, fail, type Harness, type HarnessOptions, makeHarness, running, settle } from './harness.js';

const MINUTE = 60_000;
type Created = ReturnType<typeof created> | ReturnType<typeof fail>;

/** A harness with a create budget of ten minutes, whose creates are answered one after the other as told, and then succeed. */
async function world(answers: (() => Created)[], given: HarnessOptions = {}) {
  const h = await makeHarness({ options: { createBudgetMs: 10 * MINUTE }, ...given });
  h.plugin.on.create = () => (answers.shift() ?? created)();
  h.plugin.on.get = () => running();
  const start = async (name = 'a') => (await settle(h.clock, h.tasks.create(h.spec(name), h.scope()))).task;
  return { h, start };
}

const transient = () => fail('transient');

async function livesAfter(h: Harness, task: Awaited<ReturnType<Awaited<ReturnType<typeof world>>['start']>>) {
  await h.clock.advance(5 * MINUTE);
  assert.deepEqual([task.stage, task.state.error], ['live', undefined]);
  await h.stop();
  assert.deepEqual(h.faults, []);
}

for (const [what, first] of [
  ['before it failed at all', []],
  ['after it failed', [transient]],
] as const) {
  test(`a throttle longer than the create budget, ${what}, costs nothing of it`, async () => {
    const throttled = () => fail('throttled', { retryAfterMs: 11 * MINUTE });
    const { h, start } = await world([...first, throttled, transient, throttled, transient, transient]);
    const task = await start();
    await h.clock.advance(30 * MINUTE);
    await livesAfter(h, task);
  });

  test(`a pause of the operator that is longer than the create budget, ${what}, costs nothing of it`, async () => {
    const { h, start } = await world([...first, transient, transient]);
    if (first.length === 0) h.runtime.gate.pause();
    const task = await start();
    h.runtime.gate.pause();
    await h.clock.advance(11 * MINUTE);
    assert.equal(task.stage, 'creating');
    h.runtime.gate.resume();
    await livesAfter(h, task);
  });

  test(`a plugin that does not serve for longer than the create budget, ${what}, costs nothing of it`, async () => {
    const { h, start } = await world([...first, transient, transient]);
    const rests = () => {
      h.plugin.state = 'quarantined';
    };
    if (first.length === 0) rests();
    const task = await start();
    rests();
    await h.clock.advance(11 * MINUTE);
    assert.equal(task.stage, 'creating');
    h.plugin.comesUp();
    await livesAfter(h, task);
  });

  test(`a wait for the write limit that is longer than the create budget, ${what}, costs nothing of it`, async () => {
    // One token an hour and twenty minutes, as slow as creates can come in their turn.
    const { h, start } = await world([...first, transient, transient], {
      config: { writeRateLimiter: { qps: 1 / 1_200, burst: 1 } },
      warmUpMs: 1_200_000,
    });
    const task = await start();
    await h.clock.advance(65 * MINUTE);
    await livesAfter(h, task);
  });
}

test('the word of how long it was tried is true, however long it waited before', async () => {
  const { h, start } = await world([]);
  h.plugin.on.create = transient;
  h.runtime.gate.pause();
  const task = await start();
  await h.clock.advance(60 * MINUTE);
  h.runtime.gate.resume();
  await h.clock.advance(9 * MINUTE);
  assert.equal(task.stage, 'creating');
  await h.clock.advance(4 * MINUTE);
  assert.equal(task.state.error?.code, 'CREATE_BUDGET_SPENT');
  const [, seconds] = /creating was tried for (\d+) s/.exec(task.state.reason) ?? [];
  assert.ok(Number(seconds) >= 600 && Number(seconds) < 700, task.state.reason);
  await h.stop();
});

test('a process that dies at each create ends its task by the budget all the same', async () => {
  const { h, start } = await world([]);
  h.plugin.on.create = () => fail('process_died');
  const task = await start();
  await h.clock.advance(15 * MINUTE);
  assert.equal(task.state.error?.code, 'CREATE_BUDGET_SPENT');
  await h.stop();
});

test('a throttle of what a task takes costs nothing of the budget either', async () => {
  let asked = 0;
  const { h, start } = await world([], {
    plugin: (plugin) => {
      plugin.features.resourceRequirements = true;
    },
  });
  h.plugin.on.resourceRequirements = () =>
    ++asked === 1
      ? fail('throttled', { retryAfterMs: 11 * MINUTE })
      : asked < 4
        ? fail('transient')
        : (created() as never);
  const task = await start();
  await h.clock.advance(12 * MINUTE);
  assert.notEqual(task.stage, 'over');
  assert.ok(asked >= 4);
  await h.stop();
});
