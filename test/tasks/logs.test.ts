import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostError } from '../../src/errors/index.js';
import { DEFAULT_PLUGIN_CONFIG } from '../../src/model/options/plugin.js';
import { created, fail, HINTS, held, makeHarness, ok, running, settle, success } from './harness.js';

const REQUEST = { lines: 10, token: 'from' };
const SPAN = { queries: ['cpu'], startTimeMs: 1, endTimeMs: 2, stepMs: 1 };

const code = (expected: string) => (error: unknown) => HostError.is(error) && error.code === expected;

async function setUp(offers = true) {
  const h = await makeHarness({
    plugin: (plugin) => Object.assign(plugin.features, { getLogs: offers, getMetrics: offers }),
  });
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => running();
  h.plugin.on.delete = () => ok({});
  const { handle } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  const logs = (bytes = handle) => settle(h.clock, h.tasks.getLogs(bytes, REQUEST, HINTS, h.scope()));
  const metrics = (bytes = handle) => settle(h.clock, h.tasks.getMetrics(bytes, SPAN as never, HINTS, h.scope()));
  return { h, handle, logs, metrics };
}

test('a page of logs and series of metrics are passed on as the plugin told them, of a task that runs and of one that is over', async () => {
  const { h, handle, logs, metrics } = await setUp();
  const page = { lines: [{ message: 'one' }], token: 'next' };
  const series = [{ metric: 'cpu', points: [{ timestampMs: 1, value: 0.5 }] }];
  h.plugin.on.getLogs = () => ok(page);
  h.plugin.on.getMetrics = () => ok({ series });
  for (const over of [false, true]) {
    if (over) {
      h.plugin.on.get = () => success();
      await settle(h.clock, h.tasks.get(handle, HINTS, h.scope()));
    }
    assert.deepEqual(await logs(), page);
    assert.deepEqual(await metrics(), series);
  }
  const asked = h.plugin.calls.filter(({ method }) => method === 'getLogs');
  const { lines, token } = asked[0]!.args as typeof REQUEST;
  assert.deepEqual({ lines, token }, REQUEST);
  await h.stop();
});

test('logs and metrics are refused where the plugin has none, and of a task without a job or a deleted one', async () => {
  const without = await setUp(false);
  await assert.rejects(without.logs(), code('PLUGIN_METHOD_MISSING'));
  await assert.rejects(without.metrics(), code('PLUGIN_METHOD_MISSING'));
  await without.h.stop();
  const { h, handle, logs, metrics } = await setUp();
  h.plugin.on.create = () => fail('transient');
  const waiting = await settle(h.clock, h.tasks.create(h.spec('waits'), h.scope()));
  for (const ask of [logs, metrics]) await assert.rejects(ask(waiting.handle), code('TASK_UNKNOWN'));
  await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
  for (const ask of [logs, metrics]) await assert.rejects(ask(), code('TASK_UNKNOWN'));
  assert.equal(h.plugin.count('getLogs') + h.plugin.count('getMetrics'), 0);
  await h.stop();
});

test('a deleted task whose create stands in line for a slot is never created, and one that was sent is', async () => {
  const h = await makeHarness({ config: { caching: { ...DEFAULT_PLUGIN_CONFIG.caching, workers: 1 } } });
  const first = held<ReturnType<typeof created>>();
  h.plugin.on.create = () => first.promise;
  h.plugin.on.get = () => running();
  h.plugin.on.delete = () => ok({});
  const handles: Buffer[] = [];
  for (const name of ['sent', 'queued']) {
    handles.push((await settle(h.clock, h.tasks.create(h.spec(name), h.scope()))).handle);
  }
  assert.equal(h.plugin.count('create'), 1);
  for (const handle of handles) await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
  first.release(created());
  await h.clock.advance(60_000);
  assert.equal(h.plugin.count('create'), 1);
  assert.equal(h.plugin.count('delete'), 1, 'the job of the one that was sent');
  await h.stop();
});
