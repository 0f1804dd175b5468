import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ownFiles } from '../support/files.js';
import { fromRoot } from '../support/paths.js';

/** Reads the wall clock, which somebody may set: never for a duration. */
const WALL_CLOCK = /\bDate\.now\b|\bnew Date\(\s*\)|\bDate\(\s*\)/;

/** Where it is read all the same, and why that is no duration. */
const SHOWN: Readonly<Record<string, string>> = {
  'src/access/certificate-watch.ts': 'certificates are valid between times of the wall clock',
  'src/client/client.ts': 'grpc-js takes a deadline as a time of the wall clock, made at the call itself',
  'src/cluster/route.ts': 'grpc-js takes a deadline as a time of the wall clock, made at the call itself',
  'src/plugin-api/http/retry-after.ts': 'a date of the remote is compared with ours where it sends no Date of its own',
  'src/sandbox/sandbox.ts': 'the deadline that a plugin is shown; the call ends by a timer',
  'src/telemetry/logger.ts': 'the time that a line of the log says',
  'src/testing/plugin-bench.ts': 'the deadline that a plugin is shown',
  'plugins/slurm/clock.ts': 'compared with times that the cluster states',
};

/** The lines of a source, comments left out, that read the wall clock. */
function wallClockLines(source: string): string[] {
  return source.split('\n').filter((line) => WALL_CLOCK.test(line.replace(/^\s*(\*|\/\/|\/\*).*$/, '')));
}

test('the wall clock is read only where it is shown, and never for a duration', () => {
  const sources = ownFiles().filter((file) => /^(src|plugins)\/.*\.ts$/.test(file));
  assert.ok(sources.length >= 200, `only ${sources.length} sources looked at`);
  const found = sources.filter((file) => wallClockLines(readFileSync(fromRoot(file), 'utf8')).length > 0);
  assert.deepEqual(found.sort(), Object.keys(SHOWN).sort());
  for (const reason of Object.values(SHOWN)) assert.ok(reason.length > 20);
});

test('the search finds each way to read it, and no mention in a comment or of a given date', () => {
  assert.equal(
    wallClockLines('const end = Date.now() + 5;\nconst clock = { now: Date.now };\nconst at = new Date();').length,
    3,
  );
  assert.deepEqual(
    wallClockLines(' * Date.now is not used\n// new Date()\nconst shown = new Date(ms).toISOString();'),
    [],
  );
});
