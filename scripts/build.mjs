// Compiles src, test, plugins and bench into dist/. Files whose source is gone are removed from dist first, so that a
// deleted test cannot go on running from a stale build.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const dist = path.join(root, 'dist');

for (const room of ['src', 'test', 'plugins', 'bench']) {
  const out = path.join(dist, room);
  if (!existsSync(out)) continue;
  for (const entry of readdirSync(out, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const file = path.join(entry.parentPath ?? entry.path, entry.name);
    const stem = path.relative(dist, file).replace(/(\.d\.ts|\.js)(\.map)?$/, '');
    if (!existsSync(path.join(root, `${stem}.ts`))) rmSync(file);
  }
}

const require = createRequire(import.meta.url);
const tsc = path.join(path.dirname(require.resolve('typescript/package.json')), 'bin', 'tsc');
const result = spawnSync(process.execPath, [tsc, '-p', path.join(root, 'tsconfig.json'), ...process.argv.slice(2)], {
  stdio: 'inherit',
});
process.exit(result.status ?? 1);
