import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { TaskRecord } from '../../src/model/task-record.js';
import { AnswerCache } from '../../src/rpc/answer-cache.js';

function fakeTask(revision = 0): TaskRecord & { revision: number } {
  return { revision } as TaskRecord & { revision: number };
}

test('an answer is encoded once a revision of its task, and again for the next one', () => {
  const cache = new AnswerCache();
  const task = fakeTask();
  let made = 0;
  const encode = () => Buffer.from(`answer ${++made}`);
  assert.equal(cache.of(task, encode).toString(), 'answer 1');
  assert.equal(cache.of(task, encode).toString(), 'answer 1');
  task.revision += 1;
  assert.equal(cache.of(task, encode).toString(), 'answer 2');
  assert.deepEqual([made, cache.size, cache.bytes], [2, 1, 8]);
});

test('the oldest answers give way past the bounds of number and bytes, and one too large is not kept at all', () => {
  const cache = new AnswerCache({ answers: 3, bytes: 100 });
  const tasks = Array.from({ length: 4 }, () => fakeTask());
  let made = 0;
  const of = (task: TaskRecord, size: number) =>
    cache.of(task, () => {
      made += 1;
      return Buffer.alloc(size);
    });
  for (const task of tasks) of(task, 10);
  assert.deepEqual([cache.size, cache.bytes], [3, 30]);
  of(tasks[3]!, 10);
  assert.equal(made, 4, 'what is kept is not encoded again');
  of(tasks[0]!, 10);
  assert.equal(made, 5, 'the first one had gone');
  for (let i = 0; i < 8; i++) of(fakeTask(), 25);
  assert.ok(cache.bytes <= 100 && cache.size <= 3);
  const large = fakeTask();
  of(large, 26);
  of(large, 26);
  assert.equal(made, 15, 'encoded each time');
  assert.ok(cache.bytes <= 100);
});

test('an answer is the same bytes each time, small or large, and a large one is no piece of a pool', () => {
  const cache = new AnswerCache();
  for (const length of [0, 1, 256, 4_096, 4_097]) {
    const task = fakeTask();
    const made = Buffer.from(Array.from({ length }, (_, i) => i % 256));
    assert.equal(cache.peek(task), undefined);
    assert.deepEqual(
      cache.of(task, () => made),
      made,
    );
    const kept = cache.of(task, () => assert.fail());
    assert.deepEqual([kept, cache.peek(task)], [made, made]);
    if (length > 4_096) assert.equal(kept.buffer.byteLength, length);
    task.revision += 1;
    assert.equal(cache.peek(task), undefined, 'what is old is not shown');
  }
});

test('what was answered keeps no task in memory: neither the answers that are kept, nor those that gave way', async () => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const cache = new AnswerCache({ answers: 3, bytes: 1_000 });
  const left = Array.from({ length: 6 }, () => {
    const task = fakeTask();
    cache.of(task, () => Buffer.from('answer'));
    return new WeakRef(task);
  });
  for (let turn = 0; turn < 50 && left.some((one) => one.deref() !== undefined); turn++) {
    await new Promise((resolve) => setImmediate(resolve));
    collect();
  }
  assert.deepEqual([left.filter((one) => one.deref() !== undefined).length, cache.size, cache.bytes], [0, 3, 18]);
});
