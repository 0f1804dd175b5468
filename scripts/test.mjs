// Runs the compiled tests with node:test over an explicit list of files, the one form that works on every supported
// Node version (directory arguments fail on 24, quoted globs on 20).
// What the tests' processes leave is searched for secrets, and the run fails where one is shown (test/support/suite-secrets.ts).
// Usage: node scripts/test.mjs [--quiet] [--again] [substring of a test path …]
//   --quiet  a dot a test, and whatever failed
//   --again  for continuous integration: up to three files that failed are run once more, alone, and what passes then is
//            told as unsteady instead of failed
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
/** More files than this are no bad luck. */
const MOST_AGAIN = 3;
const { values, positionals: wanted } = parseArgs({
  options: { quiet: { type: 'boolean' }, again: { type: 'boolean' } },
  allowPositionals: true,
});
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
const { SearchNotes } = await import(path.join(root, 'dist', 'test', 'support', 'suite-secrets.js'));
const notes = new SearchNotes();
// A test that hangs is named after five minutes instead of holding up the run.
const options = ['--test', '--test-timeout=300000', `--test-reporter=${values.quiet ? 'dot' : 'spec'}`];
options.push('--test-reporter-destination=stdout');

/** The run's exit code, and the files in which something failed. */
function run(paths, concurrency) {
  const folder = mkdtempSync(path.join(tmpdir(), 'plugin-host-tests.'));
  const failed = path.join(folder, 'failed');
  const reporter = path.join(root, 'scripts', 'failed-files.mjs');
  try {
    const { status } = spawnSync(
      process.execPath,
      [
        ...options,
        `--test-concurrency=${concurrency}`,
        `--test-reporter=${reporter}`,
        `--test-reporter-destination=${failed}`,
        ...paths,
      ],
      { stdio: 'inherit', cwd: root },
    );
    return { code: status ?? 1, failed: readFileSync(failed, 'utf8').split('\n').filter(Boolean) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

// Tests wait for processes more than they compute: three of two cores' worth keep both busy.
const first = run(files, 3);
let { code } = first;
if (code !== 0 && values.again && first.failed.length > 0 && first.failed.length <= MOST_AGAIN) {
  console.log(`\nonce more, alone: ${first.failed.map((file) => path.relative(root, file)).join(', ')}`);
  ({ code } = run(first.failed, 1));
  if (code === 0) for (const file of first.failed) console.log(`unsteady: ${path.relative(root, file)}`);
}
const { line, clean } = notes.close();
if (!clean || !values.quiet) console.log(`\n${line}`);
process.exit(code === 0 && !clean ? 1 : code);
