import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../src/lib/clock.js';
import { createDeferred } from '../../src/lib/deferred.js';
import { running } from './fake-plugin.js';
import { callOf, laneOf } from './lane-support.js';

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
    const lane = laneOf(clock, { burst: 1, concurrency: 2 });
    let sent = 0;
    for (let i = 0; i < 20; i++) {
      lane.submit(
        callOf({
          send: () => {
            sent += 1;
            return { outcome: Promise.resolve(running), boundMs: clock.now() + 1000 };
          },
        }),
      );
    }
    await clock.advance(1000);
    assert.equal(sent, 20, `with ${perLookMs.toFixed(2)} ms between two looks`);
  }
});

test('a line goes on when the call at its head leaves while it is being prepared', async () => {
  const clock = new ManualClock();
  const lane = laneOf(clock, { burst: 2, concurrency: 1 });
  await clock.advance(1000);
  const sent: string[] = [];
  const gone = new AbortController();
  const preparing = createDeferred<void>();
  const call = (name: string, prepare: () => Promise<void>, signal?: AbortSignal) =>
    lane.submit(
      callOf({
        signal,
        prepare,
        send: () => {
          sent.push(name);
          return { outcome: Promise.resolve(running), boundMs: clock.now() + 1000 };
        },
        refused: () => sent.push(`${name} left`),
      }),
    );
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
  const lane = laneOf(clock, { burst: 1, concurrency: 9 });
  lane.submit(
    callOf({
      signal: controller.signal,
      send: () => {
        sent += 1;
        return { outcome: new Promise(() => {}), boundMs: clock.now() + 1000 };
      },
      refused: (failure) => refusals.push(failure.code),
    }),
  );
  assert.equal(sent, 0, 'the bucket is empty');
  await clock.advance(5);
  assert.equal(sent, 1);
  controller.abort();
  assert.deepEqual(refusals, []);
});
