import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CallLane } from '../../src/calls/lane.js';
import { ManualClock } from '../../src/lib/clock.js';
import { createDeferred } from '../../src/lib/deferred.js';
import { running } from './fake-plugin.js';

/** A clock as the machine's is: it moves on between any two looks. */
class RunningClock extends ManualClock {
  #drift = 0;

  constructor(readonly perLookMs: number) {
    super();
  }

  override now(): number {
    this.#drift += this.perLookMs;
    return super.now() + this.#drift;
  }
}

test('a line goes on when the token comes between the failed try and the look at how long it takes', async () => {
  for (let perLookMs = 0.01; perLookMs < 0.5; perLookMs += 0.01) {
    const clock = new RunningClock(perLookMs);
    const lane = new CallLane({
      limits: { rate: { qps: 1000, burst: 1 }, concurrency: 2, maxQueue: 100 },
      snapshot: undefined,
      clock,
      random: () => 0.5,
      blocked: () => undefined,
      throttled: () => {},
      changed: () => {},
    });
    let sent = 0;
    for (let i = 0; i < 20; i++) {
      lane.submit({
        first: false,
        failFast: false,
        deadlineMs: Number.POSITIVE_INFINITY,
        signal: undefined,
        send: () => {
          sent += 1;
          return { outcome: Promise.resolve(running), boundMs: clock.now() + 1000 };
        },
        refused: (failure) => assert.fail(failure.message),
        finished: () => {},
      });
    }
    await clock.advance(1000);
    assert.equal(sent, 20, `with ${perLookMs.toFixed(2)} ms between two looks`);
  }
});

test('a line goes on when the call at its head leaves while it is being prepared', async () => {
  const clock = new ManualClock();
  const lane = new CallLane({
    limits: { rate: { qps: 1000, burst: 2 }, concurrency: 1, maxQueue: 100 },
    snapshot: undefined,
    clock,
    random: () => 0.5,
    blocked: () => undefined,
    throttled: () => {},
    changed: () => {},
  });
  await clock.advance(1000);
  const sent: string[] = [];
  const gone = new AbortController();
  const preparing = createDeferred<void>();
  const call = (name: string, prepare: () => Promise<void>, signal?: AbortSignal) =>
    lane.submit({
      first: false,
      failFast: false,
      deadlineMs: Number.POSITIVE_INFINITY,
      signal,
      prepare,
      send: () => {
        sent.push(name);
        return { outcome: Promise.resolve(running), boundMs: clock.now() + 1000 };
      },
      refused: () => sent.push(`${name} left`),
      finished: () => {},
    });
  call('first', () => preparing.promise, gone.signal);
  call('second', () => Promise.resolve());
  gone.abort();
  preparing.resolve();
  await clock.advance(10);
  assert.deepEqual(sent, ['first left', 'second']);
});

test('a call that was sent after it waited is not refused by an abort that comes later', async () => {
  const clock = new ManualClock();
  const controller = new AbortController();
  const refusals: string[] = [];
  let sent = 0;
  const lane = new CallLane({
    limits: { rate: { qps: 1000, burst: 1 }, concurrency: 9, maxQueue: 100 },
    snapshot: undefined,
    clock,
    random: () => 0.5,
    blocked: () => undefined,
    throttled: () => {},
    changed: () => {},
  });
  lane.submit({
    first: false,
    failFast: false,
    deadlineMs: Number.POSITIVE_INFINITY,
    signal: controller.signal,
    send: () => {
      sent += 1;
      return { outcome: new Promise(() => {}), boundMs: clock.now() + 1000 };
    },
    refused: (failure) => refusals.push(failure.code),
    finished: () => {},
  });
  assert.equal(sent, 0, 'the bucket is empty');
  await clock.advance(5);
  assert.equal(sent, 1);
  controller.abort();
  assert.deepEqual(refusals, []);
});
