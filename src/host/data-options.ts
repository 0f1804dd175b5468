import type { SecretOptions } from '../data/secrets.js';
import type { DataStoreOptions } from '../data/stores/data-store.js';

/** Options of the data store and of the secrets, as plain data: they travel to the plugin processes. */
export interface DataOptions {
  readonly dataStore: DataStoreOptions;
  readonly secrets: SecretOptions;
  /** Largest `outputs.pb` that a plugin may write, in bytes. */
  readonly maxOutputBytes: number;
}
