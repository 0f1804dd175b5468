import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, realpathSync, statSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { guardedPaths, openSecrets } from '../../src/daemon/guarded.js';
import { load } from '../config/support.js';
import { tempFolder, writeTree } from '../support/temp.js';

test('what the daemon keeps from plugins are the files of its own options and its state, and none of theirs', () => {
  const text = `
    grpc: {tls: {certFile: tls.crt, keyFile: tls.key}}
    handles: {keysFile: handles}
    tokens: {ops: {file: tokens/ops, may: [operate]}}
    secrets: {dir: /etc/others}
    dataStore: {localRoots: [/data]}
    sandbox: {read: [/etc/spark]}
    plugins: {a: {source: ./a.mjs, sandbox: {write: [/var/spool]}}}`;
  const guarded = guardedPaths(load({ 'a.yaml': text }), { HOME: '/var/u' });
  assert.deepEqual(guarded.sort(), [
    '/cwd/handles',
    '/cwd/tls.crt',
    '/cwd/tls.key',
    '/cwd/tokens/ops',
    '/var/u/.local/state/webapi-plugin-host/8000',
  ]);
  const elsewhere = (of: string) => guardedPaths(load({ 'a.yaml': of }), { STATE_DIRECTORY: '/var/lib/x' });
  assert.deepEqual(elsewhere('state: {dir: here}'), ['/cwd/here']);
  assert.deepEqual(elsewhere(''), ['/var/lib/x']);
  assert.deepEqual(elsewhere('state: {engine: none}'), []);
});

/** Else nothing below is open to all. */
const skip = (statSync(os.tmpdir()).mode & 0o001) === 0;

test('where a plugin has a user of its own, secrets of the daemon that every user may read are told, and nothing else', {
  skip,
}, (t) => {
  const folder = realpathSync(tempFolder(t));
  const at = (name: string) => path.join(folder, name);
  const open = ['tls.crt', 'ca.crt', 'open.key', 'open-token'];
  writeTree(folder, Object.fromEntries([...open, 'closed-keys', 'below/token'].map((name) => [name, 'x'])));
  chmodSync(folder, 0o755);
  for (const name of open) chmodSync(at(name), 0o644);
  chmodSync(at('closed-keys'), 0o640);
  chmodSync(at('below/token'), 0o644);
  chmodSync(at('below'), 0o750);
  mkdirSync(at('state'), { mode: 0o755 });
  const told = (of: string) => {
    const text = `
    grpc: {tls: {certFile: ${at('tls.crt')}, keyFile: ${at('open.key')}, clientCaFile: ${at('ca.crt')}}}
    handles: {keysFile: ${at('closed-keys')}}
    state: {dir: ${at('state')}}
    tokens:
      a: {file: ${at('open-token')}, may: [read]}
      b: {file: ${at('below/token')}, may: [read]}
      c: {file: ${at('absent')}, may: [read]}
    ${of}`;
    return openSecrets(load({ 'a.yaml': text })).map((warning) => /every user may read (\S+),/.exec(warning)?.[1]);
  };
  assert.deepEqual(told('plugins: {a: {source: ./a.mjs}}'), []);
  const both = [at('open.key'), at('open-token')];
  assert.deepEqual(told('sandbox: {user: spark, group: spark}').sort(), both.sort());
  assert.deepEqual(told("plugins: {a: {source: ./a.mjs, sandbox: {user: '7', group: '7'}}}").sort(), both);
});
