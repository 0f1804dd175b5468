// Runs compiled test files that are not part of `npm test` (they need more than Node) and closes with one plain line
// `N passed, N failed`. A skipped test counts as failed: a suite says what is missing instead of passing without it. One that shows a
// secret fails (test/support/suite-secrets.ts).
// Usage: node scripts/suite.mjs TEST_FILE…      given as sources, such as test/container/container.e2e.ts
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const files = process.argv.slice(2).map((file) => path.join(root, 'dist', file.replace(/\.ts$/, '.js')));
const absent = files.filter((file) => !existsSync(file));
if (files.length === 0 || absent.length > 0) {
  console.error(absent.length > 0 ? `not built: ${absent.join(', ')}` : 'no test file was named');
  process.exit(1);
}

const { SearchNotes } = await import(path.join(root, 'dist', 'test', 'support', 'suite-secrets.js'));
const notes = new SearchNotes();
const child = spawn(process.execPath, ['--test', '--test-concurrency=1', '--test-reporter=spec', ...files], {
  cwd: root,
  stdio: ['inherit', 'pipe', 'inherit'],
});
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal));
let text = '';
child.stdout.setEncoding('utf8').on('data', (chunk) => {
  text += chunk;
  process.stdout.write(chunk);
});
child.on('close', (code) => {
  const count = (name) => Number(text.match(new RegExp(`^(?:#|ℹ) ${name} (\\d+)`, 'm'))?.[1] ?? 0);
  const passed = count('pass');
  const failed = count('fail') + count('cancelled') + count('skipped') + count('todo');
  const { line, clean } = notes.close(text);
  console.log(`\n${line}\n${passed} passed, ${failed + (clean ? 0 : 1)} failed`);
  process.exitCode = code === 0 && failed === 0 && passed > 0 && clean ? 0 : 1;
});
