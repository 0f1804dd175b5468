import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ownFiles } from '../support/files.js';
import { findFloatingNodePromises } from '../support/floating.js';
import { fromRoot } from '../support/paths.js';

test("no promise of node's own modules is left floating, which the linter cannot see", () => {
  const files = ownFiles().filter((file) => /^(src|plugins|test|bench)\/.*\.ts$/.test(file));
  assert.ok(files.length >= 30, `only ${files.length} files looked at`);
  const found = files.flatMap((file) =>
    findFloatingNodePromises(readFileSync(fromRoot(file), 'utf8')).map((line) => `${file}:${line}`),
  );
  assert.deepEqual(found, []);
});

test('planted floating promises are found, and awaited, returned, kept or chained ones are not', () => {
  const source = [
    "import { once } from 'node:events';",
    "import fs, { type FileHandle } from 'node:fs/promises';",
    "import { rm } from 'node:fs/promises';",
    "import { setTimeout as sleep } from 'node:timers/promises';",
    'export async function go(handle: FileHandle): Promise<void> {',
    "  rm('a');",
    "  await rm('b');",
    "  fs.writeFile('c', '');",
    '  const later = sleep(1);',
    '  await Promise.all([',
    "    rm('d'),",
    "    fs.rm('e'),",
    '    later,',
    '  ]);',
    "  if (handle) { sleep(1); } else { once(process, 'exit'); }",
    "  // rm('f');",
    '  return sleep(2);',
    '}',
    "export const arrow = () => rm('g');",
    'export const other = { rm(path: string) { return path; } };',
    'void sleep(3);',
  ].join('\n');
  assert.deepEqual(findFloatingNodePromises(source), [6, 8, 15, 15]);
});
