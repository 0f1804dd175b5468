import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ManualClock } from '../../src/lib/clock.js';
import { phaseState } from '../../src/model/phase-state.js';
import { type EndMark, EndMarks, endOf } from '../../src/store/end-marks.js';

test('marks of each incarnation stay for their time, all those of a key as long as the last, and the oldest keys give way', async () => {
  const clock = new ManualClock();
  const marks = new EndMarks({ clock, max: 4, ttlMs: 1_000 });
  marks.set('a', 1, { deleted: true });
  marks.set('b', 1, { ended: true });
  assert.deepEqual([marks.firstOpen('a'), marks.firstOpen('b'), marks.firstOpen('c')], [2, 1, 1]);
  await clock.advance(900);
  marks.set('b', 1, { deleted: true });
  assert.deepEqual(marks.get('b', 1), { deleted: true, ended: true, failure: undefined, next: undefined });
  await clock.advance(200);
  assert.deepEqual([marks.get('a', 1), marks.firstOpen('b')], [undefined, 2]);
  for (const key of ['c', 'd', 'e', 'f']) marks.set(key, 1, { deleted: true });
  assert.deepEqual([marks.get('b', 1), marks.size], [undefined, 4]);
});

test('of marks that give way within their time somebody is told, and not of those that are past it, set anew or deleted', async () => {
  const clock = new ManualClock();
  let forgotten = 0;
  const told = () => {
    forgotten += 1;
  };
  const marks = new EndMarks({ clock, max: 2, ttlMs: 1_000 }, undefined, told);
  marks.set('a', 1, { ended: true });
  marks.set('a', 1, { deleted: true });
  marks.set('b', 1, { ended: true });
  assert.equal(forgotten, 0);
  marks.set('c', 1, { ended: true });
  assert.equal(forgotten, 1);
  await clock.advance(1_000);
  marks.set('d', 1, { ended: true });
  marks.set('e', 1, { ended: true });
  assert.equal(forgotten, 1);
});

test('a mark of a far incarnation, which anybody may make up, moves the first one that is open no further', () => {
  const marks = new EndMarks({ clock: new ManualClock(), max: 1_000_000, ttlMs: 1_000 });
  marks.set('a', 7, { deleted: true });
  assert.equal(marks.firstOpen('a'), 1);
  for (let i = 1; i <= 1_500; i++) marks.set('a', i, { deleted: true });
  assert.deepEqual(
    [marks.get('a', 500), marks.get('a', 501)?.deleted],
    [undefined, true],
    'the last thousand are kept',
  );
});

test('what is kept of an end is its phase and error, cut to a size, and no outputs; what a mark said stays', () => {
  const marks = new EndMarks({ clock: new ManualClock(), max: 100, ttlMs: 1_000 });
  const error = { code: 'X', message: 'y'.repeat(10_000), kind: 'USER' } as const;
  marks.set('a', 1, endOf(phaseState('RETRYABLE_FAILURE', { reason: 'r', error, customInfo: { large: 'z' } })));
  marks.set('a', 1, { ...endOf(phaseState('ABORTED')), deleted: true });
  const { failure, deleted, ended } = marks.get('a', 1) ?? {};
  assert.deepEqual(
    [failure?.phase, failure?.error?.code, failure?.error?.message.length],
    ['RETRYABLE_FAILURE', 'X', 1_024],
  );
  assert.deepEqual([deleted, ended, failure?.customInfo], [true, true, undefined]);
  assert.equal(endOf(phaseState('SUCCESS', { outputs: { kind: 'prefix' } })).failure, undefined);
});

test('the handle of an incarnation that went on as the next one stands for the last of them', () => {
  const marks = new EndMarks({ clock: new ManualClock(), max: 100, ttlMs: 1_000 });
  marks.set('a', 1, { deleted: true, next: 2 });
  marks.set('a', 2, { deleted: true, next: 3 });
  assert.deepEqual([marks.follow('a', 1), marks.follow('a', 3), marks.follow('b', 1)], [3, 3, 1]);
});

test('a handle that would lead in a circle or back leads nowhere', () => {
  const marks = new EndMarks({ clock: new ManualClock(), max: 100, ttlMs: 1_000 });
  marks.set('a', 2, { next: 2 });
  marks.set('a', 5, { next: 1 });
  assert.deepEqual([marks.follow('a', 2), marks.follow('a', 5)], [2, 5]);
});

test('an end counts with the length of what is remembered of it, and one that grew counts anew', () => {
  const failed = (reason: string, message: string) =>
    endOf(phaseState('PERMANENT_FAILURE', { reason, error: { code: 'X', message, kind: 'USER' } }));
  const heldOf = (known: Parameters<EndMarks['set']>[2], max: number) => {
    const marks = new EndMarks({ clock: new ManualClock(), max, ttlMs: 1_000 });
    for (let i = 0; i < 100; i++) {
      marks.set(`k${i}`, 1, { deleted: true });
      marks.set(`k${i}`, 1, known);
    }
    return marks.size;
  };
  assert.equal(heldOf({ ended: true }, 60), 60);
  assert.equal(heldOf(failed('', ''), 60), 30);
  assert.equal(heldOf(failed('r'.repeat(128), ''), 60), 20);
  assert.equal(heldOf(failed('', 'm'.repeat(129)), 60), 15);
  assert.equal(heldOf(endOf(phaseState('RETRYABLE_FAILURE', { reason: 'r'.repeat(256) })), 60), 15);
});

test('marks that gave way for room take none', () => {
  const marks = new EndMarks({ clock: new ManualClock(), max: 1_001, ttlMs: 1_000 });
  for (let i = 1; i <= 3_000; i++) marks.set('a', i, { deleted: true });
  marks.set('b', 1, { deleted: true });
  assert.deepEqual([marks.size, marks.get('a', 3_000)?.deleted], [2, true]);
  const held = Array.from({ length: 3_000 }, (_, i) => i + 1).filter((i) => marks.get('a', i) !== undefined);
  assert.deepEqual([held.length, held[0]], [1_000, 2_001]);
});

test('the last words of an end are cut wherever they stand', () => {
  const { failure } = endOf(phaseState('ABORTED', { reason: 'r'.repeat(5_000), remotePhase: 'p'.repeat(5_000) }));
  assert.deepEqual([failure?.reason.length, failure?.remotePhase.length, failure?.error], [1_024, 1_024, undefined]);
});

test('of each key whose marks are set, or gone by room or age, somebody is told; not a second time of those that are set anew', async () => {
  const clock = new ManualClock();
  const told: string[] = [];
  const marks = new EndMarks({ clock, max: 2, ttlMs: 1_000 }, (key) => told.push(key));
  marks.set('a', 1, { ended: true });
  marks.set('a', 1, { deleted: true });
  assert.deepEqual(told.splice(0), ['a', 'a']);
  marks.set('b', 1, { ended: true });
  marks.set('c', 1, { ended: true });
  assert.deepEqual(told.splice(0).sort(), ['a', 'b', 'c']);
  await clock.advance(1_001);
  marks.dropOld();
  assert.deepEqual([told.sort(), marks.size], [['b', 'c'], 0]);
});

test('a mark says deleted once it was told so, whatever is told after it, and not before', () => {
  const marks = new EndMarks({ clock: new ManualClock(), max: 10, ttlMs: 1_000 });
  marks.set('a', 1, { ended: true });
  marks.set('a', 1, {});
  assert.deepEqual([marks.get('a', 1)?.deleted, marks.get('a', 1)?.ended], [false, true]);
  marks.set('a', 1, { deleted: true });
  marks.set('a', 1, {});
  assert.equal(marks.get('a', 1)?.deleted, true);
});

test('marks that an earlier run wrote are as old as they are, count as others do, and none is from the future', async () => {
  const clock = new ManualClock();
  const marks = new EndMarks({ clock, max: 2, ttlMs: 1_000 });
  const mark = () => new Map([[1, { deleted: false, ended: true, failure: undefined, next: undefined }]]);
  marks.restore('old', mark(), clock.now() - 400);
  marks.restore('future', mark(), clock.now() + 5_000);
  assert.deepEqual([marks.size, marks.of('future')?.atMs], [2, clock.now()]);
  await clock.advance(600);
  assert.notEqual(marks.get('old', 1), undefined);
  await clock.advance(1);
  assert.deepEqual([marks.get('old', 1), marks.get('future', 1)?.ended], [undefined, true]);
  await clock.advance(400);
  assert.equal(marks.get('future', 1), undefined);
});

test('marks say what maps of maps would say, whether a key has one of them or many, before and after a restart', () => {
  const step = fc.record({
    key: fc.constantFrom('a', 'b'),
    incarnation: fc.integer({ min: 1, max: 4 }),
    known: fc.record(
      { deleted: fc.boolean(), ended: fc.boolean(), next: fc.integer({ min: 1, max: 4 }) },
      { requiredKeys: [] },
    ),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
      const clock = new ManualClock();
      const marks = new EndMarks({ clock, max: 1_000, ttlMs: 1_000 });
      const model = new Map<string, Map<number, EndMark>>([
        ['a', new Map()],
        ['b', new Map()],
      ]);
      for (const { key, incarnation, known } of steps) {
        marks.set(key, incarnation, known);
        const before = model.get(key)!.get(incarnation);
        model.get(key)!.set(incarnation, {
          deleted: before?.deleted === true || known.deleted === true,
          ended: before?.ended === true || known.ended === true,
          failure: undefined,
          next: before?.next ?? known.next,
        });
      }
      const again = new EndMarks({ clock, max: 1_000, ttlMs: 1_000 });
      for (const [key, { byIncarnation, atMs }] of [...marks.keys()].map((name) => [name, marks.of(name)!] as const)) {
        again.restore(key, new Map(byIncarnation), atMs);
      }
      for (const [key, expected] of model) {
        for (const each of [marks, again]) {
          assert.deepEqual(each.of(key)?.byIncarnation, expected.size === 0 ? undefined : expected);
          for (let n = 1; n <= 5; n += 1) assert.deepEqual(each.get(key, n), expected.get(n));
        }
      }
    }),
  );
});
