import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { ManualClock } from '../../../src/lib/clock.js';
import { Deadlines, type Ending } from '../../../src/rpc/edge/deadlines.js';

interface Named extends Ending {
  readonly name: string;
}

function start() {
  const clock = new ManualClock(0);
  const passed: [string, number][] = [];
  const deadlines = new Deadlines<Named>(clock, ({ name }) => passed.push([name, clock.now()]));
  return { clock, passed, deadlines };
}

describe('the deadlines of all calls', () => {
  it('pass in their time, once, and not when the call is over before', async () => {
    const { clock, passed, deadlines } = start();
    const over = { name: 'over', endsAtMs: 50, watchedAt: -1 };
    deadlines.add({ name: 'late', endsAtMs: 200, watchedAt: -1 });
    deadlines.add({ name: 'early', endsAtMs: 100, watchedAt: -1 });
    deadlines.add(over);
    deadlines.remove(over);
    await clock.advance(99);
    assert.deepEqual(passed, []);
    await clock.advance(1000);
    assert.deepEqual(passed, [
      ['early', 100],
      ['late', 200],
    ]);
    assert.deepEqual([deadlines.size, clock.pending], [0, 0]);
  });

  it('heed a deadline that is moved, to either side, and one that is lifted', async () => {
    const { clock, passed, deadlines } = start();
    const sooner = { name: 'sooner', endsAtMs: 500, watchedAt: -1 };
    const later = { name: 'later', endsAtMs: 100, watchedAt: -1 };
    const never = { name: 'never', endsAtMs: 100, watchedAt: -1 };
    for (const item of [sooner, later, never]) deadlines.add(item);
    sooner.endsAtMs = 50;
    later.endsAtMs = 300;
    never.endsAtMs = Number.POSITIVE_INFINITY;
    for (const item of [sooner, later, never]) deadlines.add(item);
    await clock.advance(10_000);
    assert.deepEqual(passed, [
      ['sooner', 50],
      ['later', 300],
    ]);
    assert.equal(deadlines.size, 0);
  });

  it('that pass by the thousand at once end in portions, each once, so that others are heard in between', async () => {
    const { clock, passed, deadlines } = start();
    const items = Array.from({ length: 3000 }, (_, i) => ({ name: String(i), endsAtMs: 100, watchedAt: -1 }));
    for (const item of items) deadlines.add(item);
    await clock.advance(100);
    assert.ok(passed.length > 0 && passed.length <= 500, String(passed.length));
    const over = items.at(-1)!;
    deadlines.remove(over);
    await clock.advance(1000);
    assert.equal(new Set(passed.map(([name]) => name)).size, 2999);
    assert.equal(passed.length, 2999);
    assert.ok(!passed.some(([name]) => name === over.name));
    assert.deepEqual([deadlines.size, clock.pending], [0, 0]);
  });

  it('let what passes be added again from within', async () => {
    const clock = new ManualClock(0);
    const times: number[] = [];
    const deadlines = new Deadlines<Ending>(clock, (item) => {
      times.push(clock.now());
      if (times.length === 3) return;
      item.endsAtMs = clock.now() + 1000;
      deadlines.add(item);
    });
    deadlines.add({ endsAtMs: 10, watchedAt: -1 });
    await clock.advance(5000);
    assert.deepEqual(times, [10, 1010, 2010]);
  });

  it('cost one timer, and one look for many that lie close together', async () => {
    const { clock, passed, deadlines } = start();
    let timers = 0;
    const setTimer = clock.setTimer.bind(clock);
    clock.setTimer = (ms, fn) => {
      timers += 1;
      return setTimer(ms, fn);
    };
    for (let i = 0; i < 1000; i++) deadlines.add({ name: String(i), endsAtMs: 100 + i / 100, watchedAt: -1 });
    assert.equal(clock.pending, 1);
    await clock.advance(200);
    assert.equal(passed.length, 1000);
    assert.ok(timers <= 20, String(timers));
  });

  it('are put off by nobody who adds one short deadline after the other', async () => {
    const { clock, passed, deadlines } = start();
    deadlines.add({ name: 'old', endsAtMs: 20, watchedAt: -1 });
    for (let i = 0; i < 100; i++) {
      deadlines.add({ name: 'short', endsAtMs: clock.now() + 1, watchedAt: -1 });
      await clock.advance(2);
    }
    const old = passed.find(({ 0: name }) => name === 'old');
    assert.ok(old !== undefined && old[1] <= 25, String(old));
  });

  it('never pass early, nor more than one look late', async () => {
    const items = fc.array(fc.record({ at: fc.nat(60), ends: fc.nat(100), removed: fc.option(fc.nat(60)) }));
    await fc.assert(
      fc.asyncProperty(items, async (given) => {
        const { clock, passed, deadlines } = start();
        const all = given.map(({ ends }, i) => ({ name: String(i), endsAtMs: ends, watchedAt: -1 }));
        for (let now = 0; now <= 60; now += 1) {
          given.forEach(({ at, removed }, i) => {
            if (at === now) deadlines.add(all[i]!);
            else if (removed === now && removed > at) deadlines.remove(all[i]!);
          });
          await clock.advance(1);
        }
        await clock.advance(1000);
        const ended = new Map(passed);
        assert.equal(ended.size, passed.length);
        given.forEach(({ at, ends, removed }, i) => {
          const due = Math.max(at, ends);
          const end = ended.get(String(i));
          if (end !== undefined) assert.ok(end >= due && end <= due + 6, `${end} for ${due}`);
          else assert.ok(removed !== null && removed > at && removed <= due + 6, `none for ${due}`);
        });
      }),
      { numRuns: 30 },
    );
  });
});
