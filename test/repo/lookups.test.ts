import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ownFiles } from '../support/files.js';
import { findOpenLookups } from '../support/lookups.js';
import { fromRoot } from '../support/paths.js';

/** Keys that come from a regular expression or a list of our own, each looked at. */
const CLOSED: ReadonlySet<string> = new Set([
  'plugins/slurm/submission.ts',
  'src/model/options/units.ts',
  'src/host/load/plugin-config.ts',
  'src/host/plugin.ts',
  'src/telemetry/custom-metrics.ts',
  'src/telemetry/rpc-metrics.ts',
]);

test('no text from elsewhere is looked up as a property name of an object', () => {
  const files = ownFiles().filter((file) => /^(src|plugins)\/.*\.ts$/.test(file) && !file.includes('generated'));
  assert.ok(files.length >= 100, `only ${files.length} files looked at`);
  const found = files
    .filter((file) => !CLOSED.has(file))
    .flatMap((file) => findOpenLookups(readFileSync(fromRoot(file), 'utf8')).map((line) => `${file}:${line}`));
  assert.deepEqual(found, []);
});

test('planted lookups are found, and brands, literals, loops, types, lists and Maps are not', () => {
  const source = [
    'if (failure.code in ERROR_CATALOGUE) return 1;',
    'const rule = STATE_TABLE[job.state] ?? UNKNOWN;',
    "if ('file' in told || BRAND in value) return 2;",
    'for (const key in table) use(key);',
    'type T = { [M in Method]: string };',
    'if (!(part.rule.kind in LIVE)) return 3;',
    '// name in TABLE',
    'const size = UNITS[unit]!;',
    'const known = TABLE.get(name) ?? lookUp(TABLE, name);',
    'if (TABLE[name] !== undefined) return 4;',
    'const first = LIST[0] ?? none;',
    'return #field in value;',
    "const text = 'name in TABLE';",
    'if (String(name) in table) return 5;',
    'const phase = RANK[phase];',
  ].join('\n');
  assert.deepEqual(findOpenLookups(source), [1, 2, 6, 8, 10, 14]);
});
