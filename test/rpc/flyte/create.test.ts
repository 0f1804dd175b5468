import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ServiceError, status } from '@grpc/grpc-js';
import { HostError } from '../../../src/errors/index.js';
import { createDeferred } from '../../../src/lib/deferred.js';
import { aborted } from '../../support/aborted.js';
import { createRequest, executionMetadata, FLYTE2, mapField, PROTOCOLS, startFlyte, template } from './support.js';

for (const protocol of PROTOCOLS) {
  const name = `Flyte ${protocol.version}`;

  test(`${name}: CreateTask hands template and inputs on as the bytes they came as`, async (t) => {
    const flyte = await startFlyte(t);
    // Field 99 of the template, and field 98 of a literal, are known to no descriptor here.
    const unknown = Buffer.concat([template(protocol), Buffer.from([0x9a, 0x06, 1, 7])]);
    const inputs = Buffer.from('0a0a0a01781205920602080112', 'hex').subarray(0, 12);
    await flyte.created(protocol, { template: unknown, inputs });
    const [spec] = flyte.tasks.specs;
    assert.deepEqual(spec!.template, unknown);
    assert.deepEqual(spec!.inputs, inputs);
    assert.deepEqual([spec!.taskType, spec!.taskTypeVersion, spec!.outputPrefix], ['demo', 1, 's3://b/e1/n0/data/0']);
  });

  test(`${name}: the attempt is the output prefix with the execution id, the node is known, labels arrive`, async (t) => {
    const flyte = await startFlyte(t);
    await flyte.created(protocol);
    await flyte.created(protocol, { outputPrefix: 's3://b/e1/other/data/0' });
    const [first, twin] = flyte.tasks.specs;
    assert.equal(first!.attempt.name, 's3://b/e1/n0/data/0');
    assert.equal(first!.attempt.executionId, twin!.attempt.executionId);
    assert.notEqual(first!.node!.nodeKey, twin!.node!.nodeKey);
    assert.deepEqual(first!.metadata.labels, { team: 'ml' });
    assert.deepEqual(first!.metadata.environmentVariables, { A: 'b' });
    assert.equal(first!.metadata.taskExecutionId.execution, 'e1');
    assert.equal(first!.metadata.serviceAccount, 'robot');
  });

  test(`${name}: a repeat of one attempt answers the same resource meta`, async (t) => {
    const flyte = await startFlyte(t);
    assert.deepEqual(await flyte.created(protocol), await flyte.created(protocol));
  });

  test(`${name}: declared outputs are read from the template, whichever way their map is encoded`, async (t) => {
    const flyte = await startFlyte(t);
    const variables =
      protocol.version === 1
        ? { b: {}, a: {} }
        : [
            { key: 'b', value: {} },
            { key: 'a', value: {} },
          ];
    await flyte.created(protocol, { template: template(protocol, { interface: { outputs: { variables } } }) });
    assert.deepEqual(flyte.tasks.specs[0]!.outputNames, ['b', 'a']);
  });

  test(`${name}: a missing template, type or output prefix is INVALID_ARGUMENT that names the field`, async (t) => {
    const flyte = await startFlyte(t);
    for (const [parts, field] of [
      [{ template: undefined }, 'template'],
      [{ template: template(protocol, { type: '' }) }, 'template.type'],
      [{ outputPrefix: '' }, 'output_prefix'],
    ] as const) {
      const { error } = await flyte.async(protocol, 'CreateTask', createRequest(protocol, parts));
      assert.equal(error?.code, status.INVALID_ARGUMENT, field);
      assert.ok(error?.details.startsWith(field), error?.details);
    }
    assert.equal(flyte.tasks.specs.length, 0);
  });

  test(`${name}: a namespace or project that no handle could carry is INVALID_ARGUMENT that names the field`, async (t) => {
    const flyte = await startFlyte(t);
    const metadata = executionMetadata(protocol);
    const executionId = { project: 'x'.repeat(100_000), domain: 'd', name: 'e' };
    for (const [parts, field] of [
      [{ namespace: 'x'.repeat(257) }, 'task_execution_metadata.namespace'],
      [
        { taskExecutionId: { nodeExecutionId: { executionId } } },
        'task_execution_metadata.task_execution_id.node_execution_id.execution_id.project',
      ],
    ] as const) {
      const request = createRequest(protocol, { taskExecutionMetadata: { ...metadata, ...parts } });
      const { error, details } = await flyte.async(protocol, 'CreateTask', request);
      assert.equal(error?.code, status.INVALID_ARGUMENT, field);
      assert.deepEqual([details?.errorInfo?.reason, details?.errorInfo?.metadata.field], ['REQUEST_TOO_LARGE', field]);
    }
    assert.equal(flyte.tasks.specs.length, 0);
  });

  test(`${name}: an unknown task type is NOT_FOUND, a full store RESOURCE_EXHAUSTED`, async (t) => {
    const flyte = await startFlyte(t);
    for (const [code, wanted] of [
      ['TASK_TYPE_UNKNOWN', status.NOT_FOUND],
      ['STORE_FULL', status.RESOURCE_EXHAUSTED],
    ] as const) {
      flyte.tasks.before = () => {
        throw new HostError(code, 'no');
      };
      const { error } = await flyte.async(protocol, 'CreateTask', createRequest(protocol));
      assert.equal(error?.code, wanted);
    }
  });

  test(`${name}: a create whose caller is gone is reported as undelivered`, async (t) => {
    const flyte = await startFlyte(t);
    const undelivered = new Promise<void>((resolve) => {
      flyte.tasks.onUndelivered = resolve;
    });
    const answered = createDeferred<ServiceError | null>();
    const call = flyte.raw().makeUnaryRequest(
      `/${protocol.asyncService}/CreateTask`,
      (bytes: Buffer) => bytes,
      (bytes: Buffer) => bytes,
      createRequest(protocol),
      (error) => answered.resolve(error),
    );
    // The caller goes once its call is being worked on, and the work goes on once the server knows.
    flyte.tasks.before = async (_method, { signal }) => {
      const gone = aborted(signal);
      call.cancel();
      await gone;
    };
    assert.equal((await answered.promise)?.code, status.CANCELLED);
    await undelivered;
    assert.equal(flyte.tasks.undeliveredCount, 1);
  });
}

test('Flyte 2: a Connection that is too large to be kept is INVALID_ARGUMENT', async (t) => {
  const flyte = await startFlyte(t);
  const connection = { secrets: mapField(FLYTE2, { token: 'x'.repeat(1 << 20) }) };
  const { error, details } = await flyte.async(FLYTE2, 'CreateTask', createRequest(FLYTE2, { connection }));
  assert.equal(error?.code, status.INVALID_ARGUMENT);
  assert.equal(details?.errorInfo?.metadata.field, 'connection');
  assert.ok(!error.details.includes('xxx'));
});

test("Flyte 2: a Connection's secrets and configs reach the use case", async (t) => {
  const flyte = await startFlyte(t);
  const connection = {
    taskType: 'demo',
    secrets: mapField(FLYTE2, { token: 's3cret' }),
    configs: mapField(FLYTE2, { region: 'eu' }),
  };
  await flyte.created(FLYTE2, { connection });
  assert.deepEqual(flyte.tasks.specs[0]!.connection, { secrets: { token: 's3cret' }, configs: { region: 'eu' } });
});
