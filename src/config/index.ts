export { CONFIG_SCHEMA, type Config } from '../model/options/schema.js';
export { type LoadedConfig, type LoadOptions, loadConfig } from './load.js';
export { defaultTree, effectiveOptions, effectiveTree } from './print.js';
export { ConfigError } from './problems.js';
export { configReference } from './reference.js';
export { configWarnings } from './rules.js';
export { configSecrets } from './secrets.js';
export type { FlagSetting } from './sources.js';
