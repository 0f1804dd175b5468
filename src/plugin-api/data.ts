import type { JsonValue } from '../lib/json.js';

export type { JsonObject, JsonValue } from '../lib/json.js';

/** A literal made by a constructor of `literals`, or read from inputs where no plain value can hold it. */
export interface TaggedLiteral {
  readonly literalKind: string;
}

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

/** What inputs are read as. */
export type LiteralValue =
  | string
  | number
  | bigint
  | boolean
  | null
  | Date
  | JsonValue
  | TaggedLiteral
  | LiteralValue[]
  | { [key: string]: LiteralValue };

export interface InputReader {
  /** All inputs by name. Reads `inputs.pb` at most once when they did not come inline. */
  get(): Promise<Record<string, LiteralValue>>;
  /** The flyteidl.core.LiteralMap as bytes. */
  bytes(): Promise<Uint8Array>;
}

export interface OutputWriter {
  /** Writes `outputs.pb` under the output prefix. */
  put(values: Readonly<Record<string, LiteralInput>>): Promise<void>;
  /** Writes `outputs.pb` from an encoded LiteralMap. */
  putBytes(literalMap: Uint8Array): Promise<void>;
  /** Writes `error.pb` under the output prefix. */
  putError(error: { code: string; message: string; recoverable: boolean }): Promise<void>;
  readonly outputPrefix: string;
}

export interface DataStore {
  exists(uri: string): Promise<boolean>;
  get(uri: string): Promise<Uint8Array>;
  put(uri: string, data: Uint8Array): Promise<void>;
  list(prefix: string): Promise<string[]>;
  delete(uri: string): Promise<void>;
}

export interface SecretManager {
  /** The secret's text. Throws SECRET_NOT_FOUND naming group, key and where it looked, never a value. */
  get(group: string, key: string): Promise<string>;
}
