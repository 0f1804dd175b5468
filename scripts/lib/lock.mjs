// What package-lock.json says, for the scripts about what the project is made of.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.dirname(path.dirname(path.dirname(fileURLToPath(import.meta.url))));
const MODULES = 'node_modules/';

/** Runs npm in the project's folder to its end. */
export const npm = (...args) => spawnSync('npm', args, { cwd: root, encoding: 'utf8', maxBuffer: 256 * 1024 * 1024 });

/** The packages that run, wherever they are put: `{ name, version }`, one for each place. */
export function running() {
  const { packages } = JSON.parse(readFileSync(path.join(root, 'package-lock.json'), 'utf8'));
  return Object.entries(packages)
    .filter(([place, { dev, link }]) => place !== '' && dev !== true && link !== true)
    .map(([place, { version }]) => ({ name: place.slice(place.lastIndexOf(MODULES) + MODULES.length), version }));
}

export function fail(message) {
  console.error(message);
  process.exit(1);
}
