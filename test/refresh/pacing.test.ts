import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { refreshTuning } from '../../src/daemon/options.js';
import { DEFAULT_PLUGIN_CONFIG } from '../../src/model/options/plugin.js';
import { refreshConfig } from '../../src/refresh/config.js';
import { AGE_CLASSES, ageClassOf, ageOfClass, Pacing } from '../../src/refresh/pacing.js';
import { DEFAULTS } from '../support/defaults.js';

const config = refreshConfig(DEFAULT_PLUGIN_CONFIG, 1, refreshTuning(DEFAULTS)); // 30 qps, 30 s, half for the young
const fast = { tasksPerCall: 1, callMs: 10 };

function population(parts: Readonly<Record<number, number>>, idle: [number, number][] = []) {
  const byAge = new Array<number>(AGE_CLASSES).fill(0);
  for (const [ageMs, n] of Object.entries(parts)) byAge[ageClassOf(Number(ageMs))]! += n;
  return { byAge, idle: new Map(idle) };
}

function rateOf(pacing: Pacing, people: ReturnType<typeof population>): number {
  return people.byAge.reduce((sum, n, k) => sum + (n === 0 ? 0 : n / pacing.intervalMs(k)), 0) * 1_000;
}

test('every age has a class whose age is near it, and older is never a lower class', () => {
  for (let ageMs = 1; ageMs < 1e10; ageMs *= 1.07) {
    assert.ok(ageClassOf(ageMs * 1.07) >= ageClassOf(ageMs));
    if (ageMs > 1_000) assert.ok(Math.abs(Math.log2(ageOfClass(ageClassOf(ageMs)) / ageMs)) <= 0.26);
  }
  assert.equal(ageClassOf(-5), 0);
  assert.deepEqual([999, 1_414, 1_415, 1_999, 2_000, 4_000].map(ageClassOf), [0, 0, 1, 1, 2, 4]);
  assert.equal(ageOfClass(4), 4_000 * 2 ** 0.25);
  assert.equal(ageClassOf(Number.MAX_VALUE), AGE_CLASSES - 1);
});

test('with little to do the interval grows with the square root of the age, from the minimum to the resync interval', () => {
  const pacing = new Pacing(config);
  pacing.solve(population({ 60000: 10 }), fast);
  assert.equal(pacing.intervalMs(0), 1_000);
  assert.equal(pacing.intervalMs(AGE_CLASSES - 1), 30_000);
  const [a, b] = [ageClassOf(600_000), ageClassOf(2_400_000)];
  assert.ok(Math.abs(pacing.intervalMs(b) / pacing.intervalMs(a) - 2) < 0.01, 'four times the age, twice the interval');
});

test('spare capacity is spent up to the share of the limit, and young tasks get more of it', () => {
  const pacing = new Pacing(config);
  const people = population({ 2000: 60, 60000: 120, 3600000: 120 });
  pacing.solve(people, fast);
  const rate = rateOf(pacing, people);
  assert.ok(rate > 12 && rate <= 15.01, `${rate} reads a second where 15 are the share`);
  assert.ok(pacing.intervalMs(ageClassOf(2_000)) < pacing.intervalMs(ageClassOf(60_000)));
  assert.equal(pacing.longestMs, 30_000);
});

test('where the resync interval alone takes more than the share, everybody gets it and nobody less', () => {
  const pacing = new Pacing(config);
  pacing.solve(population({ 1000: 300, 86400000: 300 }), fast);
  assert.equal(pacing.ageFactor, Number.POSITIVE_INFINITY);
  assert.equal(pacing.intervalMs(0), 30_000);
  assert.equal(pacing.intervalMs(AGE_CLASSES - 1), 30_000);
});

test('past capacity all slow down alike', () => {
  const pacing = new Pacing(config);
  pacing.solve(population({ 1000: 4_000, 86400000: 4_000 }), fast);
  assert.equal(pacing.intervalMs(0), pacing.intervalMs(AGE_CLASSES - 1));
  assert.ok(pacing.longestMs >= (8_000 / 30) * 1_000);
  assert.ok(pacing.longestMs <= (8_000 / 30) * 1_000 * 1.2);
});

test('batches raise the capacity and slow reads lower it', () => {
  const people = population({ 60000: 4_000 });
  const batched = new Pacing(config);
  batched.solve(people, { tasksPerCall: 50, callMs: 10 });
  assert.equal(batched.longestMs, 30_000);
  const slow = new Pacing(config);
  slow.solve(population({ 60000: 300 }), { tasksPerCall: 1, callMs: 2_000 }); // 10 slots give 5 reads a second
  assert.ok(slow.longestMs >= 60_000);
});

test('replicas that share a limit spend together what one would, each by its part', () => {
  const whole = new Pacing(config);
  const people = population({ 2000: 60, 60000: 120, 3600000: 120 });
  whole.solve(people, fast);
  const third = new Pacing(config);
  const part = { ...people, byAge: people.byAge.map((n) => n / 3) };
  third.solve(part, { ...fast, limitShare: () => 1 / 3 });
  assert.ok(Math.abs(3 * rateOf(third, part) - rateOf(whole, people)) < 1e-6);
  third.solve(population({ 60000: 4_000 }), { ...fast, limitShare: () => 1 / 3 });
  whole.solve(population({ 60000: 4_000 }), fast);
  assert.ok(Math.abs(third.longestMs / whole.longestMs - 3) < 1e-6);
});

test('a task nobody asks for waits ever longer, up to the bound, and counts little', () => {
  const pacing = new Pacing(config);
  pacing.solve(population({ 60000: 1 }, [[1, 100]]), fast);
  assert.deepEqual(
    [1, 2, 6, 7, 30].map((d) => pacing.idleIntervalMs(d)),
    [60_000, 120_000, 1_800_000, 1_800_000, 1_800_000],
  );
});

test('whatever the population, the rate stays within the limit and intervals within their bounds', () => {
  const count = fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 20_000 }));
  fc.assert(
    fc.property(
      fc.array(count, { minLength: AGE_CLASSES, maxLength: AGE_CLASSES }),
      fc.double({ min: 0.01, max: 1_000, noNaN: true }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      fc.double({ min: 1, max: 50, noNaN: true }),
      (byAge, readQps, pollShare, tasksPerCall) => {
        const pacing = new Pacing({ ...config, readQps, pollShare });
        pacing.solve({ byAge, idle: new Map() }, { tasksPerCall, callMs: 1 });
        const people = { byAge, idle: new Map() };
        const short = pacing.longestMs > 30_000;
        if (!short) assert.ok(rateOf(pacing, people) <= readQps * tasksPerCall * 1.001);
        else assert.equal(pacing.ageFactor, Number.POSITIVE_INFINITY);
        for (let k = 0; k < AGE_CLASSES; k++) {
          assert.ok(pacing.intervalMs(k) >= 1_000 && pacing.intervalMs(k) <= 30_000);
          if (k > 0) assert.ok(pacing.intervalMs(k) >= pacing.intervalMs(k - 1));
        }
      },
    ),
  );
});

/** How much more often than once an interval a task is read because of the jitter. */
const early = 1 / 0.9;

test('the longest interval is the one in which all can be read, of those that are asked for and of those that are not', () => {
  const seconds = (people: ReturnType<typeof population>, throughput = fast) => {
    const pacing = new Pacing(config);
    pacing.solve(people, throughput);
    return Number((pacing.longestMs / 1_000).toFixed(6));
  };
  const of = (n: number) => Number(n.toFixed(6));
  const many = population({ 1000: 9_000 });
  assert.equal(seconds(many), of((9_000 / 30) * early));
  assert.equal(seconds(many, { tasksPerCall: 5, callMs: 10 }), of((9_000 / 150) * early));
  assert.equal(
    seconds(many, { tasksPerCall: 0.1, callMs: 0.1 }),
    of((9_000 / 30) * early),
    'a call reads no less than one',
  );
  // Ten slots, each held for two seconds, give five calls a second.
  assert.equal(seconds(many, { tasksPerCall: 1, callMs: 2_000 }), of((9_000 / 5) * early));
  // Those that wait twice as long are read half as often.
  assert.equal(seconds(population({ 1000: 9_000 }, [[1, 1_800]])), of((9_900 / 30) * early));
  assert.equal(
    seconds(
      population({ 1000: 9_000 }, [
        [2, 3_600],
        [1, 1_800],
      ]),
    ),
    of((10_800 / 30) * early),
  );
  assert.equal(seconds(population({ 1000: 1 })), 30);
});

test('what is spare is spent to the last read, on those that are asked for, after what the others take', () => {
  for (const [idle, callMs, share] of [
    [[], 10, 15],
    [
      [
        [1, 180],
        [2, 120],
      ],
      10,
      15,
    ],
    [[], 500, 10],
  ] as const) {
    const people = population({ 2000: 60, 60000: 120, 3600000: 60 }, [...idle] as [number, number][]);
    const pacing = new Pacing(config);
    pacing.solve(people, { tasksPerCall: 1, callMs });
    const idleRate = idle.reduce((sum, [doublings, n]) => sum + n / (30 * 2 ** doublings), 0);
    assert.ok(Math.abs((rateOf(pacing, people) + idleRate) * early - share) < 0.01);
  }
});

test('where next to nothing is to be read a task of a minute is read every two seconds, and one of an hour every 15', () => {
  const pacing = new Pacing(config);
  pacing.solve(population({ 60000: 1 }), fast);
  const seconds = (ageMs: number) => (0.25 * Math.sqrt(ageOfClass(ageClassOf(ageMs)) * 1_000)) / 1_000;
  for (const ageMs of [60_000, 3_600_000]) {
    assert.ok(Math.abs(pacing.intervalMs(ageClassOf(ageMs)) / 1_000 - seconds(ageMs)) < 1e-9);
  }
});

test('an interval that is set below the least one holds', () => {
  const pacing = new Pacing({ ...config, resyncIntervalMs: 400 });
  assert.deepEqual([pacing.intervalMs(0), pacing.intervalMs(AGE_CLASSES - 1)], [400, 400]);
  pacing.solve(population({ 1000: 1 }), fast);
  assert.equal(pacing.intervalMs(0), 400);
});

test('a computation tells whether an interval changed by more than a twentieth, up or down', () => {
  const people = population({ 86400000: 10_000 });
  for (const [toMs, changed] of [
    [30_000, false],
    [31_400, false],
    [31_600, true],
    [28_600, false],
    [28_400, true],
  ] as const) {
    const pacing = new Pacing(config);
    pacing.solve(people, fast);
    assert.equal(pacing.solve(people, fast), false);
    pacing.reconfigure({ ...config, resyncIntervalMs: toMs });
    assert.equal(pacing.solve(people, fast), changed, `${toMs}`);
  }
  const some = new Pacing(config);
  some.solve(population({ 86400000: 10_000 }), fast);
  assert.equal(some.solve(population({ 1000: 1 }), fast), true, 'those of young tasks alone as well');
});

test('the idle interval is never below the one of those that are asked for', () => {
  const pacing = new Pacing({ ...config, maxIntervalMs: 10_000 });
  assert.deepEqual([pacing.idleIntervalMs(1), pacing.idleIntervalMs(9)], [30_000, 30_000]);
});

test('spare polls give way to a busy event loop and come back when it is free, and reads within the interval stay', () => {
  const pacing = new Pacing(config);
  const people = population({ 2000: 60, 60000: 120, 3600000: 120 });
  let loop: number | undefined = 0.2;
  const solve = (times = 1) => {
    for (let time = 0; time < times; time++) pacing.solve(people, { ...fast, loopShare: () => loop });
    return rateOf(pacing, people);
  };
  const most = solve();
  const least = (300 / 30_000) * 1_000;
  assert.ok(most > 12);
  loop = 0.9;
  const fewer = solve();
  assert.ok(fewer < most && fewer > least, `${fewer} reads a second`);
  assert.ok(Math.abs(solve(10) - least) < 1e-9, 'as many as the interval asks for, and no fewer');
  loop = 0.6;
  assert.ok(Math.abs(solve(10) - least) < 1e-9, 'neither busy nor free changes nothing');
  loop = undefined;
  assert.ok(Math.abs(solve(10) - least) < 1e-9, 'what is not known changes nothing');
  loop = 0.1;
  assert.ok(solve() > least);
  assert.ok(Math.abs(solve(20) - most) < 1e-9);
});

test('a computation tells nothing of a change by a twentieth exactly', () => {
  const of = (minIntervalMs: number) => ({ ...config, minIntervalMs });
  const people = population({ 60000: 1 });
  for (const [toMs, changed] of [
    [1_050, false],
    [1_051, true],
  ] as const) {
    const pacing = new Pacing(of(1_000));
    pacing.solve(people, fast);
    assert.equal(pacing.intervalMs(0), 1_000);
    pacing.reconfigure(of(toMs));
    assert.equal(pacing.solve(people, fast), changed);
  }
});

test('reads that take less than a millisecond are counted with one', () => {
  const pacing = new Pacing({ ...config, readQps: 1e6, readConcurrency: 1 });
  pacing.solve(population({ 86400000: 60_000 }), { tasksPerCall: 1, callMs: 0.1 });
  assert.ok(Math.abs(pacing.longestMs - 60_000 * early) < 1e-6, `${pacing.longestMs}`);
});

test('ages that one task alone has count as others do', () => {
  const pacing = new Pacing({ ...config, readQps: 0.5 });
  const people = population({ 2000: 1, 60000: 1, 3600000: 1 });
  pacing.solve(people, fast);
  assert.ok(Math.abs(rateOf(pacing, people) * early - 0.25) < 0.001, `${rateOf(pacing, people)}`);
});

test('each look at a busy loop halves the spare polls until next to none are left, and none where it is just not busy', () => {
  const people = population({ 2000: 60, 60000: 120, 3600000: 120 });
  const least = 10 * early;
  const spareAfter = (...loops: readonly number[]) => {
    const pacing = new Pacing(config);
    for (const loop of loops) pacing.solve(people, { ...fast, loopShare: () => loop });
    return (rateOf(pacing, people) * early - least) / (15 - least);
  };
  for (const [loops, share] of [
    [[0.7], 1],
    [[0.71], 1 / 2],
    [[0.9, 0.9], 1 / 4],
    [[0.9, 0.9, 0.9], 1 / 8],
    [[0.9, 0.9, 0.9, 0.9], 1 / 16],
    [[0.9, 0.9, 0.9, 0.9, 0.9], 0],
    [[0.9, 0.9, 0.9, 0.9, 0.9, 0.2, 0.9], 1 / 20],
    [[0.9, 0.5], 1 / 2],
    [[0.9, 0.49], 0.6],
  ] as const) {
    const seen = spareAfter(...loops);
    assert.ok(Math.abs(seen - share) < 0.01, `${loops}: ${seen} where ${share} is left`);
  }
});
