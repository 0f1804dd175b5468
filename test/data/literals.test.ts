import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { makeLiteralCodec } from '../../src/data/literal-codec.js';
import { HostError } from '../../src/errors/index.js';
import { loadFlyteidlCore } from '../../src/idl/load-core.js';
import { lenField } from '../../src/idl/wire.js';
import {
  durationMs,
  isTaggedLiteral,
  type LiteralInput,
  type LiteralType,
  literals,
  PreciseDate,
  unwrapLiteral,
} from '../../src/plugin-api/literals.js';

const idl = loadFlyteidlCore();
const codec = makeLiteralCodec(idl);
const literal = idl.codec('flyteidl.core.Literal');
const roundTrip = (value: LiteralInput, type?: LiteralType) => codec.read(codec.write(value, type));
const kindOf = (value: LiteralInput, type?: LiteralType) =>
  literal.decode(codec.write(value, type)).scalar?.primitive?.value;
const INTEGER: LiteralType = { simple: 'INTEGER' };
const FLOAT: LiteralType = { simple: 'FLOAT' };

function refused(value: unknown, type: LiteralType | undefined, pattern: RegExp): void {
  assert.throws(
    () => codec.write(value as LiteralInput, type, 'out'),
    (error: unknown) => {
      assert.ok(HostError.is(error), String(error));
      assert.equal(error.code, 'LITERAL_UNCONVERTIBLE');
      assert.match(error.message, pattern);
      return true;
    },
  );
}

test('without a declared type a number is an integer where it is whole and safe, else a float', () => {
  for (const value of [0, 1, -1, Number.MAX_SAFE_INTEGER]) assert.equal(kindOf(value), 'integer');
  for (const value of [0.5, -0, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, 1e300]) {
    assert.equal(kindOf(value), 'floatValue');
    assert.ok(Object.is(roundTrip(value), value));
  }
  assert.equal(kindOf(literals.float(1)), 'floatValue');
  assert.equal(kindOf(5n), 'integer');
});

test('a declared type decides between integer and float and refuses what does not fit', () => {
  assert.equal(kindOf(1, FLOAT), 'floatValue');
  assert.equal(kindOf(1n, FLOAT), 'floatValue');
  assert.equal(kindOf(1, INTEGER), 'integer');
  refused(1.5, INTEGER, /^out: 1\.5 is not a whole number/);
  refused(2 ** 53, INTEGER, /give larger ones as bigint/);
  refused(2n ** 63n, INTEGER, /does not fit into 64 bits/);
  refused(2n ** 53n + 1n, FLOAT, /declared as FLOAT, got bigint/);
  refused('1', INTEGER, /declared as INTEGER, got string 1/);
  refused(literals.float(1), INTEGER, /declared as INTEGER, got a float literal/);
  refused(1, { simple: 'STRING' }, /declared as STRING, got number 1/);
  refused(null, { simple: 'BOOLEAN' }, /declared as BOOLEAN, got null/);
});

test('every 64-bit integer survives, as a number where that is exact and as a bigint where not', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), (value) => {
      const back = roundTrip(value);
      assert.equal(typeof back, value >= -(2n ** 53n) + 1n && value < 2n ** 53n ? 'number' : 'bigint');
      assert.equal(BigInt(back as number), value);
    }),
  );
});

test('every value of plain kinds comes back as it was, at any nesting', () => {
  const leaf = fc.oneof(
    fc.string({ unit: 'grapheme' }),
    fc.boolean(),
    fc.constant(null),
    fc.double({ noInteger: true }),
    fc.maxSafeInteger(),
    fc.date({ min: new Date('0001-01-01T00:00:00Z'), max: new Date('9999-12-31T23:59:59.999Z'), noInvalidDate: true }),
    fc.uint8Array().map((bytes) => Buffer.from(bytes)),
  );
  const { value } = fc.letrec<{ value: LiteralInput }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 4 },
      leaf,
      fc.array(tie('value'), { maxLength: 4 }),
      fc.dictionary(
        fc.string().filter((key) => key !== 'literalKind'),
        tie('value'),
        { maxKeys: 4, noNullPrototype: true },
      ),
    ),
  }));
  fc.assert(fc.property(value, (input) => assert.deepEqual(roundTrip(input), input)));
});

test('datetimes keep nanoseconds, before and after 1970, and are Dates in any case', () => {
  for (const date of [new PreciseDate(0, 1), new PreciseDate(-1, 999_999), new PreciseDate(1.7e12, 123_456)]) {
    const back = roundTrip(date) as PreciseDate;
    assert.ok(back instanceof Date);
    assert.deepEqual([back.getTime(), back.nanosBelowMs], [date.getTime(), date.nanosBelowMs]);
  }
  assert.equal(Object.getPrototypeOf(roundTrip(new Date(5))), Date.prototype);
  refused(new Date(Number.NaN), undefined, /years 1 to 9999/);
  refused(new Date(8.64e15), undefined, /years 1 to 9999/);
  refused(new PreciseDate(0, 1e6), undefined, /nanosBelowMs/);
});

test('durations keep nanoseconds and their sign; parts that contradict each other are refused', () => {
  for (const ms of [0, 1500, -1500, 0.000_001, -0.5, 999.999_999_9, 86_400_000, -1]) {
    const back = roundTrip(literals.duration(ms));
    assert.ok(isTaggedLiteral(back) && back.literalKind === 'duration');
    assert.ok(Math.abs(durationMs(back) - ms) < 1e-6, String(ms));
    assert.ok(Math.abs(back.nanos) < 1e9);
  }
  refused(literals.exactDuration(1, -1), undefined, /no duration/);
  refused(literals.exactDuration(0, 1e9), undefined, /no duration/);
  refused(literals.exactDuration(1e12, 0), undefined, /no duration/);
  refused(literals.duration(Number.NaN), undefined, /no duration/);
});

test('text becomes a datetime, duration, enum member, blob, schema or dataset where that is declared', () => {
  assert.deepEqual(roundTrip('2024-05-06T07:08:09.123Z', { simple: 'DATETIME' }), new Date('2024-05-06T07:08:09.123Z'));
  refused('yesterday', { simple: 'DATETIME' }, /is no datetime; expected such as/);
  refused('2024-13-01', { simple: 'DATETIME' }, /is no datetime/);
  assert.deepEqual(roundTrip('-1.5s', { simple: 'DURATION' }), literals.exactDuration(-1, -500_000_000));
  refused('1h', { simple: 'DURATION' }, /is no duration; expected such as "1\.5s"/);
  refused(5, { simple: 'DURATION' }, /declared as DURATION, got number 5/);
  const colour = { enumType: { values: ['red', 'blue'] } };
  assert.equal(roundTrip('blue', colour), 'blue');
  refused('green', colour, /declared as an enum of red, blue, got string green/);
  const blob = { blob: { format: 'csv', dimensionality: 'MULTIPART' } } as const;
  assert.deepEqual(roundTrip('s3://b/d', blob), literals.multipartBlob('s3://b/d', 'csv'));
  refused(literals.schema('x'), blob, /declared as a blob, got a schema literal/);
  assert.deepEqual(roundTrip('s3://b/s', { schema: { columns: [] } }), literals.schema('s3://b/s'));
  const dataset = { structuredDatasetType: { format: 'parquet' } };
  assert.deepEqual(roundTrip('s3://b/x', dataset), literals.structuredDataset('s3://b/x', { format: 'parquet' }));
  refused(1, dataset, /declared as a structured dataset/);
});

test('a declared struct takes a plain object, without a declared type it is a map of literals', () => {
  assert.deepEqual(roundTrip({ a: [1, null] }, { simple: 'STRUCT' }), literals.struct({ a: [1, null] }));
  assert.deepEqual(roundTrip({ a: [1, null] }), { a: [1, null] });
  refused({ a: 1n }, { simple: 'STRUCT' }, /out\.a: expected JSON/);
  refused([1], { simple: 'STRUCT' }, /got an array/);
  refused(literals.struct([] as never), undefined, /got an array/);
});

test('collections and maps convert each member by the declared type and name the member at fault', () => {
  const floats = { collectionType: FLOAT };
  assert.equal(literal.decode(codec.write([1], floats)).collection.literals[0].scalar.primitive.value, 'floatValue');
  refused([1, 'x'], floats, /^out\[1\]: declared as FLOAT/);
  refused({ a: { b: 'x' } }, { mapValueType: { mapValueType: INTEGER } }, /^out\.a\.b: declared as INTEGER/);
  refused({}, floats, /declared as a collection, got an object/);
  refused([], { mapValueType: FLOAT }, /declared as a map, got an array/);
  refused(new Date(0), { mapValueType: FLOAT }, /declared as a map, got a Date/);
  refused(literals.float(1), floats, /declared as a collection, got a float literal/);
});

test('a declared union takes the first variant that fits, and none is an error naming all', () => {
  const optional: LiteralType = { unionType: { variants: [INTEGER, { simple: 'NONE' }] } };
  const none = roundTrip(null, optional);
  assert.ok(isTaggedLiteral(none) && none.literalKind === 'union');
  assert.equal(none.value, null);
  assert.equal(none.type.simple, 'NONE');
  assert.equal(unwrapLiteral(roundTrip(7, optional)), 7);
  refused('x', optional, /no variant of the declared union takes string x .*INTEGER.*NONE/);
  assert.deepEqual(roundTrip(literals.union(7, INTEGER), optional), roundTrip(7, optional));
});

test('msgpack literals made here are encoded, read ones keep their bytes, undecodable ones stay binary', () => {
  const made = roundTrip(literals.msgpack({ a: [1, 2.5, 2n ** 60n], b: null }));
  assert.ok(isTaggedLiteral(made) && made.literalKind === 'msgpack');
  assert.deepEqual(made.value, { a: [1, 2.5, 2n ** 60n], b: null });
  const odd = Buffer.from([0xcb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0]); // the float 1.0, which would be encoded as an integer
  const read = codec.read(codec.write(literals.binary(odd, 'msgpack')));
  assert.ok(isTaggedLiteral(read) && read.literalKind === 'msgpack');
  assert.equal(read.value, 1);
  assert.deepEqual(literal.decode(codec.write(read)).scalar.binary.value, odd);
  for (const bytes of [Buffer.from([0xc1]), Buffer.from([0x91]), Buffer.from([0xd4, 9, 0])]) {
    assert.deepEqual(roundTrip(literals.binary(bytes, 'msgpack')), literals.binary(bytes, 'msgpack'));
  }
  refused(literals.msgpack({ f: () => 1 } as never), undefined, /cannot become MessagePack/);
  refused(literals.msgpack(2n ** 64n), undefined, /cannot become MessagePack \(18446744073709551616 does not fit/);
});

test('msgpack keeps whole numbers whole, also beyond 32 bits, where other readers tell integers from floats', () => {
  const bytesOf = (value: number | bigint) =>
    literal.decode(codec.write(literals.msgpack(value))).scalar.binary.value.toString('hex');
  assert.equal(bytesOf(2 ** 40), 'cf0000010000000000'); // uint 64
  assert.equal(bytesOf(-(2 ** 40)), 'd3ffffff0000000000'); // int 64
  assert.equal(bytesOf(Number.MAX_SAFE_INTEGER), 'cf001fffffffffffff');
  assert.equal(bytesOf(2n ** 64n - 1n), 'cfffffffffffffffff');
  assert.equal(bytesOf(0.5), 'cb3fe0000000000000'); // float 64
  const everything = fc.oneof(fc.maxSafeInteger(), fc.bigInt({ min: 2n ** 53n, max: 2n ** 64n - 1n }), fc.double());
  fc.assert(
    fc.property(everything, (value) => {
      const back = roundTrip(literals.msgpack([value]));
      assert.ok(isTaggedLiteral(back) && back.literalKind === 'msgpack');
      assert.deepEqual(back.value, [Object.is(value, -0) ? 0 : value]);
    }),
  );
});

test('hash and metadata stay on tagged literals', () => {
  const blob = literals.blob('s3://b/k', 'csv', { hash: 'h', metadata: { m: 'v' } });
  assert.deepEqual(roundTrip(blob), blob);
  assert.equal(literal.decode(codec.write(blob)).hash, 'h');
});

test('literals of unknown kinds, or parts of such, are kept as raw bytes and written untouched', () => {
  const unknownLiteral = lenField(99, 'a new kind');
  const unknownScalar = lenField(1, lenField(42, 'a new scalar'));
  const inside = literal.encode({ collection: { literals: [{ scalar: { noneType: {} } }, unknownScalar] } });
  const farTime = literal.encode({ scalar: { primitive: { datetime: { seconds: 2n ** 60n } } } });
  for (const bytes of [unknownLiteral, unknownScalar, inside, farTime, Buffer.alloc(0)]) {
    const value = codec.read(bytes);
    assert.ok(isTaggedLiteral(value) && value.literalKind === 'raw');
    assert.deepEqual(codec.write([value]), literal.encode({ collection: { literals: [bytes] } }));
  }
  assert.throws(
    () => codec.read(Buffer.from([0x0a, 9])),
    (error) => HostError.is(error) && error.code === 'REQUEST_UNDECODABLE',
  );
});

test('what has no literal is refused with its path', () => {
  class Thing {
    field = 1;
  }
  refused(undefined, undefined, /^out: a value of type undefined/);
  refused({ a: [() => 1] }, undefined, /^out\.a\[0\]: a value of type function/);
  refused(new Thing(), undefined, /an instance of Thing has no literal/);
  refused(new Map(), undefined, /an instance of Map/);
  refused({ literalKind: 'blob', uri: 'x' }, undefined, /must be made by a constructor of `literals`/);
  refused({ ...literals.raw(Buffer.alloc(0)), bytes: 'x' }, undefined, /must hold bytes/);
  refused(literals.blob(7 as never), undefined, /blob\.uri: expected a string, got number 7/);
  refused({ ...literals.blob('u'), dimensionality: 'DOUBLE' }, undefined, /DOUBLE is not a value of enum/);
  refused('\ud800', undefined, /lone surrogates/);
  const circle: LiteralInput[] = [];
  circle.push(circle);
  refused(circle, undefined, /nested deeper than 48/);
});

test('a spread copy of a tagged literal stays tagged', () => {
  const copy = { ...literals.blob('s3://b/k'), uri: 's3://b/other' };
  assert.deepEqual(roundTrip(copy), literals.blob('s3://b/other'));
});

test('unwrapping removes unions, structs and msgpack at any depth and leaves the rest', () => {
  const blob = literals.blob('s3://b/k');
  const value = {
    a: [literals.union(literals.struct({ x: 1 }), { simple: 'STRUCT' })],
    b: blob,
    c: literals.integer(3),
  };
  assert.deepEqual(unwrapLiteral(value), { a: [{ x: 1 }], b: blob, c: 3 });
});

test('what protobuf, JSON or MessagePack would change is refused in outputs, with its path', () => {
  const path = (text: string) => new RegExp(text.replace(/[.[\]]/g, '\\$&'));
  for (const number of [
    2 ** 53,
    -(2 ** 53),
    2 ** 63,
    Number('9007199254740993'),
    Number.NaN,
    Number.NEGATIVE_INFINITY,
  ]) {
    refused(literals.struct({ a: [{ b: number }] }), undefined, path('.a[0].b'));
    refused({ a: [{ b: number }] } as never, { simple: 'STRUCT' }, path('.a[0].b'));
  }
  for (const integer of [2n ** 63n, -(2n ** 63n) - 1n]) {
    refused(integer, undefined, /64 bits/);
    refused([1, integer], undefined, path('out[1]: '));
  }
  for (const number of [Number.NaN, 0.5, 2 ** 53, Number.POSITIVE_INFINITY]) {
    refused({ a: [number] }, { mapValueType: { collectionType: INTEGER } }, path('out.a[0]: '));
  }
  const half = 'cut \ud83d';
  for (const value of [half, [half], { [half]: 1 }, literals.struct({ a: half }), literals.struct({ [half]: 1 })]) {
    refused(value, undefined, /surrogate/);
  }
  refused(literals.msgpack({ a: [half] }), undefined, path(', at .a[0]'));
  refused(literals.msgpack({ a: { [half]: 1 } }), undefined, /surrogate/);
  assert.throws(() => codec.writeMap({ [half]: 1 }), { code: 'LITERAL_UNCONVERTIBLE' });
});

test('what they carry is written as it is: both zeros of a float, large floats, all of 64 bits', () => {
  assert.deepEqual(
    roundTrip(literals.struct({ a: [-0, 6.02214076e23, 0.1] })),
    literals.struct({ a: [-0, 6.02214076e23, 0.1] }),
  );
  assert.ok(Object.is(roundTrip(-0), -0));
  for (const integer of [2n ** 63n - 1n, -(2n ** 63n)]) assert.equal(roundTrip(integer), integer);
});
