import { SecretMasks } from '../lib/secrets.js';
import type { LoadedConfig } from './load.js';

/**
 * What a configuration holds of secrets, for the masks of the daemon: its sensitive values, those under secret names in
 * plugins' settings, variables set for a plugin that are not called plain, and passwords in URLs anywhere.
 */
export function configSecrets({ config, effective }: LoadedConfig, masks = new SecretMasks()): SecretMasks {
  for (const { leaf, value, path } of effective.values()) {
    // Variables have a rule of their own.
    const isVariable = path[0] === 'plugins' && path[2] === 'environment';
    masks.addSettings(value, leaf?.sensitive === true && !isVariable);
  }
  for (const { settings, environment } of Object.values(config.plugins)) {
    masks.addSettings(settings);
    masks.addVariables(environment.set, environment.plain);
  }
  return masks;
}
