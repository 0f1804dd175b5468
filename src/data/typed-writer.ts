import { HostError } from '../errors/index.js';
import { lookUp } from '../lib/look-up.js';
import { isTaggedLiteral, type LiteralInput, type LiteralType, type SimpleType } from '../plugin-api/literals.js';
import {
  assertPlainObject,
  blobLiteral,
  datetimeLiteral,
  durationLiteral,
  integerLiteral,
  type LiteralMessage,
  MAX_VALUE_DEPTH,
  primitive,
  scalar,
  structLiteral,
  taggedLiteral,
  unconvertible,
  untypedLiteral,
} from './literal-writer.js';

/** Values to literals of a declared type. The type chooses between forms and refuses what does not fit it. */

/** The form of google.protobuf.Duration in JSON. */
const DURATION_TEXT = /^(-?)(\d{1,12})(?:\.(\d{1,9}))?s$/;
/** ISO 8601 with a zone: what Date parses the same everywhere. */
const DATETIME_TEXT = /^\d{4}-\d{2}-\d{2}(?:T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,3})?)?(?:Z|[+-]\d{2}:\d{2}))?$/;

/** Which tagged kinds satisfy which simple type. */
const KINDS_OF_SIMPLE: Readonly<Partial<Record<SimpleType, readonly string[]>>> = {
  INTEGER: ['integer'],
  FLOAT: ['float'],
  DURATION: ['duration'],
  BINARY: ['binary', 'msgpack'],
  ERROR: ['error'],
  STRUCT: ['struct', 'msgpack', 'binary'],
};

function describe(value: unknown): string {
  if (value === null) return 'null';
  if (isTaggedLiteral(value)) return `a ${value.literalKind} literal`;
  if (Array.isArray(value)) return 'an array';
  if (value instanceof Date) return 'a Date';
  if (value instanceof Uint8Array) return 'bytes';
  return typeof value === 'object' ? 'an object' : `${typeof value} ${String(value).slice(0, 60)}`;
}

function misfit(path: string, wanted: string, value: unknown): HostError {
  return unconvertible(path, `declared as ${wanted}, got ${describe(value)}`);
}

function floatOf(value: unknown): number | undefined {
  if (typeof value === 'number') return value;
  return typeof value === 'bigint' && BigInt(Number(value)) === value ? Number(value) : undefined;
}

function parseDuration(text: string, path: string): LiteralMessage {
  const match = DURATION_TEXT.exec(text);
  if (match === null) throw unconvertible(path, `"${text.slice(0, 40)}" is no duration; expected such as "1.5s"`);
  const sign = match[1] === '-' ? -1 : 1;
  return durationLiteral(sign * Number(match[2]), sign * Number((match[3] ?? '').padEnd(9, '0')), path);
}

function parseDatetime(text: string, path: string): LiteralMessage {
  if (!DATETIME_TEXT.test(text) || Number.isNaN(Date.parse(text))) {
    throw unconvertible(path, `"${text.slice(0, 40)}" is no datetime; expected such as "2024-05-06T07:08:09.123Z"`);
  }
  return datetimeLiteral(new Date(text), path);
}

function simpleLiteral(value: LiteralInput, type: SimpleType, path: string): LiteralMessage {
  switch (type) {
    case 'INTEGER':
      if (typeof value === 'number' || typeof value === 'bigint') return integerLiteral(value, path);
      break;
    case 'FLOAT': {
      const float = floatOf(value);
      if (float !== undefined) return primitive({ floatValue: float });
      break;
    }
    case 'STRING':
      if (typeof value === 'string') return primitive({ stringValue: value });
      break;
    case 'BOOLEAN':
      if (typeof value === 'boolean') return primitive({ boolean: value });
      break;
    case 'DATETIME':
      if (value instanceof Date) return datetimeLiteral(value, path);
      if (typeof value === 'string') return parseDatetime(value, path);
      break;
    case 'DURATION':
      if (typeof value === 'string') return parseDuration(value, path);
      break;
    case 'BINARY':
      if (value instanceof Uint8Array) return scalar({ binary: { value, tag: '' } });
      break;
    case 'STRUCT':
      if (typeof value === 'object' && value !== null && !(value instanceof Date)) return structLiteral(value, path);
      break;
    case 'NONE':
      if (value === null) return scalar({ noneType: {} });
      break;
    case 'ERROR':
      break;
    default:
      // A simple type of a newer engine: its literals are passed on as they are given.
      return untypedLiteral(value, path, 0);
  }
  throw misfit(path, type, value);
}

function unionLiteral(
  value: LiteralInput,
  variants: readonly LiteralType[],
  path: string,
  depth: number,
): LiteralMessage {
  const refusals: string[] = [];
  for (const variant of variants) {
    try {
      return scalar({ union: { value: typedLiteral(value, variant, path, depth + 1), type: variant } });
    } catch (thrown) {
      if (!HostError.is(thrown)) throw thrown;
      refusals.push(thrown.message);
    }
  }
  throw unconvertible(path, `no variant of the declared union takes ${describe(value)} (${refusals.join(' ')})`);
}

function taggedOfType(value: LiteralInput, kinds: readonly string[], wanted: string, path: string, depth: number) {
  if (!isTaggedLiteral(value)) return undefined;
  // What cannot be looked into is taken at its word.
  if (!kinds.includes(value.literalKind) && value.literalKind !== 'raw' && value.literalKind !== 'offloaded') {
    throw misfit(path, wanted, value);
  }
  return taggedLiteral(value, path, depth);
}

function locatedLiteral(value: LiteralInput, type: LiteralType, path: string, depth: number): LiteralMessage {
  if (type.blob) {
    const { format = '', dimensionality = 'SINGLE' } = type.blob;
    if (typeof value === 'string') return blobLiteral(value, format, dimensionality);
    return taggedOfType(value, ['blob'], 'a blob', path, depth) ?? fail(path, 'a blob', value);
  }
  if (type.schema) {
    if (typeof value === 'string') return scalar({ schema: { uri: value, type: type.schema } });
    return taggedOfType(value, ['schema'], 'a schema', path, depth) ?? fail(path, 'a schema', value);
  }
  if (typeof value === 'string') {
    const structuredDatasetType = type.structuredDatasetType;
    return scalar({ structuredDataset: { uri: value, metadata: { structuredDatasetType } } });
  }
  const wanted = 'a structured dataset';
  return taggedOfType(value, ['structured_dataset'], wanted, path, depth) ?? fail(path, wanted, value);
}

function fail(path: string, wanted: string, value: unknown): never {
  throw misfit(path, wanted, value);
}

function nestedLiteral(value: LiteralInput, type: LiteralType, path: string, depth: number): LiteralMessage {
  if (isTaggedLiteral(value)) {
    return taggedOfType(value, [], type.collectionType ? 'a collection' : 'a map', path, depth)!;
  }
  if (type.collectionType) {
    const item = type.collectionType;
    if (!Array.isArray(value)) throw misfit(path, 'a collection', value);
    return { collection: { literals: value.map((one, at) => typedLiteral(one, item, `${path}[${at}]`, depth + 1)) } };
  }
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
  if (!isObject || value instanceof Date || value instanceof Uint8Array) throw misfit(path, 'a map', value);
  assertPlainObject(value, path);
  const entries = Object.entries(value as Record<string, LiteralInput>).map(([key, one]) => [
    key,
    typedLiteral(one, type.mapValueType!, `${path}.${key}`, depth + 1),
  ]);
  return { map: { literals: Object.fromEntries(entries) } };
}

/** Throws LITERAL_UNCONVERTIBLE with the path of the value that is not of its declared type. */
export function typedLiteral(value: LiteralInput, type: LiteralType, path: string, depth: number): LiteralMessage {
  if (depth > MAX_VALUE_DEPTH)
    throw unconvertible(path, `nested deeper than ${MAX_VALUE_DEPTH} values, or in a circle`);
  if (type.unionType) {
    const isUnion = isTaggedLiteral(value) && ['union', 'raw', 'offloaded'].includes(value.literalKind);
    return isUnion ? taggedLiteral(value, path, depth) : unionLiteral(value, type.unionType.variants, path, depth);
  }
  if (type.collectionType || type.mapValueType) return nestedLiteral(value, type, path, depth);
  if (type.blob || type.schema || type.structuredDatasetType) return locatedLiteral(value, type, path, depth);
  if (type.enumType) {
    const members = type.enumType.values;
    if (typeof value === 'string' && members.includes(value)) return primitive({ stringValue: value });
    const wanted = `an enum of ${members.join(', ')}`;
    return taggedOfType(value, [], wanted, path, depth) ?? fail(path, wanted, value);
  }
  if (type.simple === undefined) return untypedLiteral(value, path, depth);
  const kinds = lookUp(KINDS_OF_SIMPLE, type.simple) ?? [];
  return taggedOfType(value, kinds, type.simple, path, depth) ?? simpleLiteral(value, type.simple, path);
}
