import assert from 'node:assert/strict';
import { mkdirSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { type Reach, reachedOf, reachOf } from '../../src/host/load/reach.js';
import { resolveSource } from '../../src/host/load/source.js';
import { type NodeOffers, permissionFlags } from '../../src/host/process/confinement.js';
import { defaultsOf } from '../../src/model/options/defaults.js';
import { SANDBOX_SCHEMA, type SandboxOptions, sandboxOf } from '../../src/model/options/sandbox.js';
import { repoRoot } from '../support/paths.js';
import { tempFolder, writeTree } from '../support/temp.js';

const NOTHING = defaultsOf(SANDBOX_SCHEMA);
const HELD: SandboxOptions = { ...NOTHING, permissions: true };
const DATA = { dataStore: { localRoots: [], maxObjectBytes: 1 }, secrets: { envPrefixes: [] }, maxOutputBytes: 1 };

/** A Node with these options, and hooks without a thread or not. */
const node = (version: string, flags: readonly string[], syncHooks = true): NodeOffers => ({
  version,
  flags: new Set(flags),
  syncHooks,
});
const NODE_24 = node('24.0.0', ['--permission', '--allow-addons', '--allow-child-process', '--experimental-sqlite']);
const NODE_26 = node('26.0.0', ['--permission', '--allow-net', '--allow-worker']);
const EMPTY: Reach = { read: [], write: [] };

test('a plugin may read its own folder, packages, its secrets and its data, and no folder of the host as a whole', () => {
  const sandbox = { ...HELD, read: ['/etc/spark'], write: ['/var/spool/spark'] };
  const data = {
    ...DATA,
    dataStore: { localRoots: ['/data'], maxObjectBytes: 1 },
    secrets: { envPrefixes: [], dir: '/etc/secrets' },
  };
  const { read, write } = reachOf(['/opt/plugins/spark'], sandbox, data);
  for (const one of [
    '/opt/plugins/spark',
    '/opt/plugins/node_modules',
    '/opt/plugins/package.json',
    '/node_modules',
    path.join(repoRoot, 'dist'),
    path.join(repoRoot, 'node_modules'),
    '/etc/spark',
    '/var/spool/spark',
    '/data',
    '/etc/secrets',
  ]) {
    assert.ok(read.includes(one), one);
  }
  for (const one of ['/', '/opt', '/opt/plugins', '/etc', repoRoot]) assert.ok(!read.includes(one), one);
  assert.deepEqual(write, ['/var/spool/spark', '/data', '/proc/self/oom_score_adj']);
});

test('a plugin’s own folder is that of its file, the one that is configured, or its package, also behind a link', (t) => {
  const folder = tempFolder(t);
  writeTree(folder, {
    'one/p.mjs': '',
    'two/package.json': '{"exports":"./lib/deep/p.mjs"}',
    'two/lib/deep/p.mjs': '',
    'node_modules/@scope/three/package.json': '{"exports":{".":"./lib/p.mjs","./more":"./lib/more.js"}}',
    'node_modules/@scope/three/lib/p.mjs': '',
    'node_modules/@scope/three/lib/more.js': '',
  });
  const own = (source: string) => resolveSource(source, folder, true).folder;
  assert.equal(own('./one/p.mjs'), path.join(folder, 'one'));
  assert.equal(own('./two'), path.join(folder, 'two'));
  assert.equal(own('@scope/three'), path.join(folder, 'node_modules', '@scope', 'three'));
  assert.equal(own('@scope/three/more'), path.join(folder, 'node_modules', '@scope', 'three'));
  symlinkSync(path.join(folder, 'one'), path.join(folder, 'linked'));
  const { read } = reachOf([own('./linked/p.mjs')], HELD, DATA);
  for (const name of ['one', 'linked']) assert.ok(read.includes(path.join(folder, name)), name);
});

test('what lies in a folder that may be reached is found, by each of its names, also before it exists', (t) => {
  const folder = tempFolder(t);
  const at = (...parts: string[]) => path.join(folder, ...parts);
  mkdirSync(at('plugin', 'state'), { recursive: true });
  symlinkSync(at('plugin'), at('link'));
  const reach = { read: [at('plugin')], write: [] };
  const found = (one: string, of: Reach = reach) => reachedOf(of, [one]);
  for (const one of [at('plugin'), at('plugin', 'state'), at('plugin', 'state', 'not', 'yet'), at('link', 'key')]) {
    assert.equal(found(one), one);
  }
  assert.equal(found(at('plugin', 'key'), { read: [at('link')], write: [] }), at('plugin', 'key'));
  assert.equal(found(at('plugin', 'key'), { read: [], write: ['/'] }), at('plugin', 'key'));
  for (const one of [at(), at('plugins'), at('plugin-keys', 'key'), at('other')]) assert.equal(found(one), undefined);
});

test('the options for Node name what is allowed, and nothing that this Node does not know', () => {
  assert.deepEqual(permissionFlags(NOTHING, { read: ['/a'], write: [] }, NODE_24), []);
  const all = { ...HELD, childProcesses: true, workers: true, addons: true, wasi: true };
  const flags = permissionFlags(all, { read: ['/not/there'], write: [] }, NODE_24);
  assert.deepEqual(flags, [
    '--permission',
    '--allow-fs-read=/not/there',
    '--allow-fs-read=/not/there/*',
    '--allow-child-process',
    '--allow-addons',
    '--no-experimental-sqlite',
    '--disable-warning=SecurityWarning',
  ]);
  assert.ok(permissionFlags(HELD, EMPTY, NODE_26).includes('--allow-net'));
  assert.ok(!permissionFlags({ ...HELD, network: false }, EMPTY, NODE_26).includes('--allow-net'));
  assert.ok(!permissionFlags(HELD, EMPTY, NODE_26).includes('--allow-worker'));
});

test('what a Node does not offer is refused with its version and the one that does, and never left out', () => {
  const refusal = (sandbox: SandboxOptions, of: NodeOffers, reach = EMPTY) => {
    try {
      return permissionFlags(sandbox, reach, of).join();
    } catch (error) {
      const { code, message } = error as Error & { code: string };
      assert.equal(code, 'PLUGIN_SANDBOX_UNAVAILABLE');
      return message;
    }
  };
  assert.match(
    refusal(HELD, node('20.19.0', ['--experimental-permission'])),
    /Node 20\.19\.0; expected Node 22\.15 or newer/,
  );
  assert.match(
    refusal(HELD, node('22.14.0', ['--permission'], false)),
    /Node 22\.14\.0; expected Node 22\.15 or newer/,
  );
  assert.match(refusal({ ...HELD, network: false }, NODE_24), /Node 24\.0\.0, .*expected Node 25 or newer/);
  assert.match(refusal({ ...NOTHING, network: false }, NODE_26), /expected sandbox\.permissions to be true/);
  assert.match(refusal(HELD, NODE_26, { read: ['/a*b'], write: [] }), /asterisk in \/a\*b/);
});

test('what a plugin’s entry says goes before what is said for all, and its files come beside theirs', () => {
  const all = { ...NOTHING, permissions: true, user: 'u', group: 'g', openFiles: 100, read: ['/all'] };
  const own = { permissions: false, group: 'h', read: ['/own'], openFiles: undefined };
  const held = sandboxOf(all, { ...nothingSaid(), ...own });
  assert.deepEqual(held, { ...all, permissions: false, group: 'h', read: ['/all', '/own'] });
  assert.deepEqual(sandboxOf(all, nothingSaid()), all);
});

function nothingSaid(): Parameters<typeof sandboxOf>[1] {
  return Object.fromEntries(Object.keys(NOTHING).map((key) => [key, undefined])) as unknown as Parameters<
    typeof sandboxOf
  >[1];
}
