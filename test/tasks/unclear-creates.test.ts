import assert from 'node:assert/strict';
import { test } from 'node:test';
import { phaseState } from '../../src/model/phase-state.js';
import type { CreateArgs, DeleteArgs } from '../../src/model/plugin-call.js';
import { noState } from '../../src/store/state-feed.js';
import { created, fail, type HarnessOptions, HINTS, held, makeHarness, ok, running, settle } from './harness.js';

const HOURS = 3_600_000;

/** A harness whose create budget is short and that notes what is told of unclear creates. */
async function unclearHarness(given: HarnessOptions = {}) {
  const told: string[] = [];
  const ended: string[] = [];
  const h = await makeHarness({
    ...given,
    options: { createBudgetMs: 20_000, ...given.options },
    events: {
      ended: ({ state }) => ended.push(state.phase),
      createUnclear: (id, _plugin, code) => told.push(`unclear ${id} ${code}`),
      createCleared: (id, _plugin, job) => told.push(`cleared ${id} ${job}`),
      createLeft: (id, _plugin, because) => told.push(`left ${id} ${because}`),
    },
  });
  h.plugin.on.get = () => running();
  h.plugin.on.delete = () => ok({});
  /** Creates a task and lets its budget run out. */
  const spend = async (name: string, parts = {}) => {
    const answer = await settle(h.clock, h.tasks.create(h.spec(name, parts), h.scope()));
    await h.clock.advance(50_000);
    assert.equal(answer.task.state.phase, 'RETRYABLE_FAILURE');
    return answer;
  };
  const list = () => [...h.store.unclear.listed()];
  const creates = () =>
    h.plugin.calls.filter(({ method }) => method === 'create').map(({ args }) => args as CreateArgs);
  return { h, told, ended, spend, list, creates };
}

for (const kind of ['deadline', 'process_died', 'transient', 'unknown', 'not_found', 'invalid'] as const) {
  test(`a job that a create left behind (${kind}) is found by the same key after its task has ended, and cancelled`, async () => {
    const { h, told, spend, list, creates } = await unclearHarness();
    h.plugin.on.create = () => fail(kind);
    const inputs = Buffer.from('inputs');
    const { task } = await spend('a', { inputs });
    assert.equal(task.payload, undefined);
    assert.deepEqual(
      list().map(({ id, looks, leftBecause }) => ({ id, looks, leftBecause })),
      [{ id: task.id, looks: 0, leftBecause: undefined }],
    );
    h.plugin.on.create = () => created('{"job":7}', undefined, true);
    await h.clock.advance(2 * 60_000);
    assert.equal(creates().at(-1)?.idempotencyKey, task.id);
    assert.equal(creates().at(-1)?.inputs, inputs);
    assert.deepEqual(
      h.plugin.calls
        .filter(({ method }) => method === 'delete')
        .map(({ args }) => (args as DeleteArgs).meta.toString()),
      ['{"job":7}'],
    );
    assert.deepEqual([list(), h.tasks.owedDeletes.size], [[], 0]);
    assert.equal(task.state.phase, 'RETRYABLE_FAILURE', 'the verdict stands');
    assert.deepEqual(told, [`unclear ${task.id} CREATE_BUDGET_SPENT`, `cleared ${task.id} cancelled`]);
    await h.stop();
    assert.deepEqual([h.faults, h.clock.pending], [[], 0]);
  });
}

test('a refusal of a repeat leaves a create unclear; a refusal of the first call does not', async () => {
  const { h, list } = await unclearHarness();
  const outcomes = [fail('permanent'), fail('deadline'), fail('permanent')];
  h.plugin.on.create = () => outcomes.shift() ?? created();
  const refused = await settle(h.clock, h.tasks.create(h.spec('refused'), h.scope()));
  assert.deepEqual([refused.task.state.phase, list()], ['PERMANENT_FAILURE', []]);
  const { task } = await settle(h.clock, h.tasks.create(h.spec('open'), h.scope()));
  await h.clock.advance(10_000);
  assert.equal(task.state.phase, 'PERMANENT_FAILURE');
  assert.deepEqual(
    list().map(({ id }) => id),
    [task.id],
  );
  await h.stop();
});

test('a create that was never sent, or only throttled, leaves nothing to look for', async () => {
  const { h, list } = await unclearHarness();
  h.plugin.on.create = () => fail('throttled', { retryAfterMs: 5_000 });
  const { handle } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  await h.clock.advance(30_000);
  await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
  await h.clock.advance(HOURS);
  assert.deepEqual([list(), h.plugin.count('delete')], [[], 0]);
  await h.stop();
});

test('a create that the plugin says made nothing is repeated within its budget and leaves nothing to look for', async () => {
  const { h, spend, list } = await unclearHarness();
  h.plugin.on.create = () => fail('transient', { notCreated: true });
  await spend('a');
  assert.ok(h.plugin.count('create') > 1);
  assert.deepEqual(list(), []);
  // Once one of the calls may have made a job, a later word about another call clears nothing.
  const outcomes = [fail('transient')];
  h.plugin.on.create = () => outcomes.shift() ?? fail('transient', { notCreated: true });
  await spend('b');
  assert.equal(list().length, 1);
  await h.stop();
});

test('a deleted task whose job was not found within the budget is looked for as well', async () => {
  const { h, told, ended } = await unclearHarness();
  h.plugin.on.create = () => fail('deadline');
  const { handle, task } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
  await h.clock.advance(50_000);
  h.plugin.on.create = () => created();
  await h.clock.advance(2 * 60_000);
  assert.equal(h.plugin.count('delete'), 1);
  assert.equal(told.at(-1), `cleared ${task.id} cancelled`);
  assert.deepEqual(ended, [], 'a deleted task reached no phase');
  await h.stop();
});

test('looks are few and far apart; what they do not find is left to the operator without inputs and secrets', async () => {
  const { h, told, spend, list } = await unclearHarness({ options: { unclearLooks: 3 } });
  h.plugin.on.create = () => fail('transient');
  const connection = { secrets: { key: 'hush' }, configs: {} };
  await spend('a', { connection, inputs: Buffer.from('payload') });
  const before = h.plugin.count('create');
  await h.clock.advance(24 * HOURS);
  assert.equal(h.plugin.count('create') - before, 3);
  const [entry] = list();
  assert.match(entry?.leftBecause ?? '', /3 looks/);
  assert.deepEqual([entry?.nextLookMs, entry?.looks, entry?.lastError.code], [undefined, 3, 'TRANSIENT']);
  for (const held of ['hush', '"inputs"']) assert.ok(!JSON.stringify(list()).includes(held));
  assert.equal(told.length, 2);
  await h.stop();
  assert.equal(h.clock.pending, 0);
});

test('with looks turned off an unclear create is only listed', async () => {
  const { h, spend, list } = await unclearHarness({ options: { unclearLooks: 0 } });
  h.plugin.on.create = () => fail('deadline');
  await spend('a');
  const before = h.plugin.count('create');
  await h.clock.advance(24 * HOURS);
  assert.equal(h.plugin.count('create'), before);
  assert.match(list()[0]?.leftBecause ?? '', /unclearCreateLooks/);
  await h.stop();
});

test('throttles and a remote that is down use up no look', async () => {
  const { h, spend, list } = await unclearHarness({ options: { unclearLooks: 1 } });
  h.plugin.on.create = () => created('{"job":"live"}');
  for (const name of ['x', 'y']) await settle(h.clock, h.tasks.create(h.spec(name), h.scope()));
  h.plugin.on.create = () => fail('deadline');
  await spend('a');
  h.plugin.on.create = () => fail('throttled', { retryAfterMs: 1_000 });
  await h.clock.advance(10 * 60_000);
  assert.equal(list()[0]?.looks, 0);
  h.plugin.on.get = () => fail('transient');
  h.plugin.on.create = () => fail('transient');
  await h.clock.advance(30 * 60_000);
  assert.equal(h.runtime.refresher.stats().remote, 'down');
  assert.deepEqual([list()[0]?.looks, list()[0]?.leftBecause], [0, undefined]);
  h.plugin.on.get = () => running();
  h.plugin.on.create = () => created();
  await h.clock.advance(2 * HOURS);
  assert.deepEqual([list(), h.plugin.count('delete')], [[], 1]);
  await h.stop();
});

test('a job that is over when it is found is not cancelled', async () => {
  const { h, told, spend } = await unclearHarness();
  h.plugin.on.create = () => fail('deadline');
  const { task } = await spend('a');
  h.plugin.on.create = () => created('{"job":7}', phaseState('SUCCESS'), true);
  await h.clock.advance(2 * 60_000);
  assert.equal(h.plugin.count('delete'), 0);
  assert.equal(told.at(-1), `cleared ${task.id} over`);
  await h.stop();
});

test('a create of the same key while its job is looked for takes another incarnation, whose job is not cancelled', async () => {
  const { h, spend, list } = await unclearHarness({ options: { unclearLooks: 100 } });
  h.plugin.on.create = () => fail('deadline');
  const { task } = await spend('a');
  // Others make the finished record go, and its trace grows old.
  h.plugin.on.create = (args) =>
    args.idempotencyKey === task.id ? fail('deadline') : created(args.idempotencyKey, phaseState('SUCCESS'));
  for (let i = 0; i < 101; i++) await settle(h.clock, h.tasks.create(h.spec(`filler ${i}`), h.scope()));
  await h.clock.advance(25 * HOURS);
  assert.equal(h.store.byId(task.id), undefined);
  h.plugin.on.create = (args) => created(args.idempotencyKey);
  const again = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  assert.equal(again.task.identity.incarnation, 2);
  await h.clock.advance(2 * HOURS);
  assert.deepEqual(
    h.plugin.calls.filter(({ method }) => method === 'delete').map(({ args }) => (args as DeleteArgs).meta.toString()),
    [task.id],
  );
  assert.deepEqual([list(), again.task.stage], [[], 'live']);
  await h.stop();
});

test('the list is bounded in entries and in the bytes of their inputs, and says what gave way', async () => {
  const { h, told, spend, list } = await unclearHarness({ options: { maxUnclear: 2, maxUnclearBytes: 4_000 } });
  h.plugin.on.create = () => fail('deadline');
  const ids = [];
  for (const name of ['a', 'b', 'c']) {
    ids.push((await spend(name, { inputs: Buffer.alloc(name === 'b' ? 8_000 : 1) })).task.id);
  }
  assert.deepEqual(
    list().map(({ id, leftBecause }) => [id, leftBecause !== undefined]),
    [
      [ids[1], true],
      [ids[2], false],
    ],
  );
  assert.deepEqual(
    told.filter((line) => line.startsWith('left')).map((line) => line.split(' ')[1]),
    [ids[1], ids[0]],
  );
  await h.stop();
  assert.equal(h.clock.pending, 0);
});

test('a look goes without secrets whose time is over: nobody looks then', async () => {
  const { h, spend, list } = await unclearHarness({ options: { connectionTtlMs: 60_000 } });
  h.plugin.on.create = () => fail('deadline');
  await spend('a', { connection: { secrets: { key: 'hush' }, configs: {} } });
  const before = h.plugin.count('create');
  await h.clock.advance(HOURS);
  assert.equal(h.plugin.count('create'), before);
  assert.match(list()[0]?.leftBecause ?? '', /secrets/);
  await h.stop();
});

test('one look of a plugin is under way at a time, and a stop waits for it', async () => {
  // Without a grace creates that fail across tasks end them.
  const { h, list } = await unclearHarness({ refresh: { outageGraceMs: 0 } });
  h.plugin.on.create = () => fail('deadline');
  await settle(h.clock, Promise.all(['a', 'b'].map((name) => h.tasks.create(h.spec(name), h.scope()))));
  await h.clock.advance(50_000);
  assert.equal(list().length, 2);
  const answer = held<ReturnType<typeof created>>();
  h.plugin.on.create = () => answer.promise;
  const before = h.plugin.count('create');
  while (h.plugin.count('create') === before) await h.clock.advance(1_000);
  await h.clock.advance(10_000);
  assert.ok(
    list().every(({ nextLookMs = 0 }) => nextLookMs <= h.clock.now()),
    'both are due',
  );
  assert.equal(h.plugin.count('create') - before, 1);
  let stopped = false;
  const stopping = h.tasks.stop().then(() => {
    stopped = true;
  });
  await h.clock.advance(1);
  assert.equal(stopped, false);
  answer.release(created());
  await settle(h.clock, stopping);
  assert.equal(h.plugin.count('create') - before, 1);
  await h.stop();
});

test('a stop tells of every job that may be left behind, since without a state nobody looks for it afterwards', async () => {
  for (const durable of [false, true]) {
    const feed = { ...noState, durable };
    const { h, told, spend } = await unclearHarness({ feed });
    h.plugin.on.create = () => fail('deadline');
    const ended = await spend('ended');
    const open = await settle(h.clock, h.tasks.create(h.spec('open'), h.scope()));
    h.plugin.on.create = () => fail('throttled', { retryAfterMs: 60_000 });
    await settle(h.clock, h.tasks.create(h.spec('never sent'), h.scope()));
    told.length = 0;
    await h.stop();
    const ids = told.map((line) => line.split(' ').slice(0, 2).join(' ')).sort();
    assert.deepEqual(ids, durable ? [] : [`left ${ended.task.id}`, `left ${open.task.id}`].sort());
    assert.ok(told.every((line) => line.includes('no state')));
  }
});

test('a stop tells of jobs that go on while their engines hold accepted handles, and of no others', async () => {
  const { h, told } = await unclearHarness();
  const answer = held<ReturnType<typeof created>>();
  h.plugin.on.create = () => answer.promise;
  const accepted = await settle(h.clock, h.tasks.create(h.spec('accepted'), h.scope()));
  answer.release(created('{"job":1}'));
  h.plugin.on.create = () => created('{"job":2}');
  await settle(h.clock, h.tasks.create(h.spec('created'), h.scope()));
  assert.equal(accepted.task.stage, 'live');
  await h.stop();
  assert.equal(told.length, 1);
  assert.match(told[0] ?? '', new RegExp(`^left ${accepted.task.id} .*accepted handle`));
});

test('a remote that was down when the last task was deleted does not put looks off for ever', async () => {
  const { h, spend, list } = await unclearHarness();
  h.plugin.on.create = () => created('{"job":"live"}');
  const live = [];
  for (const name of ['x', 'y']) live.push(await settle(h.clock, h.tasks.create(h.spec(name), h.scope())));
  h.plugin.on.create = () => fail('deadline');
  await spend('a');
  h.plugin.on.get = () => fail('transient');
  for (let i = 0; i < 600 && h.runtime.refresher.stats().remote === 'up'; i++) await h.clock.advance(100);
  assert.equal(h.runtime.refresher.stats().remote, 'down');
  for (const { handle } of live) await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
  h.plugin.on.create = () => created('{"job":"a"}');
  await h.clock.advance(6 * HOURS);
  assert.deepEqual([list(), h.plugin.count('delete')], [[], 3]);
  await h.stop();
});

test('a stop tells of a job that a create left behind which was under way when it came', async () => {
  const { h, told, list } = await unclearHarness();
  const answer = held<ReturnType<typeof fail>>();
  const outcomes = [fail('deadline'), answer.promise];
  h.plugin.on.create = () => outcomes.shift() ?? fail('permanent');
  const { task } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  await h.clock.advance(10_000);
  assert.equal(h.plugin.count('create'), 2);
  const stopping = h.tasks.stop();
  await h.clock.advance(1);
  answer.release(fail('permanent'));
  await settle(h.clock, stopping);
  assert.deepEqual(
    list().map(({ id }) => id),
    [task.id],
  );
  assert.equal(told.at(-1), `left ${task.id} the daemon stops and keeps no state`);
  await h.stop();
});
