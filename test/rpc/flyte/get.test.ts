import assert from 'node:assert/strict';
import { test } from 'node:test';
import { status } from '@grpc/grpc-js';
import { buildLiteralMap } from '../../../src/idl/literal-map.js';
import { type PhaseState, phaseState } from '../../../src/model/phase-state.js';
import { PHASES } from '../../../src/plugin-api/phase.js';
import {
  createRequest,
  decode,
  encode,
  FLYTE1,
  FLYTE2,
  mapField,
  PROTOCOLS,
  type Protocol,
  startFlyte,
} from './support.js';

const getRequest = (protocol: Protocol, resourceMeta: Buffer, more: Record<string, unknown> = {}) =>
  encode(protocol, 'GetTaskRequest', {
    resourceMeta,
    taskCategory: { name: 'demo', version: 1 },
    outputPrefix: 's3://b/o',
    ...more,
  });

const failed = (kind: 'USER' | 'SYSTEM') => ({ error: { code: 'Oom', message: 'killed', kind } });

/** Phase with its parts → phase on the wire, message, deprecated state. */
const TABLE: readonly [PhaseState, string, string, string][] = [
  [phaseState('NOT_READY'), 'QUEUED', '', 'PENDING'],
  [phaseState('WAITING_FOR_RESOURCES', { reason: 'no token' }), 'WAITING_FOR_RESOURCES', 'no token', 'PENDING'],
  [phaseState('WAITING_FOR_CACHE'), 'WAITING_FOR_RESOURCES', '', 'PENDING'],
  [phaseState('QUEUED', { reason: 'in line' }), 'QUEUED', 'in line', 'PENDING'],
  [phaseState('INITIALIZING'), 'INITIALIZING', '', 'PENDING'],
  [phaseState('RUNNING'), 'RUNNING', '', 'RUNNING'],
  [phaseState('SUCCESS'), 'SUCCEEDED', '', 'SUCCEEDED'],
  [phaseState('RETRYABLE_FAILURE', failed('SYSTEM')), 'RETRYABLE_FAILED', 'Oom (SYSTEM): killed', 'RETRYABLE_FAILURE'],
  [phaseState('PERMANENT_FAILURE', failed('USER')), 'FAILED', 'Oom (USER): killed', 'PERMANENT_FAILURE'],
  [phaseState('ABORTED', { reason: 'by ann' }), 'FAILED', 'aborted at the remote: by ann', 'PERMANENT_FAILURE'],
];

test('the table of phases has every phase but UNDEFINED', () => {
  assert.deepEqual(
    new Set(TABLE.map(([state]) => state.phase)),
    new Set(PHASES.filter((phase) => phase !== 'UNDEFINED')),
  );
});

for (const protocol of PROTOCOLS) {
  const name = `Flyte ${protocol.version}`;

  test(`${name}: every phase has its name on the wire, its message, and in Flyte 1 the deprecated state`, async (t) => {
    const flyte = await startFlyte(t);
    const handle = await flyte.created(protocol);
    const record = flyte.tasks.records.get(handle.toString('latin1'))!;
    for (const [state, phase, message, deprecated] of TABLE) {
      Object.assign(record, { state });
      const { error, bytes } = await flyte.async(protocol, 'GetTask', getRequest(protocol, handle));
      assert.equal(error, undefined);
      const { resource } = decode(protocol, 'GetTaskResponse', bytes);
      assert.deepEqual([resource.phase, resource.message], [phase, message]);
      if (protocol.version === 1) assert.equal(resource.state, deprecated);
    }
  });

  test(`${name}: UNDEFINED is never answered; it is a fault of the daemon`, async (t) => {
    const flyte = await startFlyte(t);
    const handle = await flyte.created(protocol);
    Object.assign(flyte.tasks.records.get(handle.toString('latin1'))!, { state: phaseState('UNDEFINED') });
    const { error } = await flyte.async(protocol, 'GetTask', getRequest(protocol, handle));
    assert.equal(error?.code, status.INTERNAL);
  });

  test(`${name}: inline outputs go out as the bytes they are; at the prefix or none means unset`, async (t) => {
    const flyte = await startFlyte(t);
    const handle = await flyte.created(protocol);
    const record = flyte.tasks.records.get(handle.toString('latin1'))!;
    // A literal with a field that no descriptor here knows.
    const literalMap = buildLiteralMap([{ name: 'x', value: Buffer.from([0x9a, 0x06, 1, 7]) }]);
    Object.assign(record, { state: phaseState('SUCCESS', { outputs: { kind: 'inline', literalMap, names: ['x'] } }) });
    const { bytes } = await flyte.async(protocol, 'GetTask', getRequest(protocol, handle));
    assert.ok(bytes.includes(literalMap));
    for (const kind of ['prefix', 'none'] as const) {
      Object.assign(record, { state: phaseState('SUCCESS', { outputs: { kind } }) });
      const unset = await flyte.async(protocol, 'GetTask', getRequest(protocol, handle));
      assert.equal(decode(protocol, 'GetTaskResponse', unset.bytes).resource.outputs, null, kind);
    }
  });

  test(`${name}: log links and custom info are carried`, async (t) => {
    const flyte = await startFlyte(t);
    const handle = await flyte.created(protocol);
    const logs = [{ uri: 'http://logs', name: 'Logs', ttlMs: 1500 }];
    const customInfo = { job: 'j1', nested: { list: [1, null, true] } };
    const state = phaseState('RUNNING', { logs, customInfo });
    Object.assign(flyte.tasks.records.get(handle.toString('latin1'))!, { state });
    const { bytes } = await flyte.async(protocol, 'GetTask', getRequest(protocol, handle));
    const { resource } = decode(protocol, 'GetTaskResponse', bytes);
    const [link] = resource.logLinks;
    assert.deepEqual([link.uri, link.name, link.ttl], ['http://logs', 'Logs', { seconds: '1', nanos: 500_000_000 }]);
    assert.match(JSON.stringify(resource.customInfo), /"job".*"j1"/s);
  });

  test(`${name}: a task that memory does not hold is adopted with its output prefix`, async (t) => {
    const flyte = await startFlyte(t);
    const handle = await flyte.created(protocol);
    const key = handle.toString('latin1');
    flyte.tasks.adoptable.set(key, flyte.tasks.records.get(key)!);
    flyte.tasks.records.delete(key);
    const { error } = await flyte.async(protocol, 'GetTask', getRequest(protocol, handle));
    assert.equal(error, undefined);
    assert.equal(flyte.tasks.hints.at(-1)!.outputPrefix, 's3://b/o');
    assert.equal(flyte.tasks.adoptions.length, 0);
  });

  test(`${name}: a foreign resource meta is offered to the plugin of its type, or refused`, async (t) => {
    const flyte = await startFlyte(t);
    const handle = await flyte.created(protocol);
    const foreign = Buffer.from('{"id": "job-1"}');
    flyte.tasks.foreign.set(foreign.toString('latin1'), flyte.tasks.records.get(handle.toString('latin1'))!);
    assert.equal((await flyte.async(protocol, 'GetTask', getRequest(protocol, foreign))).error, undefined);
    const { taskType, version } = flyte.tasks.adoptions[0]!;
    assert.deepEqual([taskType, version], ['demo', 1]);
    const stranger = await flyte.async(protocol, 'GetTask', getRequest(protocol, Buffer.from('{}')));
    assert.equal(stranger.error?.code, status.INVALID_ARGUMENT);
  });

  test(`${name}: how old an answer may be goes with the question, and what is too old is asked for once more`, async (t) => {
    const flyte = await startFlyte(t, 1000);
    const handle = await flyte.created(protocol);
    assert.equal((await flyte.async(protocol, 'GetTask', getRequest(protocol, handle))).error, undefined);
    assert.deepEqual(flyte.tasks.bears, [['peek', 1000]]);
    const record = flyte.tasks.records.get(handle.toString('latin1'))!;
    flyte.tasks.tooOld.add(record);
    assert.equal((await flyte.async(protocol, 'GetTask', getRequest(protocol, handle))).error, undefined);
    assert.deepEqual(flyte.tasks.bears.slice(1), [
      ['peek', 1000],
      ['status', 1000],
    ]);
  });

  test(`${name}: DeleteTask hands over the handle, and fails only for bad input`, async (t) => {
    const flyte = await startFlyte(t);
    const handle = await flyte.created(protocol);
    const request = (resourceMeta: Buffer) =>
      encode(protocol, 'DeleteTaskRequest', { resourceMeta, taskCategory: { name: 'demo' } });
    assert.equal((await flyte.async(protocol, 'DeleteTask', request(handle))).error, undefined);
    assert.deepEqual(flyte.tasks.deletes[0]!.handle, handle);
    const empty = await flyte.async(protocol, 'DeleteTask', request(Buffer.alloc(0)));
    assert.equal(empty.error?.code, status.INVALID_ARGUMENT);
  });
}

test('Flyte 1: a failure carries its code, kind and origin for the sync path', async (t) => {
  const flyte = await startFlyte(t);
  const handle = await flyte.created(FLYTE1);
  Object.assign(flyte.tasks.records.get(handle.toString('latin1'))!, {
    state: phaseState('RETRYABLE_FAILURE', failed('SYSTEM')),
  });
  const { bytes } = await flyte.async(FLYTE1, 'GetTask', getRequest(FLYTE1, handle, { taskType: 'demo' }));
  const { agentError } = decode(FLYTE1, 'GetTaskResponse', bytes).resource;
  assert.deepEqual(agentError, { code: 'Oom', kind: 'RECOVERABLE', origin: 'SYSTEM' });
});

test('Flyte 2: a Connection that comes with GetTask is kept, although the task is in memory', async (t) => {
  const flyte = await startFlyte(t);
  const handle = await flyte.created(FLYTE2);
  const connection = { secrets: mapField(FLYTE2, { token: 's' }) };
  await flyte.async(FLYTE2, 'GetTask', getRequest(FLYTE2, handle, { connection }));
  assert.deepEqual(flyte.tasks.hints.at(-1)!.connection, { secrets: { token: 's' }, configs: {} });
});

test('Flyte 2: an empty Connection, which comes with every GetTask, takes the fast path and is not kept', async (t) => {
  const flyte = await startFlyte(t);
  const handle = await flyte.created(FLYTE2);
  flyte.tasks.hints.length = 0;
  for (const connection of [{}, { secrets: mapField(FLYTE2, {}), configs: mapField(FLYTE2, {}) }]) {
    const { error, bytes } = await flyte.async(FLYTE2, 'GetTask', getRequest(FLYTE2, handle, { connection }));
    assert.equal(error, undefined);
    assert.equal(decode(FLYTE2, 'GetTaskResponse', bytes).resource.phase, 'QUEUED');
  }
  assert.deepEqual(flyte.tasks.hints, [], 'nothing was decoded and resolved');
  const unseen = getRequest(FLYTE2, Buffer.concat([handle, Buffer.from('x')]), { connection: {} });
  await flyte.async(FLYTE2, 'GetTask', unseen);
  for (const { connection } of flyte.tasks.hints) assert.equal(connection, undefined);
});

test('the same task is answered in both protocols and each from its own encoding', async (t) => {
  const flyte = await startFlyte(t);
  const { bytes } = await flyte.async(FLYTE1, 'CreateTask', createRequest(FLYTE1));
  const handle = decode(FLYTE1, 'CreateTaskResponse', bytes).resourceMeta;
  for (const protocol of [FLYTE1, FLYTE2, FLYTE1]) {
    const answer = await flyte.async(protocol, 'GetTask', getRequest(protocol, handle));
    assert.equal(decode(protocol, 'GetTaskResponse', answer.bytes).resource.phase, 'QUEUED');
  }
});
