import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../src/lib/clock.js';
import { callOf, laneOf } from './lane-support.js';

test('the next call goes out in the very millisecond in which its token comes', async () => {
  const clock = new ManualClock();
  const sentAtMs: number[] = [];
  const startMs = clock.now();
  const lane = laneOf(clock, { burst: 1, concurrency: 9 });
  for (let i = 0; i < 3; i++) {
    lane.submit(
      callOf({
        send: () => {
          sentAtMs.push(clock.now() - startMs);
          return { outcome: new Promise(() => {}), boundMs: clock.now() + 1000 };
        },
      }),
    );
  }
  await clock.advance(10);
  assert.deepEqual(sentAtMs, [1, 2, 3]);
});
