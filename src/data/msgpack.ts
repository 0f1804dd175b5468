import { decode, ExtData, encode } from '@msgpack/msgpack';
import type { MsgpackValue } from '../plugin-api/literals.js';

/** The tag that Flyte's SDKs put on MessagePack binaries. */
export const MSGPACK_TAG = 'msgpack';

const MAX_DEPTH = 100;

/** Integers come as bigint; small ones become numbers. Throws on extension types, which have no plain form. */
function simplify(value: unknown): MsgpackValue {
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  if (value instanceof ExtData) throw new TypeError(`MessagePack extension type ${value.type} has no plain form`);
  if (Array.isArray(value)) return value.map(simplify);
  if (typeof value !== 'object' || value === null || value instanceof Date || value instanceof Uint8Array) {
    return value as MsgpackValue;
  }
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, simplify(item)]));
}

/** Throws where the bytes are not one MessagePack value. */
export function decodeMsgpack(bytes: Uint8Array): MsgpackValue {
  return simplify(decode(bytes, { useBigInt64: true }));
}

const INT64_MIN = -(2n ** 63n);
const UINT64_MAX = 2n ** 64n - 1n;

/** The library writes whole numbers beyond 32 bits as floats and wraps bigints beyond 64 bits; neither may happen. */
function exactNumbers(value: unknown, depth: number): unknown {
  if (depth > MAX_DEPTH) throw new RangeError(`nested deeper than ${MAX_DEPTH} values, or in a circle`);
  if (typeof value === 'bigint') {
    if (value >= INT64_MIN && value <= UINT64_MAX) return value;
    throw new RangeError(`${value} does not fit into 64 bits`);
  }
  if (typeof value === 'number') {
    const needs64 = Number.isSafeInteger(value) && (value > 0xffff_ffff || value < -0x8000_0000);
    return needs64 ? BigInt(value) : value;
  }
  if (Array.isArray(value)) return value.map((item) => exactNumbers(item, depth + 1));
  if (typeof value !== 'object' || value === null || value instanceof Date || value instanceof Uint8Array) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, exactNumbers(item, depth + 1)]));
}

/** Whole numbers within ±2^53 and bigints are encoded as integers, all other numbers as floats. Throws on what has no form. */
export function encodeMsgpack(value: MsgpackValue): Uint8Array {
  return encode(exactNumbers(value, 0), { useBigInt64: true, ignoreUndefined: true, maxDepth: MAX_DEPTH + 1 });
}
