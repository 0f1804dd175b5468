import { HostError } from '../errors/index.js';
import type { Idl } from '../idl/idl.js';
import { readLiteralNames } from '../idl/literal-map.js';
import { msToTimestamp } from '../idl/well-known.js';
import type { Clock } from '../lib/clock.js';
import type { DataCallOptions, DataStore, ErrorDocumentInput, OutputWriter } from '../plugin-api/data.js';
import type { LiteralInput, LiteralType } from '../plugin-api/literals.js';
import type { LiteralCodec } from './literal-codec.js';
import { joinUri } from './stores/location.js';

export const OUTPUTS_FILE = 'outputs.pb';
const ERROR_FILE = 'error.pb';

export interface OutputWriterOptions {
  readonly idl: Idl;
  readonly codec: LiteralCodec;
  readonly store: DataStore;
  /** Empty where the engine sent none; writing is then an error. */
  readonly outputPrefix: string;
  /** Names of the declared outputs, with their types where those are known; undefined takes any names. */
  readonly declared?: ReadonlyMap<string, LiteralType | undefined> | undefined;
  /** Largest `outputs.pb`. Flyte reads 2 MiB by its code's default and 10 MiB by its chart's (FIELD 12). */
  readonly maxOutputBytes: number;
  readonly clock: Pick<Clock, 'now'>;
}

/** What was written, so that the outputs can be reported as lying at the prefix. */
export interface WrittenFiles {
  readonly outputs: boolean;
  readonly error: boolean;
}

export interface TrackedOutputWriter extends OutputWriter {
  readonly written: WrittenFiles;
}

/** Throws OUTPUTS_UNUSABLE unless the names are exactly the declared ones. */
function assertDeclaredNames(names: readonly string[], declared: Iterable<string>): void {
  const wanted = new Set(declared);
  const given = new Set(names);
  const unknown = names.filter((name) => !wanted.has(name));
  const missing = [...wanted].filter((name) => !given.has(name));
  if (unknown.length === 0 && missing.length === 0) return;
  const list = (all: Iterable<string>) => [...all].map((name) => JSON.stringify(name)).join(', ') || 'none';
  throw new HostError(
    'OUTPUTS_UNUSABLE',
    `The task declares the outputs ${list(wanted)}; not declared: ${list(unknown)}; missing: ${list(missing)}.`,
  );
}

/**
 * States: nothing written, then outputs, error or both; written again, they are as they were written last.
 */
class PrefixWriter implements TrackedOutputWriter {
  private outputs = false;
  private error = false;

  constructor(private readonly options: OutputWriterOptions) {}

  get outputPrefix(): string {
    return this.options.outputPrefix;
  }

  get written(): WrittenFiles {
    return { outputs: this.outputs, error: this.error };
  }

  async put(values: Readonly<Record<string, LiteralInput>>, options: DataCallOptions = {}): Promise<void> {
    const { codec, declared } = this.options;
    await this.putChecked(Object.keys(values), () => codec.writeMap(values, declared), options);
  }

  async putBytes(literalMap: Uint8Array, options: DataCallOptions = {}): Promise<void> {
    await this.putChecked(readLiteralNames(literalMap), () => literalMap, options);
  }

  async putError(error: ErrorDocumentInput, options: DataCallOptions = {}): Promise<void> {
    const document = this.options.idl.codec('flyteidl.core.ErrorDocument').encodeStrict(
      {
        error: {
          code: error.code,
          message: error.message,
          kind: error.recoverable ? 'RECOVERABLE' : 'NON_RECOVERABLE',
          origin: error.origin ?? 'UNKNOWN',
          timestamp: msToTimestamp(this.options.clock.now()),
        },
      },
      ['error.code', 'error.message'],
    );
    await this.options.store.put(this.uriOf(ERROR_FILE), document, options);
    this.error = true;
  }

  private async putChecked(
    names: readonly string[],
    encode: () => Uint8Array,
    options: DataCallOptions,
  ): Promise<void> {
    const { store, declared, maxOutputBytes } = this.options;
    if (declared !== undefined) assertDeclaredNames(names, declared.keys());
    const uri = this.uriOf(OUTPUTS_FILE);
    const bytes = encode();
    if (bytes.length > maxOutputBytes) {
      throw new HostError(
        'DATA_TOO_LARGE',
        `The outputs take ${bytes.length} bytes and at most ${maxOutputBytes} may be written; put large data into a blob and output its URI.`,
      );
    }
    await store.put(uri, bytes, options);
    this.outputs = true;
  }

  private uriOf(file: string): string {
    const { outputPrefix } = this.options;
    if (outputPrefix !== '') return joinUri(outputPrefix, file);
    throw new HostError(
      'DATA_LOCATION_UNSUPPORTED',
      `The engine sent no output prefix, so ${file} has no place; return the outputs with the phase instead.`,
    );
  }
}

/** Writes `outputs.pb` and `error.pb` under the output prefix. */
export function makeOutputWriter(options: OutputWriterOptions): TrackedOutputWriter {
  return new PrefixWriter(options);
}
