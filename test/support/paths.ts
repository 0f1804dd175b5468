import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** Walks up from this file to the package's own folder, so that tests work from dist/ as well as from anywhere else. */
function findRoot(): string {
  let folder = path.dirname(fileURLToPath(import.meta.url));
  for (;;) {
    const manifest = path.join(folder, 'package.json');
    if (existsSync(manifest) && JSON.parse(readFileSync(manifest, 'utf8')).name === 'webapi-plugin-host') return folder;
    const parent = path.dirname(folder);
    if (parent === folder) throw new Error(`no package.json of webapi-plugin-host above ${import.meta.url}`);
    folder = parent;
  }
}

/** The repository's top folder, absolute. */
export const repoRoot = findRoot();

/** An absolute path below the repository's top folder. */
export function fromRoot(...parts: string[]): string {
  return path.join(repoRoot, ...parts);
}

/** The compiled form of a TypeScript source, named as in the repository: `src/main.ts` -> `…/dist/src/main.js`. */
export function compiled(source: string): string {
  return fromRoot('dist', source.replace(/\.ts$/, '.js'));
}
