// Runs every scripts/gen-*.mjs, in order of name. With --check nothing is written and a stale file fails the run.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));
const generators = readdirSync(here)
  .filter((file) => /^gen-.+\.mjs$/.test(file))
  .sort();
let failed = 0;
for (const generator of generators) {
  const { status } = spawnSync(process.execPath, [path.join(here, generator), ...process.argv.slice(2)], {
    stdio: 'inherit',
    cwd: path.dirname(here),
  });
  if (status !== 0) {
    console.error(`${generator} failed`);
    failed++;
  }
}
process.exitCode = failed > 0 ? 1 : 0;
