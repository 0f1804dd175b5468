// Imports a compiled module of src/, building first where a source is newer than the last build.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = path.dirname(path.dirname(path.dirname(fileURLToPath(import.meta.url))));

/** `file` is named as in the repository, such as `src/config/index.ts`. */
export async function importBuilt(file) {
  const target = path.join(root, 'dist', file.replace(/\.ts$/, '.js'));
  if (isStale(target)) {
    const { status } = spawnSync(process.execPath, [path.join(root, 'scripts', 'build.mjs')], { stdio: 'inherit' });
    if (status !== 0) process.exit(status ?? 1);
  }
  return import(pathToFileURL(target).href);
}

function isStale(target) {
  const info = path.join(root, 'dist', '.tsbuildinfo');
  if (!existsSync(target) || !existsSync(info)) return true;
  const builtMs = statSync(info).mtimeMs;
  const src = path.join(root, 'src');
  return readdirSync(src, { recursive: true })
    .map(String)
    .some((file) => file.endsWith('.ts') && statSync(path.join(src, file)).mtimeMs > builtMs);
}
