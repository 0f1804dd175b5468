import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostError } from '../../src/errors/index.js';
import { decodeHandle } from '../../src/model/handle.js';
import { HandleKeys } from '../../src/model/handle-keys.js';
import { decodeFact } from '../../src/state/index.js';
import { keyOf, Part, type Replica } from './away.js';
import { created, type Harness, HINTS, ok, running, settle } from './harness.js';

function works(plugin: Harness['plugin']): void {
  plugin.on.create = ({ idempotencyKey }) => created(idempotencyKey);
  plugin.on.get = () => running();
  plugin.on.delete = () => ok({});
}

const create = ({ h, standIn }: Replica, name = 'x', parts = {}) => standIn.create(h.spec(name, parts), h.scope());
const ownerCreates = (part: Part, h: Harness, name = 'x', parts = {}) =>
  settle(part.manual, h.tasks.create(h.spec(name, parts), h.scope()));
/** Where something between them refuses connections. */
const TAKEN_FOR_GONE = { isGone: () => true };
const attempt = (n: number) => ({ node: { nodeKey: 'node', attempt: n } });
const jobs = (h: Harness, method: 'create' | 'delete') =>
  h.plugin.calls
    .filter((call) => call.method === method)
    .map(({ args }) => (args as { idempotencyKey: string }).idempotencyKey);

/** A part that was begun, and whose owner is dead. */
async function away(): Promise<{ part: Part; a: Replica }> {
  const part = new Part();
  await part.takes({ plugin: works });
  part.dies();
  return { part, a: await part.replica('a') };
}

test('a row that cannot be read stays, is told once, and holds up what is about the same key and nothing else', async () => {
  const { part, a } = await away();
  const { handle } = await create(a, 'x');
  await a.standIn.delete(handle, 'test', HINTS, a.h.scope());
  const again = await create(a, 'x');
  await create(a, 'y');
  const [first] = part.inbox.rows;
  assert.ok(first?.body !== undefined);
  const newer = Buffer.from(first.body);
  newer[0] = 99;
  part.inbox.alter(first.id, { body: newer });
  const isAway = (error: unknown) => HostError.is(error) && error.code === 'OWNER_AWAY';
  await assert.rejects(create(a, 'x'), isAway);
  await assert.rejects(a.standIn.delete(again.handle, 'test', HINTS, a.h.scope()), isAway);
  const told: string[] = [];
  const events = { leftInInbox: (...said: string[]) => told.push(said.slice(0, 3).join(' ')) };
  const next = await part.takes({ plugin: works, events });
  for (let second = 0; second < 3; second++) {
    part.look();
    await part.manual.advance(1_000);
  }
  assert.equal(part.inbox.rows.length, 3);
  assert.deepEqual(told, [`create ${first.id} STATE_DAMAGED`]);
  assert.deepEqual(jobs(next, 'create'), [`${keyOf('y')}-1`]);
  part.inbox.alter(first.id, { body: first.body });
  part.look();
  await part.manual.advance(60_000);
  assert.deepEqual(part.inbox.rows, []);
  assert.deepEqual(jobs(next, 'create'), [`${keyOf('y')}-1`, `${keyOf('x')}-2`]);
  assert.deepEqual((await ownerCreates(part, next)).handle, again.handle);
});

test('what was promised is taken in whatever room there is, and nothing beyond it', async () => {
  const { part, a } = await away();
  const handles = [];
  for (const name of ['x', 'y', 'z']) handles.push((await create(a, name)).handle);
  const next = await part.takes({ plugin: works, maxTasks: 1, options: { maxWaiting: 1 } });
  await part.manual.advance(60_000);
  for (const handle of handles) {
    assert.equal((await next.tasks.status(handle, HINTS, next.scope())).state.phase, 'RUNNING');
  }
  await assert.rejects(ownerCreates(part, next, 'v'), (error) => HostError.is(error) && error.code === 'STORE_FULL');
});

test('deletes that were promised are taken in when as many are owed as may be', async () => {
  const { part, a } = await away();
  const { handle } = await create(a);
  const { identity } = decodeHandle(handle);
  for (const name of ['y', 'z']) {
    const other = { ...identity, key: keyOf(name) };
    const { signingKey } = decodeFact('handleKey', '', part.disk.facts.get('handleKey') ?? Buffer.alloc(0));
    a.h.trust.use(new HandleKeys([signingKey]));
    const unknown = a.h.trust.encode({ identity: other, meta: Buffer.from(name) });
    await a.standIn.delete(unknown, 'test', HINTS, a.h.scope());
  }
  const next = await part.takes({ plugin: works, maxTasks: 1 });
  await part.manual.advance(60_000);
  assert.deepEqual(jobs(next, 'delete').sort(), [`${keyOf('y')}-1`, `${keyOf('z')}-1`].sort());
});

test('a row whose commit a crash took away is taken in by the next owner, to the same end', async () => {
  const { part, a } = await away();
  const { handle } = await create(a, 'x');
  const other = await create(a, 'y');
  await a.standIn.delete(other.handle, 'test', HINTS, a.h.scope());
  const lost = await part.takes({ plugin: works }, false);
  assert.equal(lost.store.unfinished, 1);
  part.dies();
  assert.equal(part.inbox.rows.length, 3);
  const next = await part.takes({ plugin: works });
  await part.manual.advance(60_000);
  assert.deepEqual((await ownerCreates(part, next)).handle, handle);
  assert.deepEqual(new Set(jobs(next, 'create')), new Set([`${keyOf('x')}-1`]));
});

test('an owner that is only cut off has one task of what it and a stand-in accepted, under both their handles', async () => {
  const part = new Part();
  const owner = await part.takes({ plugin: works });
  await part.manual.advance(60_000);
  const a = await part.replica('a', {}, TAKEN_FOR_GONE);
  const promised = await create(a);
  await part.manual.advance(5);
  const own = await ownerCreates(part, owner);
  assert.notDeepEqual(own.handle, promised.handle);
  part.look();
  await part.manual.advance(5_000);
  assert.deepEqual(part.inbox.rows, []);
  assert.deepEqual(jobs(owner, 'create'), [`${keyOf('x')}-1`]);
  for (const { handle } of [own, promised]) {
    assert.equal((await owner.tasks.status(handle, HINTS, owner.scope())).state.phase, 'RUNNING');
  }
  await settle(part.manual, owner.tasks.delete(promised.handle, 'test', HINTS));
  await part.manual.advance(5_000);
  assert.deepEqual(jobs(owner, 'delete'), [`${keyOf('x')}-1`]);
});

test('a promise of what the owner has deleted meanwhile is over, and one of what it has begun anew as well', async () => {
  const part = new Part();
  const owner = await part.takes({ plugin: works });
  await part.manual.advance(60_000);
  const a = await part.replica('a', {}, TAKEN_FOR_GONE);
  const promised = [await create(a, 'x'), await create(a, 'y')];
  for (const name of ['x', 'y']) {
    const { handle } = await ownerCreates(part, owner, name);
    await settle(part.manual, owner.tasks.delete(handle, 'test', HINTS));
  }
  const anew = await ownerCreates(part, owner, 'y');
  await part.manual.advance(5_000);
  assert.deepEqual(part.look(), []);
  await part.manual.advance(60_000);
  assert.deepEqual(jobs(owner, 'create'), [`${keyOf('x')}-1`, `${keyOf('y')}-1`, `${keyOf('y')}-2`]);
  assert.deepEqual((await ownerCreates(part, owner, 'y')).handle, anew.handle);
  for (const { handle } of promised) {
    assert.equal((await owner.tasks.status(handle, HINTS, owner.scope())).state.error?.code, 'TASK_DELETED');
  }
});

test('a later attempt of a node that was promised has an earlier one of unknown delivery cancelled first', async () => {
  const part = new Part();
  let owner = await part.takes({ plugin: works });
  await part.manual.advance(60_000);
  const spec = owner.spec('first', attempt(0));
  const scope = { ...owner.scope(), relayed: true };
  await settle(part.manual, owner.tasks.create(spec, scope));
  part.dies();
  const a = await part.replica('a');
  await create(a, 'second', attempt(1));
  owner = await part.takes({ plugin: works });
  await part.manual.advance(60_000);
  assert.deepEqual(jobs(owner, 'delete'), [`${keyOf('first')}-1`]);
  assert.deepEqual(jobs(owner, 'create'), [`${keyOf('second')}-1`]);
  part.dies();
  const third = await part.replica('b');
  await create(third, 'third', attempt(2));
  owner = await part.takes({ plugin: works });
  await part.manual.advance(60_000);
  // Whether the answer of a stand-in arrived is as unknown.
  assert.deepEqual(jobs(owner, 'delete'), [`${keyOf('second')}-1`]);
  await ownerCreates(part, owner, 'fourth', attempt(3));
  await part.manual.advance(60_000);
  assert.deepEqual(jobs(owner, 'delete'), [`${keyOf('second')}-1`, `${keyOf('third')}-1`]);
});

test('tasks that were promised before their plugin is loaded start once it is', async () => {
  const { part, a } = await away();
  await create(a);
  const next = await part.takes({ plugin: works, starts: true });
  await part.manual.advance(5_000);
  assert.deepEqual([jobs(next, 'create'), part.inbox.rows], [[], []]);
  next.load();
  await part.manual.advance(5_000);
  assert.deepEqual(jobs(next, 'create'), [`${keyOf('x')}-1`]);
});
