// Plants one bug after the other in a copy of the build and runs the tests of reliability on it: is each noticed?
//   npm run plants -- [NAME …] [--json]
// Closes with a line `N passed, N failed`; with --json the line before it is one JSON object. The bugs are those of
// test/chaos/plants.ts; `npm run chaos -- --plant NAME` shows one to real kills.
import { spawn } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const { Garden, PLANTS, plantOf } = await import(path.join(root, 'dist', 'test', 'chaos', 'plants.js'));
/** Longest time of the tests of one plant; one that hangs has been noticed. Milliseconds. */
const BOUND_MS = 180_000;
/** A test that failed, by its title; the line of a file that is run as a whole stands further left. */
const FAILED = /^ +not ok \d+ - (.*)$/m;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: 'boolean', default: false } },
});
const plants = positionals.length === 0 ? PLANTS : positionals.map(plantOf);
const garden = new Garden(root);
process.on('exit', () => garden.remove());
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130));

const sound = await runTests([...new Set(plants.flatMap(({ tests }) => tests))], false);
if (!sound.passed) {
  console.log(sound.text);
  console.log('the tests do not pass without a plant');
  process.exit(1);
}
const results = {};
for (const plant of plants) {
  const pull = garden.plant(plant);
  const { passed, by } = await runTests(plant.tests, true);
  pull();
  results[plant.name] = passed ? 'missed' : 'caught';
  console.log(`${passed ? 'FAILED missed' : 'caught'} ${plant.name}: ${plant.what}${passed ? '' : ` (${by})`}`);
}
const missed = Object.values(results).filter((result) => result === 'missed').length;
if (values.json) console.log(JSON.stringify({ plants: plants.length, caught: plants.length - missed, results }));
console.log(`\n${plants.length - missed} passed, ${missed} failed`);
process.exitCode = missed === 0 ? 0 : 1;

function runTests(tests, stopsEarly) {
  const files = tests.map((test) => path.join(garden.root, 'dist', 'test', test));
  // A group of its own, since each file is run by a process below it.
  const child = spawn(process.execPath, ['--test', '--test-reporter=tap', '--test-concurrency=1', ...files], {
    cwd: garden.root,
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  let over = false;
  const end = () => {
    if (!over) process.kill(-child.pid, 'SIGKILL');
    over = true;
  };
  const bound = setTimeout(end, BOUND_MS);
  process.once('exit', end);
  child.once('exit', () => {
    over = true;
    process.off('exit', end);
  });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk) => {
      text += chunk;
      // One failure is what was asked for.
      if (stopsEarly && FAILED.test(text)) end();
    });
  }
  return new Promise((resolve) => {
    child.on('close', (code, signal) => {
      clearTimeout(bound);
      const failed = text.match(FAILED)?.[1];
      resolve({ passed: code === 0, text, by: failed ?? (signal === null ? `ended with ${code}` : 'it hung') });
    });
  });
}
