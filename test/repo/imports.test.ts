import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { filesBelow } from '../support/files.js';
import { circlesOf, loadRoomTable, roomOf, walkImports } from '../support/import-rules.js';
import { importsOf } from '../support/imports.js';
import { fromRoot, repoRoot } from '../support/paths.js';
import { runNode } from '../support/spawn.js';
import { tempFolder, writeTree } from '../support/temp.js';

const table = await loadRoomTable();

test('every import of src/ and plugins/ keeps to its direction, and every library to its home', () => {
  const walk = walkImports(repoRoot, table);
  assert.deepEqual(walk.violations, []);
  const expected = [...filesBelow(fromRoot('src'), '.ts'), ...filesBelow(fromRoot('plugins'), '.ts')].length;
  assert.ok(expected >= 10, `only ${expected} sources found`);
  assert.equal(walk.files, expected);
  assert.ok(walk.imports >= 10, `only ${walk.imports} imports seen in ${walk.files} files`);
});

test('the walk reports each planted violation, and nothing beside them', (t) => {
  const root = tempFolder(t);
  writeTree(root, {
    'src/lib/ok.ts': "import path from 'node:path';\nexport const name = path.sep;\n",
    'src/store/up.ts':
      "import { call } from '../calls/call.js';\nimport { ok } from '../lib/ok.js';\nexport { call, ok };\n",
    'src/rpc/native/side.ts': "export type { Page } from '../../admin/page.js';\nimport '../flyte/own.js';\n",
    'src/tasks/vendor.ts': "import type { Logger } from 'pino';\nexport type { Logger };\n",
    'src/data/s3.ts': "import { S3Client } from '@aws-sdk/client-s3';\nexport { S3Client };\n",
    'src/cli/lazy.ts':
      "export const load = () => import('./commands/serve.js');\nexport const any = (at: string) => import(at);\n",
    'src/sandbox/load.ts': 'export const load = (at: string) => import(at);\n',
    'src/limits/typed.ts': "export type T = import('../store/store.js').Store;\n",
    'src/errors/bare.ts': "import fs from 'fs';\nexport { fs };\n",
    'src/nowhere/lost.ts': "import 'node:fs';\n",
    'src/index.ts': "export * from './plugin-api/plugin.js';\nexport * from './errors/index.js';\n",
    'src/daemon.ts': "import { run } from './cli/run.js';\nimport '../scripts/build.mjs';\nexport { run };\n",
    'plugins/a/index.ts':
      "import { definePlugin } from 'webapi-plugin-host';\nimport { z } from 'zod';\nimport './own/part.js';\nimport '../b/other.js';\nimport '../../src/index.js';\nimport 'webapi-plugin-host/client';\nexport { definePlugin, z };\n",
    'src/calls/mentions.ts':
      "// import { x } from '../store/x.js';\n/* import('../store/x.js') */\nexport const text = `import y from '../store/y.js'`;\n",
  });
  const walk = walkImports(root, table);
  assert.equal(walk.files, 14);
  assert.deepEqual(walk.violations, [
    'src/cli/lazy.ts:2 computes what it imports; only sandbox may',
    'src/daemon.ts:1 imports room cli from room daemon',
    'src/daemon.ts:2 imports ../scripts/build.mjs, outside src/',
    'src/errors/bare.ts:1 imports fs without node:',
    'src/index.ts:2 imports room errors from room index',
    'src/limits/typed.ts:1 imports room store from room limits',
    'src/nowhere/lost.ts:1 is in no room of scripts/rooms.mjs',
    'src/rpc/native/side.ts:1 imports room admin from room rpc',
    'src/store/up.ts:1 imports room calls from room store',
    'src/tasks/vendor.ts:1 imports pino, whose home is not tasks',
    'plugins/a/index.ts:4 imports ../b/other.js, outside its own folder',
    'plugins/a/index.ts:5 imports ../../src/index.js, outside its own folder',
    'plugins/a/index.ts:6 imports webapi-plugin-host/client',
  ]);
});

test('the scan finds every form of import, over several lines and with attributes', () => {
  const source = [
    "import a, { type B } from 'a';",
    'import {',
    '  c,',
    '  d,',
    '} from "b";',
    "import json from './c.json' with { type: 'json' };",
    "export * as e from 'd';",
    "const f = await import('e');",
    'const g = await import(`e/$' + '{f}`);',
    "const h = require('f');",
    "export const from = 'no import';",
    "const text = 'import x from y';",
  ].join('\n');
  assert.deepEqual(
    importsOf(source).map(({ specifier, line }) => `${line} ${specifier}`),
    ['1 a', '2 b', '6 ./c.json', '7 d', '8 e', '9 undefined', '10 f'],
  );
});

test('the table grants what is used and nothing more, and no room is above itself', (t) => {
  const { allowedRooms, vendorHomes } = table;
  const granted = Object.entries(allowedRooms).flatMap(([upper, lower]) => lower.map((room) => `${upper} -> ${room}`));
  const homes = Object.entries(vendorHomes).flatMap(([vendor, rooms]) => rooms.map((room) => `${vendor} -> ${room}`));
  const walk = walkImports(repoRoot, table);
  assert.ok(walk.grants.length >= 50, `${walk.grants.length} pairs of rooms seen`);
  assert.deepEqual(unused(granted, walk.grants), [], 'granted by scripts/rooms.mjs and not used');
  // flyteidl is read, file by file, and not imported.
  const used = [...walk.homes, '@flyteorg/flyteidl -> idl'].map((home) => home.replace(/^(@aws-sdk)\/\S+/, '$1/*'));
  assert.deepEqual(unused(homes, used), [], 'a home in scripts/rooms.mjs where nothing lives');
  assert.deepEqual(circleIn(allowedRooms), []);

  const root = tempFolder(t);
  writeTree(root, { 'src/store/a.ts': "import '../lib/b.js';\n", 'src/lib/b.ts': '', 'plugins/p/index.ts': '' });
  assert.deepEqual(unused(['store -> lib', 'store -> idl'], walkImports(root, table).grants), ['store -> idl']);
  assert.deepEqual(circleIn({ a: ['b'], b: ['c'], c: ['b'] }), ['b', 'c', 'b']);
});

function unused(granted: readonly string[], used: readonly string[]): string[] {
  return granted.filter((one) => !used.includes(one));
}

/** A way from a room back to itself; empty where there is none. */
function circleIn(allowed: Readonly<Record<string, readonly string[]>>): string[] {
  const visit = (room: string, way: readonly string[]): string[] => {
    if (way.includes(room)) return [...way.slice(way.indexOf(room)), room];
    for (const next of allowed[room] ?? []) {
      const found = visit(next, [...way, room]);
      if (found.length > 0) return found;
    }
    return [];
  };
  return Object.keys(allowed).reduce<string[]>((found, room) => (found.length > 0 ? found : visit(room, [])), []);
}

test('what must stay apart is apart', () => {
  const { allowedRooms } = table;
  const never: [string, string][] = [
    ['daemon', 'client'],
    ['client', 'daemon'],
    ['rpc', 'admin'],
    ['admin', 'rpc'],
    ['host', 'sandbox'],
    ['sandbox', 'host'],
    ['channel', 'host'],
    ['host', 'limits'],
    ['limits', 'host'],
    ['data', 'telemetry'],
    ['telemetry', 'data'],
    ['refresh', 'calls'],
    ['calls', 'store'],
    ['store', 'refresh'],
    ['store', 'telemetry'],
    ['client', 'tasks'],
    ['tasks', 'config'],
    ['lib', 'errors'],
  ];
  for (const [upper, lower] of never) assert.ok(!allowedRooms[upper]?.includes(lower), `${upper} -> ${lower}`);
  assert.deepEqual(allowedRooms.index, ['plugin-api']);
  assert.deepEqual(allowedRooms.lib, []);
});

test('every folder of src/ is a room, and every run-time dependency has a home', () => {
  const rooms = [...new Set(readdirSync(fromRoot('src')).map(roomOf))];
  assert.ok(rooms.length >= 3);
  assert.deepEqual(
    rooms.filter((room) => !(room in table.allowedRooms)),
    [],
  );
  const manifest = JSON.parse(readFileSync(fromRoot('package.json'), 'utf8'));
  const dependencies = Object.keys(manifest.dependencies);
  assert.ok(dependencies.length >= 10);
  assert.deepEqual(
    dependencies.filter((name) => !(name in table.vendorHomes || `${name.split('/')[0]}/*` in table.vendorHomes)),
    [],
    'a dependency without a row in vendorHomes of scripts/rooms.mjs',
  );
});

test('the linter rules are the ones made from the table', async (t) => {
  const { code, stderr } = await runNode(t, [fromRoot('scripts', 'gen-import-rules.mjs'), '--check']);
  assert.equal(code, 0, stderr);
});

test('no files of src/ import each other in a circle, not even for types', (t) => {
  assert.deepEqual(circlesOf(fromRoot('src')), []);

  const root = tempFolder(t);
  writeTree(root, {
    'a/one.ts': "import type { Two } from './two.js';\nexport type One = Two[];\n",
    'a/two.ts': "export type Two = import('../b/three.js').Three;\n",
    'b/three.ts': "export type { One as Three } from '../a/one.js';\n",
    'b/tail.ts': "import '../a/one.js';\nimport { self } from './self.js';\n",
    'b/self.ts': "import { self } from './self.js';\n",
  });
  assert.deepEqual(circlesOf(root), [['a/one.ts', 'a/two.ts', 'b/three.ts'], ['b/self.ts']]);
});
