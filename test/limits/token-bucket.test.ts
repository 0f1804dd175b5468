import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ManualClock } from '../../src/lib/clock.js';
import { TokenBucket } from '../../src/limits/token-bucket.js';

const config = { qps: 2, burst: 5 };

function drain(bucket: TokenBucket): number {
  let taken = 0;
  while (bucket.tryTake()) taken++;
  return taken;
}

test('a bucket of unknown level starts empty and fills at its rate up to its burst', async () => {
  const clock = new ManualClock();
  const bucket = new TokenBucket({ config, clock });
  assert.equal(bucket.tryTake(), false);
  assert.equal(bucket.msUntil(1), 500);
  await clock.advance(500);
  assert.equal(drain(bucket), 1);
  await clock.advance(3_600_000);
  assert.equal(drain(bucket), 5);
});

test('a fractional rate gives one token in its many seconds, and not before', async () => {
  const clock = new ManualClock();
  const bucket = new TokenBucket({ config: { qps: 0.1, burst: 1 }, clock });
  await clock.advance(9_999);
  assert.equal(bucket.tryTake(), false);
  await clock.advance(1);
  assert.equal(bucket.tryTake(), true);
});

test('a snapshot gives back the level plus what time refilled, and never more than the burst', async () => {
  const clock = new ManualClock();
  const snapshot = { level: 1, atMs: clock.now() };
  await clock.advance(1_000);
  assert.equal(drain(new TokenBucket({ config, clock, snapshot })), 3);
  await clock.advance(60_000);
  assert.equal(drain(new TokenBucket({ config, clock, snapshot })), 5);
});

test('a snapshot that is damaged or from the future leaves the bucket empty', () => {
  const clock = new ManualClock();
  const now = clock.now();
  const bad = [
    { level: 5, atMs: now + 1 },
    { level: Number.NaN, atMs: now },
    { level: Number.POSITIVE_INFINITY, atMs: now },
    { level: 5, atMs: Number.NaN },
    { level: 5, atMs: -1 },
    { level: -1e12, atMs: now },
  ];
  for (const snapshot of bad) {
    const bucket = new TokenBucket({ config, clock, snapshot });
    assert.equal(bucket.tryTake(), false, JSON.stringify(snapshot));
    assert.equal(bucket.msUntil(1), 500, JSON.stringify(snapshot));
  }
});

test('a pause lets nothing through, refills nothing, keeps what was there, and a shorter one does not end it', async () => {
  const clock = new ManualClock();
  const bucket = new TokenBucket({ config, clock, snapshot: { level: 2, atMs: clock.now() } });
  bucket.pause(clock.now() + 10_000);
  bucket.pause(clock.now() + 1_000);
  bucket.pause(Number.NaN);
  await clock.advance(9_999);
  assert.equal(bucket.available(), 0);
  assert.equal(bucket.tryTake(), false);
  assert.equal(bucket.msUntil(1), 1);
  assert.equal(bucket.msUntil(3), 501);
  await clock.advance(1);
  assert.equal(bucket.pausedUntilMs(), undefined);
  assert.deepEqual(bucket.snapshot(), { level: 2, atMs: clock.now() }, 'a pause that is over is not kept');
  assert.deepEqual([bucket.available(), bucket.msUntil(2)], [2, 0]);
  assert.equal(drain(bucket), 2);
});

test('whole tokens alone are there to be taken, and the time to a token that is there is none', async () => {
  const clock = new ManualClock();
  const bucket = new TokenBucket({ config, clock });
  assert.deepEqual([bucket.available(), bucket.msUntil(1), bucket.msUntil(3)], [0, 500, 1_500]);
  await clock.advance(499);
  assert.equal(bucket.available(), 0);
  await clock.advance(1);
  assert.deepEqual([bucket.available(), bucket.msUntil(1), bucket.msUntil(2)], [1, 0, 500]);
  await clock.advance(60_000);
  assert.deepEqual([bucket.available(), bucket.msUntil(5), bucket.msUntil(6)], [5, 0, 500]);
});

test('what time refilled up to a reload or a stop is kept, at the rate of that time', async () => {
  const clock = new ManualClock();
  const bucket = new TokenBucket({ config, clock });
  await clock.advance(1_000);
  assert.deepEqual(bucket.snapshot(), { level: 2, atMs: clock.now() });
  await clock.advance(500);
  bucket.reconfigure({ qps: 1, burst: 10 });
  assert.equal(bucket.level(), 3);
  await clock.advance(1_000);
  assert.equal(bucket.level(), 4);
});

test('a clock that goes back refills nothing, and nothing a second time', async () => {
  let nowMs = 10_000;
  const clock = Object.assign(new ManualClock(), { now: () => nowMs });
  const bucket = new TokenBucket({ config, clock });
  nowMs = 11_000;
  assert.equal(bucket.level(), 2);
  nowMs = 10_500;
  assert.equal(bucket.level(), 2);
  nowMs = 11_000;
  assert.equal(bucket.level(), 2);
});

test('a pause survives a restart, and a damaged one does not stop the plugin for ever', async () => {
  const clock = new ManualClock();
  const bucket = new TokenBucket({ config, clock, snapshot: { level: 5, atMs: clock.now() } });
  bucket.pause(clock.now() + 10_000);
  const restored = new TokenBucket({ config, clock, snapshot: bucket.snapshot() });
  assert.equal(restored.tryTake(), false);
  assert.equal(restored.pausedUntilMs(), clock.now() + 10_000);
  const damaged = new TokenBucket({
    config,
    clock,
    snapshot: { level: 5, atMs: clock.now(), pausedUntilMs: Number.MAX_VALUE },
  });
  const hourMs = 3_600_000;
  assert.equal(damaged.pausedUntilMs(), clock.now() + hourMs);
  await clock.advance(hourMs);
  assert.equal(damaged.tryTake(), true);
  for (const pausedUntilMs of [Number.NaN, Number.POSITIVE_INFINITY]) {
    const unpaused = new TokenBucket({ config, clock, snapshot: { level: 0, atMs: clock.now(), pausedUntilMs } });
    assert.equal(unpaused.pausedUntilMs(), undefined);
    assert.equal(unpaused.msUntil(1), 500, 'it refills');
  }
});

test('a reload keeps the level: a larger burst is not filled at once and a smaller one cuts it', () => {
  const clock = new ManualClock();
  const bucket = new TokenBucket({ config, clock, snapshot: { level: 4, atMs: clock.now() } });
  bucket.reconfigure({ qps: 10, burst: 100 });
  assert.equal(bucket.level(), 4);
  bucket.reconfigure({ qps: 10, burst: 1 });
  assert.equal(drain(bucket), 1);
});

const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('take' as const), count: fc.integer({ min: 1, max: 60 }) }) },
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.double({ min: 0, max: 5_000, noNaN: true }) }),
  },
  fc.record({ do: fc.constant('pause' as const), ms: fc.integer({ min: -100, max: 3_000 }) }),
  fc.record({ do: fc.constant('restart' as const), known: fc.boolean(), downMs: fc.integer({ min: 0, max: 3_000 }) }),
  fc.record({
    do: fc.constant('reconfigure' as const),
    qps: fc.double({ min: 0.001, max: 50, noNaN: true }),
    burst: fc.integer({ min: 1, max: 40 }),
  }),
);

test('in no window are more taken than burst + qps·W, over pauses, restarts and reloads', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 10, maxLength: 80 }), async (steps) => {
      const clock = new ManualClock();
      let limits = { qps: 13.7, burst: 30 };
      let bucket = new TokenBucket({ config: limits, clock });
      const takes: { atMs: number; refilled: number }[] = [];
      const bursts: { fromTake: number; burst: number }[] = [{ fromTake: 0, burst: limits.burst }];
      let refilled = 0; // integral of the rate in force
      const wait = async (ms: number) => {
        refilled += (ms / 1000) * limits.qps;
        await clock.advance(ms);
      };
      for (const s of steps) {
        if (s.do === 'wait') await wait(s.ms);
        else if (s.do === 'pause') bucket.pause(clock.now() + s.ms);
        else if (s.do === 'restart') {
          const snapshot = s.known ? bucket.snapshot() : undefined;
          await wait(s.downMs);
          bucket = new TokenBucket({ config: limits, clock, snapshot });
        } else if (s.do === 'reconfigure') {
          limits = { qps: s.qps, burst: s.burst };
          bucket.reconfigure(limits);
          bursts.push({ fromTake: takes.length, burst: limits.burst });
        } else {
          for (let i = 0; i < s.count && bucket.tryTake(); i++) takes.push({ atMs: clock.now(), refilled });
        }
      }
      for (let i = 0; i < takes.length; i++) {
        // The burst in force at take i, and every one that came into force up to take j.
        let burst = bursts.filter((b) => b.fromTake <= i).at(-1)!.burst;
        for (let j = i; j < takes.length; j++) {
          for (const b of bursts) if (b.fromTake > i && b.fromTake <= j) burst = Math.max(burst, b.burst);
          const allowed = burst + takes[j]!.refilled - takes[i]!.refilled;
          assert.ok(j - i + 1 <= allowed + 1e-3, `${j - i + 1} takes where ${allowed} are allowed`);
        }
      }
    }),
    { numRuns: 300 },
  );
});

test('msUntil names the time at which the take succeeds, and none a millisecond and more before it', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.double({ min: 0.01, max: 100, noNaN: true }),
      fc.integer({ min: 1, max: 10 }),
      fc.double({ min: 0, max: 10, noNaN: true }),
      fc.integer({ min: 0, max: 5_000 }),
      async (qps, burst, level, pauseMs) => {
        const clock = new ManualClock();
        const bucket = new TokenBucket({ config: { qps, burst }, clock, snapshot: { level, atMs: clock.now() } });
        bucket.pause(clock.now() + pauseMs);
        const ms = bucket.msUntil(1);
        if (ms > 1) {
          await clock.advance(ms - 1.01);
          assert.equal(bucket.tryTake(), false);
          await clock.advance(1.01);
        } else await clock.advance(ms);
        assert.equal(bucket.tryTake(), true);
      },
    ),
    { numRuns: 300 },
  );
});

test('what time refilled counts for whoever asks for the time to a token, and before a pause begins, with no other look before', async () => {
  for (const look of ['msUntil', 'pause'] as const) {
    const clock = new ManualClock();
    const bucket = new TokenBucket({ config, clock });
    await clock.advance(1_500);
    if (look === 'msUntil') assert.deepEqual([bucket.msUntil(3), bucket.msUntil(4)], [0, 500]);
    else {
      bucket.pause(clock.now() + 1_000);
      await clock.advance(1_000);
      assert.equal(drain(bucket), 3);
    }
  }
});
