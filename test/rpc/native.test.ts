import assert from 'node:assert/strict';
import { test } from 'node:test';
import { status } from '@grpc/grpc-js';
import { HostError } from '../../src/errors/index.js';
import { decodeRpcStatus } from '../../src/idl/rpc-status.js';
import { DEFAULT_PLUGIN_CONFIG } from '../../src/model/options/plugin.js';
import { phaseState } from '../../src/model/phase-state.js';
import { statusOf } from '../../src/rpc/status.js';
import { NOW } from './fake-tasks.js';
import { createRequest, idl, startServer, template } from './support.js';

const codec = (name: string) => idl.codec(`pluginhost.v1.${name}`);

test('Create hands template and inputs on as the bytes they came as, and answers handle and status', async (t) => {
  const { tasks, call } = await startServer(t);
  // Field 99 of the template is known to no descriptor here.
  const unknown = Buffer.concat([
    template({ interface: { outputs: { variables: { b: {}, a: {} } } } }),
    Buffer.from([0x9a, 0x06, 1, 7]),
  ]);
  const inputs = idl.codec('flyteidl.core.LiteralMap').encodeJson({
    literals: { x: { scalar: { primitive: { integer: '7' } } } },
  });
  const { error, bytes } = await call(
    'Create',
    createRequest({
      template: unknown,
      inputs,
      outputPrefix: 's3://b/o',
      maxDatasetSizeBytes: 5,
      inputPrefix: 's3://b/i',
    }),
  );
  assert.equal(error, undefined);
  const [spec] = tasks.specs;
  assert.deepEqual(spec!.template, unknown);
  assert.deepEqual(spec!.inputs, inputs);
  assert.deepEqual(spec!.attempt, { name: 'attempt-1', executionId: '' });
  assert.equal(spec!.node, undefined);
  assert.deepEqual(
    [spec!.taskType, spec!.taskTypeVersion, spec!.outputPrefix, spec!.inputPrefix, spec!.maxDatasetSizeBytes],
    ['demo', 1, 's3://b/o', 's3://b/i', 5],
  );
  assert.deepEqual(spec!.outputNames, ['b', 'a']);
  const answer = codec('CreateResponse').decode(bytes);
  assert.ok(tasks.records.has(answer.handle.toString('latin1')));
  assert.equal(answer.status.phaseInfo.phase, 'QUEUED');
  assert.equal(answer.status.phaseInfo.reason, 'submitted');
  assert.equal(answer.status.observedAt, null);
});

test('without a generated name the attempt is the output prefix with the execution id, and the node is known', async (t) => {
  const { tasks, call } = await startServer(t);
  const metadata = {
    namespace: 'ns',
    labels: { team: 'ml' },
    k8sServiceAccount: 'robot',
    taskExecutionId: {
      taskId: { project: 'p', domain: 'd', name: 't', version: 'v' },
      nodeExecutionId: { nodeId: 'n0', executionId: { project: 'p', domain: 'd', name: 'e1' } },
      retryAttempt: 2,
    },
  };
  const send = (outputPrefix: string, retryAttempt: number) =>
    call(
      'Create',
      createRequest({
        generatedName: '',
        outputPrefix,
        metadata: { ...metadata, taskExecutionId: { ...metadata.taskExecutionId, retryAttempt } },
      }),
    );
  for (const [prefix, attempt] of [
    ['s3://b/e1/n0/data/0', 0],
    ['s3://b/e1/n0/data/1', 1],
    ['s3://b/e1/other/data/0', 0],
  ] as const) {
    assert.equal((await send(prefix, attempt)).error, undefined);
  }
  const [first, second, twin] = tasks.specs;
  assert.equal(first!.attempt.name, 's3://b/e1/n0/data/0');
  assert.notEqual(first!.attempt.executionId, second!.attempt.executionId);
  assert.equal(first!.attempt.executionId, twin!.attempt.executionId);
  assert.equal(first!.node!.nodeKey, second!.node!.nodeKey);
  assert.notEqual(first!.node!.nodeKey, twin!.node!.nodeKey);
  assert.deepEqual([first!.node!.attempt, second!.node!.attempt], [0, 1]);
  assert.match(first!.metadata.generatedName, /^[0-9a-f]{32}$/);
  assert.equal(first!.metadata.taskExecutionId.execution, 'e1');
  assert.deepEqual([first!.metadata.namespace, first!.metadata.serviceAccount], ['ns', 'robot']);
  assert.deepEqual({ ...first!.metadata.labels }, { team: 'ml' });
});

test('Status answers cached bytes, encodes again after a change, and adds that the remote is down', async (t) => {
  const { tasks, client, call } = await startServer(t);
  const native = client();
  const { handle } = await native.create({ generatedName: 'a', template: { type: 'demo' } });
  const record = tasks.peek(handle)!;
  record.state = phaseState('RUNNING', {
    reason: 'on node 3',
    logs: [{ uri: 'http://l', name: 'log', messageFormat: 'JSON', ttlMs: 1500 }],
    customInfo: { a: [1, 'x', null, { b: true }] },
    externalResources: [{ externalId: 'e', index: 2, phase: 'SUCCESS', retryAttempt: 1 }],
    remotePhase: 'R',
  });
  record.phaseVersion = 4;
  record.observedAtMs = NOW;
  record.consecutiveFailures = 2;
  record.lastFailure = { message: 'refused', code: 'PLUGIN_THREW_TRANSIENT' };
  record.revision += 1;
  const first = await native.status(handle);
  assert.deepEqual(first, {
    phaseInfo: {
      phase: 'RUNNING',
      version: 4,
      reason: 'on node 3',
      error: undefined,
      logs: [
        {
          uri: 'http://l',
          name: 'log',
          messageFormat: 'JSON',
          ttlMs: 1500,
          showWhilePending: false,
          hideOnceFinished: false,
        },
      ],
      customInfo: { a: [1, 'x', null, { b: true }] },
      externalResources: [
        { externalId: 'e', index: 2, retryAttempt: 1, phase: 'SUCCESS', logs: [], customInfo: undefined },
      ],
      outputs: { kind: 'none' },
      remotePhase: 'R',
    },
    observedAtMs: NOW,
    consecutiveFailures: 2,
    lastError: 'refused',
    lastErrorCode: 'PLUGIN_THREW_TRANSIENT',
    remoteDown: false,
  });
  const request = codec('StatusRequest').encode({ handle, outputPrefix: 's3://b/o' });
  const { bytes: before } = await call('Status', request);
  tasks.down.add('demo');
  assert.deepEqual(await native.status(handle), { ...first, remoteDown: true });
  tasks.down.delete('demo');
  assert.deepEqual(
    (await call('Status', request)).bytes,
    before,
    'that the remote is down is not kept with the answer',
  );
  tasks.down.add('demo');
  // A connection beside the handle reaches the task, whose secrets it renews, and the answer is the same.
  tasks.hints.length = 0;
  assert.deepEqual(await native.status(handle, { connection: { secrets: { s: '1' } } }), {
    ...first,
    remoteDown: true,
  });
  assert.deepEqual(tasks.hints, [{ outputPrefix: '', connection: { secrets: { s: '1' }, configs: {} } }]);
});

test('outputs are inline, at the prefix, or none, and an empty map is not unset', async (t) => {
  const { tasks, client } = await startServer(t);
  const native = client();
  const { handle } = await native.create({ generatedName: 'a', template: { type: 'demo' } });
  const record = tasks.peek(handle)!;
  const literalMap = idl
    .codec('flyteidl.core.LiteralMap')
    .encodeJson({ literals: { o: { scalar: { noneType: {} } } } });
  for (const outputs of [
    { kind: 'none' },
    { kind: 'prefix' },
    { kind: 'inline', literalMap, names: ['o'] },
    { kind: 'inline', literalMap: Buffer.alloc(0), names: [] },
  ] as const) {
    record.state = phaseState('SUCCESS', { outputs });
    record.revision += 1;
    assert.deepEqual((await native.status(handle)).phaseInfo.outputs, outputs);
  }
});

test('a phase that must never be answered is an INTERNAL error, not a zero on the wire', async (t) => {
  const { tasks, client } = await startServer(t);
  const native = client();
  const { handle } = await native.create({ generatedName: 'a', template: { type: 'demo' } });
  const record = tasks.peek(handle)!;
  for (const state of [
    phaseState('UNDEFINED'),
    phaseState('SUCCEEDED' as 'SUCCESS'),
    phaseState('RUNNING', { error: { code: 'x', message: 'y', kind: 'NOBODY' as 'USER' } }),
  ]) {
    record.state = state;
    record.revision += 1;
    await assert.rejects(native.status(handle), { status: 'INTERNAL', code: 'ENCODE_INVALID' });
  }
});

test('Get, Delete and Do translate their fields, and hints reach the use cases', async (t) => {
  const { tasks, client } = await startServer(t);
  const native = client();
  const { handle } = await native.create({ generatedName: 'a', template: { type: 'demo' } });
  const read = await native.get(handle, { outputPrefix: 's3://b/o', connection: { configs: { k: 'v' } } });
  assert.equal(read.phaseInfo.phase, 'QUEUED');
  assert.equal(tasks.hints[0]!.outputPrefix, 's3://b/o');
  assert.deepEqual({ ...tasks.hints[0]!.connection!.configs }, { k: 'v' });
  await native.delete(handle, { reason: 'aborted by user' });
  assert.deepEqual(tasks.deletes[0], {
    handle,
    reason: 'aborted by user',
    hints: { outputPrefix: '', connection: undefined },
  });
  tasks.doState = phaseState('PERMANENT_FAILURE', { error: { code: 'Bad', message: 'no', kind: 'USER' }, version: 3 });
  const done = await native.do({ generatedName: 'b', template: { type: 'demo' } });
  assert.deepEqual(
    [done.phase, done.error, done.version],
    ['PERMANENT_FAILURE', { code: 'Bad', message: 'no', kind: 'USER' }, 3],
  );
});

test('ListPlugins answers every field of the reports', async (t) => {
  const { tasks, client } = await startServer(t);
  tasks.reports = [
    {
      id: 'demo',
      version: '1.2.3',
      kind: 'async',
      taskTypes: [{ name: 'demo', versions: [0, 2] }],
      isDefault: true,
      state: 'PAUSED',
      stateReason: 'by an operator',
      stateCode: 'PLUGIN_PAUSED',
      source: './plugins/demo',
      config: { ...DEFAULT_PLUGIN_CONFIG, resourceQuotas: { gpu: 4 }, readRateLimiter: { qps: 0.5, burst: 2 } },
      quotas: [{ namespace: 'gpu', total: 4, used: 5, waiting: 1 }],
      liveTasks: 7,
      waitingTasks: 8,
      pid: 99,
      restarts: 1,
      rssBytes: 2 ** 33,
      environment: ['HOME'],
    },
    {
      id: 'broken',
      version: '',
      kind: undefined,
      taskTypes: [],
      isDefault: false,
      state: 'FAILED',
      stateReason: 'threw',
      stateCode: 'PLUGIN_IMPORT_FAILED',
      source: 'broken',
      config: undefined,
      quotas: [],
      liveTasks: 0,
      waitingTasks: 0,
      pid: 0,
      restarts: 0,
      rssBytes: 0,
      environment: [],
    },
  ];
  const [demo, broken] = await client().listPlugins();
  const { config, ...rest } = tasks.reports[0]!;
  const { config: limits, ...seen } = demo!;
  assert.deepEqual(seen, rest);
  assert.deepEqual(
    { ...limits, resourceQuotas: { ...limits!.resourceQuotas } },
    {
      resourceQuotas: { gpu: 4 },
      readRateLimiter: { qps: 0.5, burst: 2 },
      writeRateLimiter: { qps: 20, burst: 200 },
      cacheSize: 100_000,
      resyncIntervalMs: config!.caching.resyncIntervalMs,
      workers: 10,
      maxSystemFailures: 5,
    },
  );
  assert.deepEqual([broken!.state, broken!.kind, broken!.config], ['FAILED', undefined, undefined]);
});

test('an error carries its code, facts, delay and field, and a plain throw tells nothing of itself', async (t) => {
  const { tasks, call, faults } = await startServer(t);
  tasks.before = () => {
    throw new HostError('STORE_FULL', 'the store holds 5 tasks', { retryAfterMs: 2500, details: { held: '5' } });
  };
  const full = await call('Create', createRequest());
  assert.equal(full.error!.code, status.RESOURCE_EXHAUSTED);
  assert.deepEqual(full.details, {
    code: status.RESOURCE_EXHAUSTED,
    message: 'the store holds 5 tasks',
    errorInfo: { reason: 'STORE_FULL', domain: 'pluginhost', metadata: { held: '5' } },
    retryAfterMs: 2500,
    violations: [],
  });
  tasks.before = () => {
    throw new Error('password is hunter2');
  };
  const fault = await call('Create', createRequest());
  assert.equal(fault.error!.code, status.INTERNAL);
  assert.equal(fault.details!.errorInfo!.reason, 'INTERNAL');
  assert.ok(!JSON.stringify([fault.error, fault.details]).includes('hunter2'));
  assert.match(String((faults[0] as { error: Error }).error.message), /hunter2/);
});

test('a message that no header can carry is made one, and a long one is cut', async (t) => {
  const { tasks, call } = await startServer(t);
  tasks.before = () => {
    throw new HostError('TASK_UNKNOWN', `half \ud83d pair, ünï\nline ${'x'.repeat(100_000)}`);
  };
  const { error, details } = await call('Create', createRequest());
  assert.equal(error!.code, status.NOT_FOUND);
  assert.match(details!.message, /^half \ufffd pair, ünï\nline x+…$/);
  assert.ok(details!.message.length < 2000);
});

test('the trailers of an error stay within 8 KiB whatever it says', () => {
  for (const unit of ['x', '"', 'ü', '漢', '😀', '\ud83d']) {
    const long = unit.repeat(20_000);
    const facts = Array.from({ length: 20 }, (_, i) => [`${i}${long}`, long]);
    const error = new HostError('STORE_FULL', long, {
      details: { field: long, ...Object.fromEntries(facts) },
      retryAfterMs: 3_600_000,
    });
    const { details, metadata } = statusOf(error);
    const [bin] = metadata.get('grpc-status-details-bin') as [Buffer];
    const size = encodeURI(details).length + bin.toString('base64').length + 200;
    assert.ok(size < 8192, `${JSON.stringify(unit)}: ${size} bytes`);
    assert.equal(decodeRpcStatus(bin).errorInfo?.reason, 'STORE_FULL');
  }
});
