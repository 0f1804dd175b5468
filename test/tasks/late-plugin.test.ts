import assert from 'node:assert/strict';
import { test } from 'node:test';
import { phaseState } from '../../src/model/phase-state.js';
import { NO_FEATURES } from '../../src/model/plugin-methods.js';
import { created, fail, type Harness, HINTS, held, ok, running, settle } from './harness.js';
import { Machine } from './machine.js';

/** What an earlier run left is taken up while its plugin is still to come up: nothing may be decided without the plugin. */

const answersAtOnce = (h: Harness) => {
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => running();
  h.plugin.on.delete = () => ok({});
};

const down = { plugin: (plugin: Harness['plugin']) => plugin.isDown() };

/** A create that was sent and not answered when the daemon was killed. */
async function killedInCreate(machine: Machine, features = NO_FEATURES): Promise<Buffer> {
  const first = await machine.start({
    warmUpMs: 60_000,
    plugin: (plugin) => {
      plugin.features = { ...features };
    },
  });
  const answer = held<ReturnType<typeof created>>();
  first.plugin.on.create = () => answer.promise;
  const { handle } = await settle(first.clock, first.tasks.create(first.spec('a'), first.scope(3_000)));
  assert.equal(first.plugin.count('create'), 1);
  machine.kill();
  return handle;
}

test('a create that may have been sent is not repeated by a plugin that comes up late and cannot find its job', async () => {
  const machine = new Machine();
  const blind = { ...NO_FEATURES, findsByKey: false };
  const handle = await killedInCreate(machine, blind);
  const second = await machine.start(down);
  answersAtOnce(second);
  await second.clock.advance(120_000);
  assert.equal(second.tasks.peek(handle)?.state.phase, 'WAITING_FOR_RESOURCES');
  assert.match(second.tasks.peek(handle)?.state.reason ?? '', /plugin "fake" is restarting/);
  second.plugin.comesUp({ features: blind });
  await second.clock.advance(120_000);
  assert.equal(second.plugin.count('create'), 0);
  assert.equal(second.tasks.peek(handle)?.state.error?.code, 'CREATE_UNCLEAR');
  assert.equal(second.tasks.unclearCreates.size, 1);
  assert.deepEqual(second.faults, []);
});

test('a Do for a plugin that did not come up yet is refused as such, and in its name, whatever kind it will be', async () => {
  const h = await new Machine().start(down);
  for (const [state, says] of [
    ['restarting', /plugin fake serves this task type and is restarting: no memory; try again in a moment/],
    ['failed', /plugin fake serves this task type and has failed: no memory; mend and reload it/],
  ] as const) {
    Object.assign(h.plugin, { state, stateReason: 'no memory' });
    const refused = { code: 'PLUGIN_NOT_SERVING', message: says };
    await assert.rejects(settle(h.clock, h.tasks.do(h.spec('a'), h.scope())), refused);
  }
  h.plugin.comesUp({ kind: 'sync' });
  h.plugin.on.do = () => ok(phaseState('SUCCESS'));
  assert.equal((await settle(h.clock, h.tasks.do(h.spec('a'), h.scope()))).phase, 'SUCCESS');
});

test('nor is its job looked for after a Delete, before the plugin has told whether it could find it', async () => {
  const machine = new Machine();
  const blind = { ...NO_FEATURES, findsByKey: false };
  const first = await machine.start({ warmUpMs: 60_000 });
  first.plugin.on.create = () => fail('deadline');
  const { handle } = await settle(first.clock, first.tasks.create(first.spec('a'), first.scope(3_000)));
  first.plugin.on.create = () => held<ReturnType<typeof created>>().promise;
  await first.clock.advance(60_000);
  await settle(first.clock, first.tasks.delete(handle, 'enough', HINTS, first.scope()));
  machine.kill();
  const second = await machine.start(down);
  answersAtOnce(second);
  assert.equal(second.tasks.unclearCreates.size, 1);
  await second.clock.advance(3_600_000);
  second.plugin.comesUp({ features: blind });
  await second.clock.advance(24 * 3_600_000);
  assert.equal(second.plugin.count('create'), 0);
  assert.match([...second.tasks.unclearCreates.listed()][0]?.leftBecause ?? '', /cannot find/);
});

test('a task is asked what it takes, and given a token of that quota, only by a plugin that came up', async () => {
  const machine = new Machine();
  const asks = { ...NO_FEATURES, resourceRequirements: true };
  const config = { resourceQuotas: { gpu: 1 } };
  const first = await machine.start(down);
  const handles: Buffer[] = [];
  for (const name of ['a', 'b']) {
    const { handle } = await settle(first.clock, first.tasks.create(first.spec(name), first.scope(3_000)));
    handles.push(handle);
  }
  machine.kill();
  const second = await machine.start({ ...down, config });
  answersAtOnce(second);
  second.plugin.on.resourceRequirements = () => ok({ namespace: 'gpu' });
  await second.clock.advance(60_000);
  assert.equal(second.plugin.calls.length, 0);
  second.plugin.comesUp({ features: asks });
  await second.clock.advance(60_000);
  assert.deepEqual(
    handles.map((handle) => second.tasks.peek(handle)?.stage),
    ['live', 'accepted'],
  );
});

test('a bucket is not filled at another rate before its plugin came up and told its own', async () => {
  const machine = new Machine();
  const h = await machine.start({ ...down, warmUpMs: 60_000 });
  const tokens = () => [h.runtime.gate.capacity('read').tokensNow, h.runtime.gate.capacity('write').tokensNow];
  assert.ok(tokens().every((level) => level < 1));
  const rate = { qps: 1, burst: 20 };
  h.plugin.comesUp({ config: { ...h.plugin.config, readRateLimiter: rate, writeRateLimiter: rate } });
  assert.ok(tokens().every((level) => level < 1));
  await h.clock.advance(5_000);
  assert.ok(tokens().every((level) => level > 4 && level < 6));
});

test('a Delete ends the wait for a plugin that does not come up, and so does the stop of the daemon', async () => {
  const machine = new Machine();
  const first = await machine.start({ config: { resourceQuotas: { default: 0 } } });
  const { handle } = await settle(first.clock, first.tasks.create(first.spec('a'), first.scope(3_000)));
  const { handle: other } = await settle(first.clock, first.tasks.create(first.spec('b'), first.scope(3_000)));
  machine.kill();
  const second = await machine.start(down);
  await second.clock.advance(1_000);
  await settle(second.clock, second.tasks.delete(handle, 'enough', HINTS, second.scope()));
  await second.clock.advance(1_000);
  assert.equal(second.tasks.peek(handle), undefined);
  await second.stop();
  const third = await machine.start();
  answersAtOnce(third);
  await third.clock.advance(60_000);
  assert.equal(third.plugin.count('create'), 1, 'of the one that was not deleted');
  assert.equal(third.tasks.peek(other)?.stage, 'live');
});
