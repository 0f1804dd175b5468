import type { CreateArgs } from '../model/plugin-call.js';
import type { ConnectionInfo, TaskReader } from '../plugin-api/contexts.js';
import type { DataStore, InputReader, OutputWriter, SecretManager } from '../plugin-api/data.js';
import type { LiteralInput } from '../plugin-api/literals.js';

/** What contexts are made of: the data room as a plugin runtime sees it. */
export interface DataKit {
  /** Calls on it end with `signal`. */
  dataStore(signal: AbortSignal): DataStore;
  taskReader(template: Buffer): TaskReader;
  inputReader(args: CreateArgs, signal: AbortSignal): InputReader;
  /** `declaredBy` is the template where there is one; then names and types are checked against it. */
  outputWriter(options: OutputWriterRequest): WatchedWriter;
  /** Looks into the connection first, then where the process finds secrets. */
  secretManager(connection: ConnectionInfo | undefined): SecretManager;
  /** A LiteralMap of these outputs, of the types that the template declares where there is one. Throws LITERAL_UNCONVERTIBLE. */
  encodeOutputs(values: Readonly<Record<string, LiteralInput>>, declaredBy: Buffer | undefined): Buffer;
}

export interface OutputWriterRequest {
  readonly outputPrefix: string;
  /** 0 means that the request gave no bound. */
  readonly maxBytes: number;
  readonly declaredBy: Buffer | undefined;
  /** Names of the outputs where there is no template; undefined takes any. */
  readonly declaredNames: readonly string[] | undefined;
  readonly signal: AbortSignal;
}

/** An output writer that tells whether it put outputs, which decides what absent outputs mean. */
export interface WatchedWriter {
  readonly writer: OutputWriter;
  readonly used: () => boolean;
}
