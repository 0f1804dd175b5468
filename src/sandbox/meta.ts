import { messageOf } from '../errors/index.js';
import type { JsonValue } from '../lib/json.js';
import { META_MAX_BYTES } from '../model/handle.js';
import type { MetaCodec } from '../plugin-api/plugin.js';
import { InvalidAnswer } from './invalid-answer.js';
import { halfPair, jsonLoss } from './json-loss.js';

/**
 * The resource meta as the bytes that travel in the handle, after the round trip was checked: the process that reads
 * it may be another one. Throws InvalidAnswer RESOURCE_META_INVALID or RESOURCE_META_TOO_LARGE.
 */
export function encodeMeta(meta: unknown, codec: MetaCodec<unknown> | undefined): Buffer {
  const bytes = codec === undefined ? encodeJson(meta) : encodeWith(codec, meta);
  if (bytes.length > META_MAX_BYTES) {
    throw new InvalidAnswer(
      `the resource meta has ${bytes.length} bytes, ${META_MAX_BYTES} are allowed; keep what identifies the job and store the rest elsewhere`,
      'RESOURCE_META_TOO_LARGE',
    );
  }
  return bytes;
}

/** Throws InvalidAnswer RESOURCE_META_INVALID. */
export function decodeMeta(bytes: Uint8Array, codec: MetaCodec<unknown> | undefined): unknown {
  try {
    return codec === undefined ? (JSON.parse(Buffer.from(bytes).toString('utf8')) as unknown) : codec.decode(bytes);
  } catch (error) {
    throw invalid(`${bytes.length} bytes cannot be decoded: ${messageOf(error)}`);
  }
}

function encodeJson(meta: unknown): Buffer {
  let text: string | undefined;
  try {
    text = JSON.stringify(meta);
  } catch (error) {
    throw invalid(`it cannot be written as JSON: ${messageOf(error)}`);
  }
  if (text === undefined)
    throw invalid(`it is ${meta === undefined ? 'missing' : `a ${typeof meta}`}, which JSON does not know`);
  const plain = JSON.parse(text) as JsonValue;
  const lost = jsonLoss(meta, plain, 'resourceMeta');
  if (lost !== undefined) throw invalid(`${lost} does not survive JSON; use plain data or give the plugin a metaCodec`);
  const half = halfPair(plain, 'resourceMeta');
  if (half !== undefined)
    throw invalid(`${half} holds half a surrogate pair, which has no UTF-8; cut texts between characters`);
  return Buffer.from(text, 'utf8');
}

function encodeWith(codec: MetaCodec<unknown>, meta: unknown): Buffer {
  let first: unknown;
  let second: unknown;
  try {
    first = codec.encode(meta);
    if (first instanceof Uint8Array) second = codec.encode(codec.decode(first));
  } catch (error) {
    throw invalid(`metaCodec threw: ${messageOf(error)}`);
  }
  if (!(first instanceof Uint8Array)) throw invalid('metaCodec.encode did not answer bytes');
  const bytes = Buffer.from(first);
  if (!(second instanceof Uint8Array) || !bytes.equals(second)) {
    throw invalid('metaCodec gives other bytes after decoding and encoding again');
  }
  return bytes;
}

function invalid(why: string): InvalidAnswer {
  return new InvalidAnswer(`the resource meta is not usable: ${why}`, 'RESOURCE_META_INVALID');
}
