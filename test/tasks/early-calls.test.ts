import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostError } from '../../src/errors/index.js';
import { phaseState } from '../../src/model/phase-state.js';
import { NO_FEATURES } from '../../src/model/plugin-methods.js';
import { created, fail, type Harness, HINTS, held, ok, running, settle } from './harness.js';
import { Machine } from './machine.js';

/** Calls that come while the daemon starts: the state is loaded, its plugins are not. */

const answersAtOnce = (h: Harness) => {
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => running();
  h.plugin.on.delete = () => ok({});
};
const starts = { starts: true };
const config = { resourceQuotas: { default: 2 } };

const create = async (h: Harness, name: string, parts: Parameters<Harness['spec']>[1] = {}) =>
  (await settle(h.clock, h.tasks.create(h.spec(name, parts), h.scope(3_000)))).handle;

test('a Delete that comes before the plugin is loaded is accepted, outlives another crash, and is carried out', async () => {
  const machine = new Machine();
  const first = await machine.start({ config });
  answersAtOnce(first);
  const live = await create(first, 'live');
  await create(first, 'other');
  const waits = await create(first, 'waits');
  await first.clock.advance(20_000);
  machine.kill();

  const second = await machine.start({ ...starts, config });
  for (const handle of [live, waits]) {
    await settle(second.clock, second.tasks.delete(handle, 'enough', HINTS, second.scope()));
    const task = await settle(second.clock, second.tasks.status(handle, HINTS, second.scope()));
    assert.equal(task.state.error?.code, 'TASK_DELETED');
  }
  assert.deepEqual([second.plugin.calls.length, second.store.owed.size], [0, 1]);
  machine.kill();

  const third = await machine.start({ ...starts, config });
  answersAtOnce(third);
  await settle(third.clock, third.tasks.delete(live, 'again', HINTS, third.scope()));
  await third.clock.advance(600_000);
  assert.equal([...third.store.owed.listed()][0]?.attempts, 0, 'nothing is tried without the plugin');
  third.load();
  await third.clock.advance(30_000);
  assert.deepEqual([third.plugin.count('delete'), third.store.owed.size], [1, 0]);
  assert.equal(third.plugin.count('create'), 0, 'what waited and was deleted is never created');
  assert.deepEqual(third.faults, []);
});

test('a Delete of a task whose create an earlier run may have sent finds the job and cancels it, once the call is over', async () => {
  for (const [findsByKey, jobs] of [
    [true, 1],
    [false, 0],
  ] as const) {
    const machine = new Machine();
    const features = { ...NO_FEATURES, findsByKey };
    const plugin = (fake: Harness['plugin']) => {
      fake.features = features;
    };
    const first = await machine.start({ config: { resourceQuotas: { default: 1 } }, warmUpMs: 60_000, plugin });
    first.plugin.on.create = () => held<ReturnType<typeof created>>().promise;
    const handle = await create(first, 'a');
    assert.equal(first.plugin.count('create'), 1);
    machine.kill();

    const second = await machine.start({ ...starts, plugin, config: { resourceQuotas: { default: 1 } } });
    answersAtOnce(second);
    second.plugin.on.create = () => created('{"job":1}', undefined, true);
    await settle(second.clock, second.tasks.delete(handle, 'enough', HINTS, second.scope()));
    assert.equal(second.store.unclear.size, 1);
    second.load();
    await second.clock.advance(15_000);
    assert.equal(second.plugin.count('create'), 0, 'the call of the first run may still be on its way');
    await second.clock.advance(600_000);
    assert.deepEqual([second.plugin.count('create'), second.plugin.count('delete')], [jobs, jobs]);
    const used = second.runtime.quotas.snapshot().map((row) => row.used);
    assert.deepEqual(used, [0]);
    assert.equal([...second.store.unclear.listed()][0]?.leftBecause === undefined, findsByKey);
    assert.deepEqual(second.faults, []);
  }
});

test('a Delete of a handle that no record stands behind is accepted too, and what it names is read before it is cancelled', async () => {
  const machine = new Machine();
  const other = await new Machine().start();
  answersAtOnce(other);
  const foreign = await create(other, 'foreign');
  await other.clock.advance(20_000);
  const h = await machine.start(starts);
  answersAtOnce(h);
  await settle(h.clock, h.tasks.delete(foreign, 'enough', HINTS, h.scope()));
  assert.equal(h.store.owed.size, 1);
  h.load();
  await h.clock.advance(120_000);
  assert.deepEqual([h.plugin.count('get'), h.plugin.count('delete'), h.store.owed.size], [1, 1, 0]);
});

test('Status answers what the state knows; what needs the plugin says that the daemon starts, and is to be tried again', async () => {
  const machine = new Machine();
  const other = await new Machine().start();
  answersAtOnce(other);
  const unknown = await create(other, 'foreign');
  const first = await machine.start();
  answersAtOnce(first);
  const live = await create(first, 'live');
  await first.clock.advance(60_000);
  first.plugin.on.get = () => ok(phaseState('SUCCESS'));
  machine.kill();

  const second = await machine.start(starts);
  answersAtOnce(second);
  const task = await settle(second.clock, second.tasks.status(live, HINTS, second.scope()));
  assert.equal(task.state.phase, 'RUNNING');
  const request = { lines: 10, token: '' };
  const calls: readonly (() => Promise<unknown>)[] = [
    () => second.tasks.get(live, HINTS, second.scope()),
    () => second.tasks.getLogs(live, request, HINTS, second.scope()),
    () => second.tasks.status(unknown, HINTS, second.scope()),
  ];
  for (const call of calls) {
    await assert.rejects(
      settle(second.clock, call()),
      (error: { code: string; message: string; retryAfterMs: number }) => {
        assert.equal(error.code, 'PLUGIN_NOT_SERVING');
        assert.match(error.message, /the daemon starts, and plugin "fake" is not loaded yet; try again/);
        assert.ok(error.retryAfterMs > 0);
        return true;
      },
    );
  }
  second.load();
  await second.clock.advance(5_000);
  assert.equal(
    (await settle(second.clock, second.tasks.status(unknown, HINTS, second.scope()))).state.phase,
    'RUNNING',
  );
});

test('the task types of the last run are told until the plugins are loaded, and then their own', async () => {
  const h = await new Machine().start({ ...starts, plugin: (plugin) => plugin.isDown() });
  const [report, ...more] = h.tasks.listPlugins();
  assert.equal(more.length, 0);
  assert.deepEqual([report?.id, report?.kind, report?.state], ['fake', 'async', 'STARTING']);
  assert.deepEqual(report?.taskTypes, [{ name: 't', versions: [] }]);
  h.load();
  assert.equal(h.tasks.listPlugins()[0]?.state, 'RESTARTING');
});

test('a later attempt that comes before the plugin is loaded deletes the one before, whose answer may never have arrived', async () => {
  const machine = new Machine();
  const node = (attempt: number) => ({ node: { nodeKey: 'n', attempt } });
  const first = await machine.start();
  answersAtOnce(first);
  const zero = await create(first, 'zero', node(0));
  await first.clock.advance(1_000);
  machine.kill();

  const second = await machine.start(starts);
  answersAtOnce(second);
  const one = await create(second, 'one', node(1));
  second.load();
  await second.clock.advance(60_000);
  assert.deepEqual(
    second.plugin.calls.map(({ method }) => method).filter((method) => method !== 'get'),
    ['delete', 'create'],
  );
  assert.equal(second.tasks.peek(zero), undefined);
  assert.equal(second.tasks.peek(one)?.stage, 'live');
  assert.deepEqual(second.faults, []);
});

test('what is accepted before its plugin is loaded, or in the drain, counts in the waiting line until it is deleted or started', async () => {
  for (const when of ['the start', 'the drain'] as const) {
    const machine = new Machine();
    const one = await machine.start();
    answersAtOnce(one);
    await create(one, 'first');
    machine.kill();
    const h = await machine.start({ ...(when === 'the start' ? starts : {}), options: { maxWaiting: 2 } });
    answersAtOnce(h);
    if (when === 'the drain') {
      h.tasks.drain();
      await settle(h.clock, h.tasks.stop());
    }
    const handles = [await create(h, 'a'), await create(h, 'b')];
    const full = (error: unknown) => HostError.is(error) && error.code === 'STORE_FULL';
    await assert.rejects(create(h, 'c'), full, when);
    await settle(h.clock, h.tasks.delete(handles[0]!, 'r', HINTS, h.scope()));
    await create(h, 'c');
    await assert.rejects(create(h, 'd'), full, when);
    if (when === 'the start') {
      h.load();
      await h.clock.advance(5_000);
      await create(h, 'd');
      await create(h, 'e');
      assert.equal(h.store.counts('fake').live, 5);
    }
    machine.kill();
  }
});

test('how a task ended that gave way in memory is told before its plugin is loaded', async () => {
  const machine = new Machine();
  const first = await machine.start({ finished: { maxCount: 1 } });
  first.plugin.on.create = () => fail('permanent', { code: 'NO_SUCH_IMAGE' });
  const gaveWay = await create(first, 'a');
  await create(first, 'b');
  await first.clock.advance(10_000);
  machine.kill();
  const second = await machine.start({ ...starts, finished: { maxCount: 1 } });
  const task = await settle(second.clock, second.tasks.status(gaveWay, HINTS, second.scope()));
  assert.deepEqual([task.state.phase, task.state.error?.code], ['PERMANENT_FAILURE', 'NO_SUCH_IMAGE']);
  assert.equal(second.plugin.calls.length, 0);
  machine.kill();
});
