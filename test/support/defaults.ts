import type { Config } from '../../src/config/index.js';
import { fieldLimits } from '../../src/daemon/options.js';
import { completeEntry } from '../../src/host/load/entry.js';
import { defaultsOf } from '../../src/model/options/defaults.js';
import { CONFIG_SCHEMA } from '../../src/model/options/schema.js';

/** The configuration of a daemon whose operator set nothing: what tests of rooms run on. */
export const DEFAULTS: Config = defaultsOf(CONFIG_SCHEMA);

/** Bounds of single fields in requests to such a daemon. */
export const DEFAULT_FIELD_LIMITS = fieldLimits(DEFAULTS);

/** The entry of a plugin of which only the source is set. */
export const DEFAULT_ENTRY = completeEntry({ source: 'p' });
