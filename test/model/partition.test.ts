import assert from 'node:assert/strict';
import { test } from 'node:test';
import { attemptKeyOf } from '../../src/model/attempt-key.js';
import { partitionOf } from '../../src/model/handle.js';
import { partitionOfAttempt, partitionOfTask } from '../../src/model/partition.js';

test('attempts of one node lie in one partition, and what has no node by its own key, before and after it is begun', () => {
  const names = Array.from({ length: 50 }, (_, at) => ({ name: `a${at}`, executionId: `#${at}` }));
  for (const [attempt, named] of names.entries()) {
    const node = { nodeKey: 'node', attempt };
    const key = attemptKeyOf(named);
    assert.equal(partitionOfAttempt(named, node), partitionOf('node'));
    assert.equal(partitionOfTask(key, node), partitionOf('node'));
    assert.equal(partitionOfAttempt(named, undefined), partitionOf(key));
    assert.equal(partitionOfTask(key, undefined), partitionOf(key));
  }
});
