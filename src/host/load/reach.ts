import { realpathSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { DataOptions } from '../../data/options.js';
import { UPTIME } from '../../lib/boot-clock.js';
import type { SandboxOptions } from '../../model/options/sandbox.js';

/** Absolute paths that a process may use: each a file, or a folder with all that is below it. */
export interface Reach {
  readonly read: readonly string[];
  readonly write: readonly string[];
}

/** This package, also where it is installed as a dependency of another one. */
const HOME = fileURLToPath(new URL('../../../../', import.meta.url));
/** What a plugin process loads of it: never the folder as a whole, in which a clone may keep anything. */
const OWN = ['dist', 'package.json'].map((name) => path.join(HOME, name));
/** By which a process asks the kernel to end it before the daemon. */
const OOM_SCORE = '/proc/self/oom_score_adj';

/**
 * What plugins may reach under Node's permission model: their own folders, what Node looks at to find packages from there and
 * from here, where their secrets and data are, and what is configured.
 */
export function reachOf(folders: readonly string[], { read, write }: SandboxOptions, data: DataOptions): Reach {
  const { localRoots } = data.dataStore;
  const { dir } = data.secrets;
  const own = folders.flatMap(namesOf);
  const writable = [...write, ...localRoots].flatMap(namesOf);
  const packages = [HOME, ...own].flatMap(packagesAbove);
  const readable = [...read, ...(dir === undefined ? [] : [dir])].flatMap(namesOf);
  return {
    read: [...new Set([...OWN, UPTIME, ...own, ...packages, ...readable, ...writable])],
    write: [...new Set([...writable, OOM_SCORE])],
  };
}

/** One of the paths that a process must not reach, and can; undefined where there is none. */
export function reachedOf({ read, write }: Reach, guarded: readonly string[]): string | undefined {
  const granted = [...read, ...write].flatMap(namesOf);
  return guarded.find((one) => namesOf(one).some((name) => granted.some((above) => isWithin(name, above))));
}

const isWithin = (inner: string, outer: string): boolean =>
  inner === outer || inner.startsWith(outer.endsWith(path.sep) ? outer : outer + path.sep);

/** A path as it is written, and where it lies once links are followed. */
function namesOf(written: string): string[] {
  const absolute = path.resolve(written);
  return [...new Set([absolute, realOf(absolute)])];
}

/** With links followed as far as the path exists. */
function realOf(absolute: string): string {
  try {
    return realpathSync(absolute);
  } catch {
    const parent = path.dirname(absolute);
    return parent === absolute ? absolute : path.join(realOf(parent), path.basename(absolute));
  }
}

/** Where Node looks for packages and for what a file is, from this folder upwards. */
function packagesAbove(folder: string): string[] {
  const found: string[] = [];
  for (let at = path.resolve(folder); ; at = path.dirname(at)) {
    found.push(path.join(at, 'node_modules'), path.join(at, 'package.json'));
    if (at === path.dirname(at)) return found;
  }
}
