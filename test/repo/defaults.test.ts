import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { CONFIG_SCHEMA } from '../../src/model/options/schema.js';
import { compiledName, type Node } from '../../src/model/options/spec.js';
import { filesBelow } from '../support/files.js';

/** Names of options in their compiled form, those that say something by themselves. */
function optionNames(node: Node, name: string): string[] {
  if (node.node === 'section') {
    return Object.entries(node.fields).flatMap(([key, child]) => optionNames(child, compiledName(key, child)));
  }
  if (node.node === 'map') return optionNames(node.value, '');
  return node.node === 'leaf' && /(Ms|Bytes)$|^max[A-Z]|[a-z][A-Z]/.test(name) ? [name] : [];
}

/** What rooms call an option: `roomName: config.section.option`. */
function roomNames(text: string): string[] {
  return [...text.matchAll(/\b(\w+): (?:config|grpc|refresh|tasks)\.[\w.]+/g)].map(([, name]) => name!);
}

/** Lines that give one of the names a number: as a property, a variable or a fallback. */
function statedDefaults(text: string, names: ReadonlySet<string>): string[] {
  const stated = /\b#?(\w+)\s*(?::|=|\?\?)\s*-?\d[\d_.]*/g;
  return [...text.matchAll(stated)].filter(([, name]) => names.has(name!)).map(([line]) => line);
}

/** Words that other things than the option have too. */
const COMMON = ['maxBytes', 'maxCount', 'graceMs'];

const NAMES: ReadonlySet<string> = new Set(
  [...optionNames(CONFIG_SCHEMA, ''), ...roomNames(readFileSync('src/daemon/options.ts', 'utf8'))].filter(
    (name) => !COMMON.includes(name),
  ),
);

// client/ and testing/ run in programs of others, where no operator sets anything.
test('no room states a default of an option: only the options themselves do', () => {
  assert.ok(NAMES.size > 50, [...NAMES].join(' '));
  const found = filesBelow('src')
    .map((file) => `src/${file}`)
    .filter(
      (file) =>
        file.endsWith('.ts') && !file.includes('model/options/') && !/^src\/(generated|client|testing)\//.test(file),
    )
    .flatMap((file) => statedDefaults(readFileSync(file, 'utf8'), NAMES).map((line) => `${file}: ${line}`));
  assert.deepEqual(found, []);
});

test('a default that a room states is found in each of its forms, and no other number is', () => {
  const planted = [
    '{ pollShare: 0.5 }',
    'const outageGraceMs = 3_600_000;',
    'given.maxStreams ?? 100',
    '#maxTasks = 5',
  ];
  for (const text of planted) assert.equal(statedDefaults(text, NAMES).length, 1, text);
  for (const text of ['retryMaxMs: 60_000', 'maxTasks: config.maxTasks', 'maxTasks > 5', 'pollShare: number']) {
    assert.deepEqual(statedDefaults(text, NAMES), [], text);
  }
});
