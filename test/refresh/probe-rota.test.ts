import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ProbeRota } from '../../src/refresh/probe-rota.js';
import type { RemoteState } from '../../src/refresh/remote-state.js';
import type { Schedule, Standing } from '../../src/refresh/schedule.js';

type Due = Readonly<Partial<Record<Standing, number>>>;

/** A rota over tasks of these standings, due at these times; takes are told by standing, the one that answered last as `last`. */
function rotaOf(due: Due, probes: { fresh: number; rotation: number }, answered: object | undefined = undefined) {
  const schedule = {
    firstDueMs: (standing: Standing) => due[standing],
    takeFirst: (standing: Standing) => (due[standing] === undefined ? undefined : standing),
    get: () => answered,
    take: (item: { bin: object | undefined }) => {
      item.bin = undefined;
    },
  };
  const remote = {
    nextProbeAtMs: (kind: 'fresh' | 'rotation') => probes[kind],
    answeredBy: answered === undefined ? undefined : 'a-1',
  };
  const rota = new ProbeRota(schedule as unknown as Schedule, remote as unknown as RemoteState);
  const takes = (count: number) =>
    Array.from({ length: count }, () => {
      const { item, inMs } = rota.next(100);
      return item === answered && item !== undefined ? 'last' : (item ?? `in ${inMs}`);
    });
  return takes;
}

test('those that were never read take turns with all others, and of these those that are well with those that fail', () => {
  const all = rotaOf({ fresh: 0, well: 0, failing: 0 }, { fresh: 0, rotation: 0 });
  assert.deepEqual(all(8), ['fresh', 'well', 'fresh', 'failing', 'fresh', 'well', 'fresh', 'failing']);
});

test('who has no other beside it is taken each time, and nobody waits for a turn that cannot come', () => {
  assert.deepEqual(rotaOf({ fresh: 0 }, { fresh: 0, rotation: 0 })(2), ['fresh', 'fresh']);
  assert.deepEqual(
    rotaOf({ fresh: 100 }, { fresh: 100, rotation: 0 })(1),
    ['fresh'],
    'in the moment in which it is due',
  );
  assert.deepEqual(rotaOf({ failing: 0 }, { fresh: 0, rotation: 0 })(2), ['failing', 'failing']);
  assert.deepEqual(rotaOf({ well: 0 }, { fresh: 0, rotation: 0 })(2), ['well', 'well']);
  assert.deepEqual(rotaOf({ fresh: 0, well: 0 }, { fresh: 0, rotation: 101 })(2), ['fresh', 'fresh']);
  assert.deepEqual(rotaOf({ fresh: 0, well: 0 }, { fresh: 101, rotation: 100 })(2), ['well', 'well']);
  assert.deepEqual(rotaOf({ fresh: 0, well: 0 }, { fresh: 100, rotation: 100 })(2), ['fresh', 'well']);
});

test('nothing is taken before its distance is over and it is due, and the time until the next is told', () => {
  assert.deepEqual(rotaOf({ fresh: 0, well: 0 }, { fresh: 130, rotation: 120 })(1), ['in 20']);
  assert.deepEqual(rotaOf({ fresh: 110, well: 0 }, { fresh: 0, rotation: 120 })(1), ['in 10']);
  assert.deepEqual(rotaOf({}, { fresh: 0, rotation: 0 })(1), ['in Infinity']);
});

test('of those that are well the one that answered last goes first, unless it is under way or has failed since', () => {
  const due = { well: 0, failing: 0 };
  const both = { fresh: 0, rotation: 0 };
  const answered = { bin: {}, retries: 0 };
  assert.deepEqual(rotaOf(due, both, answered)(3), ['last', 'failing', 'well']);
  assert.equal(answered.bin, undefined, 'it is under way then');
  assert.deepEqual(rotaOf(due, both, { bin: undefined, retries: 0 })(2), ['well', 'failing']);
  assert.deepEqual(rotaOf(due, both, { bin: {}, retries: 1 })(2), ['well', 'failing']);
});
