/**
 * A decoded message, or one to encode. Field names in camelCase. Per kind of field:
 *
 * | field | decoded as | taken for encoding |
 * | --- | --- | --- |
 * | 64-bit integer | decimal text (JSON-safe, no loss) | bigint, safe integer, decimal text, Long |
 * | bytes | Buffer | Uint8Array |
 * | enum | its name (the number where the name is unknown) | a known name or number |
 * | message | object, or null where unset | object, or its encoded bytes; null or undefined for unset |
 * | repeated, map | array, object (empty where unset) | the same |
 * | other scalars without presence | their zero value where unset | the same |
 * | oneof | the set member, and its name under the oneof's name | the set member |
 */
// biome-ignore lint/suspicious/noExplicitAny: the shape is known to the .proto file only; callers narrow with the type parameter
export type Message = Record<string, any>;

export interface DecodeOptions {
  /**
   * Top-level fields of message type to leave encoded: they appear as Buffers (null where unset), not copied and with
   * everything in them that the descriptors do not know.
   */
  readonly raw?: readonly string[];
}

/** Decodes and encodes one message type. */
export interface Codec<T extends object = Message> {
  readonly typeName: string;
  /** Throws REQUEST_UNDECODABLE. */
  decode(bytes: Uint8Array, options?: DecodeOptions): T;
  /** Strict: unknown fields, unknown enum names and wrong types throw ENCODE_INVALID with the path of the field. */
  encode(message: T): Buffer;
  /** `encode`, after asserting that these fields are set; see `assertRequired` for the form of the paths. */
  encodeStrict(message: T, required: readonly string[]): Buffer;
  /**
   * Encodes the JSON form of a message (see `proto-json.ts`). Throws REQUEST_FIELD_INVALID for unknown fields and wrong
   * forms, ENCODE_INVALID for values outside their type.
   */
  encodeJson(json: unknown): Buffer;
  /** Why these bytes, encoded elsewhere, are no such message to some decoder; undefined when they are one. See `WireChecker`. */
  wireProblem(bytes: Uint8Array, maxDepth?: number): string | undefined;
}
