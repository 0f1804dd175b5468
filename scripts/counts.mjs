// Counts of the sources, to hold a change of the structure against: files, lines, exported names, grants between rooms.
// Usage: node scripts/counts.mjs
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { allowedRooms } from './rooms.mjs';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const EXPORTED = /^export (?:declare |async |abstract )*(?:function\*?|class|const|let|interface|type|enum) +\w+/gm;

const textsOf = (folder) =>
  readdirSync(path.join(root, folder), { recursive: true })
    .map(String)
    .filter((file) => file.endsWith('.ts') && !file.includes('generated'))
    .map((file) => readFileSync(path.join(root, folder, file), 'utf8'));

for (const folder of ['src', 'test', 'plugins', 'bench']) {
  const texts = textsOf(folder);
  const lines = texts.reduce((sum, text) => sum + text.split('\n').length - 1, 0);
  const exported = texts.reduce((sum, text) => sum + (text.match(EXPORTED)?.length ?? 0), 0);
  console.log(`${folder}: ${texts.length} files, ${lines} lines, ${exported} exported names`);
}
const grants = Object.values(allowedRooms).reduce((sum, rooms) => sum + rooms.length, 0);
console.log(`rooms: ${Object.keys(allowedRooms).length}, grants: ${grants}`);
