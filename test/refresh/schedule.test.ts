import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Item } from '../../src/refresh/item.js';
import { type Again, Schedule, type Standing } from '../../src/refresh/schedule.js';
import type { RefreshConfig } from '../../src/refresh/types.js';
import { configOf, type Facts, fails, recordOf } from './fake-reader.js';

const minute = 60_000;
/** What the tests call now; nothing was solved yet, so every interval is the resync interval of 30 s. */
const now = 1_700_000_000_000;
const failure = (fails('transient') as Extract<ReturnType<typeof fails>, { ok: false }>).failure;

function setUp(parts: Partial<RefreshConfig> = {}, random = 0.5) {
  const wanted = new Set<string>();
  const asked: string[] = [];
  const gone: string[] = [];
  const schedule = new Schedule({
    config: configOf(parts),
    random: () => random,
    tokenWanted: (namespace) => {
      asked.push(namespace);
      return wanted.has(namespace);
    },
    keyGone: (key) => gone.push(`key ${key}`),
    gone: ({ id }) => gone.push(id),
  });
  const track = (facts: Partial<Facts> & { id: string }, atMs = now, inFlight = false) => {
    schedule.track(recordOf({ createdAtMs: now, ...facts }, atMs), facts, atMs, inFlight);
    return schedule.get(facts.id) as Item;
  };
  const counts = () => {
    const { size, keys, failing, telling, seen } = schedule;
    const of = (key: string) => [keys.of(key), failing.of(key), telling.of(key), seen.of(key)];
    return { size, A: of('A'), B: of('B'), all: [keys.total, failing.total, telling.total, seen.total] };
  };
  return { schedule, track, wanted, asked, gone, counts };
}

/** When a task is due, from now on, by what is known of it. `asked`: how long ago; `random` is half of its range. */
const DUE: readonly (readonly [what: string, facts: Partial<Facts>, inMs: number])[] = [
  ['never read and new: the least interval after its creation', {}, 1_000],
  ['never read and younger than the least interval', { createdAtMs: now - 400 }, 600],
  ['never read and older: at once', { createdAtMs: now - 5_000 }, 0],
  ['read well: an interval after the read, less half of the jitter', { lastReadAtMs: now - 1_000 }, 26_000],
  ['read well long ago: it is overdue', { lastReadAtMs: now - minute }, -33_000],
  ['failed once: no sooner than an interval', { lastReadAtMs: now, failures: 1 }, 30_000],
  ['failed four times: still no sooner', { lastReadAtMs: now, failures: 4 }, 30_000],
  ['failed five times: after the back-off', { lastReadAtMs: now, failures: 5 }, 32_000],
  ['failed six times: after twice that', { lastReadAtMs: now - 1_000, failures: 6 }, 63_000],
  ['failed seven times: after four intervals', { lastReadAtMs: now, failures: 7 }, 120_000],
  ['failed for ever: no later than that', { lastReadAtMs: now, failures: 1_000 }, 120_000],
  [
    'failed, and its plugin has a wish: the back-off',
    { lastReadAtMs: now, failures: 5, nextPollAfterMs: 9_000 },
    32_000,
  ],
  [
    'its plugin has a wish: as it says, and a part of the jitter later',
    { lastReadAtMs: now, nextPollAfterMs: 10_000 },
    10_500,
  ],
  ['a wish below the least interval', { lastReadAtMs: now, nextPollAfterMs: 1 }, 1_050],
  ['a wish above the longest interval', { lastReadAtMs: now, nextPollAfterMs: 1e15 }, 1_890_000],
  ['a wish before it was ever read: as any other', { nextPollAfterMs: 10 * minute }, 1_000],
  [
    'nobody asked for almost long enough to be idle',
    { lastReadAtMs: now, lastAskedAtMs: now - 10 * minute + 1 },
    27_000,
  ],
  ['idle: after twice the interval', { lastReadAtMs: now, lastAskedAtMs: now - 10 * minute }, 54_000],
  ['idle almost twice as long: the same', { lastReadAtMs: now, lastAskedAtMs: now - 20 * minute + 1 }, 54_000],
  [
    'idle twice as long: after four times the interval',
    { lastReadAtMs: now, lastAskedAtMs: now - 20 * minute },
    108_000,
  ],
  ['idle for years: after the longest interval', { lastReadAtMs: now, lastAskedAtMs: 0 }, 1_620_000],
  ['idle, and somebody waits for its token', { lastReadAtMs: now, lastAskedAtMs: 0, quotaNamespace: 'wanted' }, 27_000],
  [
    'idle with a wish to be asked soon: as an idle one',
    { lastReadAtMs: now, lastAskedAtMs: now - 20 * minute, nextPollAfterMs: 5_000 },
    120_000,
  ],
  [
    'idle for the first time with a wish to be asked soon: as an idle one',
    { lastReadAtMs: now, lastAskedAtMs: now - 10 * minute, nextPollAfterMs: 5_000 },
    60_000,
  ],
  [
    'idle for the first time, and somebody waits for its token',
    { lastReadAtMs: now, lastAskedAtMs: now - 10 * minute, quotaNamespace: 'wanted' },
    27_000,
  ],
  [
    'idle with a wish to be asked late: as it says',
    { lastReadAtMs: now, lastAskedAtMs: now - 10 * minute, nextPollAfterMs: 100_000 },
    105_000,
  ],
  ['idle and failing: the back-off', { lastReadAtMs: now, lastAskedAtMs: 0, failures: 6 }, 64_000],
];

for (const [what, facts, inMs] of DUE) {
  test(`when a task is due: ${what}`, () => {
    const { schedule, track, wanted } = setUp();
    wanted.add('wanted');
    const item = track({ id: 'a', ...facts });
    assert.equal((schedule.nextDueMs() ?? 0) - now, inMs);
    assert.equal(
      item.dueMs - now,
      Math.max(inMs, facts.lastReadAtMs === undefined ? 0 : inMs),
      'the lag is told from it',
    );
    assert.equal(schedule.countDue(now + inMs - 1), 0);
    assert.equal(schedule.countDue(now + inMs), 1);
    assert.deepEqual(schedule.takeDue(now + inMs - 1), []);
    assert.deepEqual(schedule.takeDue(now + inMs), [item]);
    assert.equal(schedule.nextDueMs(), undefined, 'what is in flight is not due');
    // However it goes on, it is due again by the same rule.
    schedule.again(item, now, { kind: 'interval' });
    assert.equal((schedule.nextDueMs() ?? 0) - now, inMs);
  });
}

test('without chance in it nothing is early and a wish is kept to the letter', () => {
  const { schedule, track } = setUp({}, 0);
  track({ id: 'a', lastReadAtMs: now });
  assert.equal(schedule.nextDueMs(), now + 30_000);
  schedule.untrack('a');
  track({ id: 'b', lastReadAtMs: now, nextPollAfterMs: 10_000 });
  assert.equal(schedule.nextDueMs(), now + 10_000);
});

/** When a task whose read was begun a second before it was due is read again. */
const AGAIN: readonly (readonly [what: string, again: Again, retries: number, inMs: number])[] = [
  ['by its interval', { kind: 'interval' }, 0, 26_000],
  ['by its interval while it fails: by its back-off from the last read', { kind: 'interval' }, 5, 31_000],
  ['after its back-off, from now', { kind: 'backoff' }, 6, 64_000],
  ['after a time that is longer than what was left', { kind: 'after', ms: 50_000 }, 0, 50_000],
  ['after a time that is shorter: not before it was due', { kind: 'after', ms: 100 }, 0, 26_000],
];

for (const [what, again, retries, inMs] of AGAIN) {
  test(`when a task is read again: ${what}`, () => {
    const { schedule, track } = setUp();
    const item = track({ id: 'a', lastReadAtMs: now - 1_000 });
    schedule.take(item);
    if (retries > 0) item.retries = retries;
    schedule.again(item, now, again);
    assert.equal((schedule.nextDueMs() ?? 0) - now, inMs);
  });
}

test('a task that is held is not due, whatever becomes of its read, and goes on after the delay', () => {
  const { schedule, track } = setUp();
  const item = track({ id: 'a', createdAtMs: now - minute });
  schedule.hold('a');
  assert.equal(schedule.nextDueMs(), undefined);
  for (const again of [{ kind: 'interval' }, { kind: 'backoff' }, { kind: 'after', ms: 0 }] as const) {
    schedule.again(item, now, again);
    assert.equal(schedule.nextDueMs(), undefined);
  }
  assert.equal(schedule.asked('a', now), false);
  assert.equal(schedule.resume('a', now, 700), true);
  assert.equal(schedule.nextDueMs(), now + 700);
  assert.equal(schedule.resume('a', now + 100, 5_000), true, 'a second time as well, and it is queued once');
  assert.equal(schedule.nextDueMs(), now + 5_100);
  assert.equal(schedule.takeDue(now + minute).length, 1);
  assert.equal(schedule.countDue(now + minute), 0);
  schedule.hold('nobody');
  assert.equal(schedule.resume('nobody', now, 0), false);
});

test('a task that awaits its engine is not due, whatever becomes of a read of it, until the engine asks', () => {
  const { schedule, track } = setUp();
  const item = track({ id: 'a', createdAtMs: now - minute });
  schedule.awaitAsked('a');
  assert.equal(schedule.nextDueMs(), undefined);
  for (const again of [{ kind: 'interval' }, { kind: 'backoff' }, { kind: 'after', ms: 0 }] as const) {
    schedule.again(item, now, again);
    assert.equal(schedule.nextDueMs(), undefined);
  }
  assert.equal(schedule.asked('a', now), true);
  assert.equal(schedule.takeDue(now + minute).length, 1);
  schedule.awaitAsked('nobody');
  track({ id: 'busy', createdAtMs: now - minute });
  schedule.awaitAsked('busy');
  schedule.hold('busy');
  schedule.asked('busy', now);
  assert.equal(schedule.nextDueMs(), undefined, 'its owner is busy with it');
  assert.equal(schedule.resume('busy', now, 700), true);
  assert.equal(schedule.nextDueMs(), now + 700);
});

test('an engine that asks brings an idle task near again, and no other', () => {
  const { schedule, track } = setUp();
  const record = recordOf({ id: 'idle', createdAtMs: 0, lastAskedAtMs: 0 }, now) as { lastAskedAtMs: number };
  schedule.track(record as ReturnType<typeof recordOf>, { lastReadAtMs: now }, now, false);
  assert.equal(schedule.nextDueMs(), now + 1_620_000);
  record.lastAskedAtMs = now;
  assert.equal(schedule.asked('idle', now), true);
  assert.equal(schedule.nextDueMs(), now + 27_000);
  assert.equal(schedule.asked('idle', now), false, 'it is not idle any more');
  assert.equal(schedule.asked('nobody', now), false);
  const flying = track({ id: 'flying', lastReadAtMs: now, lastAskedAtMs: 0 });
  schedule.take(flying);
  assert.equal(schedule.asked('flying', now), false, 'nor is one queued that is in flight');
  assert.equal(schedule.countDue(now + 10 * minute), 1);
});

test('a record says whether it matters to the schedule that an engine asks, whatever becomes of the task', () => {
  const step = fc.record({
    what: fc.constantFrom(
      'wait',
      'ask',
      'ask',
      'read',
      'await',
      'hold',
      'resume',
      'untrack',
      'track',
      'trackAll',
      'regroup',
    ),
    ms: fc.integer({ min: 0, max: 20 * minute }),
    again: fc.constantFrom<Again>({ kind: 'interval' }, { kind: 'backoff' }, { kind: 'after', ms: 700 }),
  });
  let unheard = 0;
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const { schedule } = setUp();
      const record = { ...recordOf({ id: 'a', createdAtMs: 0 }, now), id: 'a', liveSinceMs: 0, lastAskedAtMs: now };
      let atMs = now;
      schedule.track(record, {}, atMs, false);
      for (const { what, ms, again } of steps) {
        const item = schedule.get('a');
        if (what === 'wait') atMs += ms;
        else if (what === 'await') schedule.awaitAsked('a');
        else if (what === 'hold') schedule.hold('a');
        else if (what === 'resume') schedule.resume('a', atMs, ms);
        else if (what === 'untrack') schedule.untrack('a');
        else if (what === 'track')
          schedule.track(record, ms % 2 === 0 ? {} : { lastReadAtMs: atMs }, atMs, ms % 3 === 0);
        else if (what === 'trackAll')
          schedule.trackAll([record], { batchKeyOf: undefined, inFlight: () => ms % 3 === 0 }, atMs);
        else if (what === 'regroup') schedule.regroup('a', `key ${ms % 2}`);
        else if (what === 'read' && item !== undefined) {
          schedule.take(item);
          if (ms % 2 === 0) item.readWell(atMs);
          schedule.again(item, atMs, again);
        } else if (what === 'ask') {
          const matters = record.asksMatter !== false;
          record.lastAskedAtMs = atMs;
          assert.ok(!schedule.asked('a', atMs) || matters, 'it heard of what it said that it need not');
          if (!matters) unheard += 1;
        }
      }
    }),
    { numRuns: 500 },
  );
  assert.ok(unheard > 100, 'most need not be told');
});

test('tasks are counted by batch key, by whether they fail, may tell of their remote, and were found', () => {
  const { schedule, track, counts, gone } = setUp();
  const none = [0, 0, 0, 0];
  const item = track({ id: 'a', batchKey: 'A' });
  assert.deepEqual(counts(), { size: 1, A: [1, 0, 1, 1], B: none, all: [1, 0, 1, 1] });
  track({ id: 'sick', batchKey: 'A', failures: 2, failingSinceMs: now });
  assert.deepEqual(counts(), { size: 2, A: [2, 1, 2, 1], B: none, all: [2, 1, 2, 1] });

  item.readBadly(failure, now);
  schedule.noteFailing(item);
  assert.deepEqual(counts().A, [2, 1, 2, 0], 'a read that tells nothing does not find it');
  item.failingSinceMs = now;
  item.outvoted = 2;
  schedule.noteFailing(item);
  schedule.noteFailing(item);
  assert.deepEqual(counts().A, [2, 2, 2, 0]);
  item.outvoted = 3;
  schedule.noteFailing(item);
  schedule.noteFailing(item);
  assert.deepEqual(counts().A, [2, 2, 1, 0], 'it is its own fault');

  schedule.regroup('a', 'B');
  assert.deepEqual(counts(), { size: 2, A: [1, 1, 1, 0], B: [1, 1, 0, 0], all: [2, 2, 1, 0] });
  track({ id: 'a', batchKey: 'A' });
  assert.deepEqual(counts(), { size: 2, A: [2, 2, 1, 0], B: none, all: [2, 2, 1, 0] });
  track({ id: 'sick', batchKey: 'B' });
  assert.deepEqual(counts(), { size: 2, A: [1, 1, 0, 0], B: [1, 1, 1, 0], all: [2, 2, 1, 0] });

  item.readWell(now);
  schedule.noteFailing(item);
  assert.deepEqual(counts().A, [1, 0, 1, 1], 'a read that finds it mends everything');
  schedule.regroup('a', 'B');
  assert.deepEqual(counts(), { size: 2, A: none, B: [2, 1, 2, 1], all: [2, 1, 2, 1] });
  assert.deepEqual(gone, ['key B', 'key A'], 'each key was left by its last task');
  schedule.untrack('sick');
  schedule.untrack('a');
  schedule.untrack('a');
  assert.deepEqual(counts(), { size: 0, A: none, B: none, all: none });
  assert.deepEqual(gone.slice(2), ['sick', 'key B', 'a']);
});

test('an outvoted task that leaves the schedule takes nothing of the others along', () => {
  const { schedule, track, counts } = setUp();
  const item = track({ id: 'a', batchKey: 'A' });
  track({ id: 'b', batchKey: 'A' });
  item.readBadly(failure, now);
  item.outvoted = 3;
  schedule.noteFailing(item);
  schedule.untrack('a');
  assert.deepEqual(counts().A, [1, 0, 1, 1]);
});

test('a task of another batch key is due when it was before, queued with those of that key, and in flight stays in flight', () => {
  const { schedule, track } = setUp({ maxBatch: 5 });
  const a = track({ id: 'a', batchKey: 'A', createdAtMs: now - 100 });
  const b = track({ id: 'b', batchKey: 'B', createdAtMs: now - 200 });
  schedule.regroup('a', 'B');
  schedule.regroup('nobody', 'B');
  assert.equal(schedule.nextDueMs(), now + 800);
  assert.equal(a.bin?.pool, b.bin?.pool);
  assert.deepEqual(schedule.takeDue(now + 900), [b, a]);
  schedule.regroup('a', 'C');
  assert.equal(schedule.nextDueMs(), undefined);
  schedule.again(a, now, { kind: 'interval' });
  assert.equal(a.bin?.pool.batchKey, 'C');
});

test('what a second track says is taken over at once, and while a read is under way for the next one', () => {
  const { schedule, track } = setUp();
  const item = track({ id: 'a' });
  assert.equal(schedule.nextDueMs(), now + 1_000);
  track({ id: 'a', lastReadAtMs: now });
  assert.equal(schedule.nextDueMs(), now + 27_000);
  track({ id: 'a' });
  assert.equal(schedule.nextDueMs(), now + 27_000, 'when it was read last stays where nothing is said of it');
  schedule.take(item);
  track({ id: 'a', lastReadAtMs: now + 1_000 });
  assert.equal(schedule.nextDueMs(), undefined);
  schedule.again(item, now, { kind: 'interval' });
  assert.equal(schedule.nextDueMs(), now + 28_000);
  track({ id: 'read meanwhile' }, now, true);
  assert.equal(schedule.countDue(now + minute), 1, 'what is in flight from another life is not queued');
});

test('tasks of each standing are found and taken by themselves, the most overdue of all batch keys first', () => {
  const { schedule, track } = setUp();
  const standings = ['fresh', 'well', 'failing'] as const satisfies readonly Standing[];
  for (const standing of standings) assert.equal(schedule.takeFirst(standing), undefined);
  const history = (at: number): Record<Standing, Partial<Facts>> => ({
    fresh: { createdAtMs: at },
    failing: { lastReadAtMs: at, failures: 5 },
    well: { lastReadAtMs: at },
  });
  for (const standing of standings) {
    for (const [key, at] of [
      ['A', now - 200],
      ['B', now - 300],
      ['C', now - 100],
    ] as const) {
      track({ id: `${standing} ${key}`, batchKey: key, ...history(at)[standing] });
    }
  }
  track({ id: 'idle', lastReadAtMs: now - 400, lastAskedAtMs: 0 });
  track({ id: 'wish', lastReadAtMs: now - 400, nextPollAfterMs: minute });
  assert.deepEqual(
    standings.map((standing) => (schedule.firstDueMs(standing) ?? 0) - now),
    [700, 26_700, 31_700],
  );
  for (const standing of standings) {
    const ids = Array.from({ length: 3 }, () => schedule.takeFirst(standing)?.id);
    assert.deepEqual(ids, [`${standing} B`, `${standing} A`, `${standing} C`]);
  }
  assert.deepEqual([schedule.takeFirst('well')?.id, schedule.takeFirst('well')?.id], ['wish', 'idle']);
  for (const standing of standings) assert.equal(schedule.firstDueMs(standing), undefined);
});

/** A schedule whose intervals are computed at `now`, and whether they were computed again since. */
function paced(tasks: number, parts: Partial<RefreshConfig> = {}) {
  const { schedule, track, ...rest } = setUp({ readQps: 1, ...parts });
  const trackMany = (prefix: string, n: number) => {
    for (let i = 0; i < n; i++) track({ id: `${prefix}${i}`, lastReadAtMs: now });
  };
  trackMany('t', tasks);
  const throughput = { tasksPerCall: 1, callMs: 1 };
  schedule.pace(now, throughput);
  const paceAgain = (atMs: number) => {
    const before = schedule.pacing.longestMs;
    schedule.pace(now + atMs, { ...throughput, tasksPerCall: 1 / 2 ** 20, callMs: 1e9 });
    return schedule.pacing.longestMs !== before;
  };
  return { schedule, track, trackMany, paceAgain, ...rest };
}

test('intervals are computed once a second, and within a tenth of it where the number of tasks has changed by a tenth', () => {
  for (const [tasks, more, jumped] of [
    [20, 0, false],
    [20, 10, false],
    [20, 11, true],
    [200, 20, false],
    [200, 21, true],
  ] as const) {
    const { trackMany, paceAgain } = paced(tasks);
    trackMany('more', more);
    assert.equal(paceAgain(99), false);
    assert.equal(paceAgain(100), jumped, `${more} more than ${tasks}`);
  }
  const fewer = paced(40);
  for (let i = 0; i < 11; i++) fewer.schedule.untrack(`t${i}`);
  assert.equal(fewer.paceAgain(100), true, 'fewer as well');
  const same = paced(20);
  assert.equal(same.paceAgain(999), false);
  assert.equal(same.paceAgain(1_000), true);
});

test('new settings take effect with the next computation, which is not waited for', () => {
  const { schedule, track } = paced(1);
  schedule.reconfigure(configOf({ resyncIntervalMs: 90_000, maxBatch: 2 }));
  schedule.pace(now + 1, { tasksPerCall: 1, callMs: 1 });
  assert.equal(schedule.pacing.longestMs, 90_000);
  for (const id of ['a', 'b', 'c']) track({ id, createdAtMs: 0 });
  assert.equal(schedule.takeDue(now).length, 2);
});

test('what is queued is due by the intervals that were computed last', () => {
  const { schedule, track } = setUp();
  track({ id: 'a', lastReadAtMs: now });
  track({ id: 'b', lastReadAtMs: now + 500, batchKey: 'B' });
  assert.equal(schedule.nextDueMs(), now + 27_000);
  schedule.pace(now, { tasksPerCall: 1, callMs: 1 });
  // New tasks are read every second now; where they stand in line was computed with the old interval.
  assert.equal(schedule.nextDueMs(), now - 3_000 + 1_000);
  assert.equal(schedule.countDue(now - 1_500), 2);
});

test('an idle task is near at once when somebody begins to wait for its token, and far again when nobody does', () => {
  const { schedule, track, wanted, asked } = setUp();
  const throughput = { tasksPerCall: 1, callMs: 1 };
  track({ id: 'a', lastReadAtMs: now, lastAskedAtMs: 0, quotaNamespace: 'gpu' });
  track({ id: 'b', lastReadAtMs: now, lastAskedAtMs: 0, quotaNamespace: 'gpu' });
  assert.deepEqual(asked, ['gpu'], 'asked once for all its tasks, until the intervals are computed');
  schedule.pace(now, throughput);
  const farMs = schedule.nextDueMs();
  assert.equal(farMs, now + 1_620_000);
  wanted.add('gpu');
  schedule.pace(now + 1_000, throughput);
  assert.equal(schedule.nextDueMs(), now - 180_000 + 30_000);
  wanted.clear();
  schedule.pace(now + 2_000, throughput);
  assert.equal(schedule.nextDueMs(), farMs);
  schedule.untrack('a');
  schedule.untrack('b');
  asked.length = 0;
  schedule.pace(now + 3_000, throughput);
  assert.deepEqual(asked, [], 'nobody is asked about namespaces without an idle task');
});

test('what is queued in one go stands in order afterwards, also from within another go, and when it broke off', () => {
  const { schedule, track } = setUp();
  const items = ['a', 'b', 'c', 'd'].map((id, i) => track({ id, batchKey: `K${i % 2}`, createdAtMs: 0 }));
  const again = (i: number, ms: number) => schedule.again(items[i] as Item, now, { kind: 'after', ms });
  for (const item of items) schedule.take(item);
  schedule.together(() => {
    again(0, 500);
    schedule.together(() => again(1, 300));
    again(2, 700);
  });
  assert.equal(schedule.nextDueMs(), now + 300);
  assert.deepEqual(
    [1, 0, 2].map((i) => schedule.takeDue(now + 700)[0] === items[i]),
    [true, true, true],
  );
  assert.throws(() =>
    schedule.together(() => {
      again(3, 900);
      throw new Error('broken');
    }),
  );
  assert.equal(schedule.nextDueMs(), now + 900);
  track({ id: 'e', createdAtMs: 0 });
  assert.equal(schedule.nextDueMs(), now, 'and one by one again');
});

test('a task is idle or not as of its last read, also where that failed', () => {
  const { schedule, track } = setUp();
  const item = track({ id: 'a', lastReadAtMs: now });
  schedule.take(item);
  assert.equal(item.doublings, 0);
  schedule.again(item, now + 10 * minute, { kind: 'backoff' });
  assert.equal(item.doublings, 1);
});

test('of a task whose reads failed in an earlier run of the daemon somebody is told when it is taken on, and of no other', () => {
  const resumed: string[] = [];
  const schedule = new Schedule({
    config: configOf(),
    random: () => 0.5,
    tokenWanted: () => false,
    resumed: ({ id }) => resumed.push(id),
  });
  const failing = { failures: 1, failingForMs: 0, notFound: 0, notFoundForMs: 0, frozenForMs: undefined };
  schedule.track({ ...recordOf({ id: 'failed', createdAtMs: now }, now), failing }, {}, now, false);
  schedule.track(recordOf({ id: 'well', createdAtMs: now }, now), {}, now, false);
  assert.deepEqual(resumed, ['failed']);
  assert.deepEqual([schedule.failing.total, schedule.get('failed')?.failures], [1, 1]);
});

test('a batch key whose tasks come to be due before those of another goes before it from the computation on', () => {
  const { schedule, track } = setUp();
  track({ id: 'old', createdAtMs: now - 100_000 * minute, lastReadAtMs: now - 5_000, batchKey: 'A' });
  const young = track({ id: 'young', createdAtMs: now - minute, lastReadAtMs: now - 1_000, batchKey: 'B' });
  assert.equal(schedule.nextDueMs(), now + 22_000);
  schedule.pace(now, { tasksPerCall: 1, callMs: 10 });
  const dueMs = now - 3_000 - 1_000 + schedule.pacing.intervalMs(young.ageClass);
  assert.ok(dueMs < now + 5_000);
  assert.equal(schedule.nextDueMs(), dueMs);
});
