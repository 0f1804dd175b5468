import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { lenField } from '../../src/idl/wire.js';
import { attemptKeyOf } from '../../src/model/attempt-key.js';
import { encodeHandle, partitionOf, partitionOfHandle } from '../../src/model/handle.js';
import { partitionOfAttempt } from '../../src/model/partition.js';
import { createFlyteServices } from '../../src/rpc/flyte/services.js';
import type { RpcMethodHandler } from '../../src/rpc/methods.js';
import { createNativeService, NATIVE_BOUNDS } from '../../src/rpc/native/service.js';
import type { TaskSpec, Tasks } from '../../src/tasks/types.js';
import { DEFAULT_FIELD_LIMITS } from '../support/defaults.js';
import { identityOf } from '../support/identity.js';
import { FLYTE1, FLYTE2, mapField, type Protocol } from './flyte/support.js';
import { idl } from './support.js';

class Seen extends Error {
  readonly partition: number;

  constructor(partition: number) {
    super('seen');
    this.partition = partition;
  }
}

/** Use cases that say by which partition they would work. */
const handled = (handle: Buffer): never => {
  throw new Seen(partitionOfHandle(handle));
};
const begun = ({ attempt, node }: TaskSpec): never => {
  throw new Seen(partitionOfAttempt(attempt, node));
};
const tasks = {
  create: begun,
  do: begun,
  peek: () => undefined,
  status: handled,
  get: handled,
  delete: handled,
  adoptForeign: handled,
  getLogs: handled,
  getMetrics: handled,
  watch: () => assert.fail('not asked'),
  listPlugins: () => [],
  remoteDown: () => false,
} as unknown as Tasks;

const limits = DEFAULT_FIELD_LIMITS;
const services = [
  createNativeService({ tasks, idl, limits, ...NATIVE_BOUNDS }),
  ...createFlyteServices({ tasks, limits, flyteidl: FLYTE1.idl, flyteidl2: FLYTE2.idl, maxStalenessMs: 0 }),
];

function handlerOf(service: string, method: string): RpcMethodHandler {
  const handler = services.find(({ name }) => name === service)?.handlers[method];
  assert.ok(handler !== undefined, `${service}/${method}`);
  return handler;
}

/** The partition that the use case works by; undefined where the request does not come that far. */
async function workedBy(handler: RpcMethodHandler, request: Buffer): Promise<number | undefined> {
  const call = { leftMs: 1_000, onUndelivered() {} };
  const messages = async function* () {
    yield request;
    yield lenField(2, Buffer.alloc(0));
  };
  const stream = { call, messages };
  try {
    await handler.handle(
      ...([...(handler.kind === 'bidi' ? [] : [request]), handler.kind === 'unary' ? call : stream] as unknown as [
        never,
        never,
      ]),
    );
  } catch (thrown) {
    return thrown instanceof Seen ? thrown.partition : undefined;
  }
  return undefined;
}

function saidOf({ partition }: RpcMethodHandler, request: Buffer): number | undefined {
  try {
    return partition?.(request);
  } catch {
    return undefined;
  }
}

const text = fc.oneof(
  fc.string({ maxLength: 12 }),
  fc.string({ unit: 'grapheme', maxLength: 6 }),
  fc.constantFrom('', 'a/b/', 's3://b/x/0'),
);
const bytes = (maxLength: number) => fc.uint8Array({ maxLength }).map((value) => Buffer.from(value));

const handles = fc.oneof(
  bytes(60),
  bytes(60).map((rest) => Buffer.concat([Buffer.from('wph2'), rest])),
  bytes(60).map((rest) => Buffer.concat([Buffer.from('wph1'), rest])),
  fc.record({ name: text, partition: fc.nat(255) }).map(({ name, partition }) =>
    encodeHandle({
      identity: identityOf(attemptKeyOf({ name, executionId: '' })),
      meta: Buffer.from('m'),
      partition,
    }),
  ),
);

const executionId = fc.record(
  {
    taskId: fc.record({ project: text, name: text, version: text }, { requiredKeys: [] }),
    nodeExecutionId: fc.record(
      { nodeId: text, executionId: fc.record({ project: text, domain: text, name: text }, { requiredKeys: [] }) },
      { requiredKeys: [] },
    ),
    retryAttempt: fc.nat(5),
  },
  { requiredKeys: [] },
);

const metadata = (protocol: Protocol) =>
  fc.record(
    {
      taskExecutionId: executionId,
      namespace: text,
      labels: fc
        .dictionary(fc.string({ minLength: 1, maxLength: 4 }), text, { maxKeys: 3 })
        .map((of) => mapField(protocol, of)),
      maxAttempts: fc.integer({ min: -2, max: 9 }),
      interruptible: fc.boolean(),
    },
    { requiredKeys: [] },
  );

const connection = (protocol?: Protocol) =>
  fc.constantFrom({}, { secrets: protocol === undefined ? { a: 'b' } : mapField(protocol, { a: 'b' }) });

/** Of a message type, what may stand in it. */
function messages(
  protocol: Protocol,
  name: string,
  fields: Record<string, fc.Arbitrary<unknown>>,
): fc.Arbitrary<Buffer> {
  const codec = protocol.idl.codec(name);
  return fc.record(fields, { requiredKeys: [] }).map((message) => codec.encode(message));
}

const templates = (protocol: Protocol) =>
  fc.constant(protocol.idl.codec(`${protocol.core}.TaskTemplate`).encode({ type: 'demo', taskTypeVersion: 1 }));

const literals = fc.constantFrom(Buffer.alloc(0), lenField(1, lenField(1, 'x')));

function beginnings(protocol: Protocol): fc.Arbitrary<Buffer> {
  return messages(protocol, `${protocol.messages}.CreateTaskRequest`, {
    template: templates(protocol),
    inputs: literals,
    outputPrefix: text,
    taskExecutionMetadata: metadata(protocol),
    ...(protocol.version === 2 && { connection: connection(protocol) }),
  });
}

const specs = messages(FLYTE1, 'pluginhost.v1.TaskSpec', {
  generatedName: text,
  template: templates(FLYTE1),
  inputs: literals,
  inputPrefix: text,
  outputPrefix: text,
  metadata: metadata(FLYTE1),
  maxDatasetSizeBytes: fc.integer({ min: -1, max: 2 ** 40 }),
  connection: connection(),
});

/** Requests of each method as encoders write them. */
const REQUESTS: readonly (readonly [service: string, method: string, requests: fc.Arbitrary<Buffer>])[] = [
  ...['Create', 'Do'].map(
    (method) => ['pluginhost.v1.PluginHost', method, specs.map((spec) => lenField(1, spec))] as const,
  ),
  ...['Status', 'Get'].map((method) => {
    const fields = { handle: handles, outputPrefix: text, connection: connection() };
    return ['pluginhost.v1.PluginHost', method, messages(FLYTE1, `pluginhost.v1.${method}Request`, fields)] as const;
  }),
  [
    'pluginhost.v1.PluginHost',
    'Delete',
    messages(FLYTE1, 'pluginhost.v1.DeleteRequest', { handle: handles, reason: text, connection: connection() }),
  ],
  ...[FLYTE1, FLYTE2].flatMap((protocol) => {
    const about = {
      resourceMeta: handles,
      taskCategory: fc.record({ name: text, version: fc.integer({ min: -1, max: 3 }) }),
      ...(protocol.version === 1 && { taskType: text }),
    };
    const connected = { ...about, ...(protocol.version === 2 && { connection: connection(protocol) }) };
    const time = fc.record({ seconds: fc.integer({ min: -5, max: 1e6 }), nanos: fc.nat(9) });
    const of = (name: string, fields: Record<string, fc.Arbitrary<unknown>>) =>
      [protocol.asyncService, name, messages(protocol, `${protocol.messages}.${name}Request`, fields)] as const;
    return [
      [protocol.asyncService, 'CreateTask', beginnings(protocol)] as const,
      of('GetTask', { ...connected, outputPrefix: text }),
      of('DeleteTask', connected),
      of('GetTaskMetrics', { ...about, queries: fc.array(text, { maxLength: 3 }), startTime: time, endTime: time }),
      of('GetTaskLogs', { ...about, lines: fc.nat(99), token: text }),
    ];
  }),
  [
    'flyteidl.service.SyncAgentService',
    'ExecuteTaskSync',
    messages(FLYTE1, 'flyteidl.admin.CreateRequestHeader', {
      template: templates(FLYTE1),
      outputPrefix: text,
      taskExecutionMetadata: metadata(FLYTE1),
      maxDatasetSizeBytes: fc.integer({ min: -1, max: 2 ** 40 }),
    }).map((header) => lenField(1, header)),
  ],
];

/** What may be wrong, or only odd, about bytes that were a request. */
const harm = fc.array(
  fc.record({
    kind: fc.constantFrom('set', 'set', 'cut', 'append', 'insert', 'twice'),
    at: fc.nat(),
    value: fc.nat(255),
    more: bytes(12),
  }),
  { maxLength: 3 },
);

function harmed(
  request: Buffer,
  other: Buffer,
  harms: readonly { kind: string; at: number; value: number; more: Buffer }[],
): Buffer {
  let bytes = Buffer.from(request);
  for (const { kind, at, value, more } of harms) {
    const place = bytes.length === 0 ? 0 : at % bytes.length;
    if (kind === 'set' && bytes.length > 0) bytes[place] = value;
    if (kind === 'cut') bytes = bytes.subarray(0, place);
    if (kind === 'append') bytes = Buffer.concat([bytes, more]);
    if (kind === 'insert') bytes = Buffer.concat([bytes.subarray(0, place), more, bytes.subarray(place)]);
    // Fields that come twice: the last counts, and messages are merged.
    if (kind === 'twice') bytes = Buffer.concat([bytes, other]);
  }
  return bytes;
}

for (const [service, method, requests] of REQUESTS) {
  test(`the partition that a request of ${service}/${method} is said to be about is that of its use case, also of odd bytes`, async () => {
    const handler = handlerOf(service, method);
    let worked = 0;
    const whole = fc.asyncProperty(requests, async (request) => {
      const partition = await workedBy(handler, request);
      if (partition === undefined) return;
      worked += 1;
      assert.equal(saidOf(handler, request), partition);
    });
    await fc.assert(whole, { numRuns: 300 });
    assert.ok(worked > 20, `only ${worked} came to a use case`);
    const odd = fc.asyncProperty(requests, requests, harm, async (request, other, harms) => {
      const bytes = harmed(request, other, harms);
      const partition = await workedBy(handler, bytes);
      if (partition !== undefined) assert.equal(saidOf(handler, bytes), partition);
    });
    await fc.assert(odd, { numRuns: 1500 });
  });
}

test('every method about a task says of which partition it is, and no other does', () => {
  const covered = new Set(REQUESTS.map(([service, method]) => `${service}/${method}`));
  for (const { name, handlers } of services) {
    for (const [method, { partition }] of Object.entries(handlers)) {
      assert.equal(partition !== undefined, covered.has(`${name}/${method}`), `${name}/${method}`);
    }
  }
});

test('what says the partition is found without what stands around it', () => {
  const wrong = Buffer.from([0x0f]);
  const status = Buffer.concat([lenField(1, 'handle'), lenField(3, wrong)]);
  assert.equal(
    saidOf(handlerOf('pluginhost.v1.PluginHost', 'Status'), status),
    partitionOfHandle(Buffer.from('handle')),
  );
  const spec = Buffer.concat([lenField(1, 'name'), lenField(2, wrong), lenField(8, wrong)]);
  const expected = partitionOf(attemptKeyOf({ name: 'name', executionId: '' }));
  assert.equal(saidOf(handlerOf('pluginhost.v1.PluginHost', 'Create'), lenField(1, spec)), expected);
});
