import assert from 'node:assert/strict';
import { test } from 'node:test';
import { needOf, needsOf, needText } from '../../src/cluster/plugin-needs.js';
import { newerOf } from '../../src/cluster/versions.js';

test('a need is written as it is read, with whatever a version may be', () => {
  for (const need of [
    { id: 'p', least: undefined },
    { id: 'p', least: '' },
    { id: 'p-q', least: '1.0.0-rc.1+a@b' },
  ]) {
    assert.deepEqual(needOf(needText(need)), need);
  }
});

test('what a part needs of a plugin only rises, and is of those that it needs', () => {
  assert.deepEqual(needsOf(['p', 'q', 'r'], ['p@2.0.0', 'q@1.0.0', 's'], { q: '1.1.0', p: '1.9.0' }), [
    'p@2.0.0',
    'q@1.1.0',
    'r',
  ]);
  assert.deepEqual([newerOf(undefined, '1'), newerOf('1', undefined), newerOf('1.10', '1.9')], ['1', '1', '1.10']);
});
