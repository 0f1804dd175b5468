import module from 'node:module';
import path from 'node:path';
import { underFirstFlags } from '../lib/young-objects.js';

/** Of Node 22 and later; on Node 20 there is none. */
interface CompileCache {
  enableCompileCache?(directory: string): unknown;
  flushCompileCache?(): void;
}

/** When all is loaded that a start needs. Milliseconds. */
const LOADED_MS = 10_000;

/**
 * Where compiled code is kept from one start to the next: of this user alone, since who can write there has code run here.
 * undefined where there is no such place, or Node has been given another.
 */
export function compiledDirectory(env: Readonly<Record<string, string | undefined>>): string | undefined {
  if (env.NODE_COMPILE_CACHE !== undefined) return undefined;
  const { XDG_CACHE_HOME: caches = '', HOME: home = '' } = env;
  // A path that is not absolute is to be ignored, as the specification of these variables has it.
  if (path.isAbsolute(caches)) return path.join(caches, 'webapi-plugin-host', 'compiled');
  return path.isAbsolute(home) ? path.join(home, '.cache', 'webapi-plugin-host', 'compiled') : undefined;
}

/** To be called before the program is imported. A directory that cannot be written makes the start no faster, and nothing worse. */
export function keepCompiledCode(directory: string | undefined): void {
  const cache = module as CompileCache;
  if (directory === undefined || cache.enableCompileCache === undefined) return;
  cache.enableCompileCache(directory);
  // Node writes at the end of the process, which a kill leaves out.
  setTimeout(() => underFirstFlags(() => cache.flushCompileCache?.()), LOADED_MS).unref();
}
