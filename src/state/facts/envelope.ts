import { crc32 } from 'node:zlib';
import { HostError } from '../../errors/index.js';
import type { JsonValue } from '../../lib/json.js';
import { type Blobs, type Field, FieldError } from './fields.js';

/** A kind's values are written in this format; what is read may be older, never newer. */
export interface Format<T> {
  readonly version: number;
  readonly field: Field<T>;
  /** How earlier versions are read, from 1 on. */
  readonly before?: readonly Field<T>[];
}

const HEAD = 1 + 4 + 4; // format version, CRC-32 over key and rest, length of the JSON

/**
 * Layout of a value: format version of its kind (1 byte), CRC-32 (4 bytes, big endian) of its key and of all that follows,
 * length of a JSON text (4 bytes), the text, then each run of bytes that it refers to, with its length (4 bytes). The key
 * is part of the sum, so that a value under another's key is seen.
 */
export function encodeValue<T>(key: string, { version, field }: Format<T>, value: T): Buffer {
  const blobs: Blobs = [];
  const json = Buffer.from(JSON.stringify(field.write(value, blobs) ?? null));
  const size = blobs.reduce((sum, blob) => sum + 4 + blob.length, HEAD + json.length);
  const out = Buffer.allocUnsafe(size);
  out[0] = version;
  out.writeUInt32BE(json.length, 5);
  json.copy(out, HEAD);
  let at = HEAD + json.length;
  for (const blob of blobs) {
    out.writeUInt32BE(blob.length, at);
    blob.copy(out, at + 4);
    at += 4 + blob.length;
  }
  out.writeUInt32BE(sumOf(key, out), 1);
  return out;
}

/** Throws STATE_DAMAGED for what was altered or cut, STATE_FORMAT_NEWER for what a later release wrote. */
export function decodeValue<T>(key: string, { version, field, before }: Format<T>, value: Buffer): T {
  if (value.length < HEAD) throw damaged(key, `it ends after ${value.length} bytes`);
  if (value.readUInt32BE(1) !== sumOf(key, value)) throw damaged(key, 'its checksum does not fit');
  const written = value[0] as number;
  if (written > version) {
    throw new HostError(
      'STATE_FORMAT_NEWER',
      `the state holds ${key} in format ${written}, this release knows ${version}; start the release that wrote it, or a later one`,
    );
  }
  try {
    const { json, blobs } = parts(value);
    return (written === version ? field : (before?.[written - 1] ?? field)).read(json, blobs, '');
  } catch (error) {
    if (error instanceof FieldError || error instanceof SyntaxError || error instanceof RangeError) {
      throw damaged(key, error.message);
    }
    throw error;
  }
}

function parts(value: Buffer): { json: JsonValue; blobs: Blobs } {
  const end = HEAD + value.readUInt32BE(5);
  const json = JSON.parse(value.toString('utf8', HEAD, end)) as JsonValue;
  const blobs: Blobs = [];
  for (let at = end; at < value.length; ) {
    const next = at + 4 + value.readUInt32BE(at);
    if (next > value.length) throw new FieldError('bytes that it refers to are cut off');
    blobs.push(value.subarray(at + 4, next));
    at = next;
  }
  return { json, blobs };
}

/** Over key, format version and body; the sum's own place is left out. */
function sumOf(key: string, value: Buffer): number {
  return crc32(value.subarray(5), crc32(`${key}\n${value[0]}`));
}

function damaged(key: string, what: string): HostError {
  return new HostError('STATE_DAMAGED', `the state's value of ${key} is damaged: ${what}`);
}
