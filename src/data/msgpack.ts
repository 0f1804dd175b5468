import { decode, ExtData, encode } from '@msgpack/msgpack';
import type { MsgpackValue } from '../plugin-api/literals.js';

/** The tag that Flyte's SDKs put on MessagePack binaries. */
export const MSGPACK_TAG = 'msgpack';

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

/** Numbers beyond ±2^53 that are whole must be given as bigint, else they are encoded as floats. */
export function encodeMsgpack(value: MsgpackValue): Uint8Array {
  return encode(value, { useBigInt64: true, ignoreUndefined: true });
}
