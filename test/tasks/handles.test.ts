import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostError } from '../../src/errors/index.js';
import { encodeHandle } from '../../src/model/handle.js';
import { phaseState } from '../../src/model/phase-state.js';
import type { ResourceArgs } from '../../src/model/plugin-call.js';
import { identityOf } from '../support/identity.js';
import {
  created,
  fail,
  type Harness,
  type HarnessOptions,
  HINTS,
  held,
  literals,
  makeHarness,
  ok,
  running,
  settle,
  success,
} from './harness.js';
import { makeTimeline } from './timeline.js';

const FOREIGN = Buffer.from('{"foreign":1}');
const HOUR = 3_600_000;

/** The handle of a job that memory does not hold. */
const handleOf = (key: string, more: object = {}, meta: string | null = '{"job":1}') =>
  encodeHandle({
    identity: identityOf(key, { plugin: 'fake', quotaNamespace: '', createdAtMs: 1_700_000_000_000, ...more }),
    meta: meta === null ? undefined : Buffer.from(meta),
  });

const status = (h: Harness, handle: Buffer) => settle(h.clock, h.tasks.status(handle, HINTS, h.scope()));
const remove = (h: Harness, handle: Buffer) => settle(h.clock, h.tasks.delete(handle, 'r', HINTS));

async function foreignHarness(given: HarnessOptions = {}) {
  const h = await makeHarness({
    options: { adoptForeign: true },
    plugin: (plugin) => {
      plugin.features.adoptMeta = true;
      plugin.taskTypes = ['t', 'u'].map((name) => ({ name, versions: undefined }));
    },
    ...given,
  });
  h.plugin.on.adoptMeta = ({ foreign }) => ok({ meta: Buffer.from(`meta of ${foreign}`) });
  h.plugin.on.get = () => running();
  h.plugin.on.delete = () => ok({});
  const hints = { outputPrefix: 's3://out', connection: undefined };
  const adopt = (bytes: Buffer = FOREIGN, taskType = 't') =>
    settle(h.clock, h.tasks.adoptForeign(bytes, taskType, 7, hints, h.scope()));
  return { h, adopt };
}

const refused = (message: RegExp) => (error: unknown) =>
  HostError.is(error) && error.code === 'HANDLE_MALFORMED' && message.test(error.message);

test('a foreign meta under a task type or version that no Create would take is refused, so that nothing is kept that cannot be read', async () => {
  const { h } = await foreignHarness();
  h.plugin.taskTypes = [...h.plugin.taskTypes, { name: 'a\u0007b', versions: undefined }];
  const hints = { outputPrefix: 's3://out', connection: undefined };
  for (const [taskType, version] of [
    ['t', -5],
    ['t', 1.5],
    ['t', Number.NaN],
    ['t', 2 ** 53],
    ['a\u0007b', 0],
  ] as const) {
    await assert.rejects(
      settle(h.clock, h.tasks.adoptForeign(FOREIGN, taskType, version, hints, h.scope())),
      (error) => HostError.is(error) && error.code === 'REQUEST_FIELD_INVALID',
      `${taskType} ${version}`,
    );
  }
  assert.deepEqual(h.store.counts('fake'), { accepted: 0, creating: 0, live: 0, over: 0 });
  await h.stop();
});

test('a resource meta of another service is taken up with what the plugin makes of it, under the foreign bytes', async () => {
  const { h, adopt } = await foreignHarness();
  const startMs = h.clock.now();
  await adopt();
  const task = h.store.byHandle(FOREIGN);
  assert.deepEqual(
    [task?.meta?.toString(), task?.adopted, task?.outputPrefix, task?.stage],
    ['meta of {"foreign":1}', true, 's3://out', 'live'],
  );
  assert.deepEqual(
    { ...task?.identity, key: '' },
    {
      plugin: 'fake',
      taskType: 't',
      taskTypeVersion: 7,
      key: '',
      incarnation: 1,
      project: '',
      domain: '',
      namespace: '',
      quotaNamespace: '',
      createdAtMs: startMs,
      outputNames: undefined,
    },
  );
  await adopt();
  assert.deepEqual([h.plugin.count('adoptMeta'), h.store.unfinished], [1, 1], 'it is held by now');
  await adopt(Buffer.from('{"foreign":2}'));
  await adopt(Buffer.from('{"foreign":1} '), 'u');
  const keys = [...h.store.unfinishedTasks()].map(({ identity }) => identity.key);
  assert.deepEqual([new Set(keys).size, keys.every((key) => /^[0-9a-f]{32}$/.test(key))], [3, true]);
  await h.stop();
});

test('the same foreign bytes of two task types are two attempts', async () => {
  const keys = [];
  for (const taskType of ['t', 'u', 't']) {
    const { h, adopt } = await foreignHarness();
    await adopt(FOREIGN, taskType);
    keys.push(h.store.byHandle(FOREIGN)?.identity.key);
    await h.stop();
  }
  assert.equal(keys[0], keys[2]);
  assert.notEqual(keys[0], keys[1]);
});

test('what looks like a handle of a daemon is no meta of another service, whoever serves its task type', async () => {
  const { h, adopt } = await foreignHarness();
  await adopt(handleOf('a'));
  assert.deepEqual([h.plugin.count('adoptMeta'), h.store.unfinished], [0, 0]);
  await h.stop();
});

test('a foreign meta that nobody takes over is refused with its length and what to do', async () => {
  const cases: [Partial<HarnessOptions>, (h: Harness) => void, RegExp][] = [
    [{ options: { adoptForeign: false } }, () => {}, /\(13 bytes\), and handles\.adoptForeign is off/],
    [
      {},
      ({ plugin }) => {
        plugin.features.adoptMeta = false;
      },
      /plugin "fake" does not take over .*\(13 bytes\); send the bytes/,
    ],
    [
      {},
      ({ plugin }) => {
        plugin.on.adoptMeta = () => ok({ meta: undefined });
      },
      /plugin "fake" does not take over .*\(13 bytes\); send the bytes/,
    ],
  ];
  for (const [given, change, message] of cases) {
    const { h, adopt } = await foreignHarness(given);
    change(h);
    await assert.rejects(adopt(), refused(message));
    assert.equal(h.store.unfinished, 0);
    await h.stop();
  }
});

test('a foreign job that was deleted stays deleted, one that failed stays failed, and neither is looked at again', async () => {
  for (const phase of ['PERMANENT_FAILURE', 'running'] as const) {
    const { h, adopt } = await foreignHarness({ finished: { maxCount: 1 } });
    await adopt();
    const { key } = h.store.byHandle(FOREIGN)!.identity;
    if (phase === 'running') await remove(h, FOREIGN);
    else {
      h.store.marks.set(key, 1, { ended: true, failure: phaseState(phase, { reason: 'why' }) });
      h.store.forget(h.store.byHandle(FOREIGN)!);
    }
    await h.clock.advance(HOUR);
    assert.equal(h.store.byHandle(FOREIGN), undefined);
    const looks = h.plugin.count('adoptMeta');
    await adopt();
    const task = h.store.byHandle(FOREIGN);
    const deleted = phase === 'running';
    assert.deepEqual(
      [task?.stage, task?.state.phase, task?.adopted, task?.deleted, task?.outputPrefix],
      ['over', deleted ? 'ABORTED' : phase, true, deleted, 's3://out'],
    );
    assert.equal(task?.state.error?.code, deleted ? 'TASK_DELETED' : undefined);
    assert.equal(h.plugin.count('adoptMeta'), looks);
    await h.stop();
  }
});

test('a handle that memory does not hold becomes a record that runs, whose first read is awaited, with what came with it', async () => {
  const h = await makeTimeline({ options: { connectionTtlMs: 60_000 } });
  h.plugin.on.get = () => running('on node 7');
  const connection = { secrets: { key: 'hush' }, configs: {} };
  const hints = { outputPrefix: 's3://out', connection };
  const task = await settle(h.clock, h.tasks.status(handleOf('a'), hints, h.scope()));
  assert.deepEqual(
    [task.stage, task.state.phase, task.state.reason, task.adopted, task.confirmed, task.deleted],
    ['live', 'RUNNING', 'on node 7', true, true, false],
  );
  assert.deepEqual(
    [task.outputPrefix, task.connection, task.connectionUntilMs],
    ['s3://out', connection, h.clock.now() - 250 + 60_000],
  );
  const [read] = h.plugin.calls;
  const args = read?.args as ResourceArgs;
  assert.deepEqual(
    [read?.method, args.idempotencyKey, args.outputPrefix, String(args.meta), args.connection],
    ['get', 'a-1', 's3://out', '{"job":1}', connection],
  );
  assert.deepEqual(
    h.told().map((line) => line.replace(/~.*/, '')),
    ['0 adopted a-1'],
  );
  await h.stop();
});

test('what is known from handles alone is bounded in number, bytes and rate: what no read has shown gives way, else nothing is kept', async () => {
  const said = 'known from its handle; it is read when there is room for it among the tasks that handles alone tell of';
  const cases: [options: HarnessOptions['options'], kept: number][] = [
    [{ maxAdopted: 2 }, 2],
    [{ maxAdoptedBytes: 3_000 }, 3],
    [{ adoptionsPerSecond: 0.001, adoptionsAtOnce: 2 }, 2],
  ];
  for (const [options, kept] of cases) {
    const h = await makeHarness({ options: { ...options } });
    h.plugin.on.get = () => running();
    const tasks = [];
    for (const key of ['a', 'b', 'c', 'd']) tasks.push(await status(h, handleOf(key)));
    assert.deepEqual(
      tasks.map(({ state }) => [state.phase, state.reason === said]),
      tasks.map((_, i) => ['RUNNING', i >= kept]),
      JSON.stringify(options),
    );
    assert.deepEqual([h.store.adopted.size, h.store.unfinished, h.plugin.count('get') >= kept], [kept, kept, true]);
    await h.stop();
  }
  const h = await makeHarness({ options: { maxAdopted: 2 } });
  h.plugin.on.get = () => fail('transient');
  for (const key of ['a', 'b', 'c']) await status(h, handleOf(key));
  assert.deepEqual(
    [...h.store.unfinishedTasks()].map(({ identity }) => identity.key),
    ['b', 'c'],
    'the oldest that was never read gave way',
  );
  await h.stop();
});

test('a success that was told of an adopted task which gave way is told again, and nothing is cancelled or made for it', async () => {
  const h = await makeHarness({ finished: { maxCount: 1 } });
  h.plugin.on.get = () => success({ kind: 'none' });
  h.plugin.on.delete = () => ok({});
  const told = await status(h, handleOf('a'));
  assert.equal(told.state.phase, 'SUCCESS');
  await status(h, handleOf('b'));
  h.plugin.on.get = () => running();
  assert.equal((await status(h, handleOf('a'))).state.phase, 'SUCCESS');
  await remove(h, handleOf('a'));
  await h.clock.advance(60_000);
  assert.deepEqual([h.plugin.count('delete'), h.store.owed.size], [0, 0]);
  assert.equal((await status(h, handleOf('a'))).state.phase, 'SUCCESS');
  await h.stop();
});

test('a create that finds the job of an adopted task which was told as a success, and gave way, tells the same and makes no other', async () => {
  const h = await makeHarness({ finished: { maxCount: 1 } });
  h.plugin.on.get = () => success({ kind: 'none' });
  await status(h, handleOf('a'));
  await status(h, handleOf('b'));
  h.plugin.on.create = () => created('{"job":1}', phaseState('SUCCESS', { reason: 'done' }));
  const { task } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  assert.deepEqual([task.state.phase, task.identity.incarnation, h.plugin.count('create')], ['SUCCESS', 1, 1]);
  await h.clock.advance(60_000);
  assert.deepEqual([h.plugin.count('delete'), h.store.owed.size], [0, 0]);
  await h.stop();
});

test('a repeated create of what ended and gave way stands as it was, a version further, or is read again for its outputs', async () => {
  const h = await makeHarness({ finished: { maxCount: 1 } });
  h.plugin.on.get = () => success(literals('o'));
  const ends = {
    plain: phaseState('SUCCESS', { reason: 'done' }),
    outputs: phaseState('SUCCESS', { outputs: literals('o') }),
    refused: undefined,
  };
  for (const [name, end] of Object.entries(ends)) {
    h.plugin.on.create = () => (end === undefined ? fail('permanent', { message: 'no' }) : created('{"job":1}', end));
    const { handle, task } = await settle(h.clock, h.tasks.create(h.spec(name), h.scope()));
    const { phaseVersion } = task;
    h.plugin.on.create = () => fail('permanent');
    await settle(h.clock, h.tasks.create(h.spec(`pushes ${name} out`), h.scope()));
    assert.equal(h.store.byId(task.id), undefined);
    const again = await settle(h.clock, h.tasks.create(h.spec(name), h.scope()));
    assert.deepEqual([again.handle, again.task.id, again.task.outputPrefix], [handle, task.id, task.outputPrefix]);
    // What is read again for its outputs has one change more.
    assert.equal(again.task.phaseVersion, phaseVersion + (name === 'outputs' ? 2 : 1), name);
    assert.deepEqual(
      [again.task.stage, again.task.state.phase, again.task.state.reason],
      ['over', task.state.phase, task.state.reason],
    );
    await h.clock.advance(10_000);
    assert.equal(again.task.state.phase, task.state.phase);
  }
  await h.stop();
});

test('an attempt that was refused before it had a job and gave way is recalled by what is left of it alone', async () => {
  const h = await makeHarness({ finished: { maxCount: 1 } });
  h.plugin.on.create = () => fail('permanent', { message: 'no' });
  const first = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  await settle(h.clock, h.tasks.create(h.spec('b'), h.scope()));
  const again = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  assert.deepEqual([again.task.meta, again.task.state.reason], [undefined, 'no']);
  assert.deepEqual([again.handle, h.plugin.count('create')], [first.handle, 2]);
  await h.stop();
});

test('a delete of what memory does not hold keeps the end that its first read finds, and what it is told as deleted', async () => {
  const h = await makeTimeline();
  h.plugin.on.delete = () => ok({});
  h.plugin.on.get = () => ok(phaseState('PERMANENT_FAILURE', { reason: 'it failed' }));
  await remove(h, handleOf('over'));
  await h.clock.advance(10_000);
  const over = await status(h, handleOf('over'));
  assert.deepEqual([over.state.phase, over.state.reason, over.deleted], ['PERMANENT_FAILURE', 'it failed', true]);
  h.plugin.on.get = () => running();
  await remove(h, handleOf('runs'));
  await h.clock.advance(10_000);
  const gone = await status(h, handleOf('runs'));
  assert.deepEqual([gone.state.phase, gone.state.error?.code], ['ABORTED', 'TASK_DELETED']);
  assert.deepEqual(
    h.told().map((line) => line.replace(/^\d+ /, '').replace(/~.*/, '~')),
    [
      'deleteOwed over-1 fake r',
      // The first read says that there is nothing to cancel.
      'ended over-1~',
      'deleteDone over-1 fake 1',
      'deleteOwed runs-1 fake r',
      '-> delete runs-1 {"job":1} r',
      'deleteDone runs-1 fake 1',
    ],
  );
  await h.stop();
});

test('a job that the first read of its delete does not find is believed gone only if it is no longer young', async () => {
  for (const [ageMs, sent] of [
    [-1, 1],
    [0, 0],
  ] as const) {
    const h = await makeHarness({ options: { visibilityGraceMs: 20_000 } });
    h.plugin.on.get = () => fail('not_found');
    h.plugin.on.delete = () => ok({});
    await remove(h, handleOf('a', { createdAtMs: h.clock.now() - 20_000 - ageMs }));
    await h.clock.advance(0);
    assert.equal(h.plugin.count('delete'), sent);
    await h.stop();
  }
});

test('a deleted handle that has no job, and was never here, goes on being told that its create is lost', async () => {
  const h = await makeHarness();
  const handle = handleOf('a', {}, null);
  await remove(h, handle);
  const task = await status(h, handle);
  assert.deepEqual([task.state.phase, task.state.error?.code], ['RETRYABLE_FAILURE', 'CREATE_LOST']);
  assert.deepEqual([h.store.owed.size, h.plugin.calls], [0, []]);
  await h.stop();
});

test('a Status that comes while the first read of a delete is under way waits for what that finds, within its deadline', async () => {
  const h = await makeHarness();
  const read = held<ReturnType<typeof success>>();
  h.plugin.on.get = () => read.promise;
  const handle = handleOf('a');
  await remove(h, handle);
  let waits = true;
  const asked = h.tasks.status(handle, HINTS, h.scope()).finally(() => {
    waits = false;
  });
  await h.clock.advance(1_000);
  assert.equal(waits, true);
  read.release(success());
  const told = await settle(h.clock, asked);
  assert.deepEqual([told.state.phase, told.deleted, h.plugin.count('delete')], ['SUCCESS', true, 0]);
  await h.stop();
});

test('a replica whose lease is over says nothing of a handle that it does not know, which another one may have made', async () => {
  let works = false;
  const h = await makeHarness({ mayWork: () => works });
  const made = handleOf('a');
  const accepted = handleOf('b', {}, null);
  for (const handle of [made, accepted]) await assert.rejects(status(h, handle), { code: 'LEASE_LAPSED' });
  works = true;
  assert.equal((await status(h, accepted)).state.error?.code, 'CREATE_LOST');
  assert.equal((await status(h, made)).state.phase, 'RUNNING');
  await h.stop();
});
