import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostError } from '../../src/errors/index.js';
import { encodeHandle } from '../../src/model/handle.js';
import { noState } from '../../src/store/state-feed.js';
import { created, fail, HINTS, makeHarness, ok, running, settle } from './harness.js';

test('owed deletes take room in the store: creates are refused while they fill it', async () => {
  const h = await makeHarness({ maxTasks: 2 });
  const full = (error: unknown) =>
    HostError.is(error) && error.code === 'STORE_FULL' && error.retryAfterMs !== undefined;
  const create = (name: string) => settle(h.clock, h.tasks.create(h.spec(name), h.scope()));
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => running();
  h.plugin.on.delete = () => fail('transient');
  const { handle: first } = await create('a');
  for (const handle of [first, (await create('b')).handle]) {
    await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
    // A repeat of what is owed already is no further order.
    await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
  }
  assert.equal(h.tasks.owedDeletes.size, 2);
  await assert.rejects(create('c'), full);
  h.plugin.on.delete = () => ok({});
  await h.clock.advance(3_600_000);
  assert.equal((await create('c')).task.stage, 'live');
  await h.stop();
});

test('deletes of what memory does not hold have a bound of their own, and take no room from creates', async () => {
  const h = await makeHarness({ maxTasks: 2 });
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => running();
  h.plugin.on.delete = () => fail('transient');
  const { task, handle } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  const unknown = (digit: string) =>
    encodeHandle({ identity: { ...task.identity, key: digit.repeat(32) }, meta: Buffer.from(`{"job":"${digit}"}`) });
  const remove = (bytes: Buffer) => settle(h.clock, h.tasks.delete(bytes, 'r', HINTS));
  await remove(unknown('e'));
  await settle(h.clock, h.tasks.status(unknown('f'), HINTS, h.scope()));
  await remove(unknown('f'));
  await assert.rejects(remove(unknown('d')), (error) => HostError.is(error) && error.code === 'STORE_FULL');
  await settle(h.clock, h.tasks.status(unknown('c'), HINTS, h.scope()));
  await assert.rejects(remove(unknown('c')), (error) => HostError.is(error) && error.code === 'STORE_FULL');
  assert.equal((await settle(h.clock, h.tasks.create(h.spec('b'), h.scope()))).task.stage, 'live');
  await remove(handle);
  h.plugin.on.delete = () => ok({});
  await h.clock.advance(3_600_000);
  await remove(unknown('d'));
  await h.stop();
});

test('secrets that come with a call reach the plugin and are in no handle, key of a fact, event or answer', async () => {
  const facts: string[] = [];
  const events: unknown[] = [];
  const note = (...args: unknown[]) => void events.push(args);
  const h = await makeHarness({
    feed: { ...noState, durable: true, changed: (kind, name) => void facts.push(`${kind}/${name}`) },
    events: {
      accepted: ({ identity, state }) => note(identity, state),
      createRetried: (_task, ...rest) => note(rest),
      deleteOwed: note,
      deleteFailed: note,
      deleteDone: note,
    },
  });
  const connection = { secrets: { apiKey: 'hush-hush-hush' }, configs: {} };
  const spec = { connection, node: { nodeKey: 'n', attempt: 0 } };
  const outcomes = [fail('transient'), created()];
  h.plugin.on.create = () => outcomes.shift() ?? created();
  h.plugin.on.get = () => running();
  h.plugin.on.delete = () => (events.length < 5 ? fail('transient') : ok({}));
  const { handle, task } = await settle(h.clock, h.tasks.create(h.spec('a', spec), h.scope(3_600_000)));
  await settle(h.clock, h.tasks.get(handle, { outputPrefix: '', connection }, h.scope()));
  await settle(h.clock, h.tasks.delete(handle, 'r', { outputPrefix: '', connection }));
  await h.clock.advance(600_000);
  assert.ok(JSON.stringify(h.plugin.calls).includes('hush-hush-hush'), 'the plugin had the secret');
  assert.ok(facts.length >= 4 && events.length >= 3);
  for (const shown of [facts, events, task.state, h.tasks.listPlugins(), h.faults]) {
    assert.ok(!JSON.stringify(shown).includes('hush-hush-hush'));
  }
  assert.ok(!handle.includes('hush'));
  assert.equal(task.connection, undefined, 'a deleted task, which the ring behind Watch still holds, has no secret');
  await h.stop();
});

test('a deleted task that waited holds neither inputs nor secrets any more; one whose job is looked for does until then', async () => {
  const connection = { secrets: { key: 'hush' }, configs: {} };
  const inputs = Buffer.alloc(1_000);
  const waiting = await makeHarness({ config: { resourceQuotas: { default: 0 } } });
  const first = await settle(
    waiting.clock,
    waiting.tasks.create(waiting.spec('a', { connection, inputs }), waiting.scope()),
  );
  assert.equal(first.task.payload?.inputs, inputs);
  await settle(waiting.clock, waiting.tasks.delete(first.handle, 'r', HINTS));
  await waiting.clock.advance(1);
  assert.deepEqual([first.task.payload, first.task.connection], [undefined, undefined]);
  await waiting.stop();

  const h = await makeHarness();
  h.plugin.on.create = () => fail('transient');
  const second = await settle(h.clock, h.tasks.create(h.spec('b', { connection, inputs }), h.scope()));
  await settle(h.clock, h.tasks.delete(second.handle, 'r', HINTS));
  h.plugin.on.create = (args) => (args.inputs === inputs ? created() : fail('permanent'));
  h.plugin.on.delete = () => ok({});
  await h.clock.advance(120_000);
  assert.equal(h.plugin.count('delete'), 1, 'the job was found by its inputs and cancelled');
  assert.deepEqual([second.task.payload, second.task.connection], [undefined, undefined]);
  await h.stop();
});

test('deletes of one plugin are carried out sixty-four at a time', async () => {
  const h = await makeHarness({
    config: {
      writeRateLimiter: { qps: 1_000, burst: 1_000 },
      caching: { size: 1_000, resyncInterval: 30_000, workers: 100, maxSystemFailures: 5 } as never,
    },
    gate: { writeConcurrency: 100 },
  });
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => running();
  h.plugin.on.delete = () => new Promise<never>(() => undefined);
  const handles: Buffer[] = [];
  for (let i = 0; i < 70; i++) {
    handles.push((await settle(h.clock, h.tasks.create(h.spec(`t${i}`), h.scope()))).handle);
  }
  for (const handle of handles) await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
  await h.clock.advance(5_000);
  assert.equal(h.plugin.count('delete'), 64);
});
