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
  readonly within: string;
  readonly was: string;
}
interface Equivalent {
  readonly file: string;
  readonly within: string;
  readonly what: string;
  readonly was: string;
  readonly why: string;
}

const mutators = pathToFileURL(fromRoot('scripts', 'mutation', 'mutators.mjs')).href;
const { isSame, mutationsOf } = (await import(mutators)) as {
  mutationsOf(code: string): Mutation[];
  isSame(one: Omit<Equivalent, 'why' | 'file'>, other: Mutation): boolean;
};

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
  assert.ok(mutantsOf('f((a ?? b) >= (c + d));').includes('f(((a ?? b) > (c + d)));'), 'the other side is the same');
  assert.deepEqual(mutantsOf('x = a ?? false;'), [';', 'x = a ?? true;']);
});

test('a module of a room has many mutants, and none is the module as it was', () => {
  const code = readFileSync(compiled('src/limits/token-bucket.ts'), 'utf8');
  const mutants = mutantsOf(code);
  assert.ok(mutants.length > 50, `${mutants.length} mutants`);
  for (const mutant of mutants) assert.notEqual(mutant, code);
});

test('a mutation keeps its name when what stands around it changes, and has another in another function', () => {
  const before = 'class Line { add(a) { if (a.size < 2) this.n = a.size; } }';
  const after = 'const two = 3;\nclass Line { add(a, b) { if (a.size < 2 && b) this.n = a.size + 1; } }';
  const less = mutationsOf(before).find(({ what }) => what === '< became <=');
  assert.deepEqual([less?.within, less?.was], ['Line.add', 'a.size < 2']);
  const alike = (code: string) => mutationsOf(code).filter((one) => less !== undefined && isSame(less, one)).length;
  assert.equal(alike(after), 1);
  assert.equal(alike(after.replace('add(', 'put(')), 0);
  assert.equal(alike(after.replace('< 2', '< 3')), 0);
});

test('an equivalent mutant is one that can still be made, and says why no test can tell it', () => {
  const list = JSON.parse(readFileSync(fromRoot('test', 'mutation', 'equivalent.json'), 'utf8')) as Equivalent[];
  for (const { file, why, ...name } of list) {
    const found = mutationsOf(readFileSync(fromRoot('dist', file), 'utf8')).filter((one) => isSame(name, one));
    assert.equal(found.length, 1, `${file}: ${found.length} mutants "${name.what}" of ${name.was} in ${name.within}`);
    assert.ok(why.length > 20, `${file}: ${name.was} needs a reason`);
  }
});
