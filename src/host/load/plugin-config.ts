import { HostError } from '../../errors/index.js';
import { layered, PLUGIN_CONFIG_SCHEMA, type PluginConfigLayer } from '../../model/options/plugin.js';
import type { PluginConfig } from '../../plugin-api/config.js';
import { optionSchema, readOptions } from './option-schema.js';

const CONFIG = optionSchema(PLUGIN_CONFIG_SCHEMA);

/**
 * The limits in force: the operator's keys, checked before, over the definition's over the defaults. Nothing is clamped.
 * Throws PLUGIN_CONFIG_INVALID where the definition's are none.
 */
export function mergePluginConfig(
  label: string,
  definition: unknown,
  operator: PluginConfigLayer | undefined,
): PluginConfig {
  const own = readPluginConfig(definition ?? {}, `${label}: definition.config`);
  return layered(operator === undefined ? [own] : [own, operator]);
}

/** One layer as it stands in code; `at` says whose it is. Throws PLUGIN_CONFIG_INVALID. */
export function readPluginConfig(written: unknown, at: string): PluginConfigLayer {
  return readOptions(CONFIG, written, at, (problem) => new HostError('PLUGIN_CONFIG_INVALID', problem));
}
