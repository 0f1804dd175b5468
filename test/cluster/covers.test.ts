import assert from 'node:assert/strict';
import { test } from 'node:test';
import { coversOf } from '../../src/cluster/covers.js';

function covers(parts: number, ...own: number[]): string | undefined {
  return coversOf({ parts, ownerOf: (part) => (own.includes(part) ? 'here' : undefined) });
}

test('a replica says which parts it has, in ranges, and nothing where there is one', () => {
  assert.equal(covers(8, 0, 1, 2, 3), 'parts 0-3 of 8');
  assert.equal(covers(8, 7, 0, 3, 4), 'parts 0, 3-4, 7 of 8');
  assert.equal(covers(8), 'no part of 8');
  assert.equal(covers(1, 0), undefined);
});
