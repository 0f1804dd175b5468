import type * as protobuf from 'protobufjs';
import pb from 'protobufjs';
import { HostError } from '../errors/index.js';
import { isWellFormed } from '../lib/text.js';

/** The scalar types of protobuf and how JavaScript values become them without loss. */
export type ScalarType =
  | 'double'
  | 'float'
  | 'int32'
  | 'uint32'
  | 'sint32'
  | 'fixed32'
  | 'sfixed32'
  | 'int64'
  | 'uint64'
  | 'sint64'
  | 'fixed64'
  | 'sfixed64'
  | 'bool'
  | 'string'
  | 'bytes';

const WIRE_TYPES: Readonly<Record<ScalarType, number>> = {
  double: 1,
  float: 5,
  int32: 0,
  uint32: 0,
  sint32: 0,
  fixed32: 5,
  sfixed32: 5,
  int64: 0,
  uint64: 0,
  sint64: 0,
  fixed64: 1,
  sfixed64: 1,
  bool: 0,
  string: 2,
  bytes: 2,
};

export function wireTypeOf(type: ScalarType): number {
  return WIRE_TYPES[type];
}

/** A path with an index or a map key. */
export function at(path: string, key: string | number): string {
  return typeof key === 'number' ? `${path}[${key}]` : `${path}[${JSON.stringify(key.slice(0, 60))}]`;
}

const UNSIGNED: ReadonlySet<ScalarType> = new Set(['uint32', 'fixed32', 'uint64', 'fixed64']);

function wrong(path: string, expected: string, value: unknown): HostError {
  const seen = typeof value === 'object' ? Object.prototype.toString.call(value) : `${typeof value} ${String(value)}`;
  return new HostError('ENCODE_INVALID', `${path}: expected ${expected}, got ${seen.slice(0, 80)}`);
}

function isLongLike(value: unknown): value is { low: number; high: number } {
  return (
    typeof value === 'object' &&
    value !== null &&
    typeof (value as { low?: unknown }).low === 'number' &&
    'high' in value
  );
}

/** Takes a bigint, a safe integer, a decimal string or a Long. Throws ENCODE_INVALID for anything else. */
function toBigInt(value: unknown, unsigned: boolean, expected: string, path: string): bigint {
  if (typeof value === 'bigint') return value;
  if (typeof value === 'number' && Number.isSafeInteger(value)) return BigInt(value);
  if (typeof value === 'string' && /^-?\d{1,20}$/.test(value)) return BigInt(value);
  if (isLongLike(value)) {
    const bits = (BigInt(value.high >>> 0) << 32n) | BigInt(value.low >>> 0);
    return unsigned ? bits : BigInt.asIntN(64, bits);
  }
  throw wrong(path, expected, value);
}

function to64(type: ScalarType, value: unknown, path: string): protobuf.Long {
  const unsigned = UNSIGNED.has(type);
  const expected = `a whole number within ${type} (bigint, safe integer or decimal text)`;
  const number = toBigInt(value, unsigned, expected, path);
  const fits = unsigned ? BigInt.asUintN(64, number) === number : BigInt.asIntN(64, number) === number;
  if (!fits) throw wrong(path, expected, value);
  const low = Number(BigInt.asIntN(32, number));
  const high = Number(BigInt.asIntN(32, number >> 32n));
  return new pb.util.Long(low, high, unsigned);
}

function to32(type: ScalarType, value: unknown, path: string): number {
  const unsigned = UNSIGNED.has(type);
  const low = unsigned ? 0 : -0x8000_0000;
  const high = unsigned ? 0xffff_ffff : 0x7fff_ffff;
  const number = typeof value === 'string' && /^-?\d{1,10}$/.test(value) ? Number(value) : value;
  if (typeof number !== 'number' || !Number.isInteger(number) || number < low || number > high) {
    throw wrong(path, `a whole number from ${low} to ${high}`, value);
  }
  return number;
}

/** A lone surrogate has no UTF-8; a Buffer would quietly write U+FFFD for it. */
function toText(value: unknown, path: string): string {
  if (typeof value !== 'string') throw wrong(path, 'a string', value);
  if (!isWellFormed(value)) {
    throw wrong(path, 'well-formed text without lone surrogates', 'ill-formed text');
  }
  return value;
}

/** Writes the value without a tag. Throws ENCODE_INVALID naming `path` where the value has the wrong type or range. */
export function encodeScalar(writer: protobuf.Writer, type: ScalarType, value: unknown, path: string): void {
  switch (type) {
    case 'string':
      writer.string(toText(value, path));
      return;
    case 'bytes':
      if (!(value instanceof Uint8Array)) throw wrong(path, 'a Uint8Array', value);
      writer.bytes(value);
      return;
    case 'bool':
      if (typeof value !== 'boolean') throw wrong(path, 'a boolean', value);
      writer.bool(value);
      return;
    case 'double':
    case 'float':
      if (typeof value !== 'number') throw wrong(path, 'a number', value);
      writer[type](value);
      return;
    case 'int32':
    case 'uint32':
    case 'sint32':
    case 'fixed32':
    case 'sfixed32':
      writer[type](to32(type, value, path));
      return;
    default:
      writer[type](to64(type, value, path));
  }
}

/** Whether the value is what proto3 leaves out. -0 is not: it has bits of its own. A value of another type is none. */
export function isDefault(type: ScalarType, value: unknown): boolean {
  switch (type) {
    case 'string':
      return value === '';
    case 'bytes':
      return value instanceof Uint8Array && value.length === 0;
    case 'bool':
      return value === false;
    case 'double':
    case 'float':
      return Object.is(value, 0);
    default:
      return value === 0 || value === 0n || value === '0' || (isLongLike(value) && value.low === 0 && value.high === 0);
  }
}
