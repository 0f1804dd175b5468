import { OUTPUTS_FILE } from '../data/output-writer.js';
import { type DataStoreOptions, makeDataStore, type OwnedDataStore } from '../data/stores/data-store.js';
import { joinUri } from '../data/stores/location.js';

/** Longest time for writing one set of outputs. Milliseconds. */
const WRITE_TIMEOUT_MS = 60_000;

/**
 * Where outputs go that are too large for an answer. The store is made at the first use, since most daemons never need it.
 *
 * States: none made → made, by the first write → closed, by whoever starts the daemon, after its last write.
 */
export class OutputsStore {
  readonly #options: DataStoreOptions;
  #store: OwnedDataStore | undefined;

  constructor(options: DataStoreOptions) {
    this.#options = options;
  }

  /** Writes an encoded LiteralMap below the prefix. Undefined where the config reaches no store at all. */
  get writer(): ((outputPrefix: string, literalMap: Buffer) => Promise<void>) | undefined {
    const { localRoots, s3 } = this.#options;
    if (localRoots.length === 0 && s3?.enabled !== true) return undefined;
    return async (outputPrefix, literalMap) => {
      this.#store ??= makeDataStore(this.#options);
      const signal = AbortSignal.timeout(WRITE_TIMEOUT_MS);
      await this.#store.put(joinUri(outputPrefix, OUTPUTS_FILE), literalMap, { signal });
    };
  }

  close(): void | Promise<void> {
    return this.#store?.close();
  }
}
