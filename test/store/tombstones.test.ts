import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../src/lib/clock.js';
import { Tombstones } from '../../src/store/tombstones.js';

test('tombstones keep the highest incarnation for their time, and the oldest give way at the bound', async () => {
  const clock = new ManualClock();
  const tombstones = new Tombstones({ clock, max: 2, ttlMs: 1_000 });
  tombstones.set('a', 3);
  tombstones.set('a', 2);
  assert.equal(tombstones.last('a'), 3);
  tombstones.set('b', 1);
  tombstones.set('c', 1);
  assert.deepEqual(
    ['a', 'b', 'c'].map((key) => tombstones.last(key)),
    [undefined, 1, 1],
  );
  assert.equal(tombstones.size, 2);
  await clock.advance(1_001);
  assert.equal(tombstones.last('c'), undefined);
});
