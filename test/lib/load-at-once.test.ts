import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';

const MODULE = new URL('../../src/lib/load-at-once.js', import.meta.url).href;
const ASKER = new URL('../../src/main.js', import.meta.url).href;

/** What a process with these flags prints. */
function printed(flags: readonly string[], code: string): string {
  const source = `import { loadAtOnce } from ${JSON.stringify(MODULE)};\n${code}`;
  const args = [...flags, '--input-type=module', '-e', source];
  const { stdout, stderr, status } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  assert.deepEqual([stderr, status], ['', 0]);
  return stdout;
}

const LOAD = `
const file = './errors/host-error.js';
const imported = () => import(new URL(file, ${JSON.stringify(ASKER)}).href);
const loaded = loadAtOnce(${JSON.stringify(ASKER)}, file, imported);
console.log(loaded instanceof Promise, (await loaded).HostError === (await imported()).HostError);
`;

test('a module that is loaded at once is there without a wait and without a warning, and is the one that an import gives', () => {
  assert.equal(printed([], LOAD), 'false true\n');
});

test('where a Node was told not to require modules they are imported, and the command line is what it was', () => {
  const flags = ['--no-experimental-require-module'];
  assert.equal(printed(flags, LOAD), 'true true\n');
  const main = new URL('../../src/main.js', import.meta.url).pathname;
  const { stdout, status } = spawnSync(process.execPath, [...flags, main, 'serve', '--help'], { encoding: 'utf8' });
  assert.equal(status, 0);
  assert.match(stdout, /drains and stops/);
});
