import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ManualClock } from '../../src/lib/clock.js';
import { Pace } from '../../src/lib/pace.js';

const PER_SECOND = 1_000;
const AT_ONCE = 100;

function made(clock: ManualClock, onGoOn: () => void = () => undefined): Pace {
  return new Pace({ clock, perSecond: PER_SECOND, atOnce: AT_ONCE, onGoOn });
}

/** Amounts that a sender has ready, each with the time since the one before. */
const SENT = fc.array(fc.record({ afterMs: fc.nat({ max: 400 }), amount: fc.integer({ min: 1, max: 300 }) }), {
  minLength: 1,
  maxLength: 40,
});

test('whoever stops while it rests takes no more than evenly, and one amount over, whatever is sent', async () => {
  await fc.assert(
    fc.asyncProperty(SENT, async (sent) => {
      const clock = new ManualClock();
      const started = clock.now();
      const ready: number[] = [];
      let taken = 0;
      const read = () => {
        while (!pace.rests && ready.length > 0) {
          const amount = ready.shift()!;
          pace.take(amount);
          taken += amount;
          const most = AT_ONCE + ((clock.now() - started) / 1_000) * PER_SECOND + amount;
          assert.ok(taken <= most, `${taken} were taken, ${most} at most`);
        }
      };
      const pace = made(clock, read);
      for (const { afterMs, amount } of sent) {
        await clock.advance(afterMs);
        ready.push(amount);
        read();
      }
      // Nothing waits for ever: what is left comes as fast as evenly, with the shortest rest for each.
      const left = ready.reduce((sum, amount) => sum + amount, 0);
      await clock.advance((left / PER_SECOND) * 1_000 + 1_000 + 25 * ready.length);
      assert.deepEqual([ready, clock.pending], [[], 0]);
    }),
    { numRuns: 300 },
  );
});

test('what comes evenly, or in a burst after a quiet time, is never held up', async () => {
  const clock = new ManualClock();
  const pace = made(clock);
  for (let i = 0; i < 100; i++) {
    pace.take(AT_ONCE / 2);
    assert.equal(pace.rests, false, `after ${i} halves`);
    await clock.advance((AT_ONCE / 2 / PER_SECOND) * 1_000);
  }
  await clock.advance(1_000);
  pace.take(AT_ONCE);
  assert.equal(pace.rests, false);
  pace.take(1);
  assert.equal(pace.rests, true);
});

test('what comes while it rests makes the rest longer, and an end leaves no timer behind', async () => {
  const clock = new ManualClock();
  let wentOn = 0;
  const pace = made(clock, () => {
    wentOn += 1;
  });
  pace.take(AT_ONCE + 100);
  pace.take(400);
  await clock.advance(499);
  assert.deepEqual([pace.rests, wentOn], [true, 0]);
  await clock.advance(25);
  assert.deepEqual([pace.rests, wentOn], [false, 1]);
  pace.take(10 * AT_ONCE);
  pace.end();
  pace.end();
  pace.take(10 * AT_ONCE);
  await clock.advance(60_000);
  assert.deepEqual([pace.rests, wentOn, clock.pending], [false, 1, 0]);
});
