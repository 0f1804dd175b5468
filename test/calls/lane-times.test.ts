import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CallLane } from '../../src/calls/lane.js';
import { ManualClock } from '../../src/lib/clock.js';

test('the next call goes out in the very millisecond in which its token comes', async () => {
  const clock = new ManualClock();
  const sentAtMs: number[] = [];
  const startMs = clock.now();
  const lane = new CallLane({
    limits: { rate: { qps: 1000, burst: 1 }, concurrency: 9, maxQueue: 100 },
    snapshot: undefined,
    clock,
    random: () => 0.5,
    blocked: () => undefined,
    throttled: () => {},
    changed: () => {},
  });
  for (let i = 0; i < 3; i++) {
    lane.submit({
      first: false,
      failFast: false,
      deadlineMs: Number.POSITIVE_INFINITY,
      signal: undefined,
      send: () => {
        sentAtMs.push(clock.now() - startMs);
        return { outcome: new Promise(() => {}), boundMs: clock.now() + 1000 };
      },
      refused: (failure) => assert.fail(failure.message),
      finished: () => {},
    });
  }
  await clock.advance(10);
  assert.deepEqual(sentAtMs, [1, 2, 3]);
});
