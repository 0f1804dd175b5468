import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { filesBelow } from '../support/files.js';
import { fromRoot } from '../support/paths.js';

/** A class with the comment above it, by the house's indentation. */
const CLASS = /((?:\/\*\*(?:[^*]|\*(?!\/))*\*\/\n)?)(?:export )?(?:abstract )?class (\w+)[^{]*\{\n([\s\S]*?)^\}/gm;
const FIELD =
  /^ {2}(?!readonly |static |private readonly |return )(?:private )?#?\w+[!?]?(?:: ([^=;]+))?(?: = ([^;]+))?;$/gm;
/** What a field holds that is set and unset as its object goes from state to state; numbers and collections are its contents. */
const OF_A_STATE = /\b(boolean|Timer|Timeout|Immediate|Deferred|Promise|AbortController)\b|State\b|Process\b/;

/** Classes whose fields come and go with a state that their comment says nothing of. */
function silent(text: string): string[] {
  return [...text.matchAll(CLASS)]
    .filter(([, , , body]) =>
      [...body!.matchAll(FIELD)].some(
        ([, type, value]) => OF_A_STATE.test(type ?? '') || /^(true|false)$/.test(value ?? ''),
      ),
    )
    .filter(([, comment]) => !/\bstates?\b/i.test(comment!))
    .map(([, , name]) => name!);
}

test('a class with a state opens with its states', () => {
  const files = filesBelow('src').filter((file) => file.endsWith('.ts') && !file.startsWith('generated/'));
  assert.ok(files.length > 200, `only ${files.length} files looked at`);
  const found = files.flatMap((file) =>
    silent(readFileSync(fromRoot('src', file), 'utf8')).map((name) => `${file}: ${name}`),
  );
  assert.deepEqual(found, []);
});

test('a flag, a timer, a promise and a process are states; contents, and what never changes, are none', () => {
  const planted = (field: string, comment = '/** Does a thing. */') =>
    `${comment}\nexport class Thing {\n  ${field}\n}\n`;
  const kept = ['#stopped = false;', '#timer: Timer | undefined;', '#next: Promise<void> | undefined;'];
  for (const field of [...kept, 'private done = true;', '#process: RunningProcess | undefined;', '#s: LifeState;']) {
    assert.deepEqual(silent(planted(field)), ['Thing'], field);
    assert.deepEqual(silent(planted(field, '/** Does a thing. States: idle → busy. */')), [], field);
    assert.deepEqual(silent(planted(field, '')), ['Thing'], field);
  }
  for (const field of [
    '#sum = 0;',
    'readonly #on = true;',
    '#names: string[] = [];',
    'readonly #done: Promise<void>;',
  ]) {
    assert.deepEqual(silent(planted(field)), [], field);
  }
});
