import assert from 'node:assert/strict';
import { test } from 'node:test';
import pb from 'protobufjs';
import { HostError } from '../../src/errors/index.js';
import { makeIdl } from '../../src/idl/idl.js';
import { loadFlyteidl2, loadPluginHost } from '../../src/idl/load.js';
import { lenField, readFields } from '../../src/idl/wire.js';

const idl = loadPluginHost();
const resource = idl.codec('flyteidl.admin.Resource');
const primitive = idl.codec('flyteidl.core.Primitive');
const literal = idl.codec('flyteidl.core.Literal');

function rejects(action: () => unknown, pattern: RegExp): void {
  assert.throws(action, (error: unknown) => {
    assert.ok(HostError.is(error), String(error));
    assert.equal(error.code, 'ENCODE_INVALID');
    assert.match(error.message, pattern);
    return true;
  });
}

test('decodes with camelCase names, enum names, Buffers, zero values and the name of the set oneof member', () => {
  const bytes = resource.encode({
    phase: 'RUNNING',
    message: 'm',
    logLinks: [{ uri: 'u' }],
    customInfo: { fields: {} },
  });
  const decoded = resource.decode(bytes);
  assert.equal(decoded.phase, 'RUNNING');
  assert.equal(decoded.state, 'RETRYABLE_FAILURE');
  assert.equal(decoded.outputs, null);
  assert.equal(decoded.logLinks[0].uri, 'u');
  const binary = literal.decode(
    literal.encode({ scalar: { binary: { value: Buffer.from([0, 255]), tag: 'msgpack' } } }),
  );
  assert.equal(binary.value, 'scalar');
  assert.equal(binary.scalar.value, 'binary');
  assert.ok(Buffer.isBuffer(binary.scalar.binary.value));
});

test('what was decoded encodes to the same bytes', () => {
  const bytes = resource.encode({
    phase: 'SUCCEEDED',
    outputs: { literals: { x: { scalar: { primitive: { boolean: false } }, metadata: { a: 'b' } } } },
    agentError: { code: 'C', kind: 'RECOVERABLE', origin: 'USER' },
  });
  assert.deepEqual(resource.encode(resource.decode(bytes)), bytes);
});

test('64-bit integers keep every digit, whatever form they are given in', () => {
  for (const text of ['9223372036854775807', '-9223372036854775808', '9007199254740993', '-1', '0', '4294967296']) {
    for (const integer of [text, BigInt(text)]) {
      assert.equal(primitive.decode(primitive.encode({ integer })).integer, text);
    }
  }
  assert.equal(primitive.decode(primitive.encode({ integer: Number.MIN_SAFE_INTEGER })).integer, '-9007199254740991');
  const offloaded = idl.codec('flyteidl.core.LiteralOffloadedMetadata');
  const sizeBytes = '18446744073709551615';
  assert.equal(offloaded.decode(offloaded.encode({ sizeBytes })).sizeBytes, sizeBytes);
  assert.deepEqual(offloaded.encode({ sizeBytes: 0n }), Buffer.alloc(0));
  rejects(() => offloaded.encode({ sizeBytes: -1 }), /sizeBytes: expected a whole number within uint64/);
  for (const integer of [9223372036854775808n, 2 ** 53, 1.5, Number.NaN, '1.0', '', '0x10', true, {}]) {
    rejects(() => primitive.encode({ integer }), /^Primitive\.integer: expected a whole number within int64/);
  }
});

test('floats keep NaN, infinities and negative zero', () => {
  for (const floatValue of [Number.NaN, Number.POSITIVE_INFINITY, -0, 5e-324, 0.1]) {
    assert.ok(Object.is(primitive.decode(primitive.encode({ floatValue })).floatValue, floatValue));
  }
  const point = idl.codec('google.protobuf.Value');
  assert.ok(Object.is(point.decode(point.encode({ numberValue: -0 })).numberValue, -0));
});

test('a zero that is a member of a oneof is sent, a zero without presence is left out', () => {
  assert.deepEqual(primitive.encode({ integer: 0 }), Buffer.from([8, 0]));
  assert.deepEqual(primitive.encode({ boolean: false }), Buffer.from([32, 0]));
  assert.deepEqual(resource.encode({ message: '', phase: 'UNDEFINED', logLinks: [] }), Buffer.alloc(0));
});

test('an unknown enum name throws and is not sent as zero', () => {
  rejects(
    () => resource.encode({ phase: 'SUCCESS' }),
    /Resource\.phase: string SUCCESS is not a value of enum .*Phase; it has UNDEFINED, QUEUED/,
  );
  rejects(() => resource.encode({ phase: 99 }), /number 99/);
  rejects(() => resource.encode({ phase: 'toString' }), /toString/);
  assert.equal(resource.decode(resource.encode({ phase: 3 })).phase, 'SUCCEEDED');
});

test('an enum number that the descriptors do not know is decoded as that number', () => {
  assert.equal(resource.decode(Buffer.from([0x28, 0x63])).phase, 99);
});

test('unknown field names throw with the path and the name that was probably meant', () => {
  rejects(
    () => resource.encode({ log_links: [] }),
    /Resource: flyteidl\.admin\.Resource has no field log_links; did you mean logLinks\?/,
  );
  rejects(
    () => resource.encode({ logLinks: [{}, { url: 'x' }] }),
    /Resource\.logLinks\[1\]: .*has no field url; it has uri, name/,
  );
  rejects(
    () => resource.encode({ outputs: { literals: { 'a b': { skalar: {} } } } }),
    /Resource\.outputs\.literals\["a b"\]: .* no field skalar/,
  );
  assert.deepEqual(resource.encode({ nothing: undefined }), Buffer.alloc(0));
});

test('wrong types throw with the path', () => {
  rejects(() => resource.encode({ message: 1 }), /Resource\.message: expected a string, got number 1/);
  rejects(() => resource.encode({ message: '\ud800' }), /lone surrogates/);
  rejects(() => resource.encode({ logLinks: {} }), /logLinks: expected an array, got an object/);
  rejects(() => resource.encode({ logLinks: [null] }), /logLinks\[0\]: expected an object .* got null/);
  rejects(() => resource.encode({ outputs: { literals: [] } }), /literals: expected an object, got an array/);
  rejects(() => resource.encode({ outputs: 'x' }), /outputs: expected an object for flyteidl\.core\.LiteralMap/);
  rejects(() => literal.encode({ scalar: { binary: { value: 'text' } } }), /binary\.value: expected a Uint8Array/);
  rejects(() => literal.encode({ scalar: { primitive: { boolean: 1 } } }), /boolean: expected a boolean/);
  rejects(() => literal.encode({ scalar: { primitive: { floatValue: '1' } } }), /floatValue: expected a number/);
  rejects(() => resource.encode([] as never), /expected an object/);
  const category = idl.codec('flyteidl.admin.TaskCategory');
  rejects(() => category.encode({ version: 2 ** 31 }), /version: expected a whole number from -2147483648/);
});

test('two members of one oneof, or a oneof name that does not tell the truth, throw', () => {
  rejects(() => primitive.encode({ integer: 1, stringValue: 'x' }), /integer and stringValue are both set/);
  rejects(
    () => primitive.encode({ value: 'integer', stringValue: 'x' }),
    /Primitive\.value: says string integer is set/,
  );
  rejects(() => primitive.encode({ value: 'nonsense' }), /Primitive\.value/);
});

test('too deep a nesting is refused instead of exhausting the stack', () => {
  let deep: object = { scalar: { noneType: {} } };
  for (let level = 0; level < 5000; level++) deep = { collection: { literals: [deep] } };
  rejects(() => literal.encode(deep), /nested deeper than 100/);
});

test('required fields: unset, empty and UNDEFINED throw with the path; alternatives and elements are understood', () => {
  const required = ['phase', 'message', 'logLinks[].uri', 'agentError.code'];
  const good = { phase: 'FAILED', message: 'm', logLinks: [{ uri: 'u' }], agentError: { code: 'c' } };
  assert.ok(resource.encodeStrict(good, required).length > 0);
  for (const [change, path] of [
    [{ phase: 'UNDEFINED' }, 'Resource.phase'],
    [{ phase: undefined }, 'Resource.phase'],
    [{ message: '' }, 'Resource.message'],
    [{ logLinks: [{ uri: 'u' }, {}] }, 'Resource.logLinks[1].uri'],
    [{ agentError: null }, 'Resource.agentError'],
  ] as const) {
    rejects(() => resource.encodeStrict({ ...good, ...change }, required), new RegExp(path.replace(/[[\].]/g, '\\$&')));
  }
  const response = idl.codec('flyteidl.admin.ExecuteTaskSyncResponse');
  rejects(() => response.encodeStrict({}, ['header|outputs']), /one of header, outputs must be set/);
  assert.ok(response.encodeStrict({ outputs: {} }, ['header|outputs']).length > 0);
});

test('an embedded message given as bytes is sent untouched, in single, repeated and map fields', () => {
  const future = lenField(99, 'unknown to us');
  const outputs = idl.codec('flyteidl.core.LiteralMap').encode({ literals: { x: Buffer.concat([future]) } });
  const bytes = resource.encode({ outputs, logLinks: [future] });
  assert.ok(bytes.includes(outputs));
  assert.ok(outputs.includes(future));
  assert.deepEqual(resource.decode(bytes, { raw: ['outputs'] }).outputs, outputs);
});

test('raw fields stay bytes, unset ones are null, and the rest is decoded', () => {
  const createTask = idl.codec('flyteidl.admin.CreateTaskRequest');
  const inputs = idl.codec('flyteidl.core.LiteralMap').encode({ literals: { a: { hash: 'h' } } });
  const bytes = Buffer.concat([createTask.encode({ outputPrefix: 's3://b' }), lenField(1, inputs)]);
  const decoded = createTask.decode(bytes, { raw: ['inputs', 'template'] });
  assert.deepEqual(decoded.inputs, inputs);
  assert.equal(decoded.template, null);
  assert.equal(decoded.outputPrefix, 's3://b');
  const sync = idl.codec('flyteidl.admin.ExecuteTaskSyncRequest');
  assert.equal(sync.decode(sync.encode({ inputs }), { raw: ['header', 'inputs'] }).part, 'inputs');
  assert.throws(() => createTask.decode(bytes, { raw: ['outputPrefix'] }), /no single embedded message outputPrefix/);
});

test('truncated and foreign bytes are REQUEST_UNDECODABLE at every length', () => {
  const bytes = resource.encode({
    message: 'x'.repeat(20),
    agentError: { code: 'c' },
    customInfo: { fields: { a: {} } },
  });
  const ends = new Set<number>();
  let end = 0;
  for (const field of readFields(bytes)) {
    end += field.bytes.length;
    ends.add(end);
  }
  for (let length = 1; length < bytes.length; length++) {
    const cut = bytes.subarray(0, length);
    if (ends.has(length)) resource.decode(cut);
    else {
      assert.throws(
        () => resource.decode(cut),
        (error) => HostError.is(error) && error.code === 'REQUEST_UNDECODABLE',
      );
    }
  }
  // A text inside an embedded message that reaches past the end of that message, and one that is not UTF-8.
  assert.throws(() => resource.decode(Buffer.from([0x3a, 3, 0x0a, 9, 0x41, 0x18, 1])), /exceeds its message/);
  assert.throws(() => resource.decode(Buffer.from([0x1a, 2, 0xc3, 0x28])), /not UTF-8/);
  assert.equal(resource.decode(resource.encode({ message: 'a real \ufffd' })).message, 'a real \ufffd');
  assert.throws(() => resource.decode(Buffer.from('not protobuf at all')), /not a flyteidl\.admin\.Resource/);
});

test('map keys are strings whatever their name', () => {
  const metadata = JSON.parse('{"__proto__":"p","constructor":"c","":"e"}');
  const decoded = literal.decode(literal.encode({ metadata }));
  assert.deepEqual(Object.entries(decoded.metadata), Object.entries(metadata));
});

test('flyteidl2 has the same conventions', () => {
  const two = loadFlyteidl2();
  const request = two.codec('flyteidl2.connector.CreateTaskRequest');
  const bytes = request.encode({
    inputs: { literals: [{ name: 'n', value: { scalar: { primitive: { integer: -5n } } } }] },
    outputPrefix: 'p',
  });
  const decoded = request.decode(bytes);
  assert.equal(decoded.outputPrefix, 'p');
  assert.equal(decoded.inputs.literals[0].value.scalar.primitive.integer, '-5');
  assert.throws(() => request.encode({ output_prefix: 'p' }), /did you mean outputPrefix/);
});

test('repeated numbers and enums are packed', () => {
  const text =
    'syntax = "proto3"; enum E { A = 0; B = 1; } message M { repeated int32 numbers = 1; repeated E names = 2; }';
  const codec = makeIdl(pb.parse(text).root).codec('M');
  const bytes = codec.encode({ numbers: [1, 300], names: ['B', 'A'] });
  assert.deepEqual(bytes, Buffer.from([0x0a, 3, 1, 0xac, 2, 0x12, 2, 1, 0]));
  const { numbers, names } = codec.decode(bytes);
  assert.deepEqual(
    [numbers, names],
    [
      [1, 300],
      ['B', 'A'],
    ],
  );
});
