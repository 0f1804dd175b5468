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
