import assert from 'node:assert/strict';
import { CallLane, type LaneCall } from '../../src/calls/lane.js';
import type { Clock } from '../../src/lib/clock.js';
import { TokenBucket } from '../../src/limits/token-bucket.js';

interface Limits {
  readonly qps?: number;
  readonly burst: number;
  readonly concurrency: number;
}

/** A lane that nothing blocks, a thousand calls a second unless said otherwise; its bucket begins empty. */
export function laneOf(clock: Clock, { qps = 1000, burst, concurrency }: Limits): CallLane {
  return new CallLane({
    limits: { rate: { qps, burst }, concurrency, maxQueue: 100 },
    limiter: (config) => new TokenBucket({ config, clock }),
    clock,
    random: () => 0.5,
    blocked: () => undefined,
    throttled: () => {},
    changed: () => {},
  });
}

/** A call that waits for as long as it takes and may not be refused, but for what a test says of it. */
export function callOf(parts: Pick<LaneCall, 'send'> & Partial<LaneCall>): LaneCall {
  return {
    first: false,
    failFast: false,
    deadlineMs: Number.POSITIVE_INFINITY,
    signal: undefined,
    refused: (failure) => assert.fail(failure.message),
    ended: () => {},
    ...parts,
  };
}
