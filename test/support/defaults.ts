import type { Config } from '../../src/config/index.js';
import { completeEntry } from '../../src/host/load/entry.js';
import { defaultsOf } from '../../src/model/options/read.js';
import { CONFIG_SCHEMA } from '../../src/model/options/schema.js';

/** The configuration of a daemon whose operator set nothing: what tests of rooms run on. */
export const DEFAULTS: Config = defaultsOf(CONFIG_SCHEMA);

/** The entry of a plugin of which only the source is set. */
export const DEFAULT_ENTRY = completeEntry({ source: 'p' });
