import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostError } from '../../src/errors/index.js';
import { createDeferred } from '../../src/lib/deferred.js';
import { attemptKeyOf } from '../../src/model/attempt-key.js';
import { phaseState } from '../../src/model/phase-state.js';
import type { CreateArgs } from '../../src/model/plugin-call.js';
import { noState, type StateFeed } from '../../src/store/state-feed.js';
import { identityOf } from '../support/identity.js';
import { created, fail, HINTS, held, makeHarness, ok, running, settle, success } from './harness.js';
import { Machine } from './machine.js';
import { makeTimeline, type Timeline } from './timeline.js';

const MINUTE = 60_000;

const create = (h: Timeline, name: string, parts = {}) =>
  settle(h.clock, h.tasks.create(h.spec(name, parts), h.scope()));

test('the end of a task is told to the log once it is safe, and not before', async () => {
  let safe = createDeferred<void>();
  const feed: StateFeed = { durable: true, changed() {}, safe: () => safe.promise };
  const commit = () => {
    safe.resolve();
    safe = createDeferred<void>();
  };
  const h = await makeTimeline({ feed });
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => running();
  const answer = h.tasks.create(h.spec('a'), h.scope(600_000));
  for (let i = 0; i < 40; i++) {
    await h.clock.advance(250);
    commit();
  }
  await answer;
  h.told();
  h.plugin.on.get = () => success();
  await h.clock.advance(MINUTE);
  assert.deepEqual(h.told(), [], 'it is written still');
  commit();
  await h.clock.advance(0);
  assert.deepEqual(
    h.told().map((line) => line.replace(/^\d+ /, '')),
    ['ended a-1'],
  );
});

test('a drained daemon without a state refuses new tasks with a time to come again, and ends its watchers', async () => {
  const h = await makeHarness();
  const reader = h.tasks.watch({ plugins: [], handles: [], resumeToken: '', includeCurrent: false });
  h.tasks.drain();
  const event = await reader.next();
  assert.ok(event?.kind === 'bookmark' && event.draining);
  await assert.rejects(
    h.tasks.create(h.spec('a'), h.scope()),
    (error: Error & { code?: string; retryAfterMs?: number }) =>
      error.code === 'DAEMON_DRAINING' && error.retryAfterMs === 5_000,
  );
  await h.stop();
});

test('a stop waits for the creates that are sent, sends no other, and leaves the accepted ones as they are', async () => {
  const h = await makeTimeline({ config: { resourceQuotas: { default: 2 } } });
  const answer = held<ReturnType<typeof created>>();
  h.plugin.on.create = () => answer.promise;
  h.plugin.on.get = () => running();
  await create(h, 'sent');
  const waits = await makeWaiting(h);
  let stopped = false;
  const stopping = h.tasks.stop().then(() => {
    stopped = true;
  });
  await h.clock.advance(1_000);
  assert.equal(stopped, false);
  answer.release(created());
  await settle(h.clock, stopping);
  assert.deepEqual(
    [h.plugin.count('create'), waits.stage, waits.state.phase],
    [2, 'accepted', 'WAITING_FOR_RESOURCES'],
  );
  await assert.rejects(h.tasks.create(h.spec('later'), h.scope()), /is stopping/);
  await h.stop();
});

/** A second task that is sent as well, and a third that has no token. */
async function makeWaiting(h: Timeline) {
  await create(h, 'second');
  const { task } = await create(h, 'waits');
  assert.match(task.state.reason, /^waits for quota namespace/);
  return task;
}

test('a line for tokens that is full ends the attempt, and says whose line', async () => {
  const h = await makeTimeline({ config: { resourceQuotas: { default: 0 } } });
  h.runtime.quotas.acquire = () => ({ status: 'full' });
  const { task } = await create(h, 'a');
  assert.deepEqual(
    [task.state.phase, task.state.error],
    ['RETRYABLE_FAILURE', { code: 'STORE_FULL', message: 'the waiting line of plugin "fake" is full', kind: 'SYSTEM' }],
  );
  assert.deepEqual(h.told(), ['0 accepted a-1', '0 ended a-1']);
  await h.stop();
});

test('a fault of the daemon in a create ends the task with words that name none of it, and is told', async () => {
  const h = await makeTimeline();
  h.runtime.quotas.acquire = () => {
    throw new Error('a secret thing');
  };
  const { task } = await create(h, 'a');
  assert.deepEqual(
    [task.state.phase, task.state.error?.code, task.state.reason],
    ['PERMANENT_FAILURE', 'INTERNAL', 'the daemon failed while it created the task; its log says more'],
  );
  assert.deepEqual(
    h.faults.map((fault) => String(fault)),
    ['create,Error: a secret thing'],
  );
  await h.stop();
});

test('a task waits for the scope that lacks room, in its words', async () => {
  for (const [lacks, words] of [
    ['capacity', 'waits for room in the cache (caching.size)'],
    ['quota', 'waits for quota namespace "default"'],
    ['project', 'waits for its project constraint in quota namespace "default"'],
    ['namespace', 'waits for its namespace constraint in quota namespace "default"'],
  ] as const) {
    const h = await makeTimeline();
    const granted = createDeferred<boolean>();
    h.runtime.quotas.acquire = () => ({ status: 'waiting', lacks, granted: granted.promise });
    h.plugin.on.create = () => created();
    h.plugin.on.get = () => running();
    const { task } = await create(h, 'a');
    assert.deepEqual([task.stage, task.state.reason], ['accepted', words]);
    granted.resolve(true);
    await h.clock.advance(0);
    assert.equal(task.stage, 'live');
    await h.stop();
  }
});

test('a create that an earlier run may have sent is repeated once that call can reach nobody, and says so meanwhile', async () => {
  const machine = new Machine();
  const first = await machine.start({ warmUpMs: MINUTE });
  const never = held<ReturnType<typeof created>>();
  first.plugin.on.create = () => never.promise;
  const { handle } = await settle(first.clock, first.tasks.create(first.spec('a'), first.scope()));
  const boundMs = first.store.byHandle(handle)?.sentBoundMs ?? 0;
  assert.ok(boundMs > 0);
  machine.kill();
  const second = await machine.start();
  second.plugin.on.get = () => running();
  second.plugin.on.create = () => created();
  const task = () => second.store.byHandle(handle);
  await second.clock.advance(boundMs - 1);
  assert.equal(task()?.state.reason, 'an earlier create call may be under way');
  assert.equal(second.plugin.count('create'), 0);
  await second.clock.advance(5_000);
  assert.deepEqual([second.plugin.count('create'), task()?.stage], [1, 'live']);
});

test('what an earlier run accepted and told nobody of waits for its engine, and is dropped when the orphan grace is over', async () => {
  for (const repeats of [false, true]) {
    const machine = new Machine();
    const first = await machine.start();
    // Killed after it was accepted, and before its handle was made.
    const { id } = first.store.insert({
      identity: identityOf(attemptKeyOf({ name: 'a', executionId: '' }), { plugin: 'fake', quotaNamespace: '' }),
      stage: 'accepted',
      state: phaseState('WAITING_FOR_RESOURCES', { reason: 'accepted' }),
      outputPrefix: '',
      payload: first.spec('a'),
    });
    await settle(first.clock, first.store.safe());
    machine.kill();
    const second = await machine.start({ options: { orphanGraceMs: MINUTE } });
    second.plugin.on.create = () => created();
    second.plugin.on.get = () => running();
    const held = () => second.store.byId(id) !== undefined;
    const sent = () =>
      second.plugin.calls.filter(
        ({ method, args }) => method === 'create' && (args as CreateArgs).idempotencyKey === id,
      ).length;
    await second.clock.advance(MINUTE - 1_000);
    assert.deepEqual([held(), sent()], [true, 0]);
    if (repeats) await settle(second.clock, second.tasks.create(second.spec('a'), second.scope()));
    await second.clock.advance(MINUTE);
    assert.deepEqual([held(), sent()], [repeats, repeats ? 1 : 0]);
  }
});

test('a look that fails in the daemon itself is told, put off like any other, and costs the job nothing', async () => {
  const h = await makeTimeline({ options: { createBudgetMs: 5_000 } });
  h.plugin.on.create = () => fail('deadline');
  await create(h, 'a');
  await h.clock.advance(10_000);
  const { pass } = h.runtime.creates;
  h.runtime.creates.pass = () => Promise.reject(new Error('no'));
  await h.clock.advance(MINUTE);
  assert.deepEqual(
    h.faults.map((fault) => String(fault)),
    ['unclear create,Error: no'],
  );
  const [entry] = h.store.unclear.listed();
  assert.deepEqual([entry?.looks, entry?.lastError], [0, { code: 'INTERNAL', message: 'no' }]);
  assert.equal((entry?.nextLookMs ?? 0) > h.clock.now(), true);
  h.runtime.creates.pass = pass;
  h.plugin.on.create = () => created();
  h.plugin.on.delete = () => ok({});
  await h.clock.advance(10 * MINUTE);
  assert.deepEqual([h.store.unclear.size, h.plugin.count('delete')], [0, 1]);
  await h.stop();
});

test('while a wave of jobs is not found at the remote a delete that finds none goes on asking', async () => {
  const h = await makeTimeline();
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => running();
  h.plugin.on.delete = () => fail('not_found');
  const { handle } = await create(h, 'deleted');
  const stats = h.runtime.refresher.stats.bind(h.runtime.refresher);
  let frozen = 1;
  h.runtime.refresher.stats = () => ({ ...stats(), notFoundFrozen: frozen });
  await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
  await h.clock.advance(60 * MINUTE);
  assert.equal(h.tasks.owedDeletes.size, 1);
  frozen = 0;
  await h.clock.advance(10 * MINUTE);
  assert.equal(h.tasks.owedDeletes.size, 0);
  await h.stop();
});

test('a task is accepted with all that its create says, and with nothing that it does not', async () => {
  const h = await makeHarness({ config: { resourceQuotas: { default: 0 } }, options: { connectionTtlMs: 1_000 } });
  const connection = { secrets: { key: 'hush' }, configs: {} };
  const spec = h.spec('a', {
    taskTypeVersion: 3,
    node: { nodeKey: 'n', attempt: 2 },
    outputNames: ['o'],
    inputs: Buffer.from('inputs'),
    inputPrefix: 's3://in',
    maxDatasetSizeBytes: 7,
    connection,
  });
  const nowMs = h.clock.now();
  const { task } = await settle(h.clock, h.tasks.create(spec, h.scope()));
  const { template, inputs, inputPrefix, metadata, maxDatasetSizeBytes } = spec;
  assert.deepEqual(task.payload, { template, inputs, inputPrefix, metadata, maxDatasetSizeBytes });
  assert.deepEqual(task.identity, {
    plugin: 'fake',
    taskType: 't',
    taskTypeVersion: 3,
    key: attemptKeyOf(spec.attempt),
    incarnation: 1,
    project: 'p',
    domain: 'd',
    namespace: 'ns',
    quotaNamespace: 'default',
    createdAtMs: nowMs,
    outputNames: ['o'],
  });
  assert.deepEqual(
    [task.node, task.outputPrefix, task.connection, task.connectionUntilMs, task.confirmed],
    [spec.node, 's3://bucket/a', connection, nowMs + 1_000, false],
  );
  const without = await settle(h.clock, h.tasks.create(h.spec('b'), h.scope()));
  assert.deepEqual([without.task.connection, without.task.connectionUntilMs], [undefined, 0]);
  await h.stop();
});

test('a repeated create confirms nothing, and one of an attempt that failed and was forgotten is told its end again', async () => {
  const h = await makeHarness({ finished: { maxCount: 1, maxBytes: 1 } });
  h.plugin.on.create = () => fail('permanent', { message: 'no' });
  const first = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  const again = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  assert.deepEqual([again.task, again.task.confirmed], [first.task, false]);
  for (const name of ['b', 'c', 'd']) await settle(h.clock, h.tasks.create(h.spec(name), h.scope()));
  assert.equal(h.store.trace(first.task.id), undefined, 'nothing but its mark is left');
  const told = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  assert.deepEqual(
    [told.task.stage, told.task.state.phase, told.task.state.reason],
    ['over', 'PERMANENT_FAILURE', 'no'],
  );
  assert.equal(h.plugin.count('create'), 4);
  await h.stop();
});

test('while the state takes nothing new a create is refused before anything is begun, and a known one is answered', async () => {
  let full = false;
  const assertRoom = () => {
    if (full) throw new HostError('STATE_FULL', 'the disk is full');
  };
  const h = await makeHarness({ feed: { ...noState, assertRoom } });
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => running();
  const { handle } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  full = true;
  await assert.rejects(h.tasks.create(h.spec('b'), h.scope()), /the disk is full/);
  const again = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  assert.deepEqual([again.handle, h.plugin.count('create'), h.store.unfinished], [handle, 1, 1]);
  await h.stop();
});

test('once all plugins are loaded what waits for one that is not here is counted, and each waiting task says so', async () => {
  const h = await makeTimeline({ starts: true });
  const insert = (key: string, stage: 'accepted' | 'creating' | 'live') =>
    h.store.insert({
      identity: identityOf(key, { plugin: 'gone' }),
      stage,
      state: phaseState('WAITING_FOR_RESOURCES'),
      outputPrefix: '',
      answeredHandle: Buffer.from(key),
    });
  const [accepted, creating, live] = (['accepted', 'creating', 'live'] as const).map((stage) => insert(stage, stage));
  for (const key of ['x', 'y']) {
    const task = insert(key, 'accepted');
    h.store.setCreated(task, Buffer.from('{}'));
    h.store.orderDelete(task, 'r', false);
  }
  const { id, identity, node, outputPrefix, connection, connectionUntilMs } = accepted!;
  const unclear = { id, identity, node, outputPrefix, connection, connectionUntilMs, sinceMs: 1, looks: 0 };
  for (const [name, leftBecause] of [
    ['looked for', undefined],
    ['left', 'why'],
  ] as const) {
    const lastError = { code: 'X', message: 'm' };
    h.store.unclear.add({ ...unclear, id: name, leftBecause, nextLookMs: undefined, args: undefined, lastError });
  }
  h.tasks.recovered();
  await h.clock.advance(0);
  assert.deepEqual(h.told(), ['0 unserved gone 3 3']);
  assert.deepEqual(
    [accepted, creating, live].map((task) => [task?.stage, task?.state.reason]),
    [
      ['accepted', 'waits for plugin "gone", which does not run here'],
      ['creating', 'waits for plugin "gone", which does not run here'],
      ['live', ''],
    ],
  );
  h.load();
  assert.equal(h.told().length, 1, 'and those of a plugin that is here are not counted');
});

test('a delete that fails in the daemon itself is told, and is owed as before with the error as its last', async () => {
  const h = await makeTimeline();
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => running();
  h.plugin.on.delete = () => ok({});
  const { handle } = await create(h, 'a');
  const call = h.runtime.gate.call.bind(h.runtime.gate);
  h.runtime.gate.call = () => Promise.reject(new Error('no'));
  await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
  const [owed] = h.store.owed.listed();
  assert.deepEqual([owed?.attempts, owed?.lastError], [1, { code: 'INTERNAL', message: 'no' }]);
  assert.deepEqual(
    h.faults.map((fault) => String(fault)),
    ['delete,Error: no'],
  );
  h.runtime.gate.call = call;
  await h.clock.advance(1_000);
  assert.equal(h.store.owed.size, 0);
  await h.stop();
});
