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

/** Value of the tag or length varint from `at` to `next`; at most 32 bits of it are meaningful. */
function uint32At(buffer: Buffer, at: number, next: number): number {
  let value = 0;
  for (let offset = at, factor = 1; offset < next; offset++, factor *= 128) value += (buffer[offset]! & 0x7f) * factor;
  if (value > 0xffff_ffff) throw malformed(at, 'tag or length beyond 32 bits');
  return value;
}

/** The tag from `at` to `next`: field number and, in its lowest three bits, wire type. */
function tagAt(buffer: Buffer, at: number, next: number): number {
  const tag = uint32At(buffer, at, next);
  if (tag >>> 3 === 0) throw malformed(at, 'field number 0');
  return tag;
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
      const from = skipVarint(buffer, at);
      next = from + uint32At(buffer, at, from);
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
    const next = skipVarint(buffer, offset);
    const tag = tagAt(buffer, offset, next);
    if ((tag & 7) === WIRE_END_GROUP) {
      if (tag >>> 3 !== number) throw malformed(offset, `group ${number} closed as ${tag >>> 3}`);
      return next;
    }
    offset = skipValue(buffer, next, tag & 7, tag >>> 3, depth);
  }
}

export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/**
 * Goes over the fields of a message in the order they lie there, and makes nothing for one that is passed over.
 *
 * States: before the first field → `next` → at one → `next` answers false → behind the last.
 */
class FieldWalk {
  readonly #buffer: Buffer;
  number = 0;
  wireType = 0;
  /** Offsets of the field, of its value, and behind both. */
  at = 0;
  #from = 0;
  end = 0;

  constructor(buffer: Buffer) {
    this.#buffer = buffer;
  }

  /** Throws REQUEST_UNDECODABLE where the bytes are malformed. */
  next(): boolean {
    const buffer = this.#buffer;
    this.at = this.end;
    if (this.at >= buffer.length) return false;
    const next = skipVarint(buffer, this.at);
    const tag = tagAt(buffer, this.at, next);
    this.number = tag >>> 3;
    this.wireType = tag & 7;
    this.end = skipValue(buffer, next, this.wireType, this.number, 0);
    this.#from = this.wireType === WIRE_LEN ? skipVarint(buffer, next) : next;
    return true;
  }

  get bytes(): Buffer {
    return this.#buffer.subarray(this.at, this.end);
  }

  get value(): Buffer {
    return this.#buffer.subarray(this.#from, this.end);
  }
}

/** The fields of a message in the order they lie there. Throws REQUEST_UNDECODABLE where the bytes are malformed. */
export function* readFields(message: Uint8Array): Generator<WireField> {
  for (const field = new FieldWalk(asBuffer(message)); field.next(); ) {
    const { number, wireType, bytes, value } = field;
    yield { number, wireType, bytes, value };
  }
}

/** Of each field asked for, in that order, the content of the embedded message; undefined where the field is not set. */
export type Contents = readonly (Buffer | undefined)[];

/**
 * The embedded messages (wire type LEN) with these field numbers. Several occurrences are joined, which is how protobuf merges them;
 * what occurs once is a view of the message. Throws REQUEST_UNDECODABLE where the bytes are malformed.
 */
export function findMessages(message: Uint8Array, numbers: readonly number[]): Contents {
  return find(asBuffer(message), numbers, () => {});
}

/** `findMessages` for one field. */
export function findMessage(message: Uint8Array, number: number): Buffer | undefined {
  return findMessages(message, [number])[0];
}

/** `findMessages`, and the message without them, everything else untouched: a view of it where that lies in one piece. */
export function takeMessages(
  message: Uint8Array,
  numbers: readonly number[],
): { readonly values: Contents; readonly rest: Buffer } {
  const buffer = asBuffer(message);
  const rest: Buffer[] = [];
  let from = 0;
  const keepUntil = (at: number) => {
    if (at > from) rest.push(buffer.subarray(from, at));
  };
  const values = find(buffer, numbers, ({ at, end }) => {
    keepUntil(at);
    from = end;
  });
  keepUntil(buffer.length);
  return { values, rest: rest.length === 1 ? rest[0]! : Buffer.concat(rest) };
}

function find(buffer: Buffer, numbers: readonly number[], found: (field: FieldWalk) => void): Contents {
  const parts: Buffer[][] = numbers.map(() => []);
  for (const field = new FieldWalk(buffer); field.next(); ) {
    const place = field.wireType === WIRE_LEN ? numbers.indexOf(field.number) : -1;
    if (place < 0) continue;
    parts[place]!.push(field.value);
    found(field);
  }
  return parts.map((values) => (values.length > 1 ? Buffer.concat(values) : values[0]));
}

/** Bytes of the varint of a non-negative integer below 2^53. Throws ENCODE_INVALID for any other number. */
function varintBytes(value: number): number {
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new HostError('ENCODE_INVALID', `A tag or length must be a non-negative integer, not ${value}.`);
  }
  let bytes = 1;
  for (let left = value; left > 0x7f; left = Math.floor(left / 128)) bytes += 1;
  return bytes;
}

/** Offset after the varint that is written at `at`. */
function writeVarint(buffer: Buffer, value: number, at: number): number {
  let offset = at;
  let left = value;
  for (; left > 0x7f; left = Math.floor(left / 128)) buffer[offset++] = (left % 128) | 0x80;
  buffer[offset++] = left;
  return offset;
}

/** A varint of a non-negative integer below 2^53. */
export function encodeVarint(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(varintBytes(value));
  writeVarint(bytes, value, 0);
  return bytes;
}

/** A field of wire type LEN (string, bytes or embedded message) with this content. */
export function lenField(number: number, value: Uint8Array | string): Buffer {
  const tag = number * 8 + WIRE_LEN;
  const length = typeof value === 'string' ? Buffer.byteLength(value) : value.length;
  const field = Buffer.allocUnsafe(varintBytes(tag) + varintBytes(length) + length);
  const from = writeVarint(field, length, writeVarint(field, tag, 0));
  if (typeof value === 'string') field.write(value, from);
  else field.set(value, from);
  return field;
}
