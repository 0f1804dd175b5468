import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Absence } from '../../src/cluster/absence.js';
import { ManualClock } from '../../src/lib/clock.js';

test('an owner is stood in for after a second without an answer, or a third of what the caller had left, and not before', async () => {
  for (const [leftMs, afterMs] of [
    [60_000, 1_000],
    [3_000, 1_000],
    [600, 200],
    [0, 0],
  ] as const) {
    const clock = new ManualClock();
    const absence = new Absence(clock, clock.now() + leftMs);
    assert.equal(absence.isDue, false, 'it was not asked yet');
    absence.begin();
    assert.equal(absence.dueMs - clock.now(), afterMs);
    if (afterMs > 0) await clock.advance(afterMs - 1);
    assert.equal(absence.isDue, afterMs === 0);
    // It is the same absence.
    absence.begin();
    await clock.advance(1);
    assert.equal(absence.isDue, true);
  }
});

test('an answer ends an absence, and the next one begins anew; so does one in which nobody could stand in', async () => {
  const clock = new ManualClock();
  const absence = new Absence(clock, Number.POSITIVE_INFINITY);
  absence.begin();
  await clock.advance(900);
  absence.end();
  await clock.advance(5_000);
  assert.equal(absence.isDue, false);
  absence.begin();
  await clock.advance(900);
  assert.equal(absence.isDue, false);
  await clock.advance(100);
  assert.equal(absence.isDue, true);
  absence.again();
  assert.equal(absence.isDue, false);
  await clock.advance(1_000);
  assert.equal(absence.isDue, true);
});
