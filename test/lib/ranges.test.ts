import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { rangesOf } from '../../src/lib/ranges.js';

test('numbers that follow each other are one range, and one alone is itself', () => {
  assert.deepEqual(rangesOf([0, 1, 2, 5, 7, 8]), ['0-2', '5', '7-8']);
  assert.deepEqual(rangesOf([]), []);
});

test('ranges hold the numbers that they were made of, and no two of them could be one', () => {
  const sets = fc.uniqueArray(fc.integer({ min: 0, max: 40 })).map((set) => set.sort((a, b) => a - b));
  fc.assert(
    fc.property(sets, (numbers) => {
      const ranges = rangesOf(numbers).map((text) => text.split('-').map(Number));
      const held = ranges.flatMap(([from, to = from]) =>
        Array.from({ length: to! - from! + 1 }, (_, at) => from! + at),
      );
      assert.deepEqual(held, numbers);
      for (const [at, [from]] of ranges.entries()) if (at > 0) assert.ok(from! > ranges[at - 1]!.at(-1)! + 1);
    }),
  );
});
