import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { describe, it, type TestContext } from 'node:test';
import fc from 'fast-check';
import { PassingMap, PassingSet } from '../../src/lib/passing.js';
import { compiled } from '../support/paths.js';

const step = fc.record({
  key: fc.integer({ min: 0, max: 30 }),
  value: fc.option(fc.integer(), { nil: undefined, freq: 1 }),
});

describe('a PassingMap', () => {
  it('holds what a Map would hold, in its order, after any sets and deletes', () => {
    fc.assert(
      // Long, so that it makes a new table now and then.
      fc.property(fc.array(step, { maxLength: 600, size: 'max' }), (steps) => {
        const passing = new PassingMap<number, number>();
        const map = new Map<number, number>();
        for (const { key, value } of steps) {
          if (value === undefined) assert.equal(passing.delete(key), map.delete(key));
          else {
            passing.set(key, value);
            map.set(key, value);
          }
          assert.equal(passing.size, map.size);
          assert.deepEqual([passing.get(key), passing.has(key)], [map.get(key), map.has(key)]);
        }
        assert.deepEqual(
          [[...passing], [...passing.keys()], [...passing.values()]],
          [[...map], [...map.keys()], [...map.values()]],
        );
      }),
    );
  });

  it('tells nobody who went while the others were told, also where a new table was made meanwhile', () => {
    const passing = new PassingMap<string, number>();
    for (const key of ['a', 'b', 'c']) passing.set(key, 1);
    const told: string[] = [];
    for (const key of passing.keys()) {
      told.push(key);
      for (let n = 0; n < 1_000; n += 1) {
        passing.set(`other ${n}`, n);
        passing.delete(`other ${n}`);
      }
      passing.delete('b');
    }
    assert.deepEqual([told, passing.size], [['a', 'c'], 2]);
  });
});

describe('a PassingSet', () => {
  it('has each member once, in the order they came', () => {
    const passing = new PassingSet<string>();
    for (const member of ['a', 'b', 'a']) passing.add(member);
    assert.deepEqual([[...passing], passing.size, passing.has('a')], [['a', 'b'], 2, true]);
    assert.deepEqual([passing.delete('a'), passing.delete('a'), passing.has('a')], [true, false, false]);
  });
});

/** What one that passes through leaves in the old space, once a full collection has made old what it passes through. */
async function left(t: TestContext, through: string): Promise<number> {
  const child = fork(compiled('test/lib/left-by-passing.ts'), [through], { execArgv: ['--max-semi-space-size=2'] });
  t.after(() => child.kill());
  const [bytes] = (await once(child, 'message')) as [number];
  t.diagnostic(`${through}: ${Math.round(bytes)} bytes`);
  return bytes;
}

describe('what has passed', () => {
  for (const through of ['PassingMap', 'PassingSet', 'IdTable', 'LinkedQueue', 'walked LinkedQueue']) {
    it(`is gone with the next small collection: ${through}`, async (t) => {
      assert.ok((await left(t, through)) < 100);
    });
  }

  // That the measure sees what is kept; once a release of Node keeps nothing there, these tables are needless.
  it('would be kept until the next full one by a Map', async (t) => {
    assert.ok((await left(t, 'Map')) > 400);
  });
});
