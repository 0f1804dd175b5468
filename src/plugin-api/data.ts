import type { LiteralInput, LiteralValue, RawLiteral } from './literals.js';

export * from './literals.js';

/** Options of one I/O call. The context's own signal is obeyed in any case. */
export interface DataCallOptions {
  readonly signal?: AbortSignal;
}

export interface InputReader {
  /** All inputs by name. Reads `inputs.pb` at most once when they did not come inline. */
  get(options?: DataCallOptions): Promise<Record<string, LiteralValue>>;
  /** All inputs by name as encoded literals, to be handed on (as outputs, for example) without any loss. */
  literals(options?: DataCallOptions): Promise<Record<string, RawLiteral>>;
  /** The flyteidl.core.LiteralMap as bytes. */
  bytes(options?: DataCallOptions): Promise<Uint8Array>;
}

/** What `error.pb` says (flyteidl.core.ContainerError). */
export interface ErrorDocumentInput {
  /** A short stable code, such as `OutOfMemory`. */
  readonly code: string;
  readonly message: string;
  /** Whether another attempt may succeed. */
  readonly recoverable: boolean;
  /** Whose fault it is; UNKNOWN unless given. */
  readonly origin?: 'UNKNOWN' | 'USER' | 'SYSTEM';
}

export interface OutputWriter {
  /**
   * Writes `outputs.pb` under the output prefix. Throws LITERAL_UNCONVERTIBLE, OUTPUTS_UNUSABLE (names other than the
   * declared ones), DATA_TOO_LARGE, or what the data store throws.
   */
  put(values: Readonly<Record<string, LiteralInput>>, options?: DataCallOptions): Promise<void>;
  /** Writes `outputs.pb` from an encoded LiteralMap, byte by byte. */
  putBytes(literalMap: Uint8Array, options?: DataCallOptions): Promise<void>;
  /** Writes `error.pb` under the output prefix. */
  putError(error: ErrorDocumentInput, options?: DataCallOptions): Promise<void>;
  /** Such as `s3://bucket/path`; empty where the engine sent none, and then nothing can be written. */
  readonly outputPrefix: string;
}

export interface DataReadOptions extends DataCallOptions {
  /** Most bytes to accept; the store's own bound holds as well. */
  readonly maxBytes?: number;
}

/**
 * Objects by URI: `s3://bucket/key`, `file:///path`, or an absolute path, as far as the operator allows them. Errors:
 * DATA_LOCATION_UNSUPPORTED, DATA_NOT_FOUND, DATA_ACCESS_DENIED, DATA_TOO_LARGE, DATA_UNAVAILABLE (may pass).
 */
export interface DataStore {
  exists(uri: string, options?: DataCallOptions): Promise<boolean>;
  get(uri: string, options?: DataReadOptions): Promise<Uint8Array>;
  /** The object in pieces, for what should not be held in memory whole. */
  stream(uri: string, options?: DataReadOptions): AsyncIterable<Uint8Array>;
  /** Replaces the object as a whole: readers see the old one or the new one. */
  put(uri: string, data: Uint8Array, options?: DataCallOptions): Promise<void>;
  /** URIs of all objects below a folder, at any depth, sorted; empty where there is no such folder. */
  list(folder: string, options?: DataCallOptions): Promise<string[]>;
  /** An object that does not exist is no error. */
  delete(uri: string, options?: DataCallOptions): Promise<void>;
}

export interface SecretManager {
  /**
   * The secret's text. Looks into the secrets of the request, the environment and the secret folders, in this order.
   * Throws SECRET_NOT_FOUND naming group, key and where it looked, never a value.
   */
  get(group: string, key: string, options?: DataCallOptions): Promise<string>;
}
