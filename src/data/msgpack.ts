import { decode, ExtData, encode } from '@msgpack/msgpack';
import { isWellFormed } from '../lib/text.js';
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

/**
 * The library writes whole numbers beyond 32 bits as floats, wraps bigints beyond 64 bits, and half surrogate pairs as bytes
 * that are not UTF-8; none of it may happen.
 */
function exact(value: unknown, path: string, depth: number): unknown {
  if (depth > MAX_DEPTH) throw new RangeError(`nested deeper than ${MAX_DEPTH} values, or in a circle`);
  switch (typeof value) {
    case 'bigint':
      if (value >= INT64_MIN && value <= UINT64_MAX) return value;
      throw new RangeError(`${value} does not fit into 64 bits${at(path)}`);
    case 'number': {
      const needs64 = Number.isSafeInteger(value) && (value > 0xffff_ffff || value < -0x8000_0000);
      return needs64 ? BigInt(value) : value;
    }
    case 'string':
      return exactText(value, path);
    case 'object':
      break;
    default:
      return value;
  }
  if (Array.isArray(value)) return value.map((item, at) => exact(item, `${path}[${at}]`, depth + 1));
  if (value === null || value instanceof Date || value instanceof Uint8Array) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [
      exactText(key, `the keys of ${path || 'the value'}`),
      exact(item, `${path}.${key}`, depth + 1),
    ]),
  );
}

/** Where within the value; nothing for the value as a whole. */
function at(path: string): string {
  return path === '' ? '' : `, at ${path}`;
}

function exactText(text: string, path: string): string {
  if (isWellFormed(text)) return text;
  throw new TypeError(`a text holds half a surrogate pair, which has no UTF-8${at(path)}`);
}

/**
 * Whole numbers within ±2^53 and bigints are encoded as integers, all other numbers as floats. Throws with the path of what
 * has no form, or would become something else.
 */
export function encodeMsgpack(value: MsgpackValue): Uint8Array {
  return encode(exact(value, '', 0), { useBigInt64: true, ignoreUndefined: true, maxDepth: MAX_DEPTH + 1 });
}
