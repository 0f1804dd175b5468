// Shared by the scripts/gen-*.mjs: writes a generated file, or with --check fails where it is not current.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.dirname(path.dirname(path.dirname(fileURLToPath(import.meta.url))));

/** `file` is relative to the repository's root. Under --check nothing is written and a difference sets exit code 1. */
export function writeGenerated(file, content) {
  const target = path.join(root, file);
  const current = existsSync(target) ? readFileSync(target, 'utf8') : undefined;
  if (current === content) {
    console.log(`${file}: current`);
  } else if (process.argv.includes('--check')) {
    console.error(`${file}: ${current === undefined ? 'missing' : 'out of date'}; run npm run gen`);
    process.exitCode = 1;
  } else {
    mkdirSync(path.dirname(target), { recursive: true });
    writeFileSync(target, content);
    console.log(`${file}: written`);
  }
}
