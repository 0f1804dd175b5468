import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ErrorCode, HostError } from '../../src/errors/index.js';
import { createDeferred } from '../../src/lib/deferred.js';
import { decodeHandle } from '../../src/model/handle.js';
import { phaseState } from '../../src/model/phase-state.js';
import type { CallScope } from '../../src/tasks/types.js';
import { keyOf, Part, type Replica } from './away.js';
import { created, fail, type Harness, HINTS, ok, running, settle, success } from './harness.js';

const is = (code: ErrorCode) => (error: unknown) => HostError.is(error) && error.code === code;

/** A part with an owner whose plugin creates jobs that run, which is dead, and two replicas that stand in for it. */
async function away(before: (part: Part, owner: Harness) => Promise<void> = async () => {}) {
  const part = new Part();
  const owner = await part.takes({ plugin: works });
  await part.manual.advance(60_000);
  await before(part, owner);
  part.dies();
  await part.manual.advance(200);
  return { part, a: await part.replica('a'), b: await part.replica('b') };
}

function works(plugin: Harness['plugin']): void {
  plugin.on.create = ({ idempotencyKey }) => created(idempotencyKey);
  plugin.on.get = () => running();
  plugin.on.delete = () => ok({});
}

const create = ({ h, standIn }: Replica, name = 'x', parts = {}, scope: CallScope = h.scope()) =>
  standIn.create(h.spec(name, parts), scope);
const ownerCreates = (part: Part, h: Harness, name = 'x') =>
  settle(part.manual, h.tasks.create(h.spec(name), h.scope()));
const sent = ({ h }: Replica) => h.plugin.calls.length;

test('a create is accepted for an owner that is away, with the bytes that any replica, and the next owner, answer to a repeat', async () => {
  const { part, a, b } = await away();
  const timers = part.manual.pending;
  const first = await create(a);
  assert.deepEqual([first.task.state.phase, first.task.state.reason], ['WAITING_FOR_RESOURCES', 'accepted']);
  await part.manual.advance(5_000);
  assert.deepEqual((await create(b)).handle, first.handle);
  assert.deepEqual((await create(a)).handle, first.handle);
  assert.deepEqual(
    part.inbox.rows.map(({ kind, key, name, epoch }) => [kind, key, name, epoch]),
    [['create', keyOf('x'), `${keyOf('x')}-1`, 'a']],
  );
  assert.equal(part.manual.pending, timers, 'timers of a call are left behind');
  assert.deepEqual([sent(a), sent(b)], [0, 0]);
  const next = await part.takes({ plugin: works });
  assert.deepEqual(part.inbox.rows, []);
  await part.manual.advance(60_000);
  assert.equal(next.plugin.count('create'), 1);
  assert.deepEqual((await ownerCreates(part, next)).handle, first.handle);
  assert.equal((await next.tasks.status(first.handle, HINTS, next.scope())).state.phase, 'RUNNING');
  assert.equal(next.plugin.count('create'), 1);
  assert.deepEqual(next.faults, []);
});

test('what the owner has answered before is answered again, and nothing is put', async () => {
  let handle: Buffer = Buffer.alloc(0);
  const { part, a } = await away(async (part, owner) => {
    handle = (await ownerCreates(part, owner)).handle;
    await part.manual.advance(5_000);
  });
  const again = await create(a);
  assert.deepEqual(again.handle, handle);
  assert.equal(again.task.state.phase, 'RUNNING');
  assert.deepEqual(part.inbox.rows, []);
});

test('a task that was accepted, and not answered, is answered by a stand-in and starts at the next owner without a grace', async () => {
  const { part, a, b } = await away(async (part, owner) => {
    owner.plugin.features.resourceRequirements = true;
    owner.plugin.on.resourceRequirements = () => new Promise(() => {});
    void owner.tasks.create(owner.spec('x'), owner.scope());
    await part.manual.advance(500);
  });
  assert.ok(part.disk.facts.has(`task/${keyOf('x')}-1`));
  const first = await create(a);
  assert.deepEqual((await create(b)).handle, first.handle);
  const next = await part.takes({ plugin: works });
  await part.manual.advance(5_000);
  assert.equal(next.plugin.count('create'), 1);
  assert.deepEqual((await ownerCreates(part, next)).handle, first.handle);
});

test('a promised task that the owner has let go of meanwhile is created with what its caller said', async () => {
  const { part, a } = await away(async (part, owner) => {
    owner.plugin.features.resourceRequirements = true;
    owner.plugin.on.resourceRequirements = () => new Promise(() => {});
    void owner.tasks.create(owner.spec('x'), owner.scope());
    await part.manual.advance(500);
  });
  const { handle } = await create(a, 'x', { template: Buffer.from('as it was said') });
  // As an owner does after the grace.
  for (const kind of ['task', 'payload']) part.disk.facts.delete(`${kind}/${keyOf('x')}-1`);
  const next = await part.takes({ plugin: works });
  await part.manual.advance(60_000);
  const templates = next.plugin.calls.map(({ args }) => String((args as { template?: Buffer }).template));
  assert.ok(templates.includes('as it was said'), templates.join());
  assert.deepEqual((await ownerCreates(part, next)).handle, handle);
});

test('what was deleted and is created again is the next incarnation, by the owner’s deletes and by those that wait', async () => {
  const { part, a, b } = await away(async (part, owner) => {
    const { handle } = await ownerCreates(part, owner);
    await settle(part.manual, owner.tasks.delete(handle, 'test', HINTS));
  });
  const incarnation = (handle: Buffer) => decodeHandle(handle).identity.incarnation;
  const second = await create(a);
  assert.equal(incarnation(second.handle), 2);
  await b.standIn.delete(second.handle, 'test', HINTS, b.h.scope());
  const third = await create(a);
  assert.equal(incarnation(third.handle), 3);
  assert.deepEqual((await create(b)).handle, third.handle);
  const next = await part.takes({ plugin: works });
  await part.manual.advance(60_000);
  const jobs = next.plugin.calls.filter(({ method }) => method === 'create');
  assert.deepEqual(
    jobs.map(({ args }) => (args as { idempotencyKey: string }).idempotencyKey),
    [`${keyOf('x')}-3`],
  );
  assert.deepEqual((await ownerCreates(part, next)).handle, third.handle);
});

test('how an attempt failed is answered again where only its mark is left, and nothing is created for it', async () => {
  const { part, a } = await away(async (part, owner) => {
    owner.plugin.on.create = () => fail('permanent', { message: 'no such queue' });
    await ownerCreates(part, owner);
    await part.manual.advance(5_000);
  });
  part.disk.facts.delete(`task/${keyOf('x')}-1`);
  const again = await create(a);
  assert.deepEqual([again.task.state.phase, again.task.state.error?.message], ['PERMANENT_FAILURE', 'no such queue']);
  const next = await part.takes({ plugin: works });
  const repeat = await ownerCreates(part, next);
  assert.deepEqual([repeat.handle, repeat.task.state.phase], [again.handle, 'PERMANENT_FAILURE']);
  await part.manual.advance(60_000);
  assert.equal(next.plugin.count('create'), 0);
});

test('of two that accept a task at once the later answers what the other one put', async () => {
  const { part, a, b } = await away();
  const both = createDeferred<void>();
  let reads = 0;
  part.inbox.before = (what) => {
    if (what !== 'read') return;
    if (++reads === 2) both.resolve();
    return both.promise;
  };
  const first = create(a);
  await part.manual.advance(3);
  const second = create(b, 'x', {}, b.h.scope());
  const [one, other] = await Promise.all([first, second]);
  assert.deepEqual(one.handle, other.handle);
  assert.equal(part.inbox.rows.length, 1);
  assert.equal(reads, 3);
});

test('a part that was taken since it was seen away, or since it was read, is its owner’s', async () => {
  const { part, a } = await away();
  const seen = await part.replica('c', {}, { tenureOf: () => 'another' });
  await assert.rejects(create(seen), is('OWNER_AWAY'));
  part.inbox.before = (what) => {
    if (what === 'put') part.inbox.tenure = 'another';
  };
  const handle = await create(a).then(() => assert.fail(), is('OWNER_AWAY'));
  assert.ok(handle);
  assert.deepEqual([part.inbox.rows, a.told], [[], ['create away']]);
});

test('a full inbox takes no create, which is told as such', async () => {
  const { part, a } = await away();
  part.inbox.max = 1;
  await create(a, 'y');
  await assert.rejects(create(a), is('STORE_FULL'));
  assert.deepEqual(a.told, ['create answered', 'create full']);
});

test('what the state cannot tell, or is not served here, is the owner’s to answer', async () => {
  const { part, a } = await away();
  const unserved = await part.replica('c', {
    plugin: (plugin) => {
      plugin.taskTypes = [];
    },
  });
  await assert.rejects(create(unserved), is('OWNER_AWAY'));
  part.inbox.before = () => Promise.reject(new HostError('STATE_UNREACHABLE', 'gone'));
  await assert.rejects(create(a), is('OWNER_AWAY'));
  part.inbox.before = (what) =>
    what === 'put' ? Promise.reject(new HostError('STATE_UNREACHABLE', 'gone')) : undefined;
  await assert.rejects(create(a), is('OWNER_AWAY'));
  part.inbox.before = () => new Promise(() => {});
  await assert.rejects(settle(part.manual, create(a)), is('OWNER_AWAY'));
  part.inbox.before = () => {};
  part.disk.facts.delete('birth');
  await assert.rejects(create(a), is('OWNER_AWAY'));
});

test('a delete is acknowledged for an owner that is away, and the next one cancels the job', async () => {
  let handle: Buffer = Buffer.alloc(0);
  const { part, a, b } = await away(async (part, owner) => {
    handle = (await ownerCreates(part, owner)).handle;
  });
  await a.standIn.delete(handle, 'not needed', HINTS, a.h.scope());
  await b.standIn.delete(handle, 'not needed', HINTS, b.h.scope());
  assert.deepEqual(
    part.inbox.rows.map(({ kind, epoch }) => [kind, epoch]),
    [['delete', 'a']],
  );
  const { state } = await b.standIn.status(handle, HINTS, b.h.scope());
  assert.deepEqual([state.phase, state.error?.code], ['ABORTED', 'TASK_DELETED']);
  assert.deepEqual([sent(a), sent(b)], [0, 0]);
  const next = await part.takes({ plugin: works });
  await part.manual.advance(60_000);
  assert.equal(next.plugin.count('delete'), 1);
  assert.equal(next.tasks.owedDeletes.size, 0);
  assert.deepEqual(part.inbox.rows, []);
  assert.equal((await next.tasks.status(handle, HINTS, next.scope())).state.error?.code, 'TASK_DELETED');
});

test('a create that waits and is deleted is never made', async () => {
  const { part, a, b } = await away();
  const { handle } = await create(a);
  await b.standIn.delete(handle, 'not needed', HINTS, b.h.scope());
  const next = await part.takes({ plugin: works });
  await part.manual.advance(60_000);
  assert.equal(next.plugin.count('create'), 0);
  assert.equal(next.store.unfinished, 0);
  assert.deepEqual(part.inbox.rows, []);
});

test('a delete of what memory and state do not know is ordered, and how that ended is only the owner’s to tell', async () => {
  let handle: Buffer = Buffer.alloc(0);
  const { part, a } = await away(async (part, owner) => {
    handle = (await ownerCreates(part, owner)).handle;
    await part.manual.advance(5_000);
    handle = owner.trust.encode({ ...decodeHandle(handle), meta: Buffer.from('job') });
  });
  for (const key of [...part.disk.facts.keys()]) if (key.includes('/')) part.disk.facts.delete(key);
  await assert.rejects(a.standIn.status(handle, HINTS, a.h.scope()), is('OWNER_AWAY'));
  await a.standIn.delete(handle, 'not needed', HINTS, a.h.scope());
  await assert.rejects(a.standIn.status(handle, HINTS, a.h.scope()), is('OWNER_AWAY'));
  const next = await part.takes({
    plugin: (plugin) => {
      works(plugin);
      plugin.on.get = () => success();
    },
  });
  await part.manual.advance(60_000);
  assert.equal((await next.tasks.status(handle, HINTS, next.scope())).state.phase, 'SUCCESS');
  assert.equal(next.plugin.count('delete'), 0);
});

test('a task is told as it is known, in no version that was told before, and a new one as accepted', async () => {
  const told = { version: 0, handle: Buffer.alloc(0) as Buffer };
  const { part, a, b } = await away(async (part, owner) => {
    let reads = 0;
    owner.plugin.on.get = () => ok(phaseState('RUNNING', { reason: `read ${++reads}` }));
    told.handle = (await ownerCreates(part, owner)).handle;
    await part.manual.advance(60_000);
    // Told, and not written yet.
    const read = owner.tasks.get(told.handle, HINTS, owner.scope());
    await part.manual.advance(1);
    told.version = (await read).phaseVersion;
  });
  const task = await a.standIn.status(told.handle, HINTS, a.h.scope(), 1);
  assert.equal(task.state.phase, 'RUNNING');
  assert.ok(task.phaseVersion >= told.version);
  const { handle } = await create(a, 'y');
  const accepted = await b.standIn.status(handle, HINTS, b.h.scope());
  assert.deepEqual([accepted.state.phase, accepted.state.reason], ['WAITING_FOR_RESOURCES', 'accepted']);
  const next = await part.takes({ plugin: works });
  for (const [bytes, before] of [
    [told.handle, task],
    [handle, accepted],
  ] as const) {
    assert.ok((await next.tasks.status(bytes, HINTS, next.scope())).phaseVersion >= before.phaseVersion);
  }
});

test('of an owner that may be alive nothing is told that it may tell otherwise, nor started; a Delete is told once it has taken that in', async () => {
  const part = new Part();
  const owner = await part.takes({ plugin: works });
  const { handle } = await ownerCreates(part, owner);
  await part.manual.advance(60_000);
  const a = await part.replica('a');
  await assert.rejects(a.standIn.status(handle, HINTS, a.h.scope()), is('OWNER_AWAY'));
  await assert.rejects(create(a), is('OWNER_AWAY'));
  await assert.rejects(create(a, 'y'), is('OWNER_AWAY'));
  await assert.rejects(a.standIn.do(a.h.spec('z'), a.h.scope()), is('OWNER_AWAY'));
  assert.deepEqual(part.inbox.rows, []);
  await settle(part.manual, a.standIn.delete(handle, 'not needed', HINTS, a.h.scope()));
  assert.equal((await owner.tasks.status(handle, HINTS, owner.scope())).state.phase, 'ABORTED');
});

test('a Delete for an owner that does not take it in is told once that one is known to be gone, or had the time, and is not lost', async () => {
  let handle: Buffer = Buffer.alloc(0);
  const { part, a } = await away(async (part, owner) => {
    handle = (await ownerCreates(part, owner)).handle;
  });
  part.gone.clear();
  const remove = (ms: number) =>
    a.standIn.delete(handle, 'not needed', HINTS, { ...a.h.scope(), deadlineMs: part.manual.now() + ms });
  await assert.rejects(settle(part.manual, remove(5_000)), is('OWNER_AWAY'));
  part.closed.add(part.inbox.owner ?? '');
  const later = remove(30_000);
  await part.manual.advance(1_250);
  assert.equal(await Promise.race([later.then(() => 'told'), 'not yet']), 'not yet');
  await part.manual.advance(500);
  await later;
  await assert.rejects(create(a, 'y'), is('OWNER_AWAY'));
  part.gone.add(part.inbox.owner ?? '');
  await remove(1_000);
  assert.equal(part.inbox.rows.length, 1);
  const next = await part.takes({ plugin: works });
  assert.equal((await next.tasks.status(handle, HINTS, next.scope())).state.phase, 'ABORTED');
});

test('what only the owner can answer is away at once, and what is wrong with a handle is said by anybody', async () => {
  const { part, a } = await away();
  const { handle } = await create(a);
  const { standIn, h } = a;
  const asked = [
    standIn.get(handle, HINTS, h.scope()),
    standIn.getLogs(handle, { lines: 1, token: '' }, HINTS, h.scope()),
    standIn.adoptForeign(Buffer.from('foreign'), 't', 0, HINTS, h.scope()),
    standIn.status(Buffer.from('foreign'), HINTS, h.scope()),
    standIn.delete(Buffer.from('foreign'), '', HINTS, h.scope()),
  ];
  for (const one of asked) await assert.rejects(one, is('OWNER_AWAY'));
  assert.throws(
    () => standIn.watch({ plugins: [], handles: [], resumeToken: '', includeCurrent: false }),
    is('OWNER_AWAY'),
  );
  assert.equal(await standIn.adoptForeign(handle, 't', 0, HINTS, h.scope()), undefined);
  const altered = Buffer.from(handle);
  altered[altered.length - 1] = 0x20;
  await assert.rejects(standIn.status(altered, HINTS, h.scope()), is('HANDLE_MALFORMED'));
  const { identity } = decodeHandle(handle);
  const another = await part.replica('c', { handleKeys: ['b'.repeat(43)] });
  const forged = another.h.trust.encode({ identity, meta: Buffer.from('job') });
  await assert.rejects(standIn.delete(forged, '', HINTS, h.scope()), is('HANDLE_FOREIGN'));
  assert.equal(part.inbox.rows.length, 1);
});

test('handles that are not signed are taken for as long after the birth of the state as its owner takes them', async () => {
  const { part, a } = await away();
  const { identity } = decodeHandle((await create(a)).handle);
  const unsigned = a.h.trust.encode({ identity, meta: Buffer.from('job') });
  const graceful = await part.replica('c', {}, { handleGraceMs: 120_000 });
  const asked = (of: Replica) => of.standIn.delete(unsigned, 'test', HINTS, of.h.scope());
  await assert.rejects(asked(a), is('HANDLE_UNSIGNED'));
  await asked(graceful);
  part.inbox.drop(part.inbox.rows.map(({ id }) => id));
  await part.manual.advance(120_000);
  await assert.rejects(asked(graceful), is('HANDLE_UNSIGNED'));
});

test('who always comes second is away in the end, and what is said of no task is said as ever', async () => {
  const { part } = await away();
  let puts = 0;
  const put = async () => {
    puts += 1;
    return 'stands' as const;
  };
  const shown = { listPlugins: () => [], remoteDown: (plugin: string) => plugin === 'down' };
  const late = await part.replica('c', {}, { inbox: { ...part.inbox.of('c'), put }, shown });
  await assert.rejects(create(late), is('OWNER_AWAY'));
  assert.ok(puts > 1 && puts <= 10, `${puts}`);
  assert.deepEqual(late.standIn.listPlugins(), []);
  assert.deepEqual([late.standIn.remoteDown('down'), late.standIn.remoteDown('up')], [true, false]);
});

test('no secret that came with a call stands in the inbox; that some came does', async () => {
  const { part, a } = await away();
  const connection = { domain: 'd', secrets: { token: 'hunter2-hunter2' } } as never;
  const { handle } = await create(a, 'x', { connection });
  await a.standIn.delete((await create(a, 'y')).handle, 'test', { outputPrefix: '', connection }, a.h.scope());
  for (const { body } of part.inbox.rows) assert.ok(!body?.includes('hunter2'));
  const next = await part.takes({ plugin: works });
  await part.manual.advance(60_000);
  assert.equal(next.plugin.count('create'), 0);
  await settle(part.manual, next.tasks.create(next.spec('x', { connection }), next.scope()));
  await part.manual.advance(60_000);
  assert.equal(next.plugin.count('create'), 1);
  assert.equal((await next.tasks.status(handle, HINTS, next.scope())).state.phase, 'RUNNING');
});

test('a stand-in tells of what it was asked, and the next owner of what it took in: accepted once, ended once', async () => {
  const { part, a } = await away();
  const { handle } = await create(a);
  await a.standIn.status(handle, HINTS, a.h.scope());
  await a.standIn.delete(handle, 'test', HINTS, a.h.scope());
  await assert.rejects(a.standIn.get(handle, HINTS, a.h.scope()), is('OWNER_AWAY'));
  assert.deepEqual(a.told, ['create answered', 'status answered', 'delete answered']);
  const owners: string[] = [];
  const events = { accepted: () => owners.push('accepted'), tookIn: (kind: string) => owners.push(kind) };
  await part.takes({ plugin: works, events });
  assert.deepEqual(owners, ['accepted', 'create', 'delete']);
});

test('nothing is read for a caller that waits for an owner which may be alive', async () => {
  const part = new Part();
  const owner = await part.takes({ plugin: works });
  const { handle } = await ownerCreates(part, owner);
  await part.manual.advance(5_000);
  part.dies(true);
  const a = await part.replica('a');
  let reads = 0;
  part.inbox.before = (what) => {
    if (what === 'read') reads += 1;
  };
  const status = () => a.standIn.status(handle, HINTS, a.h.scope());
  for (let second = 0; second < 5; second++) {
    await assert.rejects(create(a), is('OWNER_AWAY'));
    await assert.rejects(status(), is('OWNER_AWAY'));
    await part.manual.advance(1_000);
  }
  assert.equal(reads, 0);
  part.gone.add(part.inbox.owner ?? '');
  assert.deepEqual((await create(a)).handle, handle);
  assert.equal((await status()).state.phase, 'RUNNING');
  assert.equal(reads, 2);
});

test('whether an owner is gone is asked of the one that was read, and again once it was', async () => {
  const { part, a } = await away();
  const another = await part.replica('c', {}, { ownerSeen: () => undefined, isGone: () => false });
  await assert.rejects(create(another), is('OWNER_AWAY'));
  part.inbox.before = (what) => {
    // It wakes, or others reach it.
    if (what === 'read') part.gone.clear();
  };
  await assert.rejects(create(a), is('OWNER_AWAY'));
  assert.deepEqual(part.inbox.rows, []);
});
