import { HostError } from '../errors/index.js';

/**
 * A reader and writer of the protobuf wire format that knows no message types. It lets literals and templates pass
 * through as the bytes they came as, so that fields which our descriptors do not know are kept (FIELD 22).
 * Source of the format: https://protobuf.dev/programming-guides/encoding/
 */

export const WIRE_VARINT = 0;
const WIRE_I64 = 1;
export const WIRE_LEN = 2;
const WIRE_START_GROUP = 3;
const WIRE_END_GROUP = 4;
const WIRE_I32 = 5;

/** Groups may nest; deeper than this is taken for an attack, as protobuf implementations do. */
const MAX_GROUP_DEPTH = 100;

/** One field as it lies in a message. Both buffers are views of the input, not copies. */
export interface WireField {
  readonly number: number;
  readonly wireType: number;
  /** The whole field: tag, length if any, and value. Concatenating `bytes` of all fields gives the message back. */
  readonly bytes: Buffer;
  /** Wire type LEN: the content without its length. Otherwise the encoded value without the tag. */
  readonly value: Buffer;
}

function malformed(offset: number, what: string): HostError {
  return new HostError(
    'REQUEST_UNDECODABLE',
    `The bytes are not a protobuf message: ${what} at offset ${offset}. Expected a whole, unaltered encoding.`,
  );
}

/** Offset after the varint that starts at `at`. */
function skipVarint(buffer: Buffer, at: number): number {
  for (let offset = at; offset < at + 10; offset++) {
    const byte = buffer[offset];
    if (byte === undefined) throw malformed(at, 'truncated varint');
    if (byte < 0x80) return offset + 1;
  }
  throw malformed(at, 'varint longer than 10 bytes');
}

/** Value of a tag or length varint (at most 32 bits are meaningful) and the offset after it. */
function readUint32(buffer: Buffer, at: number): { value: number; next: number } {
  const next = skipVarint(buffer, at);
  let value = 0;
  for (let offset = at, factor = 1; offset < next; offset++, factor *= 128) value += (buffer[offset]! & 0x7f) * factor;
  if (value > 0xffff_ffff) throw malformed(at, 'tag or length beyond 32 bits');
  return { value, next };
}

/** Offset after a value of `wireType` that starts at `at`. */
function skipValue(buffer: Buffer, at: number, wireType: number, number: number, depth: number): number {
  let next: number;
  switch (wireType) {
    case WIRE_VARINT:
      return skipVarint(buffer, at);
    case WIRE_I64:
      next = at + 8;
      break;
    case WIRE_I32:
      next = at + 4;
      break;
    case WIRE_LEN: {
      const length = readUint32(buffer, at);
      next = length.next + length.value;
      break;
    }
    case WIRE_START_GROUP:
      return skipGroup(buffer, at, number, depth + 1);
    default:
      throw malformed(at, `wire type ${wireType} of field ${number}`);
  }
  if (next > buffer.length) {
    throw malformed(at, `field ${number} ends ${next - buffer.length} bytes past the end of the message`);
  }
  return next;
}

function skipGroup(buffer: Buffer, at: number, number: number, depth: number): number {
  if (depth > MAX_GROUP_DEPTH) throw malformed(at, 'groups nested too deeply');
  let offset = at;
  for (;;) {
    const tag = readTag(buffer, offset);
    if (tag.wireType === WIRE_END_GROUP) {
      if (tag.number !== number) throw malformed(offset, `group ${number} closed as ${tag.number}`);
      return tag.next;
    }
    offset = skipValue(buffer, tag.next, tag.wireType, tag.number, depth);
  }
}

function readTag(buffer: Buffer, at: number): { number: number; wireType: number; next: number } {
  const { value, next } = readUint32(buffer, at);
  const number = value >>> 3;
  if (number === 0) throw malformed(at, 'field number 0');
  return { number, wireType: value & 7, next };
}

export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The fields of a message in the order they lie there. Throws REQUEST_UNDECODABLE where the bytes are malformed. */
export function* readFields(message: Uint8Array): Generator<WireField> {
  const buffer = asBuffer(message);
  let at = 0;
  while (at < buffer.length) {
    const { number, wireType, next } = readTag(buffer, at);
    const end = skipValue(buffer, next, wireType, number, 0);
    const from = wireType === WIRE_LEN ? readUint32(buffer, next).next : next;
    yield { number, wireType, bytes: buffer.subarray(at, end), value: buffer.subarray(from, end) };
    at = end;
  }
}

export interface TakenField {
  /**
   * Content of the embedded message; undefined where the field is not set. Several occurrences are joined, which is
   * how protobuf merges them.
   */
  readonly value: Buffer | undefined;
  /** The message without that field, everything else untouched. */
  readonly rest: Buffer;
}

/** Takes the embedded message (wire type LEN) with this field number out of a message. */
export function takeMessage(message: Uint8Array, number: number): TakenField {
  const { values, rest } = takeMessages(message, [number]);
  return { value: values.get(number), rest };
}

/** `takeMessage` for several fields in one pass. */
export function takeMessages(
  message: Uint8Array,
  numbers: readonly number[],
): { values: Map<number, Buffer>; rest: Buffer } {
  const found = new Map<number, Buffer[]>();
  const rest: Buffer[] = [];
  for (const field of readFields(message)) {
    if (field.wireType !== WIRE_LEN || !numbers.includes(field.number)) {
      rest.push(field.bytes);
      continue;
    }
    const earlier = found.get(field.number);
    if (earlier === undefined) found.set(field.number, [field.value]);
    else earlier.push(field.value);
  }
  const values = new Map<number, Buffer>();
  for (const [number, parts] of found) values.set(number, parts.length === 1 ? parts[0]! : Buffer.concat(parts));
  return { values, rest: Buffer.concat(rest) };
}

/** A varint of a non-negative integer below 2^53. */
export function encodeVarint(value: number): Buffer {
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new HostError('ENCODE_INVALID', `A tag or length must be a non-negative integer, not ${value}.`);
  }
  const bytes: number[] = [];
  let left = value;
  while (left > 0x7f) {
    bytes.push((left % 128) | 0x80);
    left = Math.floor(left / 128);
  }
  bytes.push(left);
  return Buffer.from(bytes);
}

/** A field of wire type LEN (string, bytes or embedded message) with this content. */
export function lenField(number: number, value: Uint8Array | string): Buffer {
  const content = typeof value === 'string' ? Buffer.from(value, 'utf8') : value;
  return Buffer.concat([encodeVarint(number * 8 + WIRE_LEN), encodeVarint(content.length), content]);
}
