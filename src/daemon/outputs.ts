import { OUTPUTS_FILE } from '../data/output-writer.js';
import { type DataStoreOptions, makeDataStore, type OwnedDataStore } from '../data/stores/data-store.js';
import { joinUri } from '../data/stores/location.js';
import type { Releasers } from './lifecycle.js';

/** Longest time for writing one set of outputs. Milliseconds. */
const WRITE_TIMEOUT_MS = 60_000;

/**
 * Writes outputs that are too large for an answer. The store is made at the first use, since most daemons never need it.
 * Undefined where the config reaches no store at all.
 */
export function outputsWriter(options: DataStoreOptions, releasers: Releasers) {
  if (options.localRoots.length === 0 && options.s3?.enabled !== true) return undefined;
  let store: OwnedDataStore | undefined;
  return async (outputPrefix: string, literalMap: Buffer): Promise<void> => {
    if (store === undefined) {
      const made = makeDataStore(options);
      releasers.push('data store', () => made.close());
      store = made;
    }
    await store.put(joinUri(outputPrefix, OUTPUTS_FILE), literalMap, { signal: AbortSignal.timeout(WRITE_TIMEOUT_MS) });
  };
}
