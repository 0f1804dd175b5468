import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ClassCounts, KeyCounts } from '../../src/refresh/counts.js';
import type { Item } from '../../src/refresh/item.js';

test('tasks are counted by key and in all, a move changes no sum, and a key is told gone with its last task', () => {
  const gone: string[] = [];
  const counts = new KeyCounts((key) => gone.push(key));
  const seen = () => [counts.total, counts.size, counts.of('a'), counts.of('b'), gone.join()];
  assert.deepEqual(seen(), [0, 0, 0, 0, '']);
  for (const key of ['a', 'a', 'b']) counts.add(key);
  assert.deepEqual(seen(), [3, 2, 2, 1, '']);
  counts.move('a', 'a');
  counts.move('a', 'b');
  assert.deepEqual(seen(), [3, 2, 1, 2, '']);
  counts.move('a', 'b');
  assert.deepEqual(seen(), [3, 1, 0, 3, 'a']);
  for (let i = 0; i < 3; i++) counts.remove('b');
  assert.deepEqual(seen(), [0, 0, 0, 0, 'a,b']);
});

test('tasks are counted by their age while engines ask for them, and else by how long nobody did', () => {
  const counts = new ClassCounts();
  const item = (ageClass: number, doublings: number) => ({ ageClass, doublings }) as Item;
  for (const [ageClass, doublings] of [
    [3, 0],
    [3, 0],
    [0, 0],
    [3, 1],
    [5, 1],
    [5, 2],
  ] as const) {
    counts.add(item(ageClass, doublings), 1);
  }
  const byAge = () => Object.fromEntries(counts.byAge.flatMap((n, ageClass) => (n === 0 ? [] : [[ageClass, n]])));
  assert.deepEqual(
    [byAge(), [...counts.idle]],
    [
      { 0: 1, 3: 2 },
      [
        [1, 2],
        [2, 1],
      ],
    ],
  );
  counts.add(item(3, 0), -1);
  counts.add(item(9, 1), -1);
  counts.add(item(9, 2), -1);
  assert.deepEqual([byAge(), [...counts.idle]], [{ 0: 1, 3: 1 }, [[1, 1]]]);
});
