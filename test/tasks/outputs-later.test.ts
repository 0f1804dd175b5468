import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostError } from '../../src/errors/index.js';
import { createDeferred } from '../../src/lib/deferred.js';
import { phaseState } from '../../src/model/phase-state.js';
import {
  created,
  type Harness,
  type HarnessOptions,
  HINTS,
  literals,
  makeHarness,
  ok,
  settle,
  success,
} from './harness.js';
import { Machine } from './machine.js';

const away = () => new HostError('DATA_UNAVAILABLE', 's3://bucket/a/outputs.pb: the store failed (503).');

/** A task whose remote has succeeded with outputs too large for an answer, before a data store that `beforeWrite` plays. */
async function succeeding(given: HarnessOptions): Promise<{ h: Harness; handle: Buffer }> {
  const h = await makeHarness({
    config: { resourceQuotas: { default: 1 } },
    ...given,
    options: { maxInlineOutputBytes: 4, ...given.options },
  });
  h.plugin.on.create = () => created();
  h.plugin.on.delete = () => ok({});
  h.plugin.on.get = () => success(literals('o'));
  const { handle } = await settle(h.clock, h.tasks.create(h.spec('a', { outputNames: ['o'] }), h.scope()));
  return { h, handle };
}

test('a data store that is away for a while fails no task: its outputs are read again and written later', async () => {
  const delays: number[] = [];
  let failures = 3;
  const { h, handle } = await succeeding({
    beforeWrite: async () => {
      if (failures-- > 0) throw away();
    },
    events: {
      outputsDelayed: (_task, code, _message, delayMs) => delays.push(code === 'DATA_UNAVAILABLE' ? delayMs : -1),
    },
  });
  const task = h.tasks.peek(handle)!;
  while (h.plugin.count('get') < 3) await h.clock.advance(500);
  assert.equal(task.stage, 'live');
  assert.equal(task.lastFailure?.code, 'DATA_UNAVAILABLE');
  assert.deepEqual(Object.keys(task.lastFailure ?? {}).sort(), ['code', 'message']);
  assert.equal(h.runtime.quotas.holds(task.id), true);
  await h.clock.advance(120_000);
  assert.deepEqual([task.state.phase, task.state.outputs], ['SUCCESS', { kind: 'prefix' }]);
  assert.equal(task.lastFailure, undefined);
  assert.equal(h.plugin.count('get'), 4);
  assert.equal(delays.length, 3);
  assert.ok(
    delays.every((delay, i) => delay > (delays[i - 1] ?? 0)),
    String(delays),
  );
  assert.equal(h.written.length, 1);
  assert.equal(h.plugin.count('delete'), 0);
  assert.equal(h.runtime.quotas.holds(task.id), false);
  await h.stop();
  assert.deepEqual(h.faults, []);
});

test('a data store that stays away ends the task after the budget, to be tried again, and its job is cleaned up', async () => {
  const { h, handle } = await succeeding({
    beforeWrite: () => Promise.reject(away()),
    options: { outputsBudgetMs: 300_000 },
  });
  const task = h.tasks.peek(handle)!;
  await h.clock.advance(250_000);
  assert.equal(task.stage, 'live');
  await h.clock.advance(200_000);
  assert.equal(task.state.phase, 'RETRYABLE_FAILURE');
  assert.equal(task.state.error?.code, 'OUTPUTS_UNUSABLE');
  assert.match(task.state.error?.message ?? '', /the store failed \(503\)/);
  assert.equal(h.plugin.count('delete'), 1);
  const reads = h.plugin.count('get');
  await h.clock.advance(600_000);
  assert.equal(h.plugin.count('get'), reads);
  assert.equal(h.runtime.quotas.holds(task.id), false);
  await h.stop();
  assert.deepEqual(h.faults, []);
});

test('a task deleted while its outputs wait for the data store is read no more', async () => {
  const { h, handle } = await succeeding({ beforeWrite: () => Promise.reject(away()) });
  const task = h.tasks.peek(handle)!;
  while (h.plugin.count('get') < 2) await h.clock.advance(500);
  await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
  const reads = h.plugin.count('get');
  await h.clock.advance(600_000);
  assert.equal(h.plugin.count('get'), reads);
  assert.equal(h.runtime.quotas.holds(task.id), false);
  await h.stop();
  assert.deepEqual(h.faults, []);
});

test('a Get meanwhile answers the task as it is, with the failure, and not an error', async () => {
  const { h, handle } = await succeeding({ beforeWrite: () => Promise.reject(away()) });
  while (h.plugin.count('get') < 1) await h.clock.advance(500);
  const record = await settle(h.clock, h.tasks.get(handle, HINTS, h.scope()));
  assert.equal(record.stage, 'live');
  assert.equal(record.lastFailure?.code, 'DATA_UNAVAILABLE');
  await h.stop();
});

test('outputs that fit alone but not beside what comes with them are written, too', async () => {
  for (const [link, written] of [
    ['short', 0],
    ['x'.repeat(2_000), 1],
  ] as const) {
    const h = await makeHarness({ options: { maxInlineOutputBytes: 1_000 } });
    h.plugin.on.create = () => created();
    h.plugin.on.get = () => ok(phaseState('SUCCESS', { outputs: literals('o'), logs: [{ uri: link }] }));
    await settle(h.clock, h.tasks.create(h.spec('a', { outputNames: ['o'] }), h.scope()));
    await h.clock.advance(120_000);
    assert.equal(h.written.length, written);
    await h.stop();
  }
});

test('a success that create itself told is not read while its outputs are written, and is read again where that failed', async () => {
  const write = createDeferred<void>();
  let failures = 1;
  const h = await makeHarness({
    options: { maxInlineOutputBytes: 4 },
    beforeWrite: async () => {
      await write.promise;
      if (failures-- > 0) throw away();
    },
  });
  const told = success(literals('o'));
  h.plugin.on.create = () => created('{"job":1}', told.ok ? told.value : undefined);
  h.plugin.on.get = () => told;
  const { task } = await settle(h.clock, h.tasks.create(h.spec('a', { outputNames: ['o'] }), h.scope()));
  await h.clock.advance(60_000);
  assert.equal(h.plugin.count('get'), 0);
  write.resolve();
  await h.clock.advance(60_000);
  assert.deepEqual([h.plugin.count('get'), task.state.phase, h.written.length], [1, 'SUCCESS', 1]);
  await h.stop();
});

test('a task that is deleted while its outputs are written, and whose write fails, is not read again', async () => {
  const write = createDeferred<void>();
  const { h, handle } = await succeeding({
    beforeWrite: async () => {
      await write.promise;
      throw away();
    },
  });
  await h.clock.advance(60_000);
  const reads = h.plugin.count('get');
  await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
  write.resolve();
  await h.clock.advance(600_000);
  assert.deepEqual([h.plugin.count('get'), h.runtime.refresher.tracked], [reads, 0]);
  await h.stop();
});

test('the time within which outputs are written runs on over restarts', async () => {
  const machine = new Machine();
  const given: HarnessOptions = {
    beforeWrite: () => Promise.reject(away()),
    options: { maxInlineOutputBytes: 4, outputsBudgetMs: 600_000 },
  };
  const life = async (then: (h: Harness) => void) => {
    const h = await machine.start(given);
    h.plugin.on.create = () => created();
    h.plugin.on.delete = () => ok({});
    h.plugin.on.get = () => success(literals('o'));
    if (h.store.unfinished === 0) {
      await h.clock.advance(60_000);
      await settle(h.clock, h.tasks.create(h.spec('a', { outputNames: ['o'] }), h.scope()));
    }
    await h.clock.advance(240_000);
    then(h);
    assert.deepEqual(h.faults, []);
    machine.kill();
  };
  const ends = ({ store }: Harness) => [...store.listed()].map(({ state }) => state.error?.code ?? state.phase);
  for (let times = 0; times < 2; times++) {
    await life((h) => assert.ok(!ends(h).includes('OUTPUTS_UNUSABLE')));
    await machine.manual.advance(3_600_000);
  }
  await life(() => {});
  await life((h) => assert.deepEqual(ends(h), ['OUTPUTS_UNUSABLE']));
});
