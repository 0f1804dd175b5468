import { realpathSync, statSync } from 'node:fs';
import path from 'node:path';
import type { LoadedConfig } from '../config/index.js';
import { statePlace } from './state-place.js';

/** Where options of the daemon alone stand: files that these name are no plugin's business. */
const OWN = new Set(['grpc', 'admin', 'tokens', 'state', 'handles']);
/** Of these, what every peer is shown, and the folder whose mode the daemon sees to. */
const NO_SECRETS = new Set(['certFile', 'clientCaFile', 'caFile', 'dir']);
const OTHERS_READ = 0o004;
const OTHERS_PASS = 0o001;

/** Files and folders of the daemon that no plugin under Node's permission model may be able to reach: its state, keys and tokens. */
export function guardedPaths(loaded: LoadedConfig, env: Readonly<Record<string, string | undefined>>): string[] {
  return [...new Set([...ownPaths(loaded).map(({ file }) => file), ...stateFolder(loaded.config, env)])];
}

/**
 * Why a user of their own does not keep plugins from secrets of the daemon: files that every user may read. None where no plugin has one:
 * who runs as the daemon's user may read them anyway.
 */
export function openSecrets(loaded: LoadedConfig): string[] {
  const { sandbox, plugins } = loaded.config;
  const users = [sandbox.user, ...Object.values(plugins).map((plugin) => plugin.sandbox.user)];
  if (users.every((user) => user === undefined)) return [];
  const files = ownPaths(loaded).flatMap(({ key, file }) => (NO_SECRETS.has(key) ? [] : [file]));
  return [...new Set(files)]
    .filter(isOpenToOthers)
    .map(
      (file) =>
        `every user may read ${file}, plugins with a sandbox.user among them; take the right from others (chmod o=, defaultMode 0400 of a mounted secret)`,
    );
}

function ownPaths({ effective }: LoadedConfig): { readonly key: string; readonly file: string }[] {
  return [...effective.values()].flatMap(({ leaf, path: at, value }) => {
    const own = OWN.has(at[0] ?? '') || (at[0] === 'dataStore' && at[1] === 's3');
    const isPath = leaf !== undefined && leaf.path !== false && typeof value === 'string';
    return own && isPath ? [{ key: at.at(-1) ?? '', file: value }] : [];
  });
}

function isOpenToOthers(file: string): boolean {
  try {
    let at = realpathSync(file);
    if ((statSync(at).mode & OTHERS_READ) === 0) return false;
    while (at !== path.dirname(at)) {
      at = path.dirname(at);
      if ((statSync(at).mode & OTHERS_PASS) === 0) return false;
    }
    return true;
  } catch {
    // What cannot be read at all is told of by who reads it.
    return false;
  }
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
