import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KeyCounts } from '../../src/refresh/counts.js';
import { Outages } from '../../src/refresh/outages.js';

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

test('where there are too many batch keys those that are well are let go of, and those that are away only at twice as many', () => {
  const outages = new Outages({ random: () => 0.5, outageGraceMs: 1e9, probeMaxMs: 1_000, silenceMs: 1_000 });
  const failure = { kind: 'transient', code: 'X', message: 'm', faultKind: 'SYSTEM', retryAfterMs: undefined } as const;
  const fail = (batchKey: string, task: string) =>
    outages.learnOfGroup(
      batchKey,
      [
        {
          id: task,
          batchKey,
          outcome: { ok: false, failure },
          task: { failingSinceMs: undefined, outvoted: 0, lastReadAtMs: undefined },
        },
      ],
      { tasks: 2, failing: 0, telling: 2 },
      1,
    );
  for (const task of ['one', 'two', 'one', 'two']) fail('away', task);
  assert.equal(outages.of('away').down, true);
  for (let i = 0; i < 1_500; i++) fail(`other-${i}`, 'one');
  assert.equal(outages.of('away').down, true);
});
