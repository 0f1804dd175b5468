import type { DataCallOptions, DataStore, InputReader } from '../plugin-api/data.js';
import type { LiteralValue, RawLiteral } from '../plugin-api/literals.js';
import type { LiteralCodec } from './literal-codec.js';
import { joinUri } from './stores/location.js';

const INPUTS_FILE = 'inputs.pb';

export interface InputReaderOptions {
  readonly codec: LiteralCodec;
  /** The encoded LiteralMap (or Inputs) where the engine sent it along. */
  readonly inline?: Uint8Array | undefined;
  /** Else the folder with `inputs.pb`; empty or absent where there are no inputs at all. */
  readonly inputPrefix?: string | undefined;
  readonly store: DataStore;
  /** Most bytes of `inputs.pb` to read; the store's own bound holds as well. */
  readonly maxBytes?: number | undefined;
}

/**
 * States: not read; being read, by all who ask; read, and kept for as long as the call. A read that fails leads back.
 */
class LiteralInputs implements InputReader {
  private stored: Promise<Uint8Array> | undefined;

  constructor(private readonly options: InputReaderOptions) {}

  async get(options: DataCallOptions = {}): Promise<Record<string, LiteralValue>> {
    return this.options.codec.readMap(await this.bytes(options));
  }

  async literals(options: DataCallOptions = {}): Promise<Record<string, RawLiteral>> {
    return this.options.codec.readRawMap(await this.bytes(options));
  }

  async bytes(options: DataCallOptions = {}): Promise<Uint8Array> {
    const { inline, inputPrefix } = this.options;
    if (inline !== undefined) return inline;
    if (inputPrefix === undefined || inputPrefix === '') return new Uint8Array(0);
    this.stored ??= this.read(inputPrefix, options).catch((thrown: unknown) => {
      // A failed read is not remembered: it may have been cancelled, or the store may be back.
      this.stored = undefined;
      throw thrown;
    });
    return this.stored;
  }

  private read(prefix: string, options: DataCallOptions): Promise<Uint8Array> {
    const { store, maxBytes } = this.options;
    return store.get(joinUri(prefix, INPUTS_FILE), { ...options, ...(maxBytes === undefined ? {} : { maxBytes }) });
  }
}

/** Inputs from the request, or from `inputs.pb`, which is read at most once and only when asked for. */
export function makeInputReader(options: InputReaderOptions): InputReader {
  return new LiteralInputs(options);
}
