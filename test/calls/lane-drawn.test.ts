import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CallLane } from '../../src/calls/lane.js';
import { ManualClock } from '../../src/lib/clock.js';
import { createDeferred } from '../../src/lib/deferred.js';
import type { RateLimiter } from '../../src/limits/types.js';
import { callOf } from './lane-support.js';

/** A lane whose rights to call come from somebody else, by hand. */
function drawn(concurrency: number) {
  const clock = new ManualClock();
  const said = { wanted: 0, ended: 0 };
  let rights = 0;
  let shut = false;
  let changed = () => {};
  const limiter: RateLimiter = {
    take: () => (rights-- > 0 ? { epoch: 'e1', endsAtMs: 7_000 } : undefined),
    available: () => Math.max(0, rights),
    msUntil: (count) => (rights >= count ? 0 : 13),
    pause: () => {},
    pausedUntilMs: () => undefined,
    reconfigure: () => {},
    snapshot: () => ({ level: 0, atMs: 0 }),
    want: (count) => {
      said.wanted = count;
    },
    ended: () => {
      said.ended += 1;
    },
  };
  const lane = new CallLane({
    limits: { rate: { qps: 1, burst: 1 }, concurrency, maxQueue: 100 },
    limiter: (_, listener) => {
      changed = listener;
      return limiter;
    },
    clock,
    random: () => 0.5,
    blocked: () => (shut ? { code: 'PLUGIN_PAUSED', message: 'shut', failFast: false } : undefined),
    throttled: () => {},
    changed: () => {},
  });
  const grant = (count: number) => {
    rights = count;
    changed();
  };
  const setShut = (to: boolean) => {
    shut = to;
    lane.pump();
  };
  return { clock, lane, said, grant, setShut };
}

test('a lane wants what is in line and what is due, as far as it has slots, and nothing while its channel is shut', async () => {
  const { clock, lane, said, grant, setShut } = drawn(4);
  const answers = [1, 2, 3].map(() => createDeferred<{ ok: true; value: undefined }>());
  const boundMs = clock.now() + 60_000;
  for (const answer of answers) lane.submit(callOf({ send: () => ({ outcome: answer.promise, boundMs }) }));
  assert.equal(said.wanted, 3);
  lane.due(9);
  assert.equal(said.wanted, 4);
  setShut(true);
  assert.equal(said.wanted, 0);
  setShut(false);
  lane.due(0);
  assert.equal(said.wanted, 3);
  grant(2);
  assert.deepEqual([lane.inFlight, said.wanted, said.ended], [2, 1, 0]);
  answers[0]?.resolve({ ok: true, value: undefined });
  await clock.advance(0);
  assert.deepEqual([lane.inFlight, said.ended], [1, 1]);
  await clock.advance(120_000);
  assert.deepEqual([lane.inFlight, lane.queued, said.ended], [0, 1, 2], 'the guard ends a call once');
});

test('a call says of which tenancy it was taken and until when it may be begun, and one that is marked meanwhile keeps its place', async () => {
  const { clock, lane, grant } = drawn(4);
  const seen: string[] = [];
  const marked = createDeferred<void>();
  const call = (name: string, prepare?: () => Promise<void>) =>
    lane.submit(
      callOf({
        prepare,
        send: ({ epoch, endsAtMs }) => {
          seen.push(`${name} ${epoch} ${endsAtMs}`);
          return { outcome: new Promise(() => {}), boundMs: clock.now() + 60_000 };
        },
      }),
    );
  call('first', () => marked.promise);
  call('second');
  grant(1);
  await clock.advance(10);
  // What it was granted ends while it is marked.
  grant(0);
  marked.resolve();
  await clock.advance(10);
  assert.deepEqual(seen, []);
  grant(2);
  assert.deepEqual(seen, ['first e1 7000', 'second e1 7000']);
});

test('what it cannot know for certain refuses no call, and costs no timer', async () => {
  const { clock, lane, said } = drawn(1);
  let refused = '';
  lane.submit(
    callOf({
      failFast: true,
      deadlineMs: clock.now() + 5,
      send: () => assert.fail('nothing was granted'),
      refused: ({ code }) => {
        refused = code;
      },
    }),
  );
  assert.deepEqual([refused, said.wanted, clock.pending], ['', 1, 1]);
  await clock.advance(5);
  assert.deepEqual([refused, said.wanted, clock.pending], ['ADMISSION_DEADLINE', 0, 0]);
});
