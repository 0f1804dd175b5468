import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { IdTable } from '../../src/lib/id-table.js';

/** Few ids, so that they come again, and some that collide in a table of any size. */
const ID = fc.oneof(
  fc.integer({ min: 1, max: 40 }),
  fc.constantFrom(1, 33, 65, 2 ** 20 + 1, 2 ** 31 - 1, 2 ** 31 - 33),
);

describe('an IdTable', () => {
  it('holds what a Map would hold after any sets and deletes', () => {
    const step = fc.record({ id: ID, value: fc.option(fc.string({ maxLength: 2 }), { nil: undefined }) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const table = new IdTable<string>();
        const map = new Map<number, string>();
        for (const { id, value } of steps) {
          if (value === undefined) assert.equal(table.delete(id), map.delete(id));
          else {
            table.set(id, value);
            map.set(id, value);
          }
          assert.equal(table.size, map.size);
        }
        for (const { id } of steps) assert.deepEqual([table.get(id), table.has(id)], [map.get(id), map.has(id)]);
        const told = new Map<number, string>();
        table.forEach((value, id) => {
          told.set(id, value);
        });
        assert.deepEqual([...told].sort(), [...map].sort());
      }),
    );
  });

  it('tells nobody who was deleted while the others were told', () => {
    const table = new IdTable<string>();
    for (let id = 1; id <= 100; id += 1) table.set(id, String(id));
    let told = 0;
    table.forEach((value, id) => {
      assert.equal(value, String(id));
      told += 1;
      for (let other = 1; other <= 100; other += 1) if (other !== id && other % 2 === id % 2) table.delete(other);
    });
    assert.deepEqual([told, table.size], [2, 2]);
  });
});
