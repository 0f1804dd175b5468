import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostError } from '../../src/errors/index.js';
import { encodeHandle } from '../../src/model/handle.js';
import { phaseState } from '../../src/model/phase-state.js';
import type { DeleteArgs } from '../../src/model/plugin-call.js';
import type { FactKind, StateFeed } from '../../src/store/state-feed.js';
import { identityOf } from '../support/identity.js';
import { created, fail, HINTS, held, literals, makeHarness, ok, running, settle, success } from './harness.js';

/** A state whose next writes are held or refused by the test, where they hold a fact of a kind. */
class TestFeed implements StateFeed {
  readonly durable = true;
  readonly answers = new Map<FactKind, () => Promise<void>>();
  readonly #changed = new Set<FactKind>();

  changed(kind: FactKind): void {
    this.#changed.add(kind);
  }

  safe(): Promise<void> {
    const answer = [...this.#changed].map((kind) => this.answers.get(kind)).find((one) => one !== undefined);
    if (answer !== undefined) return answer();
    this.#changed.clear();
    return Promise.resolve();
  }
}

const full = () => Promise.reject(new HostError('INTERNAL', 'the disk is full'));

test('a repeated create whose answer is lost as well does not confirm the task: the job is deleted after the grace', async () => {
  const h = await makeHarness({ options: { orphanGraceMs: 60_000 } });
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => running();
  h.plugin.on.delete = () => ok({});
  for (const arrives of [false, true]) {
    const name = arrives ? 'arrives' : 'lost';
    const first = await settle(h.clock, h.tasks.create(h.spec(name), h.scope()));
    const second = await settle(h.clock, h.tasks.create(h.spec(name), h.scope()));
    first.undelivered();
    if (!arrives) second.undelivered();
  }
  await h.clock.advance(3_600_000);
  assert.equal(h.plugin.count('delete'), 1);
  assert.equal(h.store.unfinished, 1);
  await h.stop();
});

test('a repeat that comes while the intent is written is not answered before it is safe', async () => {
  const feed = new TestFeed();
  const h = await makeHarness({ feed });
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => running();
  const writing = held<void>();
  feed.answers.set('payload', () => writing.promise);
  const first = h.tasks.create(h.spec('a'), h.scope());
  const repeat = h.tasks.create(h.spec('a'), h.scope());
  let answered = 0;
  for (const one of [first, repeat]) void one.then(() => answered++);
  await h.clock.advance(8_000);
  assert.equal(answered, 0);
  writing.release();
  assert.deepEqual((await settle(h.clock, first)).handle, (await settle(h.clock, repeat)).handle);
  assert.equal(h.plugin.count('create'), 1);
  await h.stop();
});

test('a delete that cannot be written down is an error to its caller and is carried out all the same, once', async () => {
  const feed = new TestFeed();
  const h = await makeHarness({ feed, config: { resourceQuotas: { default: 1 } } });
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => running();
  const deleting = held<ReturnType<typeof ok<Record<string, never>>>>();
  h.plugin.on.delete = () => deleting.promise;
  const { handle, task } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  feed.answers.set('owed', full);
  await assert.rejects(settle(h.clock, h.tasks.delete(handle, 'r', HINTS)), /the disk is full/);
  await assert.rejects(settle(h.clock, h.tasks.delete(handle, 'r', HINTS)), /the disk is full/);
  deleting.release(ok({}));
  await h.clock.advance(10);
  assert.equal(h.plugin.count('delete'), 1);
  assert.equal(h.runtime.quotas.holds(task.id), false);
  await assert.rejects(settle(h.clock, h.tasks.delete(handle, 'r', HINTS)), /the disk is full/, 'nor is its end safe');
  feed.answers.delete('owed');
  await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
  await h.stop();
});

test('a stop does not wait for owed deletes that a paused plugin holds back; they stay owed', async () => {
  const h = await makeHarness();
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => running();
  const { handle } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  h.runtime.gate.pause();
  await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
  let stopped = false;
  void h.tasks.stop().then(() => {
    stopped = true;
  });
  await h.clock.advance(1);
  assert.equal(stopped, true);
  assert.equal(h.tasks.owedDeletes.size, 1);
  assert.equal(h.plugin.count('delete'), 0);
  await h.stop();
});

test('a stop lets a sync task that runs finish, a delete gives it up', async () => {
  const h = await makeHarness({
    plugin: (plugin) => {
      plugin.kind = 'sync';
    },
  });
  const signals: AbortSignal[] = [];
  const answer = held<ReturnType<typeof success>>();
  h.plugin.on.do = (_args, { signal }) => {
    signals.push(signal as AbortSignal);
    return answer.promise;
  };
  const kept = await settle(h.clock, h.tasks.create(h.spec('kept'), h.scope()));
  const deleted = await settle(h.clock, h.tasks.create(h.spec('deleted'), h.scope()));
  await settle(h.clock, h.tasks.delete(deleted.handle, 'r', HINTS));
  const stopped = h.tasks.stop();
  await h.clock.advance(1);
  assert.deepEqual(
    signals.map(({ aborted }) => aborted),
    [false, true],
  );
  answer.release(success());
  await settle(h.clock, stopped);
  assert.equal(kept.task.state.phase, 'SUCCESS');
  await h.stop();
});

test('once the first read of an adopted task has failed, Status answers from memory', async () => {
  const h = await makeHarness();
  h.plugin.on.get = () => fail('transient');
  const handle = encodeHandle({
    identity: identityOf('k', { plugin: 'fake', quotaNamespace: '', createdAtMs: h.clock.now() }),
    meta: Buffer.from('{}'),
  });
  const adopted = await settle(h.clock, h.tasks.status(handle, HINTS, h.scope()));
  assert.equal(adopted.state.phase, 'RUNNING');
  assert.equal(h.plugin.count('get'), 1);
  assert.equal(h.tasks.peek(handle), adopted);
  await h.tasks.status(handle, HINTS, h.scope());
  assert.equal(h.plugin.count('get'), 1);
  await h.stop();
});

test('an owed delete is sent without the secrets of the call once their time is over', async () => {
  const h = await makeHarness({ options: { connectionTtlMs: 30_000 } });
  const connection = { secrets: { key: 'hush' }, configs: {} };
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => running();
  h.plugin.on.delete = () => fail('transient');
  const { handle } = await settle(h.clock, h.tasks.create(h.spec('a', { connection }), h.scope()));
  await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
  await h.clock.advance(120_000);
  const sent = h.plugin.calls.filter(({ method }) => method === 'delete').map(({ args }) => args as DeleteArgs);
  assert.deepEqual(sent[0]?.connection, connection);
  assert.equal(sent.at(-1)?.connection, undefined);
  const owed = () => [...h.store.owed.listed()].map((one) => [one.connection, one.needsCredentials]);
  assert.deepEqual(owed(), [[undefined, true]]);
  await settle(h.clock, h.tasks.delete(handle, 'r', { outputPrefix: '', connection }));
  assert.deepEqual(owed(), [[connection, false]]);
  h.plugin.on.delete = (args) => (args.connection === undefined ? fail('transient') : ok({}));
  for (let i = 0; i < 10 && owed().length > 0; i++) {
    await settle(h.clock, h.tasks.delete(handle, 'r', { outputPrefix: '', connection }));
    await h.clock.advance(20_000);
  }
  assert.deepEqual(owed(), [], 'a repeat of the engine brought them for the next try');
  await h.stop();
});

test('a resource meta of another service is deleted once; a repeat succeeds and Get says that it is deleted', async () => {
  const h = await makeHarness({
    options: { adoptForeign: true },
    plugin: (plugin) => {
      plugin.features.adoptMeta = true;
    },
  });
  const meta = Buffer.from('{"foreign":1}');
  h.plugin.on.adoptMeta = () => ok({ meta });
  h.plugin.on.get = () => running();
  h.plugin.on.delete = () => ok({});
  const adopt = () => settle(h.clock, h.tasks.adoptForeign(meta, 't', 0, HINTS, h.scope()));
  const ids = new Set<unknown>();
  for (let call = 1; call <= 3; call++) {
    ids.add(await adopt());
    await settle(h.clock, h.tasks.delete(meta, 'r', HINTS));
    await h.clock.advance(1_000);
  }
  ids.add(await adopt());
  assert.deepEqual([ids.size, ids.has(undefined)], [1, false], 'it has one id throughout');
  assert.equal((await settle(h.clock, h.tasks.status(meta, HINTS, h.scope()))).state.error?.code, 'TASK_DELETED');
  assert.equal(h.plugin.count('delete'), 1);
  await h.stop();
});

test('a task that is deleted while its create finds a finished job of an earlier life is not started anew', async () => {
  const h = await makeHarness({ config: { resourceQuotas: { default: 1 } } });
  const answer = held<ReturnType<typeof created>>();
  h.plugin.on.create = () => answer.promise;
  const { handle, task } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
  answer.release(created('{"job":1}', phaseState('SUCCESS'), true));
  await h.clock.advance(60_000);
  assert.equal(h.plugin.count('create'), 1);
  assert.equal(h.store.unfinished, 0);
  assert.deepEqual({ ...h.store.counts('fake') }, { accepted: 0, creating: 0, live: 0, over: 0 });
  assert.equal(h.runtime.quotas.holds(task.id), false);
  assert.equal(task.payload, undefined, 'its inputs are let go');
  await h.stop();
});

test('Get of a task whose large outputs are being written awaits them instead of failing', async () => {
  const writing = held<void>();
  const h = await makeHarness({ options: { maxInlineOutputBytes: 4 }, beforeWrite: () => writing.promise });
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => success(literals('o'));
  const { handle } = await settle(h.clock, h.tasks.create(h.spec('a', { outputNames: ['o'] }), h.scope()));
  await h.clock.advance(60_000);
  assert.equal(h.tasks.peek(handle)?.state.phase, 'QUEUED');
  const get = h.tasks.get(handle, HINTS, h.scope());
  await h.clock.advance(1_000);
  writing.release();
  assert.equal((await settle(h.clock, get)).state.phase, 'SUCCESS');
  await h.stop();
});

test('a task that is deleted while its large outputs are written leaves no count and no token behind', async () => {
  const writing = held<void>();
  const h = await makeHarness({
    options: { maxInlineOutputBytes: 4 },
    beforeWrite: () => writing.promise,
    config: { resourceQuotas: { default: 1 } },
  });
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => success(literals('o'));
  h.plugin.on.delete = () => ok({});
  const { handle, task } = await settle(h.clock, h.tasks.create(h.spec('a', { outputNames: ['o'] }), h.scope()));
  await h.clock.advance(60_000);
  await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
  writing.release();
  await h.clock.advance(1_000);
  assert.deepEqual({ ...h.store.counts('fake') }, { accepted: 0, creating: 0, live: 0, over: 0 });
  assert.equal(h.store.finished, 0);
  assert.equal(h.runtime.quotas.holds(task.id), false);
  await h.stop();
});

test('a foreign resource meta that the plugin could not look at is the error of that call, and nothing is taken up', async () => {
  const h = await makeHarness({
    options: { adoptForeign: true },
    plugin: (plugin) => {
      plugin.features.adoptMeta = true;
    },
  });
  for (const [outcome, code] of [
    [fail('deadline'), 'PLUGIN_DEADLINE'],
    [fail('process_died'), 'PLUGIN_PROCESS_DIED'],
    [fail('unknown'), 'PLUGIN_THREW_UNKNOWN'],
  ] as const) {
    h.plugin.on.adoptMeta = () => outcome;
    await assert.rejects(
      settle(h.clock, h.tasks.adoptForeign(Buffer.from('{"foreign":1}'), 't', 0, HINTS, h.scope())),
      (error) => HostError.is(error) && error.code === code,
    );
  }
  assert.equal(h.store.unfinished, 0);
  await h.stop();
});

test('a delete of a job that memory does not hold and the remote does not show yet is sent while the job is young', async () => {
  for (const [ageMs, deletes] of [
    [5_000, 1],
    [120_000, 0],
  ] as const) {
    const h = await makeHarness({ options: { visibilityGraceMs: 60_000 } });
    h.plugin.on.get = () => fail('not_found');
    h.plugin.on.delete = () => ok({});
    const identity = identityOf('k', { plugin: 'fake', quotaNamespace: '', createdAtMs: h.clock.now() - ageMs });
    const handle = encodeHandle({ identity, meta: Buffer.from('{}') });
    await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
    await h.clock.advance(1_000);
    assert.equal(h.plugin.count('delete'), deletes);
    await h.clock.advance(180_000);
    assert.equal(h.plugin.count('delete'), deletes);
    assert.equal(h.tasks.owedDeletes.size, 0);
    await h.stop();
  }
});

/** A create that is answered as accepted, finds a cancelled job of an earlier life, and so moves on under the same handle. */
async function movedOn(lostBefore: boolean) {
  const h = await makeHarness({ options: { orphanGraceMs: 600_000 } });
  const answers = [held<ReturnType<typeof created>>(), held<ReturnType<typeof created>>()] as const;
  const calls = [...answers];
  h.plugin.on.create = () => calls.shift()?.promise ?? fail('permanent');
  h.plugin.on.get = () => running();
  h.plugin.on.delete = () => ok({});
  const spec = h.spec('n/0', { node: { nodeKey: 'n', attempt: 0 } });
  const answer = await settle(h.clock, h.tasks.create(spec, h.scope()));
  const { phaseVersion } = answer.task;
  if (lostBefore) answer.undelivered();
  answers[0].release(created('{"old":1}', phaseState('ABORTED'), true));
  await h.clock.advance(10);
  assert.equal(h.store.current(answer.task.identity.key)?.identity.incarnation, 2);
  const next = h.store.byHandle(answer.handle);
  assert.ok(next !== undefined && next.phaseVersion >= phaseVersion, 'the version a caller saw goes on');
  if (!lostBefore) answer.undelivered();
  answers[1].release(created('{"new":1}'));
  await h.clock.advance(10);
  assert.equal(h.store.byHandle(answer.handle)?.stage, 'live');
  return { h, handle: answer.handle };
}

for (const lostBefore of [true, false]) {
  const when = lostBefore ? 'before' : 'after';
  test(`an answer lost ${when} the task moved on to its next incarnation makes that one an orphan`, async () => {
    const { h } = await movedOn(lostBefore);
    await h.clock.advance(700_000);
    assert.equal(h.plugin.count('delete'), 1);
    assert.equal(h.store.unfinished, 0);
    await h.stop();
    assert.equal(h.clock.pending, 0);
  });

  test(`a later attempt cancels it first where the answer was lost ${when} it moved on`, async () => {
    const { h } = await movedOn(lostBefore);
    h.plugin.on.create = () => created('{"later":1}');
    await settle(h.clock, h.tasks.create(h.spec('n/1', { node: { nodeKey: 'n', attempt: 1 } }), h.scope()));
    assert.deepEqual(
      h.plugin.calls.filter(({ method }) => method !== 'get').map(({ method }) => method),
      ['create', 'create', 'delete', 'create'],
    );
    await h.stop();
  });
}

test('a task that an engine asked for stays confirmed over its incarnations', async () => {
  const { h, handle } = await movedOn(true);
  h.tasks.peek(handle);
  await h.clock.advance(700_000);
  assert.equal(h.plugin.count('delete'), 0);
  await h.stop();
});

test('a delete at any moment around the find of a cancelled job leaves no new job behind', async () => {
  for (let turns = 0; turns < 30; turns++) {
    const h = await makeHarness();
    const answer = held<ReturnType<typeof created>>();
    const made: string[] = [];
    let calls = 0;
    h.plugin.on.create = (args) => {
      if (++calls === 1) return answer.promise;
      made.push(args.idempotencyKey);
      return created(args.idempotencyKey);
    };
    h.plugin.on.get = () => running();
    h.plugin.on.delete = ({ meta }) => {
      made.splice(made.indexOf(meta.toString()), 1);
      return ok({});
    };
    const { handle } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
    answer.release(created('{"old":1}', phaseState('ABORTED'), true));
    for (let turn = 0; turn < turns; turn++) await Promise.resolve();
    await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
    await h.clock.advance(120_000);
    assert.deepEqual([h.store.unfinished, made], [0, []], `after ${turns} turns`);
    await h.stop();
  }
});

test('a create whose intent fails leaves nothing of the attempts before it behind', async () => {
  const feed = new TestFeed();
  const h = await makeHarness({ feed });
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => running();
  h.plugin.on.delete = () => ok({});
  const node = (attempt: number) => ({ node: { nodeKey: 'n', attempt } });
  (await settle(h.clock, h.tasks.create(h.spec('n/0', node(0)), h.scope()))).undelivered();
  feed.answers.set('payload', full);
  await assert.rejects(settle(h.clock, h.tasks.create(h.spec('n/1', node(1)), h.scope())), /the disk is full/);
  await h.clock.advance(1_000);
  assert.equal(h.plugin.count('delete'), 1, 'the engine has gone on all the same');
  await h.stop();
});

test('a task that is deleted while its create is unclear and the remote is down waits for the remote, and is cancelled then', async () => {
  const h = await makeHarness();
  h.plugin.on.create = () => created('{"job":"live"}');
  h.plugin.on.get = () => running();
  h.plugin.on.delete = () => ok({});
  for (const name of ['x', 'y']) await settle(h.clock, h.tasks.create(h.spec(name), h.scope()));
  h.plugin.on.create = () => fail('transient');
  const { handle } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  h.plugin.on.get = () => fail('transient');
  for (let i = 0; i < 600 && h.runtime.refresher.stats().remote === 'up'; i++) await h.clock.advance(1_000);
  assert.equal(h.runtime.refresher.stats().remote, 'down');
  const before = h.plugin.count('create');
  await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
  // The daemon must go on meanwhile: this turn of the event loop comes.
  await new Promise((resolve) => setImmediate(resolve));
  await h.clock.advance(20_000);
  assert.ok(h.plugin.count('create') - before <= 6, 'the create is tried at growing distances');
  h.plugin.on.get = () => running();
  h.plugin.on.create = () => created('{"job":"a"}');
  await h.clock.advance(600_000);
  assert.equal(h.plugin.count('delete'), 1);
  await h.stop();
});

test('a task whose delete is owed for longer than it is remembered stays deleted, and is not polled again', async () => {
  const h = await makeHarness();
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => running();
  h.plugin.on.delete = () => fail('transient');
  const { handle } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
  await h.clock.advance(25 * 3_600_000);
  const reads = h.plugin.count('get');
  const { state } = await settle(h.clock, h.tasks.status(handle, HINTS, h.scope()));
  assert.equal(state.error?.code, 'TASK_DELETED');
  await h.clock.advance(120_000);
  assert.equal(h.plugin.count('get'), reads);
  const again = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  assert.equal(again.task.identity.incarnation, 2, 'its idempotency key is not used again');
  await h.stop();
});

test('a stop waits until large outputs that are being written are', async () => {
  const writing = held<void>();
  const h = await makeHarness({ options: { maxInlineOutputBytes: 4 }, beforeWrite: () => writing.promise });
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => success(literals('o'));
  await settle(h.clock, h.tasks.create(h.spec('a', { outputNames: ['o'] }), h.scope()));
  await h.clock.advance(60_000);
  let stopped = false;
  const stop = h.stops().then(() => {
    stopped = true;
  });
  await h.clock.advance(10_000);
  assert.deepEqual([stopped, h.written.length], [false, 0]);
  writing.release();
  await settle(h.clock, stop);
  assert.equal(h.written.length, 1);
});
