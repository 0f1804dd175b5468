import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PartPlugins } from '../../src/cluster/part-plugins.js';

const MINUTE = 60_000;

test('a part needs a plugin from its first task of it until ten minutes after the last, and no other part does', () => {
  const plugins = new PartPlugins();
  assert.deepEqual(plugins.needed(0, ['q', 'p'], [], 0), ['p', 'q']);
  assert.deepEqual(plugins.needed(0, ['p'], ['p', 'q'], 10 * MINUTE - 1), ['p', 'q']);
  assert.deepEqual(plugins.needed(0, ['p'], ['p', 'q'], 10 * MINUTE), ['p'], 'whatever is still written of it');
  assert.deepEqual(plugins.needed(1, [], [], 10 * MINUTE), []);
});

test('what the owner before wrote is needed for ten minutes from here on, also where the part comes back', () => {
  const plugins = new PartPlugins();
  assert.deepEqual(plugins.needed(0, [], ['p'], 0), ['p']);
  assert.deepEqual(plugins.needed(0, [], ['p'], 10 * MINUTE), []);
  plugins.keep([]);
  assert.deepEqual(plugins.needed(0, [], ['p'], 11 * MINUTE), ['p']);
  plugins.keep([0]);
  assert.deepEqual(plugins.needed(0, [], [], 20 * MINUTE), ['p']);
});
