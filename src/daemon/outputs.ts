import { OUTPUTS_FILE } from '../data/output-writer.js';
import { type DataStoreOptions, makeDataStore, type OwnedDataStore } from '../data/stores/data-store.js';
import { joinUri } from '../data/stores/location.js';
import { HostError } from '../errors/index.js';

/** Longest time for writing one set of outputs. Milliseconds. */
const WRITE_TIMEOUT_MS = 60_000;

/**
 * Where outputs go that are too large for an answer. The store is made at the first use, since most daemons never need it.
 *
 * States: none made → made, by the first write → closed, by whoever starts the daemon, after its last write.
 */
export class OutputsStore {
  readonly #options: DataStoreOptions;
  readonly #mayWork: () => boolean;
  #store: OwnedDataStore | undefined;

  /** `mayWork`: whether this replica works; asked right before what is written shows, since by then the prefix may be another job's. */
  constructor(options: DataStoreOptions, mayWork: () => boolean = () => true) {
    this.#options = options;
    this.#mayWork = mayWork;
  }

  /**
   * Writes an encoded LiteralMap below the prefix; throws what the store does, and LEASE_LAPSED where this replica works no more. Undefined
   * where the config reaches no store at all.
   */
  get writer(): ((outputPrefix: string, literalMap: Buffer) => Promise<void>) | undefined {
    const { localRoots, s3 } = this.#options;
    if (localRoots.length === 0 && s3?.enabled !== true) return undefined;
    return async (outputPrefix, literalMap) => {
      this.#store ??= makeDataStore(this.#options);
      const signal = whileWorking(this.#mayWork, AbortSignal.timeout(WRITE_TIMEOUT_MS));
      try {
        await this.#store.put(joinUri(outputPrefix, OUTPUTS_FILE), literalMap, { signal });
      } catch (thrown) {
        throw HostError.is(signal.reason) ? signal.reason : thrown;
      }
    };
  }

  close(): void | Promise<void> {
    return this.#store?.close();
  }
}

/** The signal, which asks at each look whether this replica still works, and is aborted where it does not. */
function whileWorking(mayWork: () => boolean, late: AbortSignal): AbortSignal {
  const lapse = new AbortController();
  const signal = AbortSignal.any([late, lapse.signal]);
  const aborted = () => {
    if (!mayWork()) lapse.abort(new HostError('LEASE_LAPSED', 'this replica works no more, and writes no outputs'));
    return late.aborted || lapse.signal.aborted;
  };
  return Object.defineProperty(signal, 'aborted', { get: aborted });
}
