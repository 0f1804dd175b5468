// Searches folders, such as the logs of continuous integration, for the secrets that suites give to their daemons
// (test/support/suite-secrets.ts), in every form. Closes with a line `N passed, N failed`, of files.
// Usage: node scripts/search-secrets.mjs FOLDER…
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const { filesBelow } = await import(path.join(root, 'dist', 'test', 'support', 'markers.js'));
const { SUITE } = await import(path.join(root, 'dist', 'test', 'support', 'suite-secrets.js'));

const files = process.argv.slice(2).flatMap(filesBelow);
let failed = 0;
for (const file of files) {
  const shown = SUITE.find(readFileSync(file));
  if (shown === undefined) continue;
  failed += 1;
  console.log(`FAILED ${file} ${shown}`);
}
console.log(`${files.length - failed} passed, ${failed} failed`);
process.exitCode = files.length > 0 && failed === 0 ? 0 : 1;
