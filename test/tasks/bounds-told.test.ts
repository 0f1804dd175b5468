import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { TASKS_BOUNDS } from '../../src/tasks/deps.js';
import { MAX_LOOKED_AT } from '../../src/tasks/list/page.js';
import { fromRoot } from '../support/paths.js';

const told = (count: number) => count.toLocaleString('en-US');
const mib = (bytes: number) => `${bytes / 2 ** 20} MiB`;

/** The line of a document that begins so, or holds it. */
function lineOf(document: string, words: string): string {
  const lines = readFileSync(fromRoot('docs', document), 'utf8').split('\n');
  return lines.find((line) => line.includes(words)) ?? assert.fail(`${document} says nothing of "${words}"`);
}

test('the bounds that the documents tell of are those in force', () => {
  const { maxAdoptedBytes, adoptionsPerSecond, maxUnclear, maxUnclearBytes } = TASKS_BOUNDS;
  const adopted = lineOf('architecture.md', '| tasks known from handles alone');
  for (const words of [mib(maxAdoptedBytes), `${told(adoptionsPerSecond)} more a second`])
    assert.ok(adopted.includes(words), words);
  const unclear = lineOf('architecture.md', '| creates of unclear outcome');
  assert.ok(unclear.includes(`${told(maxUnclear)}, and ${mib(maxUnclearBytes)} of inputs`), unclear);
  assert.ok(lineOf('operations.md', 'A page looks at').includes(`${told(MAX_LOOKED_AT)} rows`));
});
