import assert from 'node:assert/strict';
import { test } from 'node:test';
import { status } from '@grpc/grpc-js';
import { HostError } from '../../../src/errors/index.js';
import { phaseState } from '../../../src/model/phase-state.js';
import { decode, duplex, encode, executionMetadata, FLYTE1, startFlyte, template } from './support.js';

const PATH = '/flyteidl.service.SyncAgentService/ExecuteTaskSync';

const header = encode(FLYTE1, 'ExecuteTaskSyncRequest', {
  header: {
    template: template(FLYTE1),
    outputPrefix: 's3://b/e1/n0/data/0',
    taskExecutionMetadata: executionMetadata(FLYTE1),
    maxDatasetSizeBytes: 7,
  },
});
const inputs = encode(FLYTE1, 'ExecuteTaskSyncRequest', { inputs: {} });

test('header, then inputs: the task is done and answered in one header', async (t) => {
  const flyte = await startFlyte(t);
  flyte.tasks.doState = phaseState('PERMANENT_FAILURE', { error: { code: 'Bad', message: 'no', kind: 'USER' } });
  const { messages, code } = await duplex(flyte.raw(), PATH, [header, inputs]);
  assert.equal(code, undefined);
  assert.equal(messages.length, 1);
  const { resource } = decode(FLYTE1, 'ExecuteTaskSyncResponse', messages[0]!).header;
  assert.deepEqual([resource.phase, resource.message], ['FAILED', 'Bad (USER): no']);
  assert.deepEqual(resource.agentError, { code: 'Bad', kind: 'NON_RECOVERABLE', origin: 'USER' });
  const [spec] = flyte.tasks.specs;
  assert.deepEqual([spec!.taskType, spec!.maxDatasetSizeBytes, spec!.inputs], ['demo', 7, Buffer.alloc(0)]);
});

test('an engine that leaves its side open is answered all the same', async (t) => {
  const flyte = await startFlyte(t);
  const { messages, code } = await duplex(flyte.raw(), PATH, [header, inputs], false);
  assert.deepEqual([messages.length, code], [1, undefined]);
});

test('a wrong order, a missing part and bytes that are nothing are INVALID_ARGUMENT, and nothing is done', async (t) => {
  const flyte = await startFlyte(t);
  const client = flyte.raw();
  for (const [requests, field] of [
    [[inputs, header], 'header'],
    [[header, header], 'inputs'],
    [[header], 'inputs'],
    [[], 'header'],
    [[Buffer.alloc(0), inputs], 'header'],
    [[header, Buffer.alloc(0)], 'inputs'],
    [[encode(FLYTE1, 'ExecuteTaskSyncRequest', { header: {} }), inputs], 'template'],
    [[Buffer.from([0xff, 0xff]), inputs], ''],
  ] as const) {
    const { code, details, messages } = await duplex(client, PATH, requests);
    assert.equal(code, status.INVALID_ARGUMENT, field);
    assert.ok(details.startsWith(field), details);
    assert.equal(messages.length, 0);
  }
  assert.equal(flyte.tasks.specs.length, 0);
  assert.deepEqual(flyte.faults, []);
});

test('what the use case refuses is the status of the call', async (t) => {
  const flyte = await startFlyte(t);
  flyte.tasks.before = () => {
    throw new HostError('TASK_TYPE_UNKNOWN', 'nobody serves it');
  };
  const { code } = await duplex(flyte.raw(), PATH, [header, inputs]);
  assert.equal(code, status.NOT_FOUND);
});
