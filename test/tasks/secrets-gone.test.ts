import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CreateArgs } from '../../src/model/plugin-call.js';
import type { ConnectionInfo } from '../../src/plugin-api/contexts.js';
import { created, fail, type Harness, HINTS, held, ok, running, settle } from './harness.js';
import { Machine } from './machine.js';

const MINUTE = 60_000;
const connection: ConnectionInfo = { secrets: { key: 'hush' }, configs: {} };
const WITH = { outputPrefix: '', connection };

/** A remote that takes nobody for a user of its own who has no secrets. */
function demandsSecrets({ plugin }: Harness): void {
  plugin.on.create = (args) => (args.connection === undefined ? fail('permanent') : created(args.idempotencyKey));
  plugin.on.get = (args) => (args.connection === undefined ? fail('permanent') : running());
  plugin.on.delete = () => ok({});
}

async function startAnew(machine: Machine, options = {}): Promise<Harness> {
  machine.kill();
  const h = await machine.start(options);
  demandsSecrets(h);
  return h;
}

/** A task that runs, made by a call with secrets, and the daemon that was started after its crash. */
async function liveTask() {
  const machine = new Machine();
  const first = await machine.start();
  demandsSecrets(first);
  const { handle } = await settle(first.clock, first.tasks.create(first.spec('a', { connection }), first.scope()));
  await first.clock.advance(MINUTE);
  return { machine, handle, h: await startAnew(machine) };
}

test('a restarted task whose secrets are gone is answered from memory and not read before a call brings them', async () => {
  const { h, handle } = await liveTask();
  await h.clock.advance(10 * MINUTE);
  assert.deepEqual([h.plugin.count('get'), h.store.byHandle(handle)?.state.phase], [0, 'RUNNING']);
  const task = await settle(h.clock, h.tasks.status(handle, WITH, h.scope()));
  assert.equal(task.state.phase, 'RUNNING');
  await h.clock.advance(MINUTE);
  assert.ok(h.plugin.count('get') > 0, 'it is polled from the next call on');
  assert.equal(h.tasks.peek(handle)?.lastFailure, undefined);
  await h.stop();
  assert.deepEqual([h.faults, h.clock.pending], [[], 0]);
});

test('a restarted task that took no secrets is polled at once', async () => {
  const machine = new Machine();
  const first = await machine.start();
  first.plugin.on.create = () => created();
  first.plugin.on.get = () => running();
  await settle(first.clock, first.tasks.create(first.spec('a'), first.scope()));
  await first.clock.advance(MINUTE);
  machine.kill();
  const h = await machine.start();
  h.plugin.on.get = () => running();
  await h.clock.advance(MINUTE);
  assert.ok(h.plugin.count('get') > 0);
  await h.stop();
});

for (const kind of ['permanent', 'not_found', 'transient', 'unknown', 'invalid'] as const) {
  test(`a read without the secrets (${kind}) ends no task, takes no remote for down, and is not repeated at once`, async () => {
    const { h, handle } = await liveTask();
    h.plugin.on.get = (args) => (args.connection === undefined ? fail(kind) : running());
    await h.clock.advance(MINUTE);
    h.tasks.peek(handle);
    await h.clock.advance(3 * 60 * MINUTE);
    const task = h.tasks.peek(handle);
    assert.deepEqual([task?.state.phase, task?.lastFailure?.code], ['RUNNING', 'SECRETS_GONE']);
    assert.equal(h.runtime.refresher.remoteDown, false);
    assert.ok(h.plugin.count('get') <= 3 * 60 * 2 + 5, `${h.plugin.count('get')} reads`);
    await settle(h.clock, h.tasks.get(handle, WITH, h.scope()));
    assert.equal(h.tasks.peek(handle)?.lastFailure, undefined);
    await h.stop();
  });
}

test('a Get without the secrets says so to its caller, and one that brings them reads', async () => {
  const { h, handle } = await liveTask();
  await h.clock.advance(MINUTE);
  await assert.rejects(settle(h.clock, h.tasks.get(handle, HINTS, h.scope())), { code: 'SECRETS_GONE' });
  const task = await settle(h.clock, h.tasks.get(handle, WITH, h.scope()));
  assert.equal(task.state.phase, 'RUNNING');
  await h.stop();
});

test('secrets that came first with a later call are known to be gone after a crash as well', async () => {
  const machine = new Machine();
  const first = await machine.start();
  demandsSecrets(first);
  first.plugin.on.create = () => created();
  const { handle } = await settle(first.clock, first.tasks.create(first.spec('a'), first.scope()));
  await settle(first.clock, first.tasks.status(handle, WITH, first.scope()));
  await first.clock.advance(MINUTE);
  const h = await startAnew(machine);
  await h.clock.advance(10 * MINUTE);
  assert.deepEqual([h.plugin.count('get'), h.store.byHandle(handle)?.state.phase], [0, 'RUNNING']);
  await h.stop();
});

/** A create that was accepted by a daemon that died: `answered`, or cut off before anybody was told. */
async function acceptedTask(answered: boolean) {
  const machine = new Machine();
  const config = { resourceQuotas: { default: 1 } };
  const first = await machine.start({ config });
  demandsSecrets(first);
  await settle(first.clock, first.tasks.create(first.spec('holder', { connection }), first.scope()));
  const create = first.tasks.create(first.spec('a', { connection }), first.scope());
  if (answered) await settle(first.clock, create);
  else {
    create.catch(() => undefined);
    await first.clock.advance(200);
  }
  const h = await startAnew(machine, { config: { resourceQuotas: { default: 2 } } });
  const creates = () =>
    h.plugin.calls.filter(({ method }) => method === 'create').map(({ args }) => (args as CreateArgs).connection);
  return { h, creates };
}

test('a repeated create brings its secrets to the task that an earlier run accepted and told nobody of', async () => {
  const { h, creates } = await acceptedTask(false);
  const { task } = await settle(h.clock, h.tasks.create(h.spec('a', { connection }), h.scope()));
  await h.clock.advance(MINUTE);
  assert.deepEqual([task.stage, creates()], ['live', [connection]]);
  await h.stop();
});

for (const how of ['Status', 'a repeated create'] as const) {
  test(`an accepted task whose secrets are gone is created once ${how} brings them, and not before`, async () => {
    const { h, creates } = await acceptedTask(true);
    await h.clock.advance(2 * MINUTE);
    const waiting = [...h.store.unfinishedTasks()].find(({ stage }) => stage !== 'live');
    assert.match(waiting?.state.reason ?? '', /secrets/);
    assert.deepEqual(creates(), []);
    const handle = waiting?.answeredHandle ?? Buffer.alloc(0);
    if (how === 'Status') await settle(h.clock, h.tasks.status(handle, WITH, h.scope()));
    else await settle(h.clock, h.tasks.create(h.spec('a', { connection }), h.scope()));
    await h.clock.advance(MINUTE);
    assert.deepEqual([creates(), h.tasks.peek(handle)?.stage], [[connection], 'live']);
    await h.stop();
    assert.deepEqual([h.faults, h.clock.pending], [[], 0]);
  });
}

test('an accepted task whose secrets nobody brings ends within the create budget, retryably, and frees its token', async () => {
  const { h, creates } = await acceptedTask(true);
  await h.clock.advance(11 * MINUTE);
  const ended = [...h.store.listed()].find(({ stage }) => stage === 'over');
  assert.deepEqual([ended?.state.phase, ended?.state.error?.code], ['RETRYABLE_FAILURE', 'SECRETS_GONE']);
  assert.deepEqual(creates(), []);
  assert.deepEqual(
    h.runtime.quotas.snapshot().map(({ used, waiting }) => [used, waiting]),
    [[1, 0]],
  );
  await h.stop();
});

test('a create that may have been sent is repeated with the secrets that its repeat brings, and not without', async () => {
  const machine = new Machine();
  const first = await machine.start();
  const answer = held<ReturnType<typeof created>>();
  first.plugin.on.create = () => answer.promise;
  await settle(first.clock, first.tasks.create(first.spec('a', { connection }), first.scope(3_000)));
  const h = await startAnew(machine);
  await h.clock.advance(5 * MINUTE);
  assert.equal(h.plugin.count('create'), 0);
  const { task } = await settle(h.clock, h.tasks.create(h.spec('a', { connection }), h.scope()));
  await h.clock.advance(MINUTE);
  assert.deepEqual([task.stage, h.plugin.count('create')], ['live', 1]);
  await h.stop();
});
