import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ownFiles } from '../support/files.js';
import { fromRoot } from '../support/paths.js';
import { findFetchedByName, findUnknownScripts, scriptsMentioned } from '../support/repo-facts.js';

const manifest = JSON.parse(readFileSync(fromRoot('package.json'), 'utf8'));
const files = ownFiles();
const read = (file: string): string => readFileSync(fromRoot(file), 'utf8');

test('every npm script that a document names exists', () => {
  const documents = files.filter((file) => file.endsWith('.md') && !file.startsWith('test/fixtures/'));
  assert.ok(documents.includes('CONTRIBUTING.md'));
  const mentioned = documents.flatMap((file) => scriptsMentioned(read(file)));
  assert.ok(mentioned.length >= 5, `only ${mentioned.length} mentions of scripts in ${documents.join(', ')}`);
  for (const file of documents) assert.deepEqual(findUnknownScripts(read(file), manifest.scripts), [], file);
  assert.deepEqual(
    findUnknownScripts('run `npm run e2e:nowhere`, `npm test` or `npm start`', { test: '', start: '' }),
    ['e2e:nowhere'],
  );
});

test('no document has a command that runs whatever package has claimed a name in the registry', () => {
  const documents = files.filter((file) => file.endsWith('.md'));
  assert.ok(documents.length >= 15);
  const own = [manifest.name, ...Object.keys(manifest.bin)];
  for (const file of documents) assert.deepEqual(findFetchedByName(read(file), own), [], file);
  const planted = [
    'Run `npx plugin-host serve`, or',
    '```sh',
    'npx -y webapi-plugin-host && npm exec -- plugin-host',
    'npm install undici webapi-plugin-host',
    '```',
    'and `pnpm dlx plugin-host`.',
  ].join('\n');
  assert.deepEqual(findFetchedByName(planted, own), [
    'npx -y webapi-plugin-host',
    'npm exec -- plugin-host',
    'npm install undici webapi-plugin-host',
    'npx plugin-host',
    'pnpm dlx plugin-host',
  ]);
  const fine = 'npx and npm, `npx --no-install plugin-host`, `npm install undici`, `npm ci`, `npx ./dist/src/main.js`';
  assert.deepEqual(findFetchedByName(fine, own), []);
});

test('a place in the code that the glossary or the architecture names is there', () => {
  const places = ['docs/glossary.md', 'docs/architecture.md'].flatMap(placesIn);
  assert.ok(places.length >= 40, `only ${places.length} places named`);
  assert.deepEqual(
    places.filter((place) => !isPlace(place)),
    [],
  );
  assert.equal(isPlace('store/nowhere'), false);
});

/** Backticked paths below src/, such as `store/change-ring` or `rpc/`. */
function placesIn(file: string): string[] {
  const rooms = readdirSync(fromRoot('src')).join('|');
  return [...read(file).matchAll(new RegExp(`\`((?:${rooms})/[a-z0-9/-]*)\``, 'g'))].map(([, place]) => place ?? '');
}

function isPlace(place: string): boolean {
  return existsSync(fromRoot('src', place)) || existsSync(fromRoot('src', `${place}.ts`));
}
