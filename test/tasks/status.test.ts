import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostError } from '../../src/errors/index.js';
import { attemptKeyOf } from '../../src/model/attempt-key.js';
import { encodeHandle, type TaskIdentity } from '../../src/model/handle.js';
import { phaseState } from '../../src/model/phase-state.js';
import { identityOf } from '../support/identity.js';
import { created, fail, HINTS, held, literals, makeHarness, ok, running, settle, success } from './harness.js';

const identity = (name: string, parts: Partial<TaskIdentity> = {}): TaskIdentity =>
  identityOf(attemptKeyOf({ name, executionId: '' }), {
    plugin: 'fake',
    namespace: 'ns',
    createdAtMs: 1_700_000_000_000,
    outputNames: undefined,
    ...parts,
  });

const createdHandle = (name: string, parts?: Partial<TaskIdentity>) =>
  encodeHandle({ identity: identity(name, parts), meta: Buffer.from(`{"job":"${name}"}`) });

const rejectsWith = (promise: Promise<unknown>, code: string) =>
  assert.rejects(promise, (error) => HostError.is(error) && error.code === code);

test('a handle of an earlier life is taken up: its first read is awaited, its token taken over quota', async () => {
  const h = await makeHarness({ config: { resourceQuotas: { default: 1 } } });
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => running('still at it');
  await settle(h.clock, h.tasks.create(h.spec('other'), h.scope()));
  const handle = createdHandle('a');
  assert.equal(h.tasks.peek(handle), undefined);
  const task = await settle(
    h.clock,
    h.tasks.status(handle, { outputPrefix: 's3://x', connection: undefined }, h.scope()),
  );
  assert.equal(task.state.reason, 'still at it');
  assert.equal(task.outputPrefix, 's3://x');
  assert.equal(h.runtime.quotas.snapshot()[0]?.used, 2);
  assert.equal(h.tasks.peek(handle), task);
  await h.stop();
});

test('a task taken up whose first read fails is RUNNING, never queued again and never UNDEFINED', async () => {
  const h = await makeHarness();
  h.plugin.on.get = () => fail('transient');
  const task = await settle(h.clock, h.tasks.status(createdHandle('a'), HINTS, h.scope()));
  assert.equal(task.state.phase, 'RUNNING');
  assert.equal(task.consecutiveFailures, 1);
  await h.stop();
});

test('a first read that hangs does not hold the answer past the deadline', async () => {
  const h = await makeHarness();
  h.plugin.on.get = () => held<never>().promise;
  const before = h.clock.now();
  const pending = h.tasks.status(createdHandle('a'), HINTS, h.scope(3_000));
  await h.clock.advance(2_999);
  const task = await pending;
  assert.ok(h.clock.now() - before < 3_000);
  assert.equal(task.state.phase, 'RUNNING');
  const stopping = h.stop();
  await h.clock.advance(3_600_000);
  await stopping;
});

test('an accepted handle whose record is lost is a retryable failure CREATE_LOST', async () => {
  const h = await makeHarness();
  const handle = encodeHandle({ identity: identity('a'), meta: undefined });
  const task = await settle(h.clock, h.tasks.status(handle, HINTS, h.scope()));
  assert.equal(task.state.phase, 'RETRYABLE_FAILURE');
  assert.equal(task.state.error?.code, 'CREATE_LOST');
  assert.equal(h.plugin.calls.length, 0);
  await h.stop();
});

test('an accepted handle whose record is lost goes on answering CREATE_LOST when it was deleted', async () => {
  const h = await makeHarness();
  const handle = encodeHandle({ identity: identity('a'), meta: undefined });
  for (let call = 1; call <= 3; call++) {
    const { state } = await settle(h.clock, h.tasks.status(handle, HINTS, h.scope()));
    assert.deepEqual([state.phase, state.error?.code], ['RETRYABLE_FAILURE', 'CREATE_LOST']);
    await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
  }
  assert.equal(h.plugin.calls.length, 0);
  await h.stop();
});

test('malformed and foreign handles, and those of a plugin that is not here, are clear errors', async () => {
  const h = await makeHarness();
  await rejectsWith(h.tasks.status(Buffer.from('{"job_id":1}'), HINTS, h.scope()), 'HANDLE_MALFORMED');
  await rejectsWith(h.tasks.get(Buffer.alloc(0), HINTS, h.scope()), 'HANDLE_MALFORMED');
  const elsewhere = createdHandle('a', { plugin: 'elsewhere' });
  await rejectsWith(h.tasks.status(elsewhere, HINTS, h.scope()), 'PLUGIN_NOT_SERVING');
  await rejectsWith(h.tasks.delete(elsewhere, 'r', HINTS), 'PLUGIN_NOT_SERVING');
  assert.equal(h.store.unfinished, 0);
  await h.stop();
});

test('get reads the remote now, concurrent gets share one read, and status answers what was read', async () => {
  const h = await makeHarness();
  h.plugin.on.create = () => created();
  const read = held<ReturnType<typeof running>>();
  h.plugin.on.get = () => read.promise;
  const { handle } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  const before = h.plugin.count('get');
  const both = Promise.all([h.tasks.get(handle, HINTS, h.scope()), h.tasks.get(handle, HINTS, h.scope())]);
  await h.clock.advance(10);
  assert.ok(h.plugin.count('get') - before <= 1);
  read.release(running('seen'));
  const [one, two] = await settle(h.clock, both);
  assert.equal(one, two);
  assert.equal(h.tasks.peek(handle)?.state.reason, 'seen');
  await h.stop();
});

test('a get that fails says why and leaves the phase as it was', async () => {
  const h = await makeHarness();
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => fail('transient', { code: 'ECONNRESET', message: 'reset by peer' });
  const { handle, task } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  await rejectsWith(settle(h.clock, h.tasks.get(handle, HINTS, h.scope())), 'PLUGIN_THREW_TRANSIENT');
  assert.equal(task.state.phase, 'QUEUED');
  await h.stop();
});

test('a get of a task that is over answers from memory', async () => {
  const h = await makeHarness();
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => success();
  const { handle } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  await h.clock.advance(60_000);
  const reads = h.plugin.count('get');
  assert.equal((await settle(h.clock, h.tasks.get(handle, HINTS, h.scope()))).state.phase, 'SUCCESS');
  assert.equal(h.plugin.count('get'), reads);
  await h.stop();
});

test('polling brings the task to its end, frees the token once, and polls no more', async () => {
  const h = await makeHarness({ config: { resourceQuotas: { default: 5 } } });
  h.plugin.on.create = () => created();
  let reads = 0;
  h.plugin.on.get = () => (++reads < 4 ? running(`read ${reads}`) : success());
  const { task } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  await h.clock.advance(600_000);
  assert.equal(task.state.phase, 'SUCCESS');
  assert.equal(reads, 4);
  assert.equal(h.runtime.quotas.snapshot()[0]?.used, 0);
  await h.stop();
});

test('a job that was aborted at the remote ends with an error that says so', async () => {
  const h = await makeHarness();
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => ok(phaseState('ABORTED', { reason: 'cancelled by an administrator' }));
  const { task } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  await h.clock.advance(60_000);
  assert.equal(task.state.phase, 'ABORTED');
  assert.deepEqual(task.state.error, {
    code: 'TASK_ABORTED',
    message: 'cancelled by an administrator',
    kind: 'USER',
  });
  await h.stop();
});

test('missing outputs end the task as unusable and put its job on the delete list; further ones are left out', async () => {
  const dropped: string[][] = [];
  const h = await makeHarness({ events: { outputsDropped: (_task, names) => dropped.push([...names]) } });
  h.plugin.on.create = (args) => created(args.metadata.generatedName);
  h.plugin.on.delete = () => ok({});
  h.plugin.on.get = ({ meta }) => success(meta.toString() === 'missing' ? literals('other') : literals('o', 'extra'));
  const missing = await settle(h.clock, h.tasks.create(h.spec('missing', { outputNames: ['o'] }), h.scope()));
  const extra = await settle(h.clock, h.tasks.create(h.spec('extra', { outputNames: ['o'] }), h.scope()));
  await h.clock.advance(120_000);
  assert.equal(missing.task.state.error?.code, 'OUTPUTS_UNUSABLE');
  assert.match(missing.task.state.error?.message ?? '', /"o"/);
  assert.equal(h.plugin.count('delete'), 1);
  assert.ok(extra.task.state.outputs.kind === 'inline');
  assert.deepEqual(extra.task.state.outputs.kind === 'inline' && extra.task.state.outputs.names, ['o']);
  assert.deepEqual(dropped, [['extra']]);
  await h.stop();
});

test('outputs too large for an answer are written to the output prefix, or the task says why not', async () => {
  for (const dataStore of ['works', 'fails', 'none'] as const) {
    const h = await makeHarness({ dataStore, options: { maxInlineOutputBytes: 4 } });
    h.plugin.on.create = () => created();
    h.plugin.on.delete = () => ok({});
    h.plugin.on.get = () => success(literals('o'));
    const { task } = await settle(h.clock, h.tasks.create(h.spec('a', { outputNames: ['o'] }), h.scope()));
    await h.clock.advance(120_000);
    if (dataStore === 'works') {
      assert.deepEqual(task.state.outputs, { kind: 'prefix' });
      assert.equal(h.written[0]?.prefix, 's3://bucket/a');
    } else {
      assert.equal(task.state.error?.code, 'OUTPUTS_UNUSABLE');
      assert.match(task.state.error?.message ?? '', dataStore === 'fails' ? /disk full/ : /no data store/);
    }
    await h.stop();
    assert.deepEqual(h.faults, []);
  }
});

test('a delete is acknowledged at once and repeated until the remote agrees; the token is freed then, not before', async () => {
  const h = await makeHarness({ config: { resourceQuotas: { default: 1 } } });
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => running();
  let failures = 3;
  h.plugin.on.delete = () => (failures-- > 0 ? fail(failures === 1 ? 'permanent' : 'transient') : ok({}));
  const { handle, task } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
  assert.equal(h.tasks.owedDeletes.size, 1);
  assert.equal(h.runtime.quotas.holds(task.id), true);
  await h.clock.advance(600_000);
  assert.equal(h.plugin.count('delete'), 4);
  assert.equal(h.tasks.owedDeletes.size, 0);
  assert.equal(h.runtime.quotas.holds(task.id), false);
  await h.stop();
});

test('a delete of something unknown reads first and cancels only what is not over; not found is success', async () => {
  for (const [name, read, deletes] of [
    ['over', success(), 0],
    ['running', running(), 1],
    ['gone', fail('not_found'), 0],
    ['unreadable', fail('transient'), 1],
  ] as const) {
    const h = await makeHarness();
    h.plugin.on.get = () => read;
    h.plugin.on.delete = () => fail('not_found');
    await settle(h.clock, h.tasks.delete(createdHandle(name), 'r', HINTS));
    await h.clock.advance(180_000);
    if (name === 'over' || name === 'gone') assert.equal(h.plugin.count('delete'), deletes, name);
    else assert.ok(h.plugin.count('delete') > deletes, `${name}: one answer of not found is no confirmation`);
    if (name === 'gone') assert.ok(h.plugin.count('get') >= 3);
    assert.equal(h.tasks.owedDeletes.size, 0, name);
    await h.stop();
  }
});

test('a delete of a finished task calls nobody', async () => {
  const h = await makeHarness();
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => success();
  const { handle } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  await h.clock.advance(60_000);
  await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
  await settle(h.clock, h.tasks.delete(handle, 'again', HINTS));
  await h.clock.advance(60_000);
  assert.equal(h.plugin.count('delete'), 0);
  await h.stop();
});

test('a task that is given up truthfully fails with the last error, and its job goes on the delete list', async () => {
  const h = await makeHarness();
  h.plugin.on.create = (args) => created(args.metadata.generatedName);
  h.plugin.on.delete = () => ok({});
  h.plugin.on.get = ({ meta }) =>
    meta.toString() === 'bad' ? fail('unknown', { message: 'cannot parse the answer', code: 'PARSE' }) : running();
  const bad = await settle(h.clock, h.tasks.create(h.spec('bad'), h.scope()));
  const good = await settle(h.clock, h.tasks.create(h.spec('good'), h.scope()));
  await h.clock.advance(3_600_000);
  assert.equal(bad.task.state.phase, 'RETRYABLE_FAILURE');
  assert.equal(bad.task.state.error?.code, 'READS_FAILING');
  assert.match(bad.task.state.error?.message ?? '', /cannot parse the answer/);
  assert.equal(bad.task.state.error?.kind, 'SYSTEM');
  assert.equal(good.task.stage, 'live');
  assert.equal(h.plugin.count('delete'), 1);
  await h.stop();
});

test('do answers a terminal phase once, and a repeat the same without a second run', async () => {
  const h = await makeHarness({
    plugin: (plugin) => {
      plugin.kind = 'sync';
    },
  });
  h.plugin.on.do = () => success(literals('o'));
  const first = await settle(h.clock, h.tasks.do(h.spec('a'), h.scope()));
  const again = await settle(h.clock, h.tasks.do(h.spec('a'), h.scope()));
  assert.deepEqual(first, again);
  assert.equal(h.plugin.count('do'), 1);
  await h.clock.advance(3_600_000);
  await settle(h.clock, h.tasks.do(h.spec('a'), h.scope()));
  assert.equal(h.plugin.count('do'), 2);
  await h.stop();
});

test('do: a permanent failure is a phase, a throttle an error with a delay, a crash retryable, and remembered like any end', async () => {
  const h = await makeHarness({
    plugin: (plugin) => {
      plugin.kind = 'sync';
    },
  });
  h.plugin.on.do = () => fail('permanent', { code: 'Bad', message: 'no', faultKind: 'USER' });
  assert.equal((await settle(h.clock, h.tasks.do(h.spec('p'), h.scope()))).phase, 'PERMANENT_FAILURE');
  h.plugin.on.do = () => fail('process_died');
  assert.equal((await settle(h.clock, h.tasks.do(h.spec('c'), h.scope()))).phase, 'RETRYABLE_FAILURE');
  h.plugin.on.do = () => success();
  assert.equal((await settle(h.clock, h.tasks.do(h.spec('c'), h.scope()))).phase, 'RETRYABLE_FAILURE');
  h.plugin.on.do = () => fail('throttled', { retryAfterMs: 5_000 });
  await assert.rejects(settle(h.clock, h.tasks.do(h.spec('t'), h.scope())), (error) => {
    return HostError.is(error) && error.kind === 'exhausted' && error.retryAfterMs === 5_000;
  });
  await h.stop();
});

test('do of an async plugin is refused in words', async () => {
  const h = await makeHarness();
  await rejectsWith(settle(h.clock, h.tasks.do(h.spec('a'), h.scope())), 'PLUGIN_KIND_MISMATCH');
  await h.stop();
});

test('the load report is answered from memory, with counts, quotas and the state of the remote', async () => {
  const h = await makeHarness({ config: { resourceQuotas: { default: 1 } } });
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => running();
  await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  await settle(h.clock, h.tasks.create(h.spec('b'), h.scope()));
  const [report] = h.tasks.listPlugins();
  assert.equal(report?.state, 'SERVING');
  assert.equal(report?.liveTasks, 1);
  assert.equal(report?.waitingTasks, 1);
  assert.deepEqual(report?.quotas, [{ namespace: 'default', total: 1, used: 1, waiting: 1 }]);
  h.runtime.gate.pause();
  assert.equal(h.tasks.listPlugins()[0]?.state, 'PAUSED');
  h.runtime.gate.resume();
  h.plugin.on.get = () => fail('transient');
  const calls = h.plugin.calls.length;
  await h.clock.advance(120_000);
  const [down] = h.tasks.listPlugins();
  assert.equal(down?.state, 'REMOTE_DOWN');
  assert.match(down?.stateReason ?? '', /is taken to be down: reads fail since \d{4}-/);
  assert.ok(h.plugin.calls.slice(calls).every(({ method }) => method === 'get'));
  h.plugin.on.get = () => running();
  await h.clock.advance(120_000);
  assert.equal(h.tasks.listPlugins()[0]?.state, 'SERVING');
  await h.stop();
});
