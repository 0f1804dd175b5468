import type { JsonObject, JsonValue } from '../lib/json.js';
import type { LiteralType, SchemaColumn } from './literal-type.js';

export type { LiteralType, SchemaColumn, SimpleType } from './literal-type.js';

/**
 * The values of tasks as plugin code sees them.
 *
 * | literal of the engine | read as | given as |
 * | --- | --- | --- |
 * | integer | number; bigint beyond ±2^53 | whole safe number, bigint, `literals.integer(x)` |
 * | float | number | number with a fraction, NaN, ±Infinity, -0, beyond ±2^53; `literals.float(x)` for a whole one |
 * | string, boolean, none | string, boolean, null | the same |
 * | datetime | Date (a `PreciseDate` where it has digits below the millisecond) | Date |
 * | duration | `DurationLiteral` | `literals.duration(ms)` |
 * | binary without a tag | Uint8Array | Uint8Array |
 * | binary, tag msgpack (dataclass, dict, pydantic model) | `MsgpackLiteral`, its `value` decoded | `literals.msgpack(json)` |
 * | binary with another tag | `BinaryLiteral` | `literals.binary(bytes, tag)` |
 * | generic (google.protobuf.Struct) | `StructLiteral`, its `value` plain JSON | `literals.struct(json)` |
 * | blob, schema, structured dataset, error, union | the tagged literal of that name | its constructor |
 * | offloaded | `OffloadedLiteral`, not fetched | the same object, or `literals.raw` |
 * | collection | array | array |
 * | map | object | plain object |
 * | of a kind this host does not know | `RawLiteral` | `literals.raw(bytes)` |
 *
 * Where the output's declared type is known it decides: 1 becomes a float for a declared float, text a datetime, enum
 * member or blob, a plain object a struct; a value that does not fit is an error. `hash` and `metadata` of a literal
 * are kept on tagged literals only; to pass a literal on without any loss take it from `InputReader.literals()`.
 */

/** On every tagged literal, whichever copy of this module made it. Enumerable, so that a spread copy stays tagged. */
const BRAND = Symbol.for('webapi-plugin-host.Literal');

interface Annotations {
  /** The engine's cache key of this literal. */
  readonly hash?: string;
  readonly metadata?: Readonly<Record<string, string>>;
}

interface Tagged<Kind extends string> extends Annotations {
  readonly literalKind: Kind;
}

/** A whole number, kept apart from floats whatever its size. */
export interface IntegerLiteral extends Tagged<'integer'> {
  readonly value: number | bigint;
}

/** A float, also where its value is whole. */
export interface FloatLiteral extends Tagged<'float'> {
  readonly value: number;
}

/** A span of time; negative ones have both parts negative or zero. */
export interface DurationLiteral extends Tagged<'duration'> {
  /** Whole seconds. */
  readonly seconds: number;
  /** The rest, in nanoseconds, below 1e9, with the sign of the whole. */
  readonly nanos: number;
}

/** Bytes with a name for their encoding. */
export interface BinaryLiteral extends Tagged<'binary'> {
  readonly value: Uint8Array;
  readonly tag: string;
}

/** What MessagePack can hold; integers beyond ±2^53 as bigint. */
export type MsgpackValue =
  | JsonValue
  | bigint
  | Uint8Array
  | Date
  | readonly MsgpackValue[]
  | { readonly [key: string]: MsgpackValue };

/** A dataclass, dict or model of the Python side. */
export interface MsgpackLiteral extends Tagged<'msgpack'> {
  readonly value: MsgpackValue;
  /** The encoding as it was read; written back as it is. Absent on literals made here. */
  readonly bytes?: Uint8Array;
}

/** A google.protobuf.Struct: JSON, all numbers double. */
export interface StructLiteral extends Tagged<'struct'> {
  readonly value: JsonObject;
}

/** A file, or a folder where MULTIPART. */
export interface BlobLiteral extends Tagged<'blob'> {
  readonly uri: string;
  readonly format: string;
  readonly dimensionality: 'SINGLE' | 'MULTIPART';
}

export interface SchemaLiteral extends Tagged<'schema'> {
  readonly uri: string;
  readonly columns: readonly SchemaColumn[];
}

export interface StructuredDatasetLiteral extends Tagged<'structured_dataset'> {
  readonly uri: string;
  readonly format: string;
  readonly columns: readonly { readonly name: string; readonly literalType: LiteralType }[];
  readonly externalSchemaType?: string;
  readonly externalSchemaBytes?: Uint8Array;
}

export interface ErrorLiteral extends Tagged<'error'> {
  readonly failedNodeId: string;
  readonly message: string;
}

/** A value together with the variant of the union that it is of. Optional inputs come as these. */
export interface UnionLiteral<Value = LiteralValue> extends Tagged<'union'> {
  readonly value: Value;
  readonly type: LiteralType;
}

/** A literal that the engine put elsewhere since it is large: a flyteidl.core.Literal lies at `uri`. */
export interface OffloadedLiteral extends Tagged<'offloaded'> {
  readonly uri: string;
  readonly sizeBytes: number | bigint;
  readonly inferredType: LiteralType | null;
}

/** An encoded flyteidl.core.Literal, passed on byte by byte. */
export interface RawLiteral extends Tagged<'raw'> {
  readonly bytes: Uint8Array;
}

/** A literal made by a constructor of `literals`, or read from inputs where no plain value can hold it. */
export type TaggedLiteral =
  | IntegerLiteral
  | FloatLiteral
  | DurationLiteral
  | BinaryLiteral
  | MsgpackLiteral
  | StructLiteral
  | BlobLiteral
  | SchemaLiteral
  | StructuredDatasetLiteral
  | ErrorLiteral
  | UnionLiteral<LiteralValue>
  | UnionLiteral<LiteralInput>
  | OffloadedLiteral
  | RawLiteral;

/** What a plugin may give as an output: plain values where they are unambiguous, tagged ones elsewhere. */
export type LiteralInput =
  | string
  | number
  | bigint
  | boolean
  | null
  | Date
  | Uint8Array
  | TaggedLiteral
  | readonly LiteralInput[]
  | { readonly [key: string]: LiteralInput };

/** What inputs are read as. Every LiteralValue is a LiteralInput. */
export type LiteralValue =
  | string
  | number
  | bigint
  | boolean
  | null
  | Date
  | Uint8Array
  | TaggedLiteral
  | LiteralValue[]
  | { [key: string]: LiteralValue };

/** A Date that also knows the nanoseconds below its millisecond. */
export class PreciseDate extends Date {
  /** 0 to 999,999; counted forward in time, also before 1970. */
  readonly nanosBelowMs: number;

  constructor(epochMs: number, nanosBelowMs: number) {
    super(epochMs);
    this.nanosBelowMs = nanosBelowMs;
  }
}

function tag<Literal extends { literalKind: string }>(fields: Literal): Readonly<Literal> {
  return Object.freeze({ ...fields, [BRAND]: true });
}

/** Whether a value is a tagged literal, whichever copy of the package made it. */
export function isTaggedLiteral(value: unknown): value is TaggedLiteral {
  if (typeof value !== 'object' || value === null) return false;
  try {
    return BRAND in value;
  } catch {
    // A proxy may throw at whatever is asked of it.
    return false;
  }
}

/** Constructors of tagged literals. They do not check; what cannot be encoded is refused when it is written. */
export const literals = {
  integer: (value: number | bigint, extra: Annotations = {}): IntegerLiteral =>
    tag({ ...extra, literalKind: 'integer', value }),
  float: (value: number, extra: Annotations = {}): FloatLiteral => tag({ ...extra, literalKind: 'float', value }),
  /** Milliseconds may have a fraction, which is kept to the nanosecond. */
  duration: (ms: number, extra: Annotations = {}): DurationLiteral => {
    const whole = Math.trunc(ms / 1000);
    // The remainder of a division by 1000 is exact; the product is rounded to whole nanoseconds.
    const nanos = Math.round((ms % 1000) * 1e6);
    const carry = Math.abs(nanos) === 1e9;
    return literals.exactDuration(carry ? whole + Math.sign(nanos) : whole, carry ? 0 : nanos, extra);
  },
  exactDuration: (seconds: number, nanos: number, extra: Annotations = {}): DurationLiteral =>
    tag({ ...extra, literalKind: 'duration', seconds: seconds + 0, nanos: nanos + 0 }),
  binary: (value: Uint8Array, encodingTag = '', extra: Annotations = {}): BinaryLiteral =>
    tag({ ...extra, literalKind: 'binary', value, tag: encodingTag }),
  msgpack: (value: MsgpackValue, extra: Annotations & { readonly bytes?: Uint8Array } = {}): MsgpackLiteral =>
    tag({ ...extra, literalKind: 'msgpack', value }),
  struct: (value: JsonObject, extra: Annotations = {}): StructLiteral =>
    tag({ ...extra, literalKind: 'struct', value }),
  /** A single file. */
  blob: (uri: string, format = '', extra: Annotations = {}): BlobLiteral =>
    tag({ ...extra, literalKind: 'blob', uri, format, dimensionality: 'SINGLE' }),
  /** A folder. */
  multipartBlob: (uri: string, format = '', extra: Annotations = {}): BlobLiteral =>
    tag({ ...extra, literalKind: 'blob', uri, format, dimensionality: 'MULTIPART' }),
  schema: (uri: string, columns: readonly SchemaColumn[] = [], extra: Annotations = {}): SchemaLiteral =>
    tag({ ...extra, literalKind: 'schema', uri, columns }),
  structuredDataset: (
    uri: string,
    type: Partial<Omit<StructuredDatasetLiteral, 'literalKind' | 'uri'>> = {},
  ): StructuredDatasetLiteral => tag({ format: '', columns: [], ...type, literalKind: 'structured_dataset', uri }),
  error: (failedNodeId: string, message: string, extra: Annotations = {}): ErrorLiteral =>
    tag({ ...extra, literalKind: 'error', failedNodeId, message }),
  union: <Value extends LiteralInput | LiteralValue>(
    value: Value,
    type: LiteralType,
    extra: Annotations = {},
  ): UnionLiteral<Value> => tag({ ...extra, literalKind: 'union', value, type }),
  offloaded: (
    uri: string,
    sizeBytes: number | bigint,
    inferredType: LiteralType | null,
    extra: Annotations = {},
  ): OffloadedLiteral => tag({ ...extra, literalKind: 'offloaded', uri, sizeBytes, inferredType }),
  raw: (bytes: Uint8Array): RawLiteral => tag({ literalKind: 'raw', bytes }),
} as const;

/** The length of a duration in milliseconds, as exact as a number can be. */
export function durationMs(duration: DurationLiteral): number {
  return duration.seconds * 1000 + duration.nanos / 1e6;
}

/**
 * The value without its wrappers, all the way down: unions become their value, structs and msgpack their JSON,
 * integers and floats their number. What has no plain form (blobs, durations and the like) stays.
 */
export function unwrapLiteral(value: LiteralValue): LiteralValue {
  if (Array.isArray(value)) return value.map(unwrapLiteral);
  if (isTaggedLiteral(value)) {
    switch (value.literalKind) {
      case 'union':
        return unwrapLiteral(value.value as LiteralValue);
      case 'struct':
      case 'msgpack':
      case 'integer':
      case 'float':
        return value.value as LiteralValue;
      default:
        return value;
    }
  }
  if (typeof value !== 'object' || value === null || value instanceof Date || value instanceof Uint8Array) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, unwrapLiteral(item)]));
}
