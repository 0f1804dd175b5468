export { CONFIG_SCHEMA, type Config } from '../model/options/schema.js';
export { type Effective, mergeLayers } from './compile.js';
export { type LoadedConfig, type LoadOptions, loadConfig } from './load.js';
export { defaultTree, type EffectiveOption, effectiveOptions, effectiveTree, secretValues } from './print.js';
export { ConfigError, type ConfigProblem, describeProblem } from './problems.js';
export { configReference, reservedVariables } from './reference.js';
export { configWarnings } from './rules.js';
export { ENV_PREFIX, type FlagSetting } from './sources.js';
