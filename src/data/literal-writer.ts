import { HostError, messageOf } from '../errors/index.js';
import type { Message } from '../idl/codec.js';
import { structFromJson } from '../idl/struct.js';
import type { JsonObject } from '../lib/json.js';
import { isTaggedLiteral, type LiteralInput, type PreciseDate, type TaggedLiteral } from '../plugin-api/literals.js';
import { encodeMsgpack, MSGPACK_TAG } from './msgpack.js';
import { roundedWhole } from './whole-numbers.js';

/** Values without a declared type to flyteidl.core.Literal messages, ready to encode. */

const NANOS_PER_MS = 1_000_000;
const INT64_MAX = 2n ** 63n - 1n;
const INT64_MIN = -(2n ** 63n);
/** Bounds of google.protobuf.Timestamp (years 1 to 9999) and Duration, in seconds. */
const MIN_TIMESTAMP = -62_135_596_800;
const MAX_TIMESTAMP = 253_402_300_799;
const MAX_DURATION = 315_576_000_000;
export const MAX_VALUE_DEPTH = 48;

export function unconvertible(path: string, problem: string, cause?: unknown): HostError {
  return new HostError('LITERAL_UNCONVERTIBLE', `${path}: ${problem}.`, cause === undefined ? {} : { cause });
}

/** A literal message, or the encoded bytes of one, which the encoder puts in untouched. */
export type LiteralMessage = Message | Uint8Array;

export const scalar = (value: Message): Message => ({ scalar: value });
export const primitive = (value: Message): Message => scalar({ primitive: value });

export function integerLiteral(value: number | bigint, path: string): Message {
  if (typeof value === 'number' && !Number.isSafeInteger(value)) {
    throw unconvertible(path, `${value} is not a whole number within ±2^53; give larger ones as bigint`);
  }
  if (typeof value === 'bigint' && (value > INT64_MAX || value < INT64_MIN)) {
    throw unconvertible(path, `${value} does not fit into 64 bits`);
  }
  return primitive({ integer: value });
}

export function datetimeLiteral(value: Date, path: string): Message {
  const epochMs = value.getTime();
  const seconds = Math.floor(epochMs / 1000);
  if (!(seconds >= MIN_TIMESTAMP && seconds <= MAX_TIMESTAMP)) {
    throw unconvertible(path, `a datetime must lie in the years 1 to 9999, not ${String(value)}`);
  }
  // Recognised by its field, for a copy of the class from elsewhere.
  const belowMs = (value as Partial<PreciseDate>).nanosBelowMs ?? 0;
  if (!Number.isInteger(belowMs) || belowMs < 0 || belowMs >= NANOS_PER_MS) {
    throw unconvertible(path, `nanosBelowMs must be 0 to 999999, not ${belowMs}`);
  }
  return primitive({ datetime: { seconds, nanos: (epochMs - seconds * 1000) * NANOS_PER_MS + belowMs } });
}

export function durationLiteral(seconds: number, nanos: number, path: string): Message {
  const whole = Number.isInteger(seconds) && Number.isInteger(nanos);
  if (!whole || Math.abs(seconds) > MAX_DURATION || Math.abs(nanos) >= 1e9 || seconds * nanos < 0) {
    throw unconvertible(
      path,
      `seconds ${seconds} and nanos ${nanos} are no duration: whole numbers of one sign, within ±${MAX_DURATION} s and 1e9 ns`,
    );
  }
  return primitive({ duration: { seconds, nanos } });
}

export function structLiteral(value: unknown, path: string): Message {
  let generic: Message;
  try {
    generic = structFromJson(value as JsonObject, path);
  } catch (thrown) {
    throw unconvertible(path, HostError.is(thrown) ? thrown.message : 'not JSON', thrown);
  }
  const rounded = roundedWhole(value, path);
  if (rounded !== undefined)
    throw unconvertible(rounded, 'a whole number beyond 2^53; a Struct takes it as a text only');
  return scalar({ generic });
}

export function blobLiteral(uri: string, format: string, dimensionality: string): Message {
  return scalar({ blob: { uri, metadata: { type: { format, dimensionality } } } });
}

function msgpackLiteral(literal: Extract<TaggedLiteral, { literalKind: 'msgpack' }>, path: string): Message {
  try {
    return scalar({ binary: { tag: MSGPACK_TAG, value: literal.bytes ?? encodeMsgpack(literal.value) } });
  } catch (thrown) {
    throw unconvertible(path, `the value cannot become MessagePack (${messageOf(thrown)})`, thrown);
  }
}

function structuredDataset(literal: Extract<TaggedLiteral, { literalKind: 'structured_dataset' }>): Message {
  const { uri, format, columns, externalSchemaType, externalSchemaBytes } = literal;
  const structuredDatasetType = { format, columns, externalSchemaType, externalSchemaBytes };
  return scalar({ structuredDataset: { uri, metadata: { structuredDatasetType } } });
}

function taggedMessage(literal: Exclude<TaggedLiteral, { literalKind: 'raw' }>, path: string, depth: number): Message {
  switch (literal.literalKind) {
    case 'integer':
      return integerLiteral(literal.value, path);
    case 'float':
      return primitive({ floatValue: literal.value });
    case 'duration':
      return durationLiteral(literal.seconds, literal.nanos, path);
    case 'binary':
      return scalar({ binary: { value: literal.value, tag: literal.tag } });
    case 'msgpack':
      return msgpackLiteral(literal, path);
    case 'struct':
      return structLiteral(literal.value, path);
    case 'blob':
      return blobLiteral(literal.uri, literal.format, literal.dimensionality);
    case 'schema':
      return scalar({ schema: { uri: literal.uri, type: { columns: literal.columns } } });
    case 'structured_dataset':
      return structuredDataset(literal);
    case 'error':
      return scalar({ error: { failedNodeId: literal.failedNodeId, message: literal.message } });
    case 'union': {
      const value = untypedLiteral(literal.value, `${path}.value`, depth + 1);
      return scalar({ union: { value, type: literal.type } });
    }
    case 'offloaded': {
      const { uri, sizeBytes, inferredType } = literal;
      return { offloadedMetadata: { uri, sizeBytes, inferredType } };
    }
    default: {
      const unknown: never = literal;
      throw unconvertible(path, `unknown literal kind ${String((unknown as TaggedLiteral).literalKind)}`);
    }
  }
}

/** A tagged literal as it is, whatever type is declared. */
export function taggedLiteral(literal: TaggedLiteral, path: string, depth: number): LiteralMessage {
  if (literal.literalKind === 'raw') {
    if (literal.bytes instanceof Uint8Array) return literal.bytes;
    throw unconvertible(path, 'a raw literal must hold bytes');
  }
  const message = taggedMessage(literal, path, depth);
  const { hash, metadata } = literal;
  return { ...message, ...(hash === undefined ? {} : { hash }), ...(metadata === undefined ? {} : { metadata }) };
}

/** Throws for an instance of a class, which would quietly become a map of its fields. */
export function assertPlainObject(value: object, path: string): asserts value is Record<string, LiteralInput> {
  const prototype = Object.getPrototypeOf(value);
  if (prototype !== null && prototype !== Object.prototype && Object.getPrototypeOf(prototype) !== null) {
    throw unconvertible(path, `an instance of ${value.constructor?.name ?? 'a class'} has no literal`);
  }
  if ('literalKind' in value) {
    throw unconvertible(path, 'an object with literalKind must be made by a constructor of `literals`');
  }
}

function untypedNumber(value: number, path: string): Message {
  const whole = Number.isSafeInteger(value) && !Object.is(value, -0);
  return whole ? integerLiteral(value, path) : primitive({ floatValue: value });
}

function untypedObject(value: object, path: string, depth: number): LiteralMessage {
  if (isTaggedLiteral(value)) return taggedLiteral(value, path, depth);
  if (value instanceof Date) return datetimeLiteral(value, path);
  if (value instanceof Uint8Array) return scalar({ binary: { value, tag: '' } });
  if (Array.isArray(value)) {
    return { collection: { literals: value.map((item, at) => untypedLiteral(item, `${path}[${at}]`, depth + 1)) } };
  }
  assertPlainObject(value, path);
  const entries = Object.entries(value).map(([key, item]) => [key, untypedLiteral(item, `${path}.${key}`, depth + 1)]);
  return { map: { literals: Object.fromEntries(entries) } };
}

/** Throws LITERAL_UNCONVERTIBLE with the path of the value that has no literal. */
export function untypedLiteral(value: LiteralInput, path: string, depth: number): LiteralMessage {
  if (depth > MAX_VALUE_DEPTH)
    throw unconvertible(path, `nested deeper than ${MAX_VALUE_DEPTH} values, or in a circle`);
  switch (typeof value) {
    case 'string':
      return primitive({ stringValue: value });
    case 'boolean':
      return primitive({ boolean: value });
    case 'number':
      return untypedNumber(value, path);
    case 'bigint':
      return integerLiteral(value, path);
    case 'object':
      return value === null ? scalar({ noneType: {} }) : untypedObject(value, path, depth);
    default:
      throw unconvertible(path, `a value of type ${typeof value} has no literal`);
  }
}
