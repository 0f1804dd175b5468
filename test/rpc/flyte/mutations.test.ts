import assert from 'node:assert/strict';
import { test } from 'node:test';
import { status } from '@grpc/grpc-js';
import fc from 'fast-check';
import { peekResourceMeta } from '../../../src/rpc/flyte/request-fields.js';
import {
  createRequest,
  decode,
  duplex,
  encode,
  executionMetadata,
  FLYTE1,
  PROTOCOLS,
  type Protocol,
  serverStream,
  startFlyte,
  template,
} from './support.js';

/** Bytes with one thing wrong: cut, a byte changed, a piece taken out, put in or doubled. */
function mutations(valid: Buffer): fc.Arbitrary<Buffer> {
  const at = fc.nat({ max: valid.length });
  return fc.oneof(
    at.map((end) => valid.subarray(0, end)),
    fc.tuple(at, fc.nat({ max: 255 })).map(([index, byte]) => {
      const changed = Buffer.from(valid);
      if (index < changed.length) changed[index] = byte;
      return changed;
    }),
    fc.tuple(at, at).map(([one, two]) => {
      const [from, to] = [Math.min(one, two), Math.max(one, two)];
      return Buffer.concat([valid.subarray(0, from), valid.subarray(to)]);
    }),
    fc
      .tuple(at, fc.uint8Array({ maxLength: 12 }))
      .map(([index, bytes]) => Buffer.concat([valid.subarray(0, index), bytes, valid.subarray(index)])),
    fc.constant(Buffer.concat([valid, valid])),
  );
}

const PROPER: ReadonlySet<number | undefined> = new Set([undefined, status.INVALID_ARGUMENT, status.NOT_FOUND]);

const SYNC = '/flyteidl.service.SyncAgentService/ExecuteTaskSync';
const SYNC_INPUTS = encode(FLYTE1, 'ExecuteTaskSyncRequest', { inputs: {} });

const syncHeader = () =>
  encode(FLYTE1, 'ExecuteTaskSyncRequest', {
    header: {
      template: template(FLYTE1),
      outputPrefix: 's3://b/e1/n0/data/0',
      taskExecutionMetadata: executionMetadata(FLYTE1),
    },
  });

async function requests(protocol: Protocol, resourceMeta: Buffer): Promise<Record<string, Buffer>> {
  const about = { resourceMeta, taskCategory: { name: 'demo', version: 1 } };
  return {
    CreateTask: createRequest(protocol, {
      inputs: Buffer.from('0a070a0178120292060112', 'hex').subarray(0, 9),
      taskExecutionMetadata: executionMetadata(protocol, 3),
    }),
    GetTask: encode(protocol, 'GetTaskRequest', { ...about, outputPrefix: 's3://b/o' }),
    DeleteTask: encode(protocol, 'DeleteTaskRequest', about),
    GetTaskLogs: encode(protocol, 'GetTaskLogsRequest', { ...about, lines: 10, token: 't' }),
    ...(protocol.version === 1 ? { ExecuteTaskSync: syncHeader() } : {}),
    GetTaskMetrics: encode(protocol, 'GetTaskMetricsRequest', {
      ...about,
      queries: ['cpu'],
      startTime: { seconds: 1 },
    }),
  };
}

for (const protocol of PROTOCOLS) {
  test(`Flyte ${protocol.version}: 1,000 mutations of valid messages each get a proper status, and leave no harm`, async (t) => {
    const flyte = await startFlyte(t);
    const resourceMeta = await flyte.created(protocol);
    const valid = await requests(protocol, resourceMeta);
    const methods = Object.keys(valid);
    const client = flyte.raw();
    const send = async (method: string, bytes: Buffer) => {
      if (method === 'GetTaskLogs') return serverStream(client, `/${protocol.asyncService}/${method}`, bytes);
      if (method === 'ExecuteTaskSync') return duplex(client, SYNC, [bytes, SYNC_INPUTS]);
      const { error } = await flyte.async(protocol, method, bytes);
      return { code: error?.code, details: error?.details };
    };
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...methods).chain((method) => fc.tuple(fc.constant(method), mutations(valid[method]!))),
        async ([method, bytes]) => {
          const { code, details } = await send(method, bytes);
          assert.ok(PROPER.has(code), `${method}: ${code} ${details}`);
        },
      ),
      { numRuns: 1000 },
    );
    assert.deepEqual(flyte.faults, []);
    const { error, bytes } = await flyte.async(protocol, 'GetTask', valid.GetTask!);
    assert.equal(error, undefined);
    assert.equal(decode(protocol, 'GetTaskResponse', bytes).resource.phase, 'QUEUED');
  });

  test(`Flyte ${protocol.version}: a truncated or altered handle of ours is INVALID_ARGUMENT`, async (t) => {
    const flyte = await startFlyte(t);
    const handle = await flyte.created(protocol);
    const altered = Buffer.from(handle);
    altered[altered.length - 1]! ^= 1;
    for (const resourceMeta of [handle.subarray(0, 20), altered, Buffer.from('wph9abcdefghijk')]) {
      const request = encode(protocol, 'GetTaskRequest', { resourceMeta });
      assert.equal((await flyte.async(protocol, 'GetTask', request)).error?.code, status.INVALID_ARGUMENT);
    }
  });
}

test('an enum value that no descriptor knows does not disturb', async (t) => {
  const flyte = await startFlyte(t);
  // TaskTemplate.id.resource_type = 99.
  const unknown = Buffer.concat([template(FLYTE1), Buffer.from([0x0a, 2, 0x08, 99])]);
  const { error } = await flyte.async(FLYTE1, 'CreateTask', createRequest(FLYTE1, { template: unknown }));
  assert.equal(error, undefined);
});

test('the short way to the resource meta finds what the codec finds, or nothing', () => {
  const codec = FLYTE1.idl.codec('flyteidl.admin.GetTaskRequest');
  const request = fc.record({
    taskType: fc.string({ maxLength: 200 }),
    resourceMeta: fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes)),
    taskCategory: fc.option(fc.record({ name: fc.string(), version: fc.nat() }), { nil: undefined }),
    outputPrefix: fc.string({ maxLength: 300 }),
  });
  fc.assert(
    fc.property(request, (message) => {
      const found = peekResourceMeta(codec.encode(message));
      if (message.resourceMeta.length === 0) assert.equal(found, undefined);
      else assert.deepEqual(found, message.resourceMeta);
    }),
  );
  fc.assert(
    fc.property(
      request.chain((message) => mutations(codec.encode(message))),
      (bytes) => {
        const found = peekResourceMeta(bytes);
        if (found === undefined) return;
        let decoded: { resourceMeta: Buffer };
        try {
          decoded = codec.decode(bytes) as never;
        } catch {
          return;
        }
        assert.deepEqual(found, decoded.resourceMeta);
      },
    ),
    { numRuns: 2000 },
  );
});
