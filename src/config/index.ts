export { type Effective, mergeLayers } from './compile.js';
export { type LoadedConfig, type LoadOptions, loadConfig } from './load.js';
export { type CompiledPluginEntry, compilePluginEntry } from './plugin-entry.js';
export type { PluginEntryConfig } from './plugin-schema.js';
export { defaultTree, type EffectiveOption, effectiveOptions, effectiveTree, secretValues } from './print.js';
export { ConfigError, type ConfigProblem, describeProblem } from './problems.js';
export { configReference, reservedVariables } from './reference.js';
export { CONFIG_SCHEMA, type Config } from './schema.js';
export { ENV_PREFIX, type FlagSetting } from './sources.js';
