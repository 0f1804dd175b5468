// Runs the compiled tests with node:test over an explicit list of files, the one form that works on every supported
// Node version (directory arguments fail on 24, quoted globs on 20).
// Usage: node scripts/test.mjs [--quiet] [substring of a test path …]
//   --quiet  a dot a test, and whatever failed
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const { values, positionals: wanted } = parseArgs({ options: { quiet: { type: 'boolean' } }, allowPositionals: true });
const files = readdirSync(path.join(root, 'dist', 'test'), { recursive: true })
  .map(String)
  .filter((file) => file.endsWith('.test.js'))
  .filter((file) => wanted.length === 0 || wanted.some((part) => file.includes(part)))
  .sort()
  .map((file) => path.join(root, 'dist', 'test', file));
if (files.length === 0) {
  console.error(`no test file matches ${wanted.join(', ') || '*.test.js'} under dist/test; is the build there?`);
  process.exit(1);
}
// A test that hangs is named after five minutes instead of holding up the run.
const options = [
  '--test',
  '--test-concurrency=2',
  '--test-timeout=300000',
  `--test-reporter=${values.quiet ? 'dot' : 'spec'}`,
];
const result = spawnSync(process.execPath, [...options, ...files], {
  stdio: 'inherit',
  cwd: root,
});
process.exit(result.status ?? 1);
