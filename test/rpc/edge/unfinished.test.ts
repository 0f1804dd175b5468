import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import type { Arrival } from '../../../src/rpc/edge/arrival.js';
import { Unfinished } from '../../../src/rpc/edge/unfinished.js';
import { makeArrival, makeConnection } from './fakes.js';

const KiB = 1024;
const MiB = 1024 * KiB;

/** A budget, and what was cut from it in order. */
function budget(maxBytes: number) {
  const cut: Arrival[] = [];
  return { cut, unfinished: new Unfinished(maxBytes, (arrival) => cut.push(arrival)) };
}

function sends(unfinished: Unfinished, arrival: Arrival, bytes: number, nowMs: number): void {
  unfinished.progressed(arrival, bytes, nowMs);
  unfinished.hold(arrival, bytes);
}

describe('the budget of unfinished requests', () => {
  it('takes back what a request held when it is released, once', () => {
    const { unfinished, cut } = budget(100);
    const one = makeArrival();
    unfinished.hold(one, 60);
    unfinished.hold(makeArrival(), 40);
    assert.deepEqual([unfinished.bytes, unfinished.size], [100, 2]);
    unfinished.release(one);
    unfinished.release(one);
    assert.deepEqual([unfinished.bytes, unfinished.size, one.held, cut.length], [40, 1, 0, 0]);
  });

  it('cuts who stopped, on however many connections, and not the one large request that goes on', () => {
    const { unfinished, cut } = budget(16 * MiB);
    const liars = Array.from({ length: 15 }, (_, i) => makeArrival(makeConnection(`10.0.0.${i}`), 0));
    for (const liar of liars) sends(unfinished, liar, MiB, 10);
    const honest = makeArrival(makeConnection('10.0.1.1'), 1000);
    for (let sent = 0; sent < 8 * MiB; sent += 64 * KiB) sends(unfinished, honest, 64 * KiB, 1000 + sent / (64 * KiB));
    assert.equal(honest.held, 8 * MiB);
    assert.ok(cut.length >= 7 && !cut.includes(honest));
  });

  it('cuts who trickles, however lately its last byte came', () => {
    const { unfinished, cut } = budget(10 * MiB);
    // The honest one is older, and holds more.
    const honest = makeArrival();
    sends(unfinished, honest, 64 * KiB, 1);
    const trickling = makeArrival(makeConnection(), 2);
    sends(unfinished, trickling, 2 * MiB, 3);
    for (let s = 1; s <= 60; s++) {
      sends(unfinished, honest, 100 * KiB, s * 1000);
      sends(unfinished, trickling, 100, s * 1000 + 1);
    }
    for (let i = 0; cut.length === 0; i++) sends(unfinished, honest, 64 * KiB, 60_010 + i);
    assert.deepEqual(cut, [trickling]);
  });

  it('spares the newcomer where those before it stand still', () => {
    const { unfinished, cut } = budget(40 * 8 * KiB);
    const waiting = Array.from({ length: 40 }, (_, i) => makeArrival(makeConnection(), i));
    for (const arrival of waiting) unfinished.hold(arrival, 8 * KiB);
    const newcomer = makeArrival(makeConnection(), 41);
    unfinished.hold(newcomer, 8 * KiB);
    assert.equal(newcomer.held, 8 * KiB);
    assert.deepEqual(cut, waiting.slice(0, cut.length));
  });

  it('ends no more than makes room, and looks through all that are open only now and then', () => {
    const { unfinished, cut } = budget(1000 * KiB);
    let looked = 0;
    const look = (at: number) => {
      looked += 1;
      return at;
    };
    for (let i = 0; i < 5000; i++) {
      const arrival = makeArrival(makeConnection(), i);
      Object.defineProperty(arrival, 'keptUpMs', { get: () => look(i) });
      const before = cut.length;
      unfinished.hold(arrival, KiB);
      assert.ok(cut.length - before <= 1);
    }
    assert.equal(cut.length, 4000);
    assert.ok(looked < 5000 * 200, `${looked} looks at one`);
  });

  it('spares who was chosen to make room and has caught up since', () => {
    const { unfinished, cut } = budget(64 * MiB);
    const slow = Array.from({ length: 64 }, (_, i) => makeArrival(makeConnection(), i / 1000));
    for (const arrival of slow) unfinished.hold(arrival, MiB);
    const newcomer = makeArrival(makeConnection(), 1000);
    unfinished.hold(newcomer, KiB);
    assert.deepEqual(cut, [slow[0]]);
    // The next two that were chosen.
    sends(unfinished, slow[1]!, 64 * KiB, 2000);
    unfinished.hold(newcomer, 2 * MiB);
    assert.ok(!cut.includes(slow[1]!) && cut.includes(slow[2]!));
  });

  it('is never above its bound, nor other than the sum of what is held, nor cuts a request that it has not', () => {
    const step = fc.record({
      who: fc.nat(9),
      what: fc.constantFrom('hold', 'progress', 'release'),
      bytes: fc.integer({ min: 1, max: 3000 }),
      wait: fc.nat(500),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const arrivals = Array.from({ length: 10 }, () => makeArrival());
        const holding = new Set<Arrival>();
        const unfinished = new Unfinished(10_000, (arrival) => assert.ok(holding.delete(arrival)));
        let nowMs = 0;
        for (const { who, what, bytes, wait } of steps) {
          nowMs += wait;
          const arrival = arrivals[who]!;
          if (what === 'release') {
            holding.delete(arrival);
            unfinished.release(arrival);
          } else if (what === 'progress') unfinished.progressed(arrival, bytes, nowMs);
          else {
            holding.add(arrival);
            unfinished.hold(arrival, bytes);
          }
          assert.ok(unfinished.bytes <= 10_000);
          assert.equal(
            unfinished.bytes,
            arrivals.reduce((sum, { held }) => sum + held, 0),
          );
          assert.deepEqual(arrivals.filter(({ held }) => held > 0).length, holding.size);
          assert.ok(arrivals.every(({ keptUpMs }) => keptUpMs <= nowMs));
        }
      }),
    );
  });

  it('lets an honest request pass at any place among others that stand still', () => {
    const shape = fc.record({
      liars: fc.array(fc.integer({ min: 1, max: 4 * MiB }), { minLength: 1, maxLength: 60 }),
      size: fc.integer({ min: 1, max: 12 * MiB }),
      afterMs: fc.integer({ min: 100, max: 10_000 }),
    });
    fc.assert(
      fc.property(shape, ({ liars, size, afterMs }) => {
        const { unfinished, cut } = budget(16 * MiB);
        for (const bytes of liars) sends(unfinished, makeArrival(), bytes, 1);
        const honest = makeArrival(makeConnection(), afterMs);
        let nowMs = afterMs;
        for (let left = size; left > 0; left -= 16 * KiB) {
          nowMs += 1;
          sends(unfinished, honest, Math.min(left, 16 * KiB), nowMs);
        }
        assert.equal(honest.held, size);
        assert.ok(!cut.includes(honest));
      }),
      { numRuns: 50 },
    );
  });
});
