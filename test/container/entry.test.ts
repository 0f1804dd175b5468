import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { fromRoot } from '../support/paths.js';
import { tempFolder, writeTree } from '../support/temp.js';

const FLAG = '--disable-sigusr1';
/** What the daemon is started with, wherever it is. */
const ALWAYS = ['--max-semi-space-size=64'];
const TELL =
  'console.log(JSON.stringify({ flags: process.execArgv, words: process.argv.slice(2), pid: process.pid }));';

/** Of a Node that does not know the flag: it refuses it as Node does, and else is the real one. */
const OLDER = `case "$1" in ${FLAG}) echo "node: bad option: ${FLAG}" >&2; exit 9;; esac`;
/** Of one that knows it: this test may run on one that does not, so that the flag is shown and taken off. */
const NEWER = `case "$1" in ${FLAG}) shift; set -- --title=knows "$@";; esac`;

/** Runs the entry as it lies in the image, with a `node` on the path that begins with these lines. */
function enter(t: TestContext, node: string, ...words: string[]) {
  return enterWith(t, node, {}, ...words);
}

function enterWith(t: TestContext, node: string, env: Record<string, string>, ...words: string[]) {
  const root = tempFolder(t);
  const bin = path.join(root, 'bin');
  writeTree(root, {
    'app/dist/src/main.js': TELL,
    'bin/node': `#!/bin/sh\n${node}\nexec '${process.execPath}' "$@"\n`,
  });
  chmodSync(path.join(bin, 'node'), 0o755);
  const entry = path.join(root, 'app', 'plugin-host');
  copyFileSync(fromRoot('scripts', 'image-entry.sh'), entry);
  const { pid, status, stdout, stderr } = spawnSync(entry, words, {
    encoding: 'utf8',
    env: { PATH: `${bin}:/usr/bin:/bin`, ...env },
  });
  assert.deepEqual([status, stderr], [0, '']);
  return { started: pid, ...(JSON.parse(stdout) as { flags: string[]; words: string[]; pid: number }) };
}

test('the entry of the image gives its words to the command line, and becomes Node', (t) => {
  const { words, pid, started } = enter(t, '', 'run', 'a file', '--set', 'a.b=*');
  assert.deepEqual(words, ['run', 'a file', '--set', 'a.b=*']);
  assert.equal(pid, started, 'no shell stays between the init and Node');
});

test('the entry passes the flag against SIGUSR1 to a Node that knows it', (t) => {
  assert.deepEqual(enter(t, NEWER, 'serve').flags, ['--title=knows', ...ALWAYS]);
});

test('the entry does not pass that flag to a Node that would refuse it', (t) => {
  assert.deepEqual(enter(t, OLDER, 'serve').flags, ALWAYS);
});

test('the entry decides for the Node of this test as that says itself', (t) => {
  const known = process.allowedNodeEnvironmentFlags.has(FLAG);
  assert.deepEqual(enter(t, '', 'serve').flags, known ? [FLAG, ...ALWAYS] : ALWAYS);
});

test('signals that mean nothing before the program runs do not end the entry', (t) => {
  const signals = 'case "$*" in *--version) kill -HUP $PPID; kill -USR1 $PPID; kill -USR2 $PPID;; esac';
  assert.deepEqual(enter(t, `${signals}\n${OLDER}`, 'serve').words, ['serve']);
});

test("the image and the package's start command give Node the same room for what is young", () => {
  const { scripts } = JSON.parse(readFileSync(fromRoot('package.json'), 'utf8')) as { scripts: { start: string } };
  assert.deepEqual(
    scripts.start.split(' ').filter((word) => word.startsWith('--')),
    ALWAYS,
  );
});

test('what the operator says of that room goes before what the entry says', (t) => {
  const env = { NODE_OPTIONS: '--max-semi-space-size=16' };
  assert.deepEqual(enterWith(t, OLDER, env, 'serve').flags, []);
});
