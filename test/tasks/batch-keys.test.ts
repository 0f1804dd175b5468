import assert from 'node:assert/strict';
import { test } from 'node:test';
import { phaseState } from '../../src/model/phase-state.js';
import type { PluginMethods } from '../../src/model/plugin-call.js';
import { created, type FakePlugin, fail, held, makeHarness, ok, running, settle } from './harness.js';

const keyed = (plugin: FakePlugin) => {
  plugin.features.getMany = { maxBatch: 10, batchKeys: true };
};

function becomes(plugin: FakePlugin, state: 'restarting' | 'serving'): void {
  const change = {
    pluginId: plugin.id,
    state,
    previous: plugin.state,
    reason: '',
    code: undefined,
    pid: 1,
    restarts: 1,
  };
  for (const listener of plugin.listeners) listener(change);
}

test('tasks whose batch key could not be told are batched once their plugin serves again', async () => {
  const h = await makeHarness({ plugin: keyed });
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => running();
  h.plugin.on.getMany = ({ items }) => ok(items.map(() => running()));
  h.plugin.on.batchKeys = () => fail('process_died');
  for (const name of ['a', 'b', 'c']) await settle(h.clock, h.tasks.create(h.spec(name), h.scope()));
  await h.clock.advance(60_000);
  assert.equal(h.plugin.count('getMany'), 0);
  h.plugin.on.batchKeys = () => ok({ keys: ['one'] });
  becomes(h.plugin, 'serving');
  await h.clock.advance(0);
  const alone = h.plugin.count('get');
  await h.clock.advance(60_000);
  assert.ok(h.plugin.count('getMany') > 0);
  assert.ok(h.plugin.count('get') - alone <= 3, 'each reads by itself at most once more');
  await h.stop();
});

test('after a reload to other batch keys a batch holds one of the new ones only', async () => {
  const h = await makeHarness({ plugin: keyed });
  let meta = 0;
  h.plugin.on.create = () => created(`{"job":${meta++}}`);
  h.plugin.on.get = () => running();
  h.plugin.on.batchKeys = () => ok({ keys: ['all'] });
  const batches: string[][] = [];
  h.plugin.on.getMany = ({ items }) => {
    batches.push(items.map((item) => item.meta.toString()));
    return ok(items.map(() => running()));
  };
  for (const name of ['a', 'b', 'c', 'd']) await settle(h.clock, h.tasks.create(h.spec(name), h.scope()));
  await h.clock.advance(60_000);
  assert.ok(batches.some((batch) => batch.length === 4));
  const oddness = (text: string) => `${(JSON.parse(text) as { job: number }).job % 2}`;
  h.plugin.on.batchKeys = ({ metas }) => ok({ keys: metas.map((one) => oddness(one.toString())) });
  becomes(h.plugin, 'serving');
  await h.clock.advance(0);
  batches.length = 0;
  await h.clock.advance(60_000);
  assert.ok(batches.some((batch) => batch.length === 2));
  for (const batch of batches) assert.equal(new Set(batch.map(oddness)).size, 1);
  await h.stop();
});

test('a reload that brings batch keys mixes none while they are asked for', async () => {
  const h = await makeHarness({
    plugin: (plugin) => {
      plugin.features.getMany = { maxBatch: 10, batchKeys: false };
    },
  });
  let meta = 0;
  h.plugin.on.create = () => created(`{"job":${meta++}}`);
  h.plugin.on.get = () => running();
  h.plugin.on.getMany = ({ items }) => ok(items.map(() => running()));
  for (const name of ['a', 'b']) await settle(h.clock, h.tasks.create(h.spec(name), h.scope()));
  await h.clock.advance(60_000);
  const before = h.plugin.count('getMany');
  assert.ok(before > 0);
  const keys = held<ReturnType<typeof fail>>();
  h.plugin.on.batchKeys = () => keys.promise;
  keyed(h.plugin);
  becomes(h.plugin, 'serving');
  await h.clock.advance(60_000);
  assert.equal(h.plugin.count('getMany'), before);
  keys.release(fail('process_died'));
  await h.stop();
});

test('a batch key that is told late changes nothing but the batch: the plugin still paces the task', async () => {
  const h = await makeHarness({ plugin: keyed });
  h.plugin.on.create = () => created();
  const paced = ok(phaseState('RUNNING', { nextPollAfterMs: 600_000 }));
  h.plugin.on.get = () => paced;
  h.plugin.on.getMany = ({ items }) => ok(items.map(() => paced));
  const keys = held<Awaited<ReturnType<typeof ok<PluginMethods['batchKeys']['answer']>>>>();
  h.plugin.on.batchKeys = () => keys.promise;
  await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  await h.clock.advance(30_000);
  const reads = () => h.plugin.count('get') + h.plugin.count('getMany');
  assert.equal(reads(), 1);
  keys.release(ok({ keys: ['k'] }));
  await h.clock.advance(300_000);
  assert.equal(reads(), 1);
  await h.clock.advance(600_000);
  assert.equal(reads(), 2);
  await h.stop();
});
