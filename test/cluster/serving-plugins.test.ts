import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Service, ServingPlugins } from '../../src/cluster/serving-plugins.js';

/** What is said after each of these, seen at so many seconds. */
function saidAfter(steps: readonly (readonly [atSeconds: number, service: Service])[]): boolean[] {
  const plugins = new ServingPlugins();
  return steps.map(([at, service]) => {
    plugins.saw('p', service, at * 1_000);
    return plugins.said.includes('p');
  });
}

test('a plugin is said to serve as soon as it does, by name, and one that did not come up is not', () => {
  const plugins = new ServingPlugins();
  plugins.saw('q', 'serving', 0);
  plugins.saw('p', 'serving', 0);
  plugins.saw('r', 'away', 0);
  assert.deepEqual(plugins.said, ['p', 'q']);
  plugins.saw('r', 'serving', 90_000);
  assert.deepEqual(plugins.said, ['p', 'q', 'r']);
});

test('a crash moves nothing, half a minute without the plugin does, and what is out for good does at once', () => {
  assert.deepEqual(
    saidAfter([
      [0, 'serving'],
      [10, 'away'],
      [39, 'away'],
      [40, 'serving'],
      [41, 'away'],
      [70, 'away'],
      [71, 'away'],
    ]),
    [true, true, true, true, true, true, false],
  );
  assert.deepEqual(
    saidAfter([
      [0, 'serving'],
      [1, 'out'],
    ]),
    [true, false],
  );
});

test('one that was gone is said to serve again once it has for a minute, and not while it comes and goes', () => {
  assert.deepEqual(
    saidAfter([
      [0, 'serving'],
      [1, 'out'],
      [2, 'serving'],
      [61, 'serving'],
      [62, 'serving'],
    ]),
    [true, false, false, false, true],
  );
  assert.deepEqual(
    saidAfter([
      [0, 'serving'],
      [1, 'out'],
      [10, 'serving'],
      [60, 'away'],
      [69, 'serving'],
      [71, 'serving'],
      [129, 'serving'],
    ]),
    [true, false, false, false, false, false, true],
  );
});
