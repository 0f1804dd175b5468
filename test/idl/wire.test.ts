import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { HostError } from '../../src/errors/index.js';
import { buildLiteralMap, readLiteralNames, readNamedLiterals } from '../../src/idl/literal-map.js';
import { loadPluginHost } from '../../src/idl/load.js';
import {
  encodeVarint,
  findMessage,
  findMessages,
  lenField,
  readFields,
  takeMessages,
  WIRE_LEN,
  type WireField,
} from '../../src/idl/wire.js';

const idl = loadPluginHost();
const createTask = idl.codec('flyteidl.admin.CreateTaskRequest');
const undecodable = (error: unknown) => HostError.is(error) && error.code === 'REQUEST_UNDECODABLE';

function sample(): Buffer {
  return createTask.encode({
    inputs: { literals: { a: { scalar: { primitive: { integer: '9223372036854775807' } } }, b: { hash: 'h' } } },
    template: { type: 'spark', custom: { fields: { x: { numberValue: 1.5 } } } },
    outputPrefix: 's3://bucket/prefix',
    taskExecutionMetadata: { namespace: 'ns', labels: { k: 'v' } },
  });
}

const all = (bytes: Uint8Array): WireField[] => [...readFields(bytes)];

test('splits a message into fields whose bytes join to the same message', () => {
  const bytes = sample();
  const fields = all(bytes);
  assert.deepEqual(
    fields.map((field) => field.number),
    [1, 2, 3, 4],
  );
  assert.deepEqual(Buffer.concat(fields.map((field) => field.bytes)), bytes);
  assert.equal(fields[2]!.value.toString(), 's3://bucket/prefix');
});

test('reads every wire type, groups included, and joins back whatever fields it is given', () => {
  const group = Buffer.from([0x0b, 0x10, 0x01, 0x13, 0x14, 0x0c]); // group 1 { varint 2, group 2 {} }
  const parts = [
    group,
    Buffer.from([0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]), // field 3: -1
    Buffer.from([0x21, 1, 2, 3, 4, 5, 6, 7, 8]), // field 4: fixed64
    Buffer.from([0x2d, 1, 2, 3, 4]), // field 5: fixed32
    lenField(536_870_911, 'largest field number'),
  ];
  const bytes = Buffer.concat(parts);
  assert.deepEqual(
    all(bytes).map((field) => field.bytes),
    parts,
  );
});

test('throws REQUEST_UNDECODABLE for every truncation of a message, unless the cut falls between fields', () => {
  const bytes = sample();
  const ends = new Set([0]);
  let at = 0;
  for (const field of readFields(bytes)) {
    at += field.bytes.length;
    ends.add(at);
  }
  for (let length = 0; length < bytes.length; length++) {
    const cut = bytes.subarray(0, length);
    if (ends.has(length)) all(cut);
    else assert.throws(() => all(cut), undecodable, `cut at ${length}`);
  }
});

test('refuses field number 0, unknown wire types, endless varints, unbalanced and endlessly nested groups', () => {
  for (const bytes of [
    [0x00, 0x01],
    [0x0e],
    [0x0f],
    [0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
    [0x0c], // end without start
    [0x0b, 0x14], // closed as another group
    [0x0b],
    [0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
    new Array(500).fill(0x0b),
  ]) {
    assert.throws(() => all(Buffer.from(bytes)), undecodable, Buffer.from(bytes).toString('hex'));
  }
});

test('random bytes either split and join to themselves or are refused, and nothing else', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      let fields: WireField[];
      try {
        fields = all(bytes);
      } catch (error) {
        assert.ok(undecodable(error));
        return;
      }
      assert.deepEqual(Buffer.concat(fields.map((field) => field.bytes)), Buffer.from(bytes));
    }),
  );
});

test('takes an embedded message out and puts it back with the rest untouched', () => {
  const unknown = lenField(999, 'from a newer version');
  const bytes = Buffer.concat([sample(), unknown]);
  const { values, rest } = takeMessages(bytes, [1]);
  const inputs = values[0]!;
  assert.deepEqual(readLiteralNames(inputs), ['a', 'b']);
  assert.equal(createTask.decode(rest).inputs, null);
  assert.ok(rest.includes(unknown));
  const restored = Buffer.concat([rest, lenField(1, inputs)]);
  assert.deepEqual(createTask.decode(restored), createTask.decode(bytes));
  assert.equal(findMessage(rest, 1), undefined);
});

test('of fields in any order, what is found of each is all of it in order, and the rest is all others in order', () => {
  const number = fc.integer({ min: 1, max: 20 });
  const value = fc.uint8Array({ maxLength: 9 });
  const group = Buffer.from([0x0b, 0x10, 0x01, 0x0c]);
  const encoded = fc.oneof(
    fc.tuple(number, value).map(([of, content]) => lenField(of, content)),
    fc.tuple(number, fc.nat()).map(([of, content]) => Buffer.concat([encodeVarint(of * 8), encodeVarint(content)])),
    fc.constant(group),
  );
  fc.assert(
    fc.property(fc.array(encoded), fc.uniqueArray(number, { maxLength: 4 }), (parts, numbers) => {
      const bytes = Buffer.concat(parts);
      const fields = all(bytes);
      const isOf = (of: number) => (field: WireField) => field.wireType === WIRE_LEN && field.number === of;
      const expected = numbers.map((of) => {
        const found = fields.filter(isOf(of));
        return found.length === 0 ? undefined : Buffer.concat(found.map((field) => field.value));
      });
      const others = fields.filter((field) => !numbers.some((of) => isOf(of)(field)));
      assert.deepEqual(findMessages(bytes, numbers), expected);
      const rest = Buffer.concat(others.map((field) => field.bytes));
      assert.deepEqual(takeMessages(bytes, numbers), { values: expected, rest });
    }),
  );
});

test('joins several occurrences of one embedded message, as protobuf merges them', () => {
  const one = lenField(1, buildLiteralMap([{ name: 'x', value: Buffer.from([1]) }]));
  const two = lenField(1, buildLiteralMap([{ name: 'y', value: Buffer.from([2]) }]));
  assert.deepEqual(readLiteralNames(findMessage(Buffer.concat([one, two]), 1)!), ['x', 'y']);
});

test('encodes varints as long as they need and refuses what is no length', () => {
  assert.equal(encodeVarint(0).toString('hex'), '00');
  assert.equal(encodeVarint(300).toString('hex'), 'ac02');
  assert.equal(encodeVarint(2 ** 32).toString('hex'), '8080808010');
  for (const value of [-1, 1.5, Number.NaN, 2 ** 53]) assert.throws(() => encodeVarint(value), HostError.is);
});

test('literal maps keep literals byte by byte, names in order, the last of a repeated name', () => {
  const future = lenField(77, 'a literal field that we do not know');
  const map = buildLiteralMap([
    { name: '__proto__', value: future },
    { name: '', value: Buffer.alloc(0) },
    { name: 'ü', value: Buffer.from([8, 1]) },
    { name: '__proto__', value: Buffer.concat([future, future]) },
  ]);
  assert.deepEqual(readLiteralNames(map), ['__proto__', '', 'ü']);
  assert.deepEqual(readNamedLiterals(map)[0]?.value, Buffer.concat([future, future]));
  assert.throws(() => readLiteralNames(map.subarray(0, 3)), undecodable);
  assert.deepEqual(buildLiteralMap(readNamedLiterals(map)), map);
});

test('a map that protobufjs encoded has the names and literals that protobufjs decodes', () => {
  const literalMap = idl.codec('flyteidl.core.LiteralMap');
  const literal = idl.codec('flyteidl.core.Literal');
  const literals = { one: { hash: '1' }, two: { scalar: { noneType: {} } } };
  const bytes = literalMap.encode({ literals });
  const decoded = literalMap.decode(bytes);
  for (const { name, value } of readNamedLiterals(bytes)) {
    assert.deepEqual(literal.decode(value), decoded.literals[name]);
  }
  const rebuilt = buildLiteralMap(
    Object.entries(literals).map(([name, value]) => ({ name, value: literal.encode(value) })),
  );
  assert.deepEqual(rebuilt, bytes);
});
