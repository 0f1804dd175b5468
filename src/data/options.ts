import type { SecretOptions } from './secrets.js';
import type { DataStoreOptions } from './stores/data-store.js';

/** Options of the data store and of the secrets, as plain data: they travel to the plugin processes. */
export interface DataOptions {
  readonly dataStore: DataStoreOptions;
  readonly secrets: SecretOptions;
  /** Largest `outputs.pb` that a plugin may write, in bytes. */
  readonly maxOutputBytes: number;
}
