import assert from 'node:assert/strict';
import { test } from 'node:test';
import { status } from '@grpc/grpc-js';
import fc from 'fast-check';
import { FIELD_BOUNDS } from '../../src/rpc/fields.js';
import { createRequest, idl, startServer, template } from './support.js';

const codec = (name: string) => idl.codec(`pluginhost.v1.${name}`);
const METHODS = ['Create', 'Status', 'Get', 'Delete', 'Do'] as const;

test('bytes that do not decode are INVALID_ARGUMENT with a code, in every method, and no use case is called', async (t) => {
  const { tasks, call, faults } = await startServer(t);
  for (const method of [...METHODS, 'ListPlugins']) {
    for (const bytes of ['0a05', '0aff', 'ffffffffffffffffffff01', '0b', '3c00']) {
      const { error, details } = await call(method, Buffer.from(bytes, 'hex'));
      assert.equal(error?.code, status.INVALID_ARGUMENT, `${method} ${bytes}`);
      assert.equal(details?.errorInfo?.reason, 'REQUEST_UNDECODABLE', `${method} ${bytes}`);
    }
  }
  // Well-formed outside, not inside: the template, and a text that is not UTF-8.
  for (const task of [{ template: Buffer.from('1205', 'hex') }, { template: Buffer.from('1202c328', 'hex') }]) {
    const { details } = await call('Create', createRequest(task));
    assert.equal(details?.errorInfo?.reason, 'REQUEST_UNDECODABLE');
  }
  const inputs = await call('Create', createRequest({ inputs: Buffer.from('0a30', 'hex') }));
  assert.equal(inputs.details?.errorInfo?.reason, 'REQUEST_UNDECODABLE');
  assert.deepEqual([tasks.specs, tasks.deletes, tasks.hints, faults], [[], [], [], []]);
});

test('a missing or impossible field is named, with what to do', async (t) => {
  const { tasks, call } = await startServer(t);
  const cases: [method: string, request: Buffer, field: string, message: RegExp][] = [
    ['Create', codec('CreateRequest').encode({}), 'task', /send the task/],
    ['Do', codec('DoRequest').encode({}), 'task', /send the task/],
    ['Create', codec('CreateRequest').encode({ task: {} }), 'task.template', /send the task template/],
    ['Create', createRequest({ template: template({ type: '' }) }), 'task.template.type', /selects the plugin/],
    ['Create', createRequest({ template: template({ taskTypeVersion: -1 }) }), 'task.template.task_type_version', /-1/],
    ['Create', createRequest({ generatedName: '' }), 'task.generated_name', /output_prefix together with/],
    [
      'Create',
      createRequest({ generatedName: '', outputPrefix: 's3://b/0' }),
      'task.generated_name',
      /nothing identifies/,
    ],
    ['Create', createRequest({ maxDatasetSizeBytes: -5 }), 'task.max_dataset_size_bytes', /-5 is negative/],
    ['Status', Buffer.alloc(0), 'handle', /that Create answered/],
    ['Get', Buffer.alloc(0), 'handle', /that Create answered/],
    ['Delete', codec('DeleteRequest').encode({ reason: 'x' }), 'handle', /that Create answered/],
  ];
  for (const [method, request, field, message] of cases) {
    const { error, details } = await call(method, request);
    assert.equal(error?.code, status.INVALID_ARGUMENT, field);
    assert.equal(details?.errorInfo?.reason, 'REQUEST_FIELD_INVALID');
    assert.equal(details?.violations[0]?.field, field);
    assert.match(details.message, message);
  }
  assert.deepEqual([tasks.specs, tasks.deletes], [[], []]);
});

test('a field beyond its bound is REQUEST_TOO_LARGE and says by how much', async (t) => {
  const { tasks, call } = await startServer(t);
  const long = 'x'.repeat(1 << 20);
  const custom = { fields: { a: { stringValue: long } } };
  const cases: [method: string, request: Buffer, field: string][] = [
    ['Create', createRequest({ template: template({ custom }) }), 'task.template.custom'],
    ['Create', createRequest({ template: template({ type: long }) }), 'task.template.type'],
    ['Create', createRequest({ generatedName: 'x'.repeat(1025) }), 'task.generated_name'],
    ['Create', createRequest({ outputPrefix: long }), 'task.output_prefix'],
    ['Create', createRequest({ inputPrefix: long }), 'task.input_prefix'],
    ['Create', createRequest({ metadata: { labels: { a: long } } }), 'task.metadata'],
    ['Status', codec('StatusRequest').encode({ handle: Buffer.alloc(1 << 20) }), 'handle'],
    ['Delete', codec('DeleteRequest').encode({ handle: Buffer.from('h'), reason: long }), 'reason'],
  ];
  const node = 'task.metadata.task_execution_id.node_execution_id';
  const inExecution = (parts: object) =>
    createRequest({ metadata: { taskExecutionId: { nodeExecutionId: { executionId: parts } } } });
  const outputs = (names: readonly string[]) =>
    createRequest({
      template: template({
        interface: { outputs: { variables: Object.fromEntries(names.map((name) => [name, {}])) } },
      }),
    });
  cases.push(
    ['Create', inExecution({ project: 'x'.repeat(257) }), `${node}.execution_id.project`],
    ['Create', inExecution({ project: 'x'.repeat(100_000) }), `${node}.execution_id.project`],
    ['Create', inExecution({ domain: 'x'.repeat(257) }), `${node}.execution_id.domain`],
    ['Create', inExecution({ name: 'x'.repeat(1025) }), `${node}.execution_id.name`],
    ['Create', createRequest({ metadata: { namespace: 'x'.repeat(257) } }), 'task.metadata.namespace'],
    ['Create', createRequest({ connection: { secrets: { a: long } } }), 'task.connection'],
    [
      'Status',
      codec('StatusRequest').encode({ handle: Buffer.from('h'), connection: { configs: { a: long } } }),
      'connection',
    ],
    [
      'Delete',
      codec('DeleteRequest').encode({ handle: Buffer.from('h'), connection: { secrets: { [long]: 'a' } } }),
      'connection',
    ],
    ['Create', outputs(['x'.repeat(1025)]), 'task.template.interface.outputs'],
    ['Create', outputs(Array.from({ length: 1001 }, (_, i) => `o${i}`)), 'task.template.interface.outputs'],
  );
  for (const [method, request, field] of cases) {
    const { error, details } = await call(method, request);
    assert.equal(error?.code, status.INVALID_ARGUMENT, field);
    assert.equal(details?.errorInfo?.reason, 'REQUEST_TOO_LARGE', field);
    assert.equal(details.errorInfo.metadata.field, field);
    assert.match(details.message, /\d+ (bytes|outputs), at most \d+/);
  }
  assert.deepEqual([tasks.specs, tasks.deletes], [[], []]);
});

test('the handle of a task whose fields are all as long as is taken can be sent back', async (t) => {
  const { call } = await startServer(t);
  // What takes most bytes as JSON, of what a name may hold.
  const text = (bytes: number) => '"'.repeat(bytes);
  const executionId = { project: text(256), domain: text(256), name: text(1024) };
  const request = createRequest({
    generatedName: text(1024),
    template: template({ type: text(1024) }),
    metadata: { namespace: text(256), taskExecutionId: { nodeExecutionId: { nodeId: text(1024), executionId } } },
  });
  const created = await call('Create', request);
  assert.equal(created.error, undefined);
  const { handle } = codec('CreateResponse').decode(created.bytes);
  const largestMeta = 16 * 1024;
  assert.ok(handle.length + largestMeta < FIELD_BOUNDS.handleBytes, `${handle.length} bytes without meta`);
  const { error } = await call('Status', codec('StatusRequest').encode({ handle }));
  assert.equal(error, undefined);
});

test('names that stand in the handle are refused with control characters in them, and taken with anything else', async (t) => {
  const { call } = await startServer(t);
  const named = (parts: { type?: string; namespace?: string; project?: string; domain?: string }) =>
    createRequest({
      generatedName: 'n\u0000',
      template: template({ type: parts.type ?? 't' }),
      metadata: {
        namespace: parts.namespace ?? '',
        taskExecutionId: {
          nodeExecutionId: { executionId: { project: parts.project ?? '', domain: parts.domain ?? '', name: 'e' } },
        },
      },
    });
  for (const field of ['type', 'namespace', 'project', 'domain']) {
    const { error } = await call('Create', named({ [field]: 'a\u0000b' }));
    assert.match(error?.details ?? '', /a\\u0000b.*control characters/, field);
    const odd = await call('Create', named({ [field]: 'é 😀 %a -rf ../x' }));
    assert.equal(odd.error, undefined, field);
  }
});

test('inputs of 6 MiB pass; a message beyond the bound is refused by the transport, and the server goes on', async (t) => {
  const { tasks, call } = await startServer(t, { maxReceiveBytes: 8 << 20 });
  const inputsOf = (bytes: number) =>
    idl.codec('flyteidl.core.LiteralMap').encode({
      literals: { big: { scalar: { primitive: { stringValue: 'x'.repeat(bytes) } } } },
    });
  assert.equal((await call('Create', createRequest({ inputs: inputsOf(6 << 20) }))).error, undefined);
  assert.equal(tasks.specs[0]!.inputs!.length > 6 << 20, true);
  const refused = await call('Create', createRequest({ inputs: inputsOf(9 << 20) }), { channel: {} });
  assert.equal(refused.error!.code, status.RESOURCE_EXHAUSTED);
  assert.equal(tasks.specs.length, 1);
  assert.equal((await call('Create', createRequest())).error, undefined);
});

test('a malformed handle is what the use case says, and no more', async (t) => {
  const { call } = await startServer(t);
  const { error, details } = await call('Status', codec('StatusRequest').encode({ handle: Buffer.from('nonsense') }));
  assert.equal(error!.code, status.INVALID_ARGUMENT);
  assert.equal(details!.errorInfo!.reason, 'HANDLE_MALFORMED');
  assert.equal(details!.violations[0]!.field, 'handle');
});

test('an unknown method is UNIMPLEMENTED', async (t) => {
  const { call } = await startServer(t);
  assert.equal((await call('Nothing', Buffer.alloc(0))).error!.code, status.UNIMPLEMENTED);
});

test('1,000 random mutations of valid messages get a proper status each, and nothing crashes', async (t) => {
  const { tasks, call, faults, client } = await startServer(t);
  const { handle } = await client().create({ generatedName: 'a', template: { type: 'demo' } });
  const task = createRequest({
    inputs: idl
      .codec('flyteidl.core.LiteralMap')
      .encodeJson({ literals: { x: { scalar: { primitive: { integer: 1 } } } } }),
    template: template({ interface: { outputs: { variables: { o: { type: { simple: 'INTEGER' } } } } } }),
    metadata: { taskExecutionId: { retryAttempt: 1 }, labels: { a: 'b' } },
    connection: { secrets: { a: 'b' } },
  });
  const valid: Record<(typeof METHODS)[number], Buffer> = {
    Create: task,
    Do: task,
    Status: codec('StatusRequest').encode({ handle, outputPrefix: 's3://b/o' }),
    Get: codec('GetRequest').encode({ handle, outputPrefix: 's3://b/o', connection: { configs: { a: 'b' } } }),
    Delete: codec('DeleteRequest').encode({ handle, reason: 'r' }),
  };
  const proper = new Set([status.OK, status.INVALID_ARGUMENT, status.NOT_FOUND]);
  const mutation = fc.record({
    method: fc.constantFrom(...METHODS),
    cut: fc.option(fc.double({ min: 0, max: 1, noNaN: true })),
    flips: fc.array(fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.nat(255)), { maxLength: 6 }),
    insert: fc.option(fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.uint8Array({ maxLength: 20 }))),
  });
  const seen = new Map<number, number>();
  const property = fc.asyncProperty(mutation, async ({ method, cut, flips, insert }) => {
    let bytes = Buffer.from(valid[method]);
    for (const [at, value] of flips) bytes[Math.floor(at * (bytes.length - 1))] = value;
    if (insert !== null) {
      const at = Math.floor(insert[0] * bytes.length);
      bytes = Buffer.concat([bytes.subarray(0, at), insert[1], bytes.subarray(at)]);
    }
    if (cut !== null) bytes = bytes.subarray(0, Math.floor(cut * bytes.length));
    const { error, details } = await call(method, bytes);
    const code = error?.code ?? status.OK;
    seen.set(code, (seen.get(code) ?? 0) + 1);
    assert.ok(proper.has(code), `${method} ${bytes.toString('hex')}: ${error?.message}`);
    if (error !== undefined) assert.notEqual(details?.errorInfo?.reason ?? '', '');
  });
  await fc.assert(property, { numRuns: 1000 });
  assert.ok(seen.get(status.OK)! > 0 && seen.get(status.INVALID_ARGUMENT)! > 0, 'both kinds of answers were seen');
  assert.deepEqual(faults, []);
  assert.ok(tasks.specs.length > 0);
});
