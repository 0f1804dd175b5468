import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { compiled, fromRoot } from '../support/paths.js';

interface Mutation {
  readonly start: number;
  readonly end: number;
  readonly text: string;
  readonly what: string;
  readonly source: string;
}
interface Equivalent {
  readonly file: string;
  readonly source: string;
  readonly what: string;
  readonly why: string;
}

const mutators = pathToFileURL(fromRoot('scripts', 'mutation', 'mutators.mjs')).href;
const { mutationsOf } = (await import(mutators)) as { mutationsOf(code: string): Mutation[] };

/** The walk's order is the parser's affair. */
function mutantsOf(code: string): string[] {
  return mutationsOf(code)
    .map(({ start, end, text }) => code.slice(0, start) + text + code.slice(end))
    .sort();
}

test('a mutation changes one operator, condition, constant or statement, and no text', () => {
  const conditional = [
    'if (!(a < 2)) f();',
    'if ((a <= 2)) f();',
    'if ((a > 2)) f();',
    'if (a < 3) f();',
    'if (a < 2) ;',
  ];
  assert.deepEqual(mutantsOf('if (a < 2) f();'), conditional.sort());
  assert.deepEqual(mutantsOf("const text = 'a' + b;"), []);
  assert.deepEqual(mutantsOf('x = a ?? false;'), [';', 'x = a ?? true;']);
});

test('a module of a room has many mutants, and none is the module as it was', () => {
  const code = readFileSync(compiled('src/limits/token-bucket.ts'), 'utf8');
  const mutants = mutantsOf(code);
  assert.ok(mutants.length > 50, `${mutants.length} mutants`);
  for (const mutant of mutants) assert.notEqual(mutant, code);
});

test('an equivalent mutant names a line that is still there, and why no test can tell it', () => {
  const list = JSON.parse(readFileSync(fromRoot('test', 'mutation', 'equivalent.json'), 'utf8')) as Equivalent[];
  for (const { file, source, what, why } of list) {
    const found = mutationsOf(readFileSync(fromRoot('dist', file), 'utf8'));
    assert.ok(
      found.some((one) => one.source === source && one.what === what),
      `${file}: no mutant "${what}" of ${source}`,
    );
    assert.ok(why.length > 20, `${file}: ${source} needs a reason`);
  }
});
