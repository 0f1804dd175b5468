// Finds files, exports and dependencies that nothing uses, by knip.json. What a script reads through importBuilt, which knip
// cannot see, is marked @public. In continuous integration knip has to be there; elsewhere an install that is older than
// package.json only says so.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const include = ['files', 'exports', 'types', 'duplicates', 'dependencies', 'unlisted'];

const knip = path.join(root, 'node_modules', 'knip', 'bin', 'knip.js');
if (!existsSync(knip)) {
  console.error('knip is not installed, so nothing was looked at; run npm ci');
  process.exit(process.env.CI ? 1 : 0);
}
const args = ['--include', include.join(','), '--no-progress', '--no-config-hints'];
const { status } = spawnSync(process.execPath, [knip, ...args], { cwd: root, stdio: 'inherit' });
process.exit(status ?? 1);
