import assert from 'node:assert/strict';
import { test } from 'node:test';
import { guardedPaths } from '../../src/daemon/guarded.js';
import { load } from '../config/support.js';

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
