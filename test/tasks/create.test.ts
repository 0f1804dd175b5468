import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostError } from '../../src/errors/index.js';
import { createDeferred } from '../../src/lib/deferred.js';
import { heldBytes } from '../../src/lib/held-bytes.js';
import { decodeHandle, META_WARN_BYTES } from '../../src/model/handle.js';
import { phaseState } from '../../src/model/phase-state.js';
import type { CreateArgs } from '../../src/model/plugin-call.js';
import { noState } from '../../src/store/state-feed.js';
import type { TaskSpec } from '../../src/tasks/types.js';
import { created, fail, HINTS, held, makeHarness, ok, running, settle, success } from './harness.js';

test('a create that succeeds at once answers a created handle, and a repeat the same bytes without a second create', async () => {
  const h = await makeHarness();
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => running();
  const first = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  assert.equal(first.task.stage, 'live');
  assert.deepEqual(decodeHandle(first.handle).meta, Buffer.from('{"job":1}'));
  const again = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  assert.deepEqual(again.handle, first.handle);
  assert.equal(h.plugin.count('create'), 1);
  assert.equal((h.plugin.calls[0]!.args as CreateArgs).idempotencyKey, first.task.id);
  await h.stop();
  assert.deepEqual(h.faults, []);
});

test('concurrent creates of one key share one create and one answer', async () => {
  const h = await makeHarness();
  const answer = held<ReturnType<typeof created>>();
  h.plugin.on.create = () => answer.promise;
  h.plugin.on.get = () => running();
  const both = Promise.all([h.tasks.create(h.spec('a'), h.scope()), h.tasks.create(h.spec('a'), h.scope())]);
  await h.clock.advance(10);
  answer.release(created());
  const [one, two] = await settle(h.clock, both);
  assert.deepEqual(one.handle, two.handle);
  assert.equal(h.plugin.count('create'), 1);
  await h.stop();
});

test('a slow create is answered as accepted after a third of the deadline, and stays known by those bytes', async () => {
  const h = await makeHarness();
  const answer = held<ReturnType<typeof created>>();
  h.plugin.on.create = () => answer.promise;
  h.plugin.on.get = () => running();
  const start = h.clock.now();
  const pending = h.tasks.create(h.spec('a'), h.scope(9_000));
  await h.clock.advance(2_969);
  let answered = false;
  pending.then(
    () => {
      answered = true;
    },
    () => undefined,
  );
  await h.clock.advance(0);
  assert.equal(answered, false);
  await h.clock.advance(2);
  const accepted = await pending;
  assert.ok(h.clock.now() - start < 3_100);
  assert.equal(decodeHandle(accepted.handle).meta, undefined);
  assert.equal(accepted.task.state.phase, 'WAITING_FOR_RESOURCES');
  answer.release(created());
  await h.clock.advance(10);
  assert.equal(h.tasks.peek(accepted.handle)?.stage, 'live');
  const repeat = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  assert.deepEqual(repeat.handle, accepted.handle);
  await h.stop();
});

test('a create of a paused plugin is answered at once with that reason, and says so until it goes on', async () => {
  const h = await makeHarness();
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => running();
  h.runtime.gate.pause();
  const start = h.clock.now();
  const accepted = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope(9_000)));
  assert.ok(h.clock.now() - start < 1_000);
  const { phase, reason } = accepted.task.state;
  assert.deepEqual([phase, reason], ['WAITING_FOR_RESOURCES', `an operator paused plugin ${h.runtime.plugin.id}`]);
  assert.equal(h.plugin.count('create'), 0);
  h.runtime.gate.resume();
  await h.clock.advance(10);
  assert.equal(h.tasks.peek(accepted.handle)?.stage, 'live');
  await h.stop();
});

test('a create that waits for its turn says that the plugin was paused, and after that what it waits for', async () => {
  const h = await makeHarness({ config: { writeRateLimiter: { qps: 1, burst: 1 } } });
  h.plugin.on.create = (args) => created(args.idempotencyKey);
  h.plugin.on.get = () => running();
  await settle(h.clock, h.tasks.create(h.spec('first'), h.scope()));
  const pending = h.tasks.create(h.spec('second'), h.scope(300));
  await h.clock.advance(110);
  const { task } = await pending;
  const turn = 'the create waits for its turn within the write limit';
  assert.equal(task.state.reason, turn);
  h.runtime.gate.pause();
  assert.match(task.state.reason, /^an operator paused plugin /);
  h.runtime.gate.resume();
  assert.equal(task.state.reason, turn);
  await h.clock.advance(2_000);
  assert.equal(task.stage, 'live');
  await h.stop();
});

test('without quota the task is accepted with the reason, and starts when its turn comes, in order', async () => {
  const h = await makeHarness({ config: { resourceQuotas: { default: 1 } } });
  const order: string[] = [];
  h.plugin.on.create = (args) => {
    order.push(args.metadata.generatedName);
    return created(`{"job":"${args.metadata.generatedName}"}`);
  };
  h.plugin.on.get = () => running();
  h.plugin.on.delete = () => ok({});
  const first = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  const second = await settle(h.clock, h.tasks.create(h.spec('b'), h.scope()));
  const third = await settle(h.clock, h.tasks.create(h.spec('c'), h.scope()));
  assert.equal(second.task.state.phase, 'WAITING_FOR_RESOURCES');
  assert.match(second.task.state.reason, /quota namespace "default"/);
  await settle(h.clock, h.tasks.delete(first.handle, 'done with it', HINTS));
  await h.clock.advance(1_000);
  assert.equal(second.task.stage, 'live');
  assert.equal(third.task.stage, 'accepted');
  assert.deepEqual(order, ['a', 'b']);
  await h.stop();
});

test('a waiting task that is deleted leaves the line: the plugin never hears of it, and the next one moves up', async () => {
  const h = await makeHarness({ config: { resourceQuotas: { default: 1 } } });
  h.plugin.on.create = (args) => created(`{"job":"${args.metadata.generatedName}"}`);
  h.plugin.on.get = () => running();
  h.plugin.on.delete = () => ok({});
  const first = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  const second = await settle(h.clock, h.tasks.create(h.spec('b'), h.scope()));
  const third = await settle(h.clock, h.tasks.create(h.spec('c'), h.scope()));
  await settle(h.clock, h.tasks.delete(second.handle, 'no longer wanted', HINTS));
  await settle(h.clock, h.tasks.delete(first.handle, 'done', HINTS));
  await h.clock.advance(1_000);
  assert.equal(third.task.stage, 'live');
  assert.equal(h.plugin.count('create'), 2);
  assert.equal(h.plugin.count('delete'), 1);
  assert.deepEqual(
    h.runtime.quotas.snapshot().map(({ used, waiting }) => ({ used, waiting })),
    [{ used: 1, waiting: 0 }],
  );
  await h.stop();
});

test('a token of another replica counts once the record has it, and is asked for anew where that one grants no more by then', async () => {
  const h = await makeHarness();
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => running();
  const { quotas } = h.runtime;
  const said: string[] = [];
  const lapse = quotas.lapse.bind(quotas);
  let epoch: string | undefined = 'e1';
  quotas.epochOf = () => epoch;
  quotas.lapse = (taskId) => {
    lapse(taskId);
    said.push(`lapsed ${epoch} ${h.plugin.count('create')}`);
    epoch = 'e2';
  };
  quotas.kept = () => {
    said.push(`kept ${epoch} ${h.plugin.count('create')}`);
    epoch = undefined;
  };
  h.store.safeUnder = async (tenancy) => {
    said.push(`commit under ${tenancy}: ${h.store.unfinishedOf(h.runtime.plugin.id)[0]?.stage}`);
    return tenancy === 'e2';
  };
  const { task } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  await h.clock.advance(1_000);
  assert.deepEqual(said, ['commit under e1: creating', 'lapsed e1 0', 'commit under e2: creating', 'kept e2 0']);
  assert.deepEqual([task.stage, h.plugin.count('create'), quotas.holds(task.id)], ['live', 1, true]);
  await h.stop();
});

test('a run that is told to stop, or whose task is deleted, while its token lapses asks for none anew', async () => {
  for (const how of ['stop', 'delete'] as const) {
    const h = await makeHarness();
    const { quotas } = h.runtime;
    let asked = 0;
    const acquire = quotas.acquire.bind(quotas);
    quotas.acquire = (request) => {
      asked += 1;
      return asked === 1 ? acquire(request) : { status: 'waiting', lacks: 'quota', granted: new Promise(() => {}) };
    };
    quotas.epochOf = () => 'e1';
    const met = createDeferred<boolean>();
    h.store.safeUnder = () => met.promise;
    const { handle } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
    const ended = how === 'stop' ? h.stop() : h.tasks.delete(handle, 'r', HINTS);
    await h.clock.advance(10);
    met.resolve(false);
    await settle(h.clock, ended);
    assert.deepEqual([asked, h.plugin.count('create')], [1, 0], how);
    if (how === 'delete') await h.stop();
  }
});

test('a run that is told to stop gives no token back of which it cannot be known whether its record has it', async () => {
  const h = await makeHarness();
  const { quotas } = h.runtime;
  const said: string[] = [];
  quotas.epochOf = () => 'e1';
  quotas.lapse = () => said.push('lapsed');
  quotas.kept = () => said.push('kept');
  const met = createDeferred<boolean>();
  h.store.safeUnder = () => met.promise;
  const { task } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  const stopped = h.stop();
  await h.clock.advance(10);
  met.reject(new Error('closed'));
  await settle(h.clock, stopped);
  assert.deepEqual([said, quotas.holds(task.id), task.state.phase], [[], true, 'WAITING_FOR_RESOURCES']);
  assert.equal(h.plugin.count('create'), 0);
});

test('a permanent refusal is a handle in PERMANENT_FAILURE with code and kind kept, and frees the token', async () => {
  const h = await makeHarness({ config: { resourceQuotas: { default: 1 } } });
  h.plugin.on.create = () =>
    fail('permanent', { code: 'BadPartition', message: 'no such partition', faultKind: 'USER' });
  const { task } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  assert.equal(task.state.phase, 'PERMANENT_FAILURE');
  assert.deepEqual(task.state.error, { code: 'BadPartition', message: 'no such partition', kind: 'USER' });
  assert.equal(h.runtime.quotas.holds(task.id), false);
  await h.stop();
});

test('transient failures are repeated with one idempotency key until the budget is spent, then the attempt ends retryable', async () => {
  const h = await makeHarness({ options: { createBudgetMs: 60_000 } });
  h.plugin.on.create = () => fail('transient', { code: 'ECONNREFUSED', message: 'refused' });
  const { task } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  assert.equal(task.state.phase, 'WAITING_FOR_RESOURCES');
  assert.match(task.state.reason, /refused/);
  await h.clock.advance(180_000);
  assert.equal(task.state.phase, 'RETRYABLE_FAILURE');
  assert.equal(task.state.error?.code, 'CREATE_BUDGET_SPENT');
  assert.match(task.state.error?.message ?? '', /refused/);
  const keys = new Set(h.plugin.calls.map(({ args }) => (args as CreateArgs).idempotencyKey));
  assert.equal(keys.size, 1);
  assert.ok(h.plugin.count('create') >= 5, `${h.plugin.count('create')} tries`);
  assert.equal(h.runtime.quotas.holds(task.id), false);
  await h.stop();
});

test('throttling does not spend the create budget', async () => {
  const h = await makeHarness({ options: { createBudgetMs: 10_000 } });
  let left = 6;
  h.plugin.on.create = () => (left-- > 0 ? fail('throttled', { retryAfterMs: 20_000 }) : created());
  h.plugin.on.get = () => running();
  const { task } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  await h.clock.advance(600_000);
  assert.equal(task.stage, 'live');
  await h.stop();
});

test('a state that create tells is used at once, also when the task is over by it', async () => {
  const h = await makeHarness();
  h.plugin.on.create = () => created('{}', phaseState('SUCCESS'));
  const { task } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  assert.equal(task.state.phase, 'SUCCESS');
  assert.equal(h.plugin.count('get'), 0);
  assert.equal(h.runtime.quotas.holds(task.id), false);
  await h.stop();
});

test('a key found taken by a finished job starts the next incarnation under the handle that was answered', async () => {
  const h = await makeHarness();
  const keys: string[] = [];
  h.plugin.on.create = (args) => {
    keys.push(args.idempotencyKey);
    return keys.length === 1 ? created('{"old":1}', phaseState('ABORTED'), true) : created('{"new":1}');
  };
  h.plugin.on.get = () => running();
  const { task, handle } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  assert.equal(task.identity.incarnation, 2);
  assert.deepEqual(task.meta, Buffer.from('{"new":1}'));
  assert.equal(new Set(keys).size, 2);
  assert.equal(h.tasks.peek(handle), task);
  await h.stop();
});

test('a job found running under the key is taken over, not created again', async () => {
  const h = await makeHarness();
  h.plugin.on.create = () => created('{"old":1}', phaseState('RUNNING'), true);
  h.plugin.on.get = () => running();
  const { task } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  assert.equal(task.identity.incarnation, 1);
  assert.equal(task.state.phase, 'RUNNING');
  await h.stop();
});

test('delete ends the incarnation: the key runs anew, and a late delete by the old handle touches nothing', async () => {
  const h = await makeHarness();
  h.plugin.on.create = (args) => created(JSON.stringify({ key: args.idempotencyKey }));
  h.plugin.on.get = () => running();
  h.plugin.on.delete = () => ok({});
  const first = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  await settle(h.clock, h.tasks.delete(first.handle, 'r', HINTS));
  const second = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  assert.equal(second.task.identity.incarnation, 2);
  assert.notEqual(second.task.id, first.task.id);
  await settle(h.clock, h.tasks.delete(first.handle, 'late', HINTS));
  await h.clock.advance(60_000);
  assert.equal(h.plugin.count('delete'), 1);
  assert.equal(h.tasks.peek(second.handle)?.stage, 'live');
  const status = await settle(h.clock, h.tasks.status(first.handle, HINTS, h.scope()));
  assert.equal(status.state.phase, 'ABORTED');
  assert.equal(status.state.error?.code, 'TASK_DELETED');
  await h.stop();
});

test('a delete during the create call waits for the job and cancels it', async () => {
  const h = await makeHarness();
  const answer = held<ReturnType<typeof created>>();
  h.plugin.on.create = () => answer.promise;
  h.plugin.on.delete = () => ok({});
  const { handle } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
  assert.equal(h.plugin.count('delete'), 0);
  answer.release(created('{"job":9}'));
  await h.clock.advance(5_000);
  assert.equal(h.plugin.count('delete'), 1);
  assert.deepEqual((h.plugin.calls.at(-1)!.args as { meta: Buffer }).meta, Buffer.from('{"job":9}'));
  assert.equal(
    h.runtime.quotas.snapshot().reduce((sum, { used }) => sum + used, 0),
    0,
  );
  await h.stop();
});

test('a delete after a create whose outcome is unknown finds the job first, then cancels it', async () => {
  const h = await makeHarness();
  let calls = 0;
  h.plugin.on.create = () => (++calls === 1 ? fail('process_died') : created('{"job":7}', undefined, true));
  h.plugin.on.delete = () => ok({});
  const pending = h.tasks.create(h.spec('a'), h.scope(300));
  await h.clock.advance(150);
  const { handle } = await pending;
  await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
  await h.clock.advance(120_000);
  assert.equal(calls, 2);
  assert.equal(h.plugin.count('delete'), 1);
  await h.stop();
});

test('a full store refuses new tasks and still answers for those it has', async () => {
  const h = await makeHarness({ maxTasks: 1 });
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => running();
  const first = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  await assert.rejects(
    settle(h.clock, h.tasks.create(h.spec('b'), h.scope())),
    (error) => HostError.is(error) && error.code === 'STORE_FULL',
  );
  const again = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  assert.deepEqual(again.handle, first.handle);
  await h.stop();
});

/** Bytes that one task of the harness fits in, and two do not. */
const ROOM_FOR_ONE = 1_500;

test('all that a waiting task came with counts: its template, inputs, metadata and secrets', async () => {
  const large = 'x'.repeat(ROOM_FOR_ONE);
  const h = await makeHarness({ options: { maxWaitingBytes: ROOM_FOR_ONE } });
  const { metadata } = h.spec('a');
  const parts: Record<string, Partial<TaskSpec>> = {
    template: { template: Buffer.from(large) },
    inputs: { inputs: Buffer.from(large) },
    labels: { metadata: { ...metadata, labels: { l: large } } },
    'names of variables': { metadata: { ...metadata, environmentVariables: { [large]: '' } } },
    secrets: { connection: { secrets: { s: large }, configs: {} } as never },
  };
  for (const [what, part] of Object.entries(parts)) {
    await assert.rejects(
      settle(h.clock, h.tasks.create(h.spec(what, part), h.scope())),
      (error) => HostError.is(error) && error.code === 'STORE_FULL',
      what,
    );
  }
  await h.stop();
});

test('creates that waited until the state could be written again are held to the bounds that were there before', async () => {
  for (const bound of [{ maxTasks: 2 }, { options: { maxWaiting: 2 } }]) {
    let writes = false;
    const written = createDeferred<void>();
    const trouble = { code: 'STATE_DISK_FULL', message: 'full' } as const;
    const feed = {
      durable: true,
      get trouble() {
        return writes ? undefined : trouble;
      },
      changed: () => {},
      safe: () => (writes ? Promise.resolve() : written.promise),
    };
    const h = await makeHarness({ feed, config: { resourceQuotas: { default: 0 } }, ...bound });
    const answers = Array.from({ length: 5 }, (_, i) => h.tasks.create(h.spec(`t${i}`), h.scope(60_000)));
    const settled = Promise.allSettled(answers);
    await h.clock.advance(1_000);
    writes = true;
    written.resolve();
    const ends = await settle(h.clock, settled);
    const codes = ends.map((end) => (end.status === 'fulfilled' ? 'ok' : (end.reason as HostError).code));
    assert.deepEqual(codes.sort(), ['STORE_FULL', 'STORE_FULL', 'STORE_FULL', 'ok', 'ok']);
    assert.equal(h.store.unfinished, 2);
    await h.stop();
  }
});

test('a full waiting line refuses new tasks, by count and by the bytes it holds, and takes them again later', async () => {
  for (const options of [{ maxWaiting: 1 }, { maxWaitingBytes: ROOM_FOR_ONE }]) {
    const h = await makeHarness({ config: { resourceQuotas: { default: 0 } }, options });
    const first = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
    await assert.rejects(
      settle(h.clock, h.tasks.create(h.spec('b'), h.scope())),
      (error) => HostError.is(error) && error.code === 'STORE_FULL' && error.retryAfterMs !== undefined,
    );
    assert.equal(h.store.unfinished, 1);
    await settle(h.clock, h.tasks.delete(first.handle, 'r', HINTS));
    await h.clock.advance(1_000);
    const again = await settle(h.clock, h.tasks.create(h.spec('b'), h.scope()));
    assert.equal(again.task.stage, 'accepted');
    await h.stop();
  }
});

test('a task that was deleted while its create is repeated changes nothing that a watcher sees', async () => {
  const h = await makeHarness();
  h.plugin.on.create = () => fail('transient');
  const { handle } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
  const reader = h.tasks.watch({ plugins: [], handles: [], resumeToken: '', includeCurrent: true });
  let seen = 0;
  const watching = reader.next().then((event) => {
    if (event !== undefined) seen++;
  });
  await h.clock.advance(120_000);
  assert.equal(seen, 0);
  assert.deepEqual(h.store.counts('fake'), { accepted: 0, creating: 0, live: 0, over: 0 });
  reader.close();
  await watching;
  await h.stop();
});

test('while draining without a journal new tasks are refused, known ones answered', async () => {
  const h = await makeHarness();
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => running();
  const first = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  h.tasks.drain();
  await assert.rejects(
    h.tasks.create(h.spec('b'), h.scope()),
    (error) => HostError.is(error) && error.code === 'DAEMON_DRAINING',
  );
  assert.deepEqual((await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()))).handle, first.handle);
  await h.stop();
});

test('a create that never reached the engine is deleted after the grace, a confirmed one never', async () => {
  const h = await makeHarness({ options: { orphanGraceMs: 60_000 } });
  h.plugin.on.create = (args) => created(JSON.stringify({ key: args.idempotencyKey }));
  h.plugin.on.get = () => running();
  h.plugin.on.delete = () => ok({});
  const lost = await settle(h.clock, h.tasks.create(h.spec('lost'), h.scope()));
  lost.undelivered();
  const confirmed = await settle(h.clock, h.tasks.create(h.spec('confirmed'), h.scope()));
  confirmed.undelivered();
  h.tasks.peek(confirmed.handle);
  const silent = await settle(h.clock, h.tasks.create(h.spec('silent'), h.scope()));
  assert.equal(h.tasks.orphans.size, 2);
  await h.clock.advance(3_600_000);
  assert.equal(h.plugin.count('delete'), 1);
  assert.equal(h.store.byId(lost.task.id), undefined);
  assert.equal(h.store.byId(confirmed.task.id)?.stage, 'live');
  assert.equal(h.store.byId(silent.task.id)?.stage, 'live');
  assert.deepEqual(
    h.tasks.lists.orphans({ limit: 10, after: '' }).rows.map(({ id }) => id),
    [silent.task.id],
  );
  await h.stop();
});

test('a later attempt starts once the one before is cancelled whose answer went by way of another replica, and no grace cancels it', async () => {
  const h = await makeHarness({ options: { orphanGraceMs: 60_000 } });
  const seen: string[] = [];
  h.plugin.on.create = (args) => {
    seen.push('create');
    return created(JSON.stringify({ key: args.idempotencyKey }));
  };
  h.plugin.on.get = () => running();
  h.plugin.on.delete = () => {
    seen.push('delete');
    return ok({});
  };
  const attempt = (number: number) =>
    h.tasks.create(h.spec(`n/${number}`, { node: { nodeKey: 'n', attempt: number } }), { ...h.scope(), relayed: true });
  await settle(h.clock, attempt(0));
  await h.clock.advance(3_600_000);
  assert.deepEqual(seen, ['create']);
  const { handle } = await settle(h.clock, attempt(1));
  assert.deepEqual(seen, ['create', 'delete', 'create']);
  h.tasks.peek(handle);
  await settle(h.clock, attempt(2));
  assert.deepEqual(seen, ['create', 'delete', 'create', 'create'], 'one that was asked for is its engine’s to delete');
  await h.stop();
});

test('of three attempts whose answers are lost the last one starts once the first one is cancelled, though the second never started', async () => {
  const h = await makeHarness();
  const seen: string[] = [];
  const cancel = createDeferred<void>();
  h.plugin.on.create = (args) => {
    seen.push('create');
    return created(JSON.stringify({ key: args.idempotencyKey }));
  };
  h.plugin.on.get = () => running();
  h.plugin.on.delete = async () => {
    await cancel.promise;
    seen.push('delete');
    return ok({});
  };
  for (let attempt = 0; attempt < 3; attempt++) {
    const spec = h.spec(`n/${attempt}`, { node: { nodeKey: 'n', attempt } });
    (await settle(h.clock, h.tasks.create(spec, h.scope()))).undelivered();
  }
  assert.deepEqual(seen, ['create']);
  cancel.resolve();
  await h.clock.advance(1_000);
  assert.deepEqual(seen, ['create', 'delete', 'create']);
  await h.stop();
});

test('a lost answer is no reason to delete what is over: a repeated create is told its end, and runs nothing again', async () => {
  for (const end of [phaseState('SUCCESS'), phaseState('RETRYABLE_FAILURE'), phaseState('PERMANENT_FAILURE')]) {
    for (const [told, before] of [
      ['before its answer is known to be lost', true],
      ['afterwards', false],
    ] as const) {
      for (const later of [false, true]) {
        const h = await makeHarness({ options: { orphanGraceMs: 60_000 } });
        let runs = 0;
        h.plugin.on.create = () => {
          runs += 1;
          return created('{}');
        };
        h.plugin.on.get = () => ok(end);
        const node = (attempt: number) => ({ node: { nodeKey: 'n', attempt } });
        const lost = await settle(h.clock, h.tasks.create(h.spec('n/0', node(0)), h.scope()));
        if (before) await h.clock.advance(30_000);
        lost.undelivered();
        await h.clock.advance(30_000);
        if (later) await settle(h.clock, h.tasks.create(h.spec('n/1', node(1)), h.scope()));
        await h.clock.advance(600_000);
        const again = await settle(h.clock, h.tasks.create(h.spec('n/0', node(0)), h.scope()));
        const what = `${end.phase} ${told}${later ? ', with a later attempt' : ''}`;
        assert.equal(again.task.state.phase, end.phase, what);
        assert.deepEqual(again.handle, lost.handle, what);
        assert.equal(runs, later ? 2 : 1, what);
        assert.equal(h.plugin.count('delete'), 0, what);
        assert.equal(h.tasks.orphans.size, 0, what);
        await h.stop();
      }
    }
  }
});

test('an orphan is read before it is deleted: one that ended since its last poll is over, and one that cannot be read is deleted', async () => {
  for (const [read, deletes, then] of [
    [success(), 0, 'SUCCESS'],
    [running(), 1, undefined],
    [fail('transient'), 1, undefined],
  ] as const) {
    const h = await makeHarness({ options: { orphanGraceMs: 600_000 } });
    h.plugin.on.create = () => created('{}');
    h.plugin.on.get = () => ok(phaseState('RUNNING', { nextPollAfterMs: 3_600_000 }));
    h.plugin.on.delete = () => ok({});
    const lost = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
    lost.undelivered();
    await h.clock.advance(300_000);
    h.plugin.on.get = () => read;
    await h.clock.advance(340_000);
    assert.equal(h.plugin.count('delete'), deletes);
    assert.equal(h.store.byId(lost.task.id)?.state.phase, then);
    assert.equal(h.tasks.orphans.size, 0);
    await h.stop();
    assert.deepEqual(h.faults, []);
  }
});

test('a later attempt of the node deletes the orphaned one first, then starts', async () => {
  const h = await makeHarness();
  const order: string[] = [];
  h.plugin.on.create = (args) => {
    order.push(`create ${args.metadata.generatedName}`);
    return created(JSON.stringify({ name: args.metadata.generatedName }));
  };
  h.plugin.on.get = () => running();
  const deleting = held<ReturnType<typeof ok<Record<string, never>>>>();
  h.plugin.on.delete = (args) => {
    order.push(`delete ${args.meta.toString()}`);
    return deleting.promise;
  };
  const lost = await settle(h.clock, h.tasks.create(h.spec('n/0', { node: { nodeKey: 'n', attempt: 0 } }), h.scope()));
  lost.undelivered();
  const next = await settle(h.clock, h.tasks.create(h.spec('n/1', { node: { nodeKey: 'n', attempt: 1 } }), h.scope()));
  assert.match(next.task.state.reason, /earlier attempt/);
  deleting.release(ok({}));
  await h.clock.advance(5_000);
  assert.deepEqual(order, ['create n/0', 'delete {"name":"n/0"}', 'create n/1']);
  assert.equal(next.task.stage, 'live');
  await h.stop();
});

test('a task of a sync plugin is run in the background and ends with its result', async () => {
  const h = await makeHarness({
    plugin: (plugin) => {
      plugin.kind = 'sync';
    },
  });
  h.plugin.on.do = () => success();
  const { task } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  assert.equal(task.state.phase, 'SUCCESS');
  h.plugin.on.do = () => running();
  const wrong = await settle(h.clock, h.tasks.create(h.spec('b'), h.scope()));
  assert.equal(wrong.task.state.error?.code, 'PLUGIN_ANSWER_INVALID');
  await h.stop();
});

test('a repeat answers the same bytes also when the task type is served no more', async () => {
  const h = await makeHarness();
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => running();
  const first = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  h.plugin.taskTypes = [];
  const again = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  assert.deepEqual(again.handle, first.handle);
  await assert.rejects(
    settle(h.clock, h.tasks.create(h.spec('b'), h.scope())),
    (error) => HostError.is(error) && error.code === 'TASK_TYPE_UNKNOWN',
  );
  await h.stop();
});

test('a repeated create makes the interest in its task fresh, and is no sign that the engine holds the handle', async () => {
  const h = await makeHarness();
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => running();
  const { task } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  await h.clock.advance(1_200_000);
  await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  assert.ok(h.clock.now() - task.lastAskedAtMs < 1_000);
  assert.equal(task.confirmed, false);
  await h.stop();
});

test('a create whose task is deleted while it waits for the plugin is answered all the same', async () => {
  const h = await makeHarness();
  const answer = held<ReturnType<typeof created>>();
  h.plugin.on.create = () => answer.promise;
  h.plugin.on.delete = () => ok({});
  const { handle } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope(300)));
  const pending = h.tasks.create(h.spec('a'), h.scope(30_000));
  await h.clock.advance(10);
  await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
  answer.release(created());
  assert.deepEqual((await settle(h.clock, pending)).handle, handle);
  await h.stop();
});

test('creates of one key that waited until the state could be written are one task, with the secrets of the last', async () => {
  let writes = false;
  const written = createDeferred<void>();
  const feed = {
    durable: true,
    get trouble() {
      return writes ? undefined : ({ code: 'STATE_DISK_FULL', message: 'full' } as const);
    },
    changed: () => {},
    safe: () => (writes ? Promise.resolve() : written.promise),
  };
  const ttlMs = 3_600_000;
  const h = await makeHarness({
    feed,
    config: { resourceQuotas: { default: 0 } },
    options: { connectionTtlMs: ttlMs },
  });
  const connection = { secrets: { key: 'hush' }, configs: {} };
  const one = h.tasks.create(h.spec('a', { outputPrefix: '' }), h.scope(60_000));
  const two = h.tasks.create(h.spec('a', { connection, outputPrefix: 's3://later' }), h.scope(60_000));
  await h.clock.advance(1_000);
  writes = true;
  written.resolve();
  const [first, second] = await settle(h.clock, Promise.all([one, two]));
  assert.deepEqual(second.handle, first.handle);
  assert.equal(h.store.unfinished, 1);
  const { connection: kept, connectionUntilMs, outputPrefix } = second.task;
  assert.deepEqual([kept, outputPrefix], [connection, 's3://later']);
  assert.ok(connectionUntilMs > h.clock.now() + ttlMs / 2, 'for their time from now on');
  await h.stop();
});

test('what a task that waits came with counts with its secrets for those that come after it', async () => {
  const secrets = { secrets: { s: 'x'.repeat(10 * ROOM_FOR_ONE) }, configs: {} };
  const h = await makeHarness({
    config: { resourceQuotas: { default: 0 } },
    options: { maxWaitingBytes: 1.5 * heldBytes(secrets) + 2 * ROOM_FOR_ONE },
  });
  await settle(h.clock, h.tasks.create(h.spec('with', { connection: secrets }), h.scope()));
  await assert.rejects(
    settle(h.clock, h.tasks.create(h.spec('more', { connection: secrets }), h.scope())),
    (error) => HostError.is(error) && error.code === 'STORE_FULL',
  );
  await h.stop();
});

test('a create of a plugin that has failed is refused, and says what is to be done', async () => {
  const h = await makeHarness();
  h.plugin.state = 'failed';
  h.plugin.stateReason = 'its file is gone';
  await assert.rejects(
    h.tasks.create(h.spec('a'), h.scope()),
    (error) => HostError.is(error) && error.code === 'PLUGIN_NOT_SERVING' && error.message.includes('its file is gone'),
  );
  assert.equal(h.store.unfinished, 0);
  await h.stop();
});

test('an end that gave way in memory is told a repeated create, also where its task type is served no more', async () => {
  const h = await makeHarness({ finished: { maxCount: 1 } });
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => ok(phaseState('ABORTED', { error: { code: 'X', message: 'm', kind: 'USER' } }));
  const first = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  await h.clock.advance(60_000);
  await settle(h.clock, h.tasks.create(h.spec('b'), h.scope()));
  await h.clock.advance(60_000);
  assert.equal(h.store.byId(first.task.id), undefined);
  h.plugin.taskTypes = [];
  const again = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  assert.deepEqual([again.handle, again.task.state.phase], [first.handle, 'ABORTED']);
  assert.equal(h.plugin.count('create'), 2);
  await h.stop();
});

test('a create that fails its caller since nothing could be written is a lost answer: its job is deleted after the grace', async () => {
  let writes = true;
  const feed = {
    ...noState,
    safe: () => (writes ? Promise.resolve() : Promise.reject(new Error('the disk is full'))),
  };
  const h = await makeHarness({ feed, options: { orphanGraceMs: 60_000 } });
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => running();
  h.plugin.on.delete = () => ok({});
  writes = false;
  await assert.rejects(settle(h.clock, h.tasks.create(h.spec('a'), h.scope())), /the disk is full/);
  writes = true;
  await h.clock.advance(50_000);
  assert.equal(h.plugin.count('delete'), 0);
  await h.clock.advance(20_000);
  assert.deepEqual([h.plugin.count('create'), h.plugin.count('delete')], [1, 1]);
  await h.stop();
});

test('a task of a sync plugin that fails leaves no job to look for, whatever an earlier run has sent', async () => {
  const h = await makeHarness({ plugin: (p) => (p.kind = 'sync') });
  h.plugin.on.do = () => fail('permanent');
  const { task } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  assert.deepEqual([task.state.phase, h.store.unclear.size], ['PERMANENT_FAILURE', 0]);
  await h.stop();
});

test('a task that is deleted while its plugin says what it takes takes no token', async () => {
  const h = await makeHarness({
    config: { resourceQuotas: { default: 1 } },
    plugin: (p) => (p.features.resourceRequirements = true),
  });
  const asked = held<ReturnType<typeof ok<{ namespace: string }>>>();
  h.plugin.on.resourceRequirements = () => asked.promise as never;
  const { handle, task } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
  asked.release(ok({ namespace: 'default' }));
  await h.clock.advance(60_000);
  assert.deepEqual([h.runtime.quotas.holds(task.id), h.plugin.count('create')], [false, 0]);
  await h.stop();
});

test('a repeat of a create that waits for its turn is answered at once only while an operator holds the plugin back', async () => {
  const h = await makeHarness({ config: { writeRateLimiter: { qps: 0.001, burst: 1 } }, warmUpMs: 1_000 });
  h.plugin.on.create = () => created();
  const answeredIn = async () => {
    const startMs = h.clock.now();
    await settle(h.clock, h.tasks.create(h.spec('a'), h.scope(9_000)));
    return h.clock.now() - startMs;
  };
  h.runtime.gate.pause();
  assert.ok((await answeredIn()) < 1_000);
  assert.ok((await answeredIn()) < 1_000);
  h.runtime.gate.resume();
  assert.ok((await answeredIn()) > 2_000);
  h.runtime.gate.pause();
  assert.ok((await answeredIn()) < 1_000);
  await h.stop();
});

test('a resource meta is told as large from the first byte above what is well, and not at it', async () => {
  const told: number[] = [];
  const h = await makeHarness({ events: { metaLarge: (_task, bytes) => told.push(bytes) } });
  h.plugin.on.get = () => running();
  for (const bytes of [META_WARN_BYTES, META_WARN_BYTES + 1]) {
    h.plugin.on.create = () => created('m'.repeat(bytes));
    await settle(h.clock, h.tasks.create(h.spec(`a${bytes}`), h.scope()));
  }
  assert.deepEqual(told, [META_WARN_BYTES + 1]);
  await h.stop();
});

test('a run of do that ends badly after its caller has left is nobody else\u2019s error', async () => {
  const h = await makeHarness({ plugin: (p) => (p.kind = 'sync') });
  const answer = held<ReturnType<typeof fail>>();
  h.plugin.on.do = () => answer.promise;
  const gone = new AbortController();
  const scope = { ...h.scope(60_000), signal: gone.signal };
  const cancelled = assert.rejects(
    h.tasks.do(h.spec('a'), scope),
    (error) => HostError.is(error) && error.code === 'CALL_CANCELLED',
  );
  await h.clock.advance(10);
  gone.abort();
  await cancelled;
  answer.release(fail('throttled'));
  await h.clock.advance(10);
  await h.stop();
  assert.deepEqual(h.faults, []);
});

test('what is known of a handle that is asked about is that its engine holds it, and asks', async () => {
  const h = await makeHarness();
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => running();
  const { handle, task } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  assert.equal(task.confirmed, false);
  await h.clock.advance(1_200_000);
  await settle(h.clock, h.tasks.status(handle, HINTS, h.scope()));
  assert.equal(task.confirmed, true);
  assert.ok(h.clock.now() - task.lastAskedAtMs < 1_000);
  await h.stop();
});

test('who wants the logs of a task without a job is told what it waits for', async () => {
  const h = await makeHarness({
    config: { resourceQuotas: { default: 0 } },
    plugin: (p) => (p.features.getLogs = true),
  });
  const { handle, task } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  const request = { token: '', lines: 1 } as never;
  await assert.rejects(
    h.tasks.getLogs(handle, request, HINTS, h.scope()),
    (error) => HostError.is(error) && error.code === 'TASK_UNKNOWN' && error.message.includes(task.state.reason),
  );
  await h.stop();
});
