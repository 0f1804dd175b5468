// Writes biome.imports.json, the linter's import rules, from the table in rooms.mjs.
// Usage: node scripts/gen-import-rules.mjs [--check]   --check only tells whether the file is current.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { allowedRooms, fileRooms, pluginVendors, vendorHomes } from './rooms.mjs';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const file = path.join(root, 'biome.imports.json');

const forbid = (group, message) => ({ group, message });

/** Import specifiers of another room, as written from a file in src/ or at any depth below it. */
function specifiersOf(room) {
  const folder = [`./${room}/**`, `../**/${room}/**`];
  // `index.js` is also the name of a room's own door file, and a pattern cannot tell the two apart; the guard test, which
  // resolves every import, covers src/index.ts.
  if (room === 'index') return [];
  return fileRooms.includes(room) ? [`./${room}.js`, `../**/${room}.js`, ...folder] : folder;
}

function filesOf(room) {
  return fileRooms.includes(room) ? [`src/${room}.ts`, `src/${room}/**`] : [`src/${room}/**`];
}

function override(includes, patterns) {
  const rule = { level: 'error', options: { patterns } };
  return { includes, linter: { rules: { style: { noRestrictedImports: rule } } } };
}

function roomOverride(room) {
  const mayImport = [room, ...allowedRooms[room]];
  const forbiddenRooms = Object.keys(allowedRooms).filter((other) => !mayImport.includes(other));
  const patterns = [];
  if (forbiddenRooms.length > 0) {
    patterns.push(
      forbid(
        forbiddenRooms.flatMap(specifiersOf),
        `src/${room} may import of src/ only: ${allowedRooms[room].join(', ') || 'nothing'} (scripts/rooms.mjs)`,
      ),
    );
  }
  const vendors = Object.keys(vendorHomes).filter((vendor) => !vendorHomes[vendor].includes(room));
  patterns.push(
    forbid(
      ['webapi-plugin-host', 'webapi-plugin-host/**', ...vendors.flatMap(vendorSpecifiers)],
      `this library's home is another room than src/${room} (vendorHomes in scripts/rooms.mjs)`,
    ),
  );
  return override(filesOf(room), patterns);
}

function vendorSpecifiers(vendor) {
  return vendor.endsWith('/*') ? [`${vendor}*`] : [vendor, `${vendor}/**`];
}

const pluginOverride = override(
  ['plugins/**'],
  [
    forbid(
      ['**', ...pluginVendors.map((vendor) => `!${vendor}`), '!node:*', '!node:*/**', '!./**', '!../**'],
      `a plugin imports only ${pluginVendors.join(', ')}, node's own modules and its own files`,
    ),
    forbid(['../**/src/**', '../**/dist/**', '../**/test/**'], 'a plugin imports the host by its package name'),
  ],
);
const overrides = [...Object.keys(allowedRooms).map(roomOverride), pluginOverride];
const text = `{
  "$schema": "./node_modules/@biomejs/biome/configuration_schema.json",
  "overrides": [
    ${overrides.map((entry) => JSON.stringify(entry)).join(',\n    ')}
  ]
}
`;

if (process.argv.includes('--check')) {
  if (!existsSync(file) || readFileSync(file, 'utf8') !== text) {
    console.error('biome.imports.json is not what scripts/rooms.mjs says; run: node scripts/gen-import-rules.mjs');
    process.exit(1);
  }
} else {
  writeFileSync(file, text);
}
