import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { filesBelow } from '../support/files.js';
import { fromRoot } from '../support/paths.js';

/** Words of the glossary that one thing alone goes by, and the rooms that have that thing: nothing else is declared by them. */
const HOMES: readonly (readonly [word: RegExp, rooms: readonly string[]])[] = [
  [/^slots?$|Slots?$|^slots?[A-Z]/, ['calls', 'refresh']],
  [/^waves?$|Waves?$/, ['refresh', 'model', 'tasks']],
  [/quarantine/i, ['host', 'tasks']],
  [/^orphans?$|Orphans?$/, ['tasks', 'admin']],
  [/^(?:is|has)Over$/, ['tasks', 'store', 'model']],
  [/^isTerminal$/, ['plugin-api']],
];

/** Names that a thing of the glossary has had beside its own. */
const GONE = /^(?:CompiledPluginEntry|NormalEntry|Candidate|Binding|AdmittedRun|isFinished|isTerminated)$/;

/** What a source declares: values, functions, types and members of classes. */
function declaredIn(code: string): string[] {
  const declared =
    /\b(?:const|let|class|interface|type|function)\s+([A-Za-z]\w*)|^ {2}(?:readonly |get |set |static |async )*#?([a-z]\w*)(?=[(:?<= ])/gm;
  return [...code.matchAll(declared)].map(([, name, member]) => name ?? member ?? '');
}

function strayWords(room: string, code: string): string[] {
  const names = declaredIn(code);
  const stray = HOMES.filter(([, rooms]) => !rooms.includes(room)).flatMap(([word]) =>
    names.filter((name) => word.test(name)),
  );
  return [...new Set([...stray, ...names.filter((name) => GONE.test(name))])];
}

test('a word of the glossary that means one thing is declared only where that thing is, and by no other name', () => {
  const sources = filesBelow(fromRoot('src'), '.ts').filter((file) => !file.startsWith('generated/'));
  assert.ok(sources.length >= 300);
  const stray = sources.flatMap((file) =>
    strayWords(file.split('/')[0] as string, readFileSync(fromRoot('src', file), 'utf8')).map(
      (name) => `${file}: ${name}`,
    ),
  );
  assert.deepEqual(stray, []);
});

test('a planted second meaning, or second name, is found, and the word in its own room is not', () => {
  const planted =
    'class Ring {\n  readonly #slots = 3;\n}\nconst freeSlots = 1;\nfunction isTerminal() {}\nclass Candidate {}\n';
  assert.deepEqual(strayWords('store', planted).sort(), ['Candidate', 'freeSlots', 'isTerminal', 'slots']);
  assert.deepEqual(strayWords('calls', 'const slotsFree = 1; const slotted = 2;'), []);
});
