import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Item } from '../../src/refresh/item.js';
import { AGE_CLASSES } from '../../src/refresh/pacing.js';
import { fails, recordOf } from './fake-reader.js';

const now = 1_700_000_000_000;
const failure = (fails('transient') as Extract<ReturnType<typeof fails>, { ok: false }>).failure;

function itemOf(history: ConstructorParameters<typeof Item>[1] = {}): Item {
  return new Item(recordOf({ id: 'a', createdAtMs: now }, now), history, now);
}

test('what is kept of an item in bits is kept apart, whatever else is set', () => {
  const item = itemOf();
  const flags = ['held', 'countedFailing', 'countedMute', 'countedUnseen'] as const;
  assert.deepEqual(
    flags.map((flag) => item[flag]),
    [false, false, false, false],
  );
  assert.deepEqual([item.ageClass, item.doublings], [0, 0]);
  for (let round = 0; round < 64; round++) {
    const bits = flags.map((_, bit) => ((round >> bit) & 1) === 1);
    const ageClass = (round * 7) % AGE_CLASSES;
    const doublings = (round * 11) % 32;
    // In one order and in the other, so that each is set after each.
    const set = [
      ...flags.map((flag, i) => () => {
        item[flag] = bits[i] as boolean;
      }),
      () => {
        item.ageClass = ageClass;
      },
      () => {
        item.doublings = doublings;
      },
      () => (round % 3 === 0 ? item.readWell(now + round) : item.readBadly(failure, now + round)),
    ];
    for (const one of round % 2 === 0 ? set : set.reverse()) one();
    assert.deepEqual(
      flags.map((flag) => item[flag]),
      bits,
    );
    assert.deepEqual([item.ageClass, item.doublings], [ageClass, doublings]);
    assert.equal(item.seenAliveAtMs, now + round - (round % 3));
  }
});

test('an item begins as it is told, without trouble where nothing is told', () => {
  const fresh = itemOf();
  assert.deepEqual(
    [
      fresh.batchKey,
      fresh.lastReadAtMs,
      fresh.dueMs,
      fresh.failures,
      fresh.retries,
      fresh.failingSinceMs,
      fresh.unseen,
    ],
    ['', undefined, now, 0, 0, undefined, false],
  );
  assert.deepEqual(
    [fresh.outvoted, fresh.alone, fresh.batchLimit, fresh.frozenBefore],
    [0, false, Number.POSITIVE_INFINITY, { plugin: 0, group: 0 }],
  );
  const failing = itemOf({ batchKey: 'A', failures: 1, lastReadAtMs: now - 5 });
  assert.deepEqual([failing.batchKey, failing.failures, failing.retries, failing.lastReadAtMs], ['A', 1, 1, now - 5]);
  assert.deepEqual(
    [failing.failingSinceMs, failing.unseen, failing.outvoted, failing.alone],
    [undefined, false, 0, false],
  );
  assert.equal(failing.batchLimit, Number.POSITIVE_INFINITY);
  const uncounted = itemOf({ failingSinceMs: now - 9 });
  assert.deepEqual([uncounted.failures, uncounted.failingSinceMs, uncounted.unseen], [0, now - 9, true]);
});

test('a read that finds the job forgets all that was wrong, and one that does not forgets not when it was seen', () => {
  const item = itemOf();
  assert.equal(item.seenAliveAtMs, undefined);
  item.readBadly(failure, now + 1);
  assert.deepEqual(
    [item.seenAliveAtMs, item.lastReadAtMs, item.lastFailure, item.unseen],
    [undefined, now + 1, failure, true],
  );
  item.readWell(now + 2);
  assert.deepEqual([item.seenAliveAtMs, item.lastFailure, item.unseen], [now + 2, undefined, false]);
  item.readBadly(failure, now + 3);
  item.readBadly(failure, now + 4);
  assert.deepEqual([item.seenAliveAtMs, item.lastReadAtMs], [now + 2, now + 4]);
  const all = {
    failures: 3,
    retries: 4,
    failingSinceMs: now,
    outvoted: 2,
    lastFailedAtMs: now,
    alone: true,
    batchLimit: 2,
  };
  const marks = { plugin: 1, group: 2 };
  const missing = { sinceMs: now, reads: 1 };
  const wave = { sinceMs: now, frozen: new Map(), found: 0, lost: 0, openUntilMs: now };
  const seen = () => ({
    failures: item.failures,
    retries: item.retries,
    failingSinceMs: item.failingSinceMs,
    outvoted: item.outvoted,
    lastFailedAtMs: item.lastFailedAtMs,
    alone: item.alone,
    batchLimit: item.batchLimit,
    frozenBefore: item.frozenBefore,
    missing: item.missing,
    wave: item.wave,
  });
  const fresh = seen();
  for (const before of ['well', 'badly'] as const) {
    if (before === 'well') item.readWell(now + 5);
    Object.assign(item, all, { frozenBefore: marks, missing, wave });
    assert.deepEqual(seen(), { ...all, frozenBefore: marks, missing, wave });
    Object.assign(item, { alone: false, missing: undefined, wave: undefined });
    assert.deepEqual([item.alone, item.missing, item.wave], [false, undefined, undefined]);
  }
  item.readWell(now + 6);
  assert.deepEqual(seen(), fresh);
});

test('each thing that goes wrong is kept where nothing was wrong before', () => {
  for (const [name, value] of Object.entries({
    alone: true,
    missing: { sinceMs: now, reads: 1 },
    wave: {},
    outvoted: 1,
    retries: 1,
    batchLimit: 3,
  })) {
    const item = itemOf();
    Object.assign(item, { [name]: value });
    assert.equal(item[name as 'alone'], value, name);
  }
});

test('what a second track says is taken over, and its last read only where it is said', () => {
  const item = itemOf({ batchKey: 'A', lastReadAtMs: now - 5 });
  const other = recordOf({ id: 'a', createdAtMs: now }, now);
  item.correct(other, {});
  assert.deepEqual([item.task, item.batchKey, item.lastReadAtMs], [other, '', now - 5]);
  item.correct(other, { batchKey: 'B', lastReadAtMs: now });
  assert.deepEqual([item.batchKey, item.lastReadAtMs], ['B', now]);
});

/** What an earlier run of the daemon knew of the reads of a task. */
const NOTHING = { failures: 0, failingForMs: 0, notFound: 0, notFoundForMs: 0, frozenForMs: undefined };

for (const [what, told, seen] of [
  ['did not fail', {}, [0, undefined]],
  ['failed', { failures: 2, failingForMs: 500 }, [2, now - 500]],
  ['failed a moment ago', { failures: 1 }, [1, now]],
  ['failed once, and were doubted since', { failingForMs: 1 }, [0, now - 1]],
] as const) {
  test(`an item whose reads ${what} in an earlier run of the daemon goes on from there, and is read at once`, () => {
    const record = { ...recordOf({ id: 'a', createdAtMs: now }, now), failing: { ...NOTHING, ...told } };
    const item = new Item(record, {}, now);
    assert.deepEqual([item.failures, item.failingSinceMs], seen);
    assert.deepEqual([item.retries, item.dueMs, item.lastReadAtMs], [0, now, undefined]);
  });
}

test('what an earlier run knew of the reads counts for nothing where this one knows more', () => {
  const record = { ...recordOf({ id: 'a', createdAtMs: now }, now), failing: { ...NOTHING, failures: 9 } };
  const item = new Item(record, { failures: 1, failingSinceMs: now - 7 }, now);
  assert.deepEqual([item.failures, item.failingSinceMs], [1, now - 7]);
});

test('how the reads of an item fail is told in whole milliseconds, less the time that stood still, and in no negative ones', () => {
  const item = itemOf();
  assert.deepEqual(item.failingNow(now, 0), NOTHING);
  item.missing = { sinceMs: now - 700, reads: 2 };
  assert.deepEqual(item.failingNow(now, 0), { ...NOTHING, notFound: 2, notFoundForMs: 700 });
  item.missing = undefined;
  item.failures = 3;
  item.failingSinceMs = now - 1_000;
  assert.deepEqual(item.failingNow(now, 400), { ...NOTHING, failures: 3, failingForMs: 600 });
  assert.equal(item.failingNow(now, 1_000).failingForMs, 0);
  assert.equal(item.failingNow(now, 5_000).failingForMs, 0);
  const frozen = new Map([['a', now - 300]]);
  item.wave = { sinceMs: now, frozen, found: 0, lost: 0, openUntilMs: now };
  assert.equal(item.failingNow(now, 0).frozenForMs, 300);
});
