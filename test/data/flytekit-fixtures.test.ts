import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { makeLiteralCodec } from '../../src/data/literal-codec.js';
import { readLiteralNames, readNamedLiterals } from '../../src/idl/literal-map.js';
import { loadFlyteidlCore } from '../../src/idl/load-core.js';
import {
  isTaggedLiteral,
  type LiteralInput,
  type LiteralType,
  type LiteralValue,
  PreciseDate,
} from '../../src/plugin-api/literals.js';

/** Literals that the real flytekit made (scripts/fixtures/literals.py), read and written here. */

interface Case {
  name: string;
  type: string;
  expected: Record<string, unknown>;
}

const folder = new URL('../../../test/fixtures/literals/', import.meta.url);
const { cases } = JSON.parse(readFileSync(new URL('cases.json', folder), 'utf8')) as { cases: Case[] };
const bytesOf = (name: string) => readFileSync(new URL(`${name}.pb`, folder));
const idl = loadFlyteidlCore();
const codec = makeLiteralCodec(idl);
const literal = idl.codec('flyteidl.core.Literal');

function plainMsgpack(value: unknown): unknown {
  if (typeof value === 'bigint') return { bigint: String(value) };
  if (Array.isArray(value)) return value.map(plainMsgpack);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plainMsgpack(item)]));
}

/** As Python's repr writes floats. */
function floatText(value: number): string {
  if (Number.isNaN(value)) return 'nan';
  if (!Number.isFinite(value)) return value > 0 ? 'inf' : '-inf';
  if (Object.is(value, -0)) return '-0.0';
  return Number.isInteger(value) ? `${value}.0` : String(value);
}

/** The neutral notation of the Python script. `float` tells a number's kind, which the plain value does not show. */
function neutral(value: LiteralValue, expected: { kind?: unknown; value?: unknown } = {}): unknown {
  switch (typeof value) {
    case 'string':
      return { kind: 'string', value };
    case 'boolean':
      return { kind: 'boolean', value };
    case 'bigint':
      return { kind: 'integer', value: String(value) };
    case 'number':
      return expected.kind === 'float'
        ? { kind: 'float', value: floatText(value) }
        : { kind: 'integer', value: String(value) };
  }
  if (value === null) return { kind: 'none' };
  if (value instanceof Uint8Array) return { kind: 'bytes', hex: Buffer.from(value).toString('hex') };
  if (value instanceof Date) {
    const below = value instanceof PreciseDate ? value.nanosBelowMs : 0;
    return { kind: 'datetime', nanos: String(BigInt(value.getTime()) * 1_000_000n + BigInt(below)) };
  }
  if (Array.isArray(value)) {
    const inner = (expected.value ?? []) as object[];
    return { kind: 'collection', value: value.map((item, index) => neutral(item, inner[index])) };
  }
  if (!isTaggedLiteral(value)) {
    const inner = (expected.value ?? {}) as Record<string, object>;
    const entries = Object.entries(value).map(([key, item]) => [key, neutral(item, inner[key])]);
    return { kind: 'map', value: Object.fromEntries(entries) };
  }
  const { literalKind: kind, ...rest } = JSON.parse(
    JSON.stringify(value, (_, item) => (typeof item === 'bigint' ? String(item) : item)),
  );
  switch (value.literalKind) {
    case 'duration':
      return { kind, nanos: String(BigInt(value.seconds) * 1_000_000_000n + BigInt(value.nanos)) };
    case 'msgpack':
      return { kind, value: plainMsgpack(value.value) };
    case 'binary':
      return { kind, hex: Buffer.from(value.value).toString('hex'), tag: value.tag };
    case 'union':
      return { kind, value: neutral(value.value as LiteralValue, expected.value as object) };
    case 'structured_dataset':
      return { kind, ...rest, columns: value.columns.map((column) => column.name) };
    case 'offloaded':
      return { kind, uri: value.uri, sizeBytes: String(value.sizeBytes) };
    default:
      return { kind, ...rest };
  }
}

const typeOf = (one: Case): LiteralType => codec.readType(Buffer.from(one.type, 'base64'));

test('there is a fixture for every kind of literal', () => {
  const kinds = new Set(cases.map((one) => one.expected.kind));
  for (const kind of [
    ...['integer', 'float', 'string', 'boolean', 'datetime', 'duration', 'none', 'error', 'binary', 'bytes', 'msgpack'],
    ...['struct', 'blob', 'schema', 'structured_dataset', 'union', 'collection', 'map', 'offloaded'],
  ]) {
    assert.ok(kinds.has(kind), kind);
  }
  const files = readdirSync(folder).filter((file) => file.endsWith('.pb'));
  assert.equal(files.length, cases.length + 2);
});

for (const one of cases) {
  test(`reads what flytekit encoded: ${one.name}`, () => {
    assert.deepEqual(neutral(codec.read(bytesOf(one.name)), one.expected), one.expected);
  });

  test(`writes the value back to the same literal: ${one.name}`, () => {
    const bytes = bytesOf(one.name);
    const value = codec.read(bytes) as LiteralInput;
    assert.deepEqual(literal.decode(codec.write(value, typeOf(one))), literal.decode(bytes));
  });
}

test('reads a whole map of inputs, and each of its literals raw to the byte', () => {
  const inputs = bytesOf('inputs');
  const values = codec.readMap(inputs);
  assert.deepEqual(Object.keys(values).sort(), cases.map((one) => one.name).sort());
  for (const { name, value } of readNamedLiterals(inputs)) {
    assert.deepEqual(value, bytesOf(name));
    assert.deepEqual(codec.read(value), values[name]);
  }
  const raw = codec.writeMap(codec.readRawMap(inputs));
  assert.deepEqual(readNamedLiterals(raw), readNamedLiterals(inputs));
  assert.deepEqual(readLiteralNames(raw), readLiteralNames(inputs));
});
