import type { LoadedConfig } from '../config/index.js';
import { statePlace } from './state-place.js';

/** Where options of the daemon alone stand: files that these name are no plugin's business. */
const OWN = new Set(['grpc', 'admin', 'tokens', 'state', 'handles']);

/** Files and folders of the daemon that no plugin under Node's permission model may be able to reach: its state, keys and tokens. */
export function guardedPaths(
  { config, effective }: LoadedConfig,
  env: Readonly<Record<string, string | undefined>>,
): string[] {
  const named = [...effective.values()].flatMap(({ leaf, path, value }) => {
    const own = OWN.has(path[0] ?? '') || (path[0] === 'dataStore' && path[1] === 's3');
    return own && leaf !== undefined && leaf.path !== false && typeof value === 'string' ? [value] : [];
  });
  return [...new Set([...named, ...stateFolder(config, env)])];
}

/** Where nothing says where it is, the daemon does not start, and says so itself. */
function stateFolder(config: LoadedConfig['config'], env: Readonly<Record<string, string | undefined>>): string[] {
  try {
    const place = statePlace(config, env);
    return place.in === 'folder' ? [place.dir] : [];
  } catch {
    return [];
  }
}
