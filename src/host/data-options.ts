import type { JsonObject } from '../lib/json.js';

/** Options of the data store and of the secrets, as plain data: they travel to the plugin processes. */
export interface DataOptions {
  readonly dataStore?: JsonObject;
  readonly secrets?: JsonObject;
}
