import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CreateArgs, ResourceArgs } from '../../src/model/plugin-call.js';
import {
  created,
  fail,
  type Harness,
  type HarnessOptions,
  HINTS,
  makeHarness,
  ok,
  running,
  settle,
} from './harness.js';
import { Machine } from './machine.js';

const MINUTE = 60_000;

const metaOf = (key: string) => JSON.stringify({ job: key.split(/[/#]/)[0] });

/** Whose reads and creates fail is the test's; every create call is noted with its time. */
async function brokenRemote(given: HarnessOptions = {}) {
  const told: string[] = [];
  const h = await makeHarness({
    ...given,
    remote: {
      remoteDown: () => told.push('reads down'),
      remoteUp: () => told.push('reads up'),
      createsDown: () => told.push('creates down'),
      createsUp: () => told.push('creates up'),
    },
  });
  const sick = { reads: new Set<string>(), creates: (_key: string) => false, allReads: false };
  const sent: { key: string; atMs: number }[] = [];
  const reads: string[] = [];
  h.plugin.on.create = (args) => {
    const { idempotencyKey } = args as CreateArgs;
    sent.push({ key: idempotencyKey, atMs: h.clock.now() });
    return sick.creates(idempotencyKey) ? fail('transient') : created(metaOf(idempotencyKey));
  };
  h.plugin.on.get = (args) => {
    const key = (args as ResourceArgs).idempotencyKey;
    reads.push(key);
    return sick.allReads || sick.reads.has(key) ? fail('transient') : running();
  };
  h.plugin.on.delete = () => ok({});
  const start = (name: string) => settle(h.clock, h.tasks.create(h.spec(name), h.scope()));
  return { h, sick, sent, reads, told, start };
}

/** Five live tasks whose reads fail from now on; resolves once reads are down. */
async function poison({ h, sick, start }: Awaited<ReturnType<typeof brokenRemote>>) {
  const poisoned = [];
  for (let i = 0; i < 5; i++) poisoned.push(await start(`poisoned-${i}`));
  await h.clock.advance(MINUTE);
  for (const { task } of poisoned) sick.reads.add(task.id);
  await downOf(h);
  return poisoned;
}

async function downOf(h: Harness) {
  for (let i = 0; i < 600 && !h.runtime.refresher.remoteDown; i++) await h.clock.advance(1_000);
  assert.equal(h.runtime.refresher.remoteDown, true);
}

test('jobs that can never be read hold no new create up, and a create that succeeds ends no outage of reads', async () => {
  const remote = await brokenRemote();
  const { h, sick, told, start } = remote;
  await poison(remote);
  await h.clock.advance(10 * MINUTE);
  sick.allReads = true;
  const before = h.clock.now();
  const { task } = await start('new');
  assert.equal(task.stage, 'live');
  assert.ok(h.clock.now() - before <= 3_000, 'within its call');
  await h.clock.advance(MINUTE);
  assert.equal(h.runtime.refresher.remoteDown, true);
  assert.deepEqual(told, ['reads down']);
  const more = await start('more');
  assert.equal(more.task.stage, 'live', 'one that succeeded opens the way for the others');
  await h.stop();
  assert.deepEqual([h.faults, h.clock.pending], [[], 0]);
});

test('what a new task takes is asked for at a growing interval while the remote is down, and not without a pause', async () => {
  const remote = await brokenRemote({ plugin: (plugin) => (plugin.features.resourceRequirements = true) });
  const { h, start } = remote;
  let asks = false;
  let asked = 0;
  h.plugin.on.resourceRequirements = () => {
    if (asks) asked += 1;
    // As a plugin's process that is gone answers, at once; where nothing paused, this would never end.
    return asks && asked < 1_000 ? fail('not_admitted') : ok({ namespace: 'default' });
  };
  await poison(remote);
  asks = true;
  await start('new');
  await h.clock.advance(MINUTE);
  assert.ok(asked >= 3 && asked <= 30, `asked ${asked} times in a minute`);
  await h.stop();
});

test('a task created while others cannot be read is seen itself within seconds, and they end with their deletes owed', async () => {
  const remote = await brokenRemote();
  const { h, reads, start } = remote;
  const sick = await poison(remote);
  await h.clock.advance(10 * MINUTE);
  const { task } = await start('new');
  await h.clock.advance(4_000);
  assert.ok(reads.includes(task.id));
  assert.equal(task.state.phase, 'RUNNING');
  await h.clock.advance(40 * MINUTE);
  for (const { task: one } of sick) {
    assert.equal(one.state.phase, 'RETRYABLE_FAILURE');
    assert.match(one.state.error?.code ?? '', /^(READS_FAILING|REMOTE_OUTAGE)$/);
  }
  assert.equal(h.plugin.count('delete'), 5);
  assert.equal(task.state.phase, 'RUNNING');
  await h.stop();
});

test('jobs that can never be read, and nothing else, end once the grace since their first failure is over', async () => {
  const remote = await brokenRemote();
  const { h } = remote;
  const sick = await poison(remote);
  await h.clock.advance(55 * MINUTE);
  for (const { task } of sick) assert.equal(task.state.phase, 'RUNNING');
  await h.clock.advance(30 * MINUTE);
  for (const { task } of sick) assert.equal(task.state.error?.code, 'REMOTE_OUTAGE');
  assert.equal(h.plugin.count('delete'), 5);
  assert.equal(h.runtime.refresher.remoteDown, false);
  await h.stop();
});

test('while reads and creates fail, waiting creates are tried one at a time in rotation, ever more rarely, those never tried first', async () => {
  const remote = await brokenRemote({ options: { createBudgetMs: 2 * MINUTE } });
  const { h, sick, sent, start } = remote;
  await poison(remote);
  sick.creates = () => true;
  sick.allReads = true;
  const before = sent.length;
  const waiting: Awaited<ReturnType<typeof start>>[] = [];
  for (const name of ['a', 'b', 'c']) waiting.push(await start(name));
  await h.clock.advance(20 * MINUTE);
  const probes = sent.slice(before);
  assert.ok(probes.length >= 15 && probes.length <= 50, `${probes.length} calls in 20 min`);
  const counts = waiting.map(({ task }) => probes.filter(({ key }) => key === task.id).length);
  assert.ok(Math.max(...counts) - Math.min(...counts) <= 4, `in rotation: ${counts}`);
  const late = await start('late');
  await h.clock.advance(2 * MINUTE);
  assert.ok(sent.some(({ key }) => key === late.task.id));
  for (const { task } of waiting) {
    assert.equal(task.state.phase, 'WAITING_FOR_RESOURCES', 'no budget is spent');
    assert.match(task.state.reason, /tried in turn|is repeated/);
  }
  sick.creates = (key) => key === waiting[0]?.task.id;
  await h.clock.advance(3 * MINUTE);
  for (const { task } of [...waiting.slice(1), late]) assert.equal(task.stage, 'live');
  assert.equal(h.runtime.refresher.remoteDown, true);
  await h.stop();
  assert.deepEqual([h.faults, h.clock.pending], [[], 0]);
});

test('creates that fail across tasks are an outage of their own: budgets stand still within the grace, then end the tasks', async () => {
  const { h, sick, told, start } = await brokenRemote({ options: { createBudgetMs: 2 * MINUTE } });
  const live = await start('live');
  sick.creates = () => true;
  const tasks = [];
  for (const name of ['a', 'b']) tasks.push((await start(name)).task);
  await h.clock.advance(50 * MINUTE);
  assert.deepEqual(told, ['creates down']);
  assert.deepEqual(
    tasks.map(({ stage }) => stage),
    ['creating', 'creating'],
  );
  assert.equal(h.runtime.refresher.remoteDown, false);
  const [report] = h.tasks.listPlugins();
  assert.equal(report?.state, 'REMOTE_DOWN');
  assert.match(report?.stateReason ?? '', /creates fail since/);
  await h.clock.advance(20 * MINUTE);
  assert.deepEqual(
    tasks.map(({ state }) => state.error?.code),
    ['CREATE_BUDGET_SPENT', 'CREATE_BUDGET_SPENT'],
  );
  assert.equal((await h.tasks.status(live.handle, HINTS, h.scope())).state.phase, 'RUNNING');
  sick.creates = () => false;
  assert.equal((await start('next')).task.stage, 'live');
  assert.equal(h.tasks.listPlugins()[0]?.state, 'SERVING');
  await h.stop();
});

test('one create that always fails holds nobody up and ends by its own budget, beside creates that succeed', async () => {
  const { h, sick, told, start } = await brokenRemote({ options: { createBudgetMs: 2 * MINUTE } });
  sick.creates = () => true;
  const { task } = await start('sick');
  sick.creates = (key) => key === task.id;
  for (let i = 0; i < 20; i++) {
    const one = await start(`well-${i}`);
    assert.equal(one.task.stage, 'live');
    await h.clock.advance(10_000);
  }
  assert.equal(task.state.error?.code, 'CREATE_BUDGET_SPENT');
  assert.deepEqual(told, []);
  await h.stop();
});

test('a create in line can be deleted, and takes nobody’s turn with it', async () => {
  const remote = await brokenRemote();
  const { h, sick, start } = remote;
  await poison(remote);
  sick.creates = () => true;
  const first = await start('first');
  const second = await start('second');
  const third = await start('third');
  await settle(h.clock, h.tasks.delete(second.handle, 'r', HINTS));
  sick.creates = () => false;
  await h.clock.advance(5 * MINUTE);
  assert.deepEqual([first.task.stage, third.task.stage], ['live', 'live']);
  await h.stop();
  assert.deepEqual([h.faults, h.clock.pending], [[], 0]);
});

test('owed deletes go on while reads are down', async () => {
  const remote = await brokenRemote();
  const { h } = remote;
  const [one] = await poison(remote);
  await settle(h.clock, h.tasks.delete(one?.handle ?? Buffer.alloc(0), 'r', HINTS));
  await h.clock.advance(1_000);
  assert.equal(h.plugin.count('delete'), 1);
  assert.equal(h.tasks.owedDeletes.size, 0);
  await h.stop();
});

test('a look for the job of an unclear create is made while reads are down, and costs no look while creates are held up', async () => {
  const remote = await brokenRemote({ options: { createBudgetMs: 20_000, unclearLooks: 2 } });
  const { h, sick, start } = remote;
  sick.creates = () => true;
  const { task } = await start('lost');
  await h.clock.advance(MINUTE);
  assert.equal(task.state.phase, 'RETRYABLE_FAILURE');
  sick.creates = () => false;
  await poison(remote);
  await h.clock.advance(10 * MINUTE);
  assert.equal(h.tasks.unclearCreates.size, 0);
  assert.equal(h.plugin.count('delete'), 1);
  assert.equal(h.runtime.refresher.remoteDown, true);
  await h.stop();
});

/** Twenty creates that have been accepted, and stand in line for the write limit. */
async function lineOf({ h }: Awaited<ReturnType<typeof brokenRemote>>) {
  const line = Array.from({ length: 20 }, (_, i) => h.tasks.create(h.spec(`waits-${i}`), h.scope(600)));
  return (await settle(h.clock, Promise.all(line))).map(({ task }) => task);
}

for (const findsByKey of [true, false]) {
  for (const durable of [true, false]) {
    const where = `${durable ? 'with' : 'without'} a state, where the plugin ${findsByKey ? 'finds' : 'cannot find'} jobs by key`;
    test(`creates in line for their turn are held back, and not sent, once creates are down: ${where}`, async () => {
      const remote = await brokenRemote({
        ...(durable ? { engine: new Machine().engine } : {}),
        config: { writeRateLimiter: { qps: 1, burst: 1 } },
        plugin: (plugin) => {
          plugin.features.findsByKey = findsByKey;
        },
      });
      const { h, sick, sent } = remote;
      sick.creates = () => true;
      const tasks = await lineOf(remote);
      await h.clock.advance(20_000);
      // Three calls show that they are down; then a probe of those never tried and one of those tried, at growing intervals.
      const most = 3 + 2 * 5;
      assert.ok(sent.length <= most, `${sent.length} calls in 20 s`);
      const waiting = tasks.filter(({ stage }) => stage !== 'over');
      assert.ok(waiting.length >= 20 - (findsByKey ? 0 : most), `${waiting.length} wait`);
      const untried = waiting.filter(({ id }) => sent.every(({ key }) => key !== id));
      assert.ok(untried.length >= 7);
      for (const task of untried) assert.match(task.state.reason, /tried in turn/);
      assert.ok(h.runtime.gate.capacity('write').queued <= 1);
      sick.creates = () => false;
      await h.clock.advance(5 * MINUTE);
      for (const task of waiting) assert.equal(task.stage, 'live');
      const keys = sent.map(({ key }) => key);
      const places = untried.map(({ id }) => keys.indexOf(id));
      assert.deepEqual(
        places,
        [...places].sort((a, b) => a - b),
        'in the order they came',
      );
      await h.stop();
      assert.deepEqual([h.faults, h.clock.pending], [[], 0]);
    });
  }
}

test('creates in line for their turn are held back once reads are down, may be deleted there, and go on by one that succeeds', async () => {
  const remote = await brokenRemote({
    config: { writeRateLimiter: { qps: 1 / 60, burst: 5 } },
    warmUpMs: 10 * MINUTE,
  });
  const { h, sick, sent, start } = remote;
  for (let i = 0; i < 5; i++) await start(`poisoned-${i}`);
  sick.allReads = true;
  const tasks = await lineOf(remote);
  assert.equal(h.runtime.gate.capacity('write').queued, 20);
  await downOf(h);
  await h.clock.advance(0);
  const unsent = tasks.filter(({ id }) => sent.every(({ key }) => key !== id));
  assert.ok(unsent.length > 10);
  assert.ok(h.runtime.gate.capacity('write').queued <= 1, 'but for the probe');
  assert.ok(h.runtime.creates.waiting >= unsent.length - 1);
  const { task, handle } = await start('last');
  assert.match(task.state.reason, /tried in turn/);
  await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
  await h.clock.advance(MINUTE + 1_000);
  assert.equal(h.runtime.gate.capacity('write').queued, unsent.length - 1, 'a create that succeeds opens the way');
  await h.clock.advance(20 * MINUTE);
  assert.deepEqual(
    sent.slice(5).map(({ key }) => key),
    tasks.map(({ id }) => id),
  );
  await h.stop();
  assert.deepEqual([h.faults, h.clock.pending], [[], 0]);
});

test('a create that is held back from the line of a paused plugin waits no more for the operator when that one goes on', async () => {
  const remote = await brokenRemote();
  const { h, sick, start } = remote;
  await poison(remote);
  sick.reads.clear();
  await h.clock.advance(5 * MINUTE);
  assert.equal(h.runtime.refresher.remoteDown, false);
  h.runtime.gate.pause();
  const { task, handle } = await start('held');
  assert.match(task.state.reason, /operator paused/);
  h.runtime.gate.resume();
  await h.clock.advance(1_000);
  assert.equal(h.tasks.peek(handle)?.stage, 'live');
  await h.stop();
  assert.deepEqual([h.faults, h.clock.pending], [[], 0]);
});
