import type { Message } from '../idl/codec.js';
import { structToJson } from '../idl/struct.js';
import {
  type BinaryLiteral,
  type LiteralValue,
  literals,
  type MsgpackLiteral,
  PreciseDate,
} from '../plugin-api/literals.js';
import { decodeMsgpack, MSGPACK_TAG } from './msgpack.js';

/** Decoded flyteidl.core.Literal messages to values; see the table in plugin-api/literals.ts. */

/** Milliseconds that a Date can hold, either way from the epoch. */
const MAX_DATE_MS = 8.64e15;
const NANOS_PER_MS = 1_000_000;

interface Annotations {
  readonly hash?: string;
  readonly metadata?: Readonly<Record<string, string>>;
}

/** Thrown inside this room where no value can hold a literal; it is then kept as raw bytes. */
export class NoPlainForm extends Error {}

function annotationsOf(literal: Message): Annotations {
  return {
    ...(literal.hash === '' ? {} : { hash: literal.hash }),
    ...(Object.keys(literal.metadata).length === 0 ? {} : { metadata: literal.metadata }),
  };
}

function readWhole(text: string): number | bigint {
  const number = Number(text);
  return Number.isSafeInteger(number) ? number : BigInt(text);
}

function readDatetime(timestamp: Message): Date {
  const belowMs = timestamp.nanos % NANOS_PER_MS;
  const epochMs = Number(timestamp.seconds) * 1000 + (timestamp.nanos - belowMs) / NANOS_PER_MS;
  if (timestamp.nanos < 0 || timestamp.nanos >= 1e9 || Math.abs(epochMs) > MAX_DATE_MS) {
    throw new NoPlainForm('time outside the range of Date');
  }
  return belowMs === 0 ? new Date(epochMs) : new PreciseDate(epochMs, belowMs);
}

function readPrimitive(primitive: Message, extra: Annotations): LiteralValue {
  switch (primitive.value) {
    case 'integer':
      return readWhole(primitive.integer);
    case 'floatValue':
      return primitive.floatValue;
    case 'stringValue':
      return primitive.stringValue;
    case 'boolean':
      return primitive.boolean;
    case 'datetime':
      return readDatetime(primitive.datetime);
    case 'duration': {
      const seconds = Number(primitive.duration.seconds);
      if (!Number.isSafeInteger(seconds)) throw new NoPlainForm('duration beyond 2^53 seconds');
      return literals.exactDuration(seconds, primitive.duration.nanos, extra);
    }
    default:
      throw new NoPlainForm('primitive of an unknown kind');
  }
}

function readBinary(binary: Message, extra: Annotations): Uint8Array | BinaryLiteral | MsgpackLiteral {
  if (binary.tag === MSGPACK_TAG) {
    try {
      return literals.msgpack(decodeMsgpack(binary.value), { ...extra, bytes: binary.value });
    } catch {
      return literals.binary(binary.value, binary.tag, extra);
    }
  }
  const plain = binary.tag === '' && extra.hash === undefined && extra.metadata === undefined;
  return plain ? binary.value : literals.binary(binary.value, binary.tag, extra);
}

function readStructuredDataset(dataset: Message, extra: Annotations): LiteralValue {
  const type = dataset.metadata?.structuredDatasetType ?? {};
  return literals.structuredDataset(dataset.uri, {
    ...extra,
    format: type.format ?? '',
    columns: type.columns ?? [],
    ...(type.externalSchemaType ? { externalSchemaType: type.externalSchemaType } : {}),
    ...(type.externalSchemaBytes?.length ? { externalSchemaBytes: type.externalSchemaBytes } : {}),
  });
}

function readScalar(scalar: Message, extra: Annotations): LiteralValue {
  switch (scalar.value) {
    case 'primitive':
      return readPrimitive(scalar.primitive, extra);
    case 'noneType':
      return null;
    case 'binary':
      return readBinary(scalar.binary, extra);
    case 'generic':
      return literals.struct(structToJson(scalar.generic), extra);
    case 'blob': {
      const { format = '', dimensionality = 'SINGLE' } = scalar.blob.metadata?.type ?? {};
      // An enum number that is in no enum stays a number when decoded.
      if (typeof dimensionality === 'number') throw new NoPlainForm('blob of an unknown dimensionality');
      const make = dimensionality === 'MULTIPART' ? literals.multipartBlob : literals.blob;
      return make(scalar.blob.uri, format, extra);
    }
    case 'schema':
      return literals.schema(scalar.schema.uri, scalar.schema.type?.columns ?? [], extra);
    case 'structuredDataset':
      return readStructuredDataset(scalar.structuredDataset, extra);
    case 'error':
      return literals.error(scalar.error.failedNodeId, scalar.error.message, extra);
    case 'union': {
      if (scalar.union.value === null) throw new NoPlainForm('union without a value');
      return literals.union(readLiteral(scalar.union.value), scalar.union.type, extra);
    }
    default:
      throw new NoPlainForm('scalar of an unknown kind');
  }
}

/** Throws NoPlainForm for a literal (or a part of one) of a kind that is not known here. */
export function readLiteral(literal: Message): LiteralValue {
  const extra = annotationsOf(literal);
  switch (literal.value) {
    case 'scalar':
      return readScalar(literal.scalar, extra);
    case 'collection':
      return literal.collection.literals.map(readLiteral);
    case 'map': {
      const entries = Object.entries(literal.map.literals as Record<string, Message | null>);
      return Object.fromEntries(entries.map(([key, value]) => [key, readEntry(value)]));
    }
    case 'offloadedMetadata': {
      const { uri, sizeBytes, inferredType } = literal.offloadedMetadata;
      return literals.offloaded(uri, readWhole(sizeBytes), inferredType, extra);
    }
    default:
      throw new NoPlainForm('literal of an unknown kind');
  }
}

function readEntry(value: Message | null): LiteralValue {
  if (value === null) throw new NoPlainForm('map entry without a literal');
  return readLiteral(value);
}
