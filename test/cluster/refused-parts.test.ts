import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RefusedParts } from '../../src/cluster/refused-parts.js';
import { ManualClock } from '../../src/lib/clock.js';

const LEASE_MS = 1_000;

/** How many leases a part is refused for once it could not be loaded. */
async function leases(clock: ManualClock, refused: RefusedParts, part: number): Promise<number> {
  refused.failed(part);
  let count = 0;
  for (; refused.has(part); count++) await clock.advance(LEASE_MS);
  return count;
}

test('a part that could not be loaded is refused for a lease, twice as long after each failure in a row, and eight at most', async () => {
  const clock = new ManualClock();
  const refused = new RefusedParts(clock, LEASE_MS);
  const counts: number[] = [];
  for (let time = 0; time < 6; time++) counts.push(await leases(clock, refused, 3));
  assert.deepEqual(counts, [1, 2, 4, 8, 8, 8]);
  refused.loaded(3);
  assert.equal(await leases(clock, refused, 3), 1);
});

test('those that are refused are told, and no others', async () => {
  const clock = new ManualClock();
  const refused = new RefusedParts(clock, LEASE_MS);
  refused.failed(1);
  refused.failed(2);
  refused.loaded(1);
  assert.deepEqual([refused.all, refused.has(1), refused.has(2)], [[2], false, true]);
  await clock.advance(LEASE_MS);
  assert.deepEqual(refused.all, []);
});
