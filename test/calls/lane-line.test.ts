import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createGate } from '../../src/calls/gate.js';
import { ManualClock, type Timer } from '../../src/lib/clock.js';
import { createDeferred } from '../../src/lib/deferred.js';
import { FakePlugin, resource, running, wideConfig } from './fake-plugin.js';
import { callOf, laneOf } from './lane-support.js';

/** A lane with so many tokens and slots, and calls that note by name what becomes of them; none is answered. */
async function noting(concurrency: number, tokens = 10) {
  const clock = new ManualClock();
  const lane = laneOf(clock, { burst: tokens, concurrency });
  await clock.advance(1000);
  const seen: string[] = [];
  const call = (
    name: string,
    parts: { prepare?: () => Promise<void>; signal?: AbortSignal; sending?: () => void; deadlineMs?: number } = {},
  ) =>
    lane.submit(
      callOf({
        ...(parts.deadlineMs === undefined ? {} : { deadlineMs: parts.deadlineMs }),
        signal: parts.signal,
        prepare: parts.prepare,
        send: () => {
          seen.push(name);
          parts.sending?.();
          return { outcome: new Promise(() => {}), boundMs: clock.now() + 60_000 };
        },
        refused: (failure) => seen.push(`${name} ${failure.kind}`),
      }),
    );
  return { clock, lane, seen, call };
}

test('no more calls are prepared at once than there are slots and tokens for, however often the line is looked at', async () => {
  for (const [slots, tokens] of [
    [2, 10],
    [10, 2],
  ] as const) {
    const { lane, call } = await noting(slots, tokens);
    let preparing = 0;
    for (let i = 0; i < 5; i++) {
      call(`call ${i}`, {
        prepare: () => {
          preparing += 1;
          return new Promise(() => {});
        },
      });
      lane.pump();
    }
    assert.equal(preparing, 2, `${slots} slots, ${tokens} tokens`);
  }
});

test('a call that needs no preparing does not take the place of one that is being prepared', async () => {
  const { clock, seen, call } = await noting(1);
  const prepared = createDeferred<void>();
  call('first', { prepare: () => prepared.promise });
  call('second');
  await clock.advance(10);
  assert.deepEqual(seen, []);
  prepared.resolve();
  await clock.advance(10);
  assert.deepEqual(seen, ['first']);
});

test('a call that leaves the line while the one before it is sent is refused, and not sent as well', async () => {
  const { clock, lane, seen, call } = await noting(9, 3);
  for (let i = 0; i < 3; i++) call(`full ${i}`);
  const gone = new AbortController();
  call('first', { sending: () => gone.abort() });
  call('second', { signal: gone.signal });
  call('third');
  seen.length = 0;
  // Tokens for all three come at once.
  lane.reconfigure({ rate: { qps: 1_000_000, burst: 100 }, concurrency: 9, maxQueue: 100 });
  await clock.advance(5);
  assert.deepEqual(seen, ['first', 'second cancelled', 'third']);
});

test('a timer that fires early ends no wait before its deadline, and does not lose the deadline either', async () => {
  class HastyClock extends ManualClock {
    override setTimer(delayMs: number, fn: () => void): Timer {
      return super.setTimer(delayMs > 1 ? delayMs - 1 : delayMs, fn);
    }
  }
  const clock = new HastyClock();
  const lane = laneOf(clock, { burst: 1, concurrency: 0 });
  const startMs = clock.now();
  const refusedAtMs: number[] = [];
  const send = () => assert.fail('there is no slot');
  lane.submit(callOf({ deadlineMs: startMs + 50, send, refused: () => refusedAtMs.push(clock.now() - startMs) }));
  await clock.advance(1000);
  assert.deepEqual(refusedAtMs, [50]);
});

test('a line has one timer of its own, however often it is looked at', async () => {
  const { clock, lane, call } = await noting(9, 1);
  call('sent');
  const before = clock.pending;
  call('waits', { deadlineMs: clock.now() + 60_000 });
  for (let i = 0; i < 100; i++) lane.pump();
  assert.equal(clock.pending, before + 2, 'the deadline of the one that waits, and the next token');
});

test('the wait that a refusal tells is in whole milliseconds and not too short', async () => {
  const clock = new ManualClock();
  const lane = laneOf(clock, { qps: 3, burst: 1, concurrency: 1 });
  const told: string[] = [];
  const send = () => assert.fail('there is no token');
  const refused = ({ message }: { readonly message: string }) => void told.push(message);
  lane.submit(callOf({ failFast: true, deadlineMs: clock.now() + 10, send, refused }));
  assert.match(told[0]!, / 334 ms away/);
});

test('who polls is told when a slot for reads is free, and of writes nothing', async () => {
  const clock = new ManualClock();
  const plugin = new FakePlugin(() => clock.now());
  const full = { level: 10, atMs: clock.now() };
  const gate = createGate({
    plugin,
    config: wideConfig,
    clock,
    random: () => 0.5,
    snapshot: { read: full, write: full },
  });
  let told = 0;
  gate.onReadCapacity(() => {
    told += 1;
  });
  void gate.call('delete', { ...resource, reason: '' } as never, { admission: 'wait' });
  plugin.settle(0, { ok: true, value: undefined });
  await clock.advance(0);
  assert.equal(told, 0, 'a write');
  void gate.call('get', resource, { admission: 'wait' });
  plugin.settle(0, running);
  await clock.advance(0);
  assert.equal(told, 1, 'a read');
});

test('however many calls a full channel holds up, one waits for it to drain', async () => {
  const clock = new ManualClock();
  let waits = 0;
  class Counting extends FakePlugin {
    override drained(): Promise<void> {
      waits += 1;
      return super.drained();
    }
  }
  const plugin = new Counting(() => clock.now());
  const gate = createGate({ plugin, config: wideConfig, clock, random: () => 0.5 });
  plugin.writable = false;
  void gate.call('get', resource, { admission: 'wait' });
  await clock.advance(1000);
  const forOne = waits;
  for (let i = 0; i < 50; i++) void gate.call('get', resource, { admission: 'wait' });
  await clock.advance(1000);
  assert.equal(waits, forOne);
});

test('a lane whose limits changed counts by the new ones at once', async () => {
  const { clock, lane, seen, call } = await noting(100, 2);
  for (let i = 0; i < 50; i++) call(`call ${i}`);
  assert.equal(seen.length, 2);
  lane.reconfigure({ rate: { qps: 1, burst: 2 }, concurrency: 100, maxQueue: 100 });
  await clock.advance(3_000);
  assert.ok(seen.length >= 4 && seen.length <= 5, `${seen.length} calls after three seconds at one a second`);
});

test('calls that wait together are prepared as far as there are slots for them in one look at the line', async () => {
  const { lane, call } = await noting(0);
  const preparing: string[] = [];
  for (let i = 0; i < 5; i++) {
    call(`call ${i}`, {
      prepare: () => {
        preparing.push(`call ${i}`);
        return new Promise(() => {});
      },
    });
  }
  lane.reconfigure({ rate: { qps: 1_000, burst: 10 }, concurrency: 3, maxQueue: 100 });
  assert.deepEqual(preparing, ['call 0', 'call 1', 'call 2']);
});

test('a call is not sent at its very deadline, be it new or first in line, and is told so once', async () => {
  const { clock, lane, seen, call } = await noting(0);
  const deadlineMs = clock.now() + 20;
  // Before its own timer, in the same millisecond.
  clock.setTimer(20, () => lane.reconfigure({ rate: { qps: 1_000, burst: 10 }, concurrency: 3, maxQueue: 100 }));
  call('waits', { deadlineMs });
  await clock.advance(20);
  call('new', { deadlineMs });
  assert.deepEqual(seen, ['waits not_admitted', 'new not_admitted']);
});

test('a line goes on when the call at its head expires while it is being prepared', async () => {
  const { clock, seen, call } = await noting(1);
  call('first', { deadlineMs: clock.now() + 20, prepare: () => new Promise(() => {}) });
  call('second');
  await clock.advance(19);
  assert.deepEqual(seen, []);
  await clock.advance(1);
  assert.deepEqual(seen, ['first not_admitted', 'second']);
});

test('a line that waits for a token looks at the clock when it comes, and not again and again before', async () => {
  let timers = 0;
  class CountingClock extends ManualClock {
    override setTimer(delayMs: number, fn: () => void): Timer {
      timers += 1;
      return super.setTimer(delayMs, fn);
    }
  }
  const clock = new CountingClock();
  const lane = laneOf(clock, { qps: 1, burst: 1, concurrency: 1 });
  let sent = 0;
  lane.submit(
    callOf({
      send: () => {
        sent += 1;
        return { outcome: new Promise(() => {}), boundMs: clock.now() + 60_000 };
      },
    }),
  );
  await clock.advance(1_000);
  assert.equal(sent, 1);
  assert.ok(timers < 5, `${timers} timers`);
});
