import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { OutcomePlace } from '../../src/model/outcomes.js';
import { Item } from '../../src/refresh/item.js';
import { judge } from '../../src/refresh/judge.js';
import type { MissingTasks } from '../../src/refresh/missing.js';
import type { Outage } from '../../src/refresh/outages.js';
import type { RefreshConfig } from '../../src/refresh/types.js';
import { configOf, fails, type Outcome, recordOf, running } from './fake-reader.js';

const now = 1_700_000_000_000;
const config = configOf({ maxSystemFailures: 2, minFailingMs: 1_000, outageGraceMs: 50_000 });

/** One task, and what each of its reads makes of it; `lost`: whether its not being found is confirmed. */
function oneTask({ lost = false }: { lost?: boolean } = {}) {
  const item = new Item(recordOf({ id: 'a', createdAtMs: now }, now), {}, now);
  const told: string[] = [];
  const missing = {
    found: () => told.push('found'),
    doubted: () => told.push('doubted'),
    sighted: (_item: Item, { alone }: { alone: boolean }) => {
      told.push(alone ? 'sighted alone' : 'sighted');
      item.missing ??= { sinceMs: now, reads: 3 };
      return lost;
    },
  };
  const read = (
    atMs: number,
    outcome: Outcome,
    around: Partial<Outage> = {},
    place: OutcomePlace = 'get',
    settings: RefreshConfig = config,
  ) =>
    judge(
      item,
      {
        outcome,
        place,
        startedAtMs: now + atMs,
        nowMs: now + atMs,
        population: { ofKey: 1, ofPlugin: 1 },
        intervalMs: 30_000,
      },
      {
        outage: {
          frozen: () => false,
          probed: () => false,
          down: false,
          answeredAtMs: Number.NEGATIVE_INFINITY,
          marks: () => ({ plugin: 0, group: 0 }),
          frozenSince: () => 0,
          ...around,
        },
        missing: missing as unknown as MissingTasks,
      },
      settings,
    );
  return { item, read, told };
}

test('a read that was throttled or not made moves nothing, and is made again after a time within bounds', () => {
  for (const [kind, retryAfterMs, ms] of [
    ['throttled', undefined, 1_000],
    ['throttled', 999, 1_000],
    ['throttled', 5_000, 5_000],
    ['throttled', 1e12, 1_800_000],
    ['not_admitted', undefined, 100],
    ['not_admitted', 99, 100],
    ['not_admitted', 700, 700],
    ['cancelled', undefined, 100],
  ] as const) {
    const { item, read, told } = oneTask();
    assert.deepEqual(read(0, fails(kind, retryAfterMs)), { verdict: undefined, again: { kind: 'after', ms } });
    assert.deepEqual([item.lastReadAtMs, item.lastFailure, item.retries, told], [undefined, undefined, 0, []]);
  }
});

test('a success is told to who counts what is not found, before the item forgets it', () => {
  const { item, read, told } = oneTask();
  read(0, fails('transient'));
  assert.deepEqual(read(5, running), { verdict: undefined, again: { kind: 'interval' } });
  assert.deepEqual(told, ['doubted', 'found']);
  assert.deepEqual([item.failures, item.retries, item.failingSinceMs, item.lastReadAtMs], [0, 0, undefined, now + 5]);
});

test('failures in a row count, and end the task past the number and the time and not by one of both', () => {
  for (const [atMs, ends] of [
    [
      [0, 1, 999],
      [false, false, false],
    ],
    [
      [0, 1, 1_000],
      [false, false, true],
    ],
    [
      [0, 5_000],
      [false, false],
    ],
    [
      [0, 1, 2, 1_000],
      [false, false, false, true],
    ],
  ] as const) {
    const { item, read } = oneTask();
    const judged = atMs.map((ms) => read(ms, fails('transient')));
    assert.deepEqual(
      judged.map(({ verdict }) => verdict !== undefined),
      ends,
    );
    assert.ok(judged.every(({ again }) => again.kind === 'backoff'));
    assert.deepEqual([item.failures, item.retries, item.failingSinceMs], [atMs.length, atMs.length, now]);
  }
});

test('the end of a task whose reads fail says why, whose fault it is, and that its job may run', () => {
  for (const [down, code] of [
    [false, 'READS_FAILING'],
    [true, 'REMOTE_OUTAGE'],
  ] as const) {
    const { read } = oneTask();
    for (const atMs of [0, 1]) read(atMs, fails('unknown'), { down });
    assert.deepEqual(read(61_000, fails('unknown'), { down }).verdict, {
      phase: 'RETRYABLE_FAILURE',
      code,
      message: 'reads failed for 61 s in a row, 3 of them counted; the last error: [X] unknown',
      faultKind: 'SYSTEM',
      oweDelete: true,
    });
  }
});

test('time during which counts stood still since the first failure does not count as failing', () => {
  const { item, read } = oneTask();
  const asked: unknown[] = [];
  let mark = 7;
  const around = {
    marks: () => ({ plugin: mark++, group: 0 }),
    frozenSince: (marks: unknown) => {
      asked.push(marks);
      return 400;
    },
  };
  const ends = [0, 1, 1_399, 1_400].map((atMs) => read(atMs, fails('transient'), around).verdict !== undefined);
  assert.deepEqual(ends, [false, false, false, true]);
  assert.deepEqual(item.frozenBefore, { plugin: 7, group: 0 });
  assert.ok(asked.every((marks) => marks === item.frozenBefore));
});

test('a crash counts by time alone, and only with several reads of it', () => {
  const { item, read } = oneTask();
  const ends = [0, 60_000, 60_001].map((atMs) => read(atMs, fails('process_died')).verdict?.code);
  assert.deepEqual(ends, [undefined, undefined, 'READS_FAILING']);
  assert.equal(item.failures, 0);
  const early = oneTask();
  const soon = [0, 1, 49_999, 50_000].map((atMs) => early.read(atMs, fails('process_died')).verdict !== undefined);
  assert.deepEqual(soon, [false, false, false, true]);
});

test('while its remote is away nothing counts and nothing ends, and who is probed backs off no further', () => {
  const { item, read } = oneTask();
  const away = { frozen: () => true, probed: () => true };
  for (const atMs of [0, 60_000, 120_000]) assert.equal(read(atMs, fails('transient'), away).verdict, undefined);
  assert.deepEqual([item.failures, item.retries, item.failingSinceMs], [0, 1, now]);
  for (const atMs of [130_000, 140_000]) read(atMs, fails('transient'), { ...away, probed: () => false });
  assert.deepEqual([item.failures, item.retries], [0, 3], 'of a batch key that is away each task backs off');
  read(150_000, fails('transient'), away);
  assert.equal(item.retries, 3);
});

test('a task is outvoted each time its remote answered others between two of its failures', () => {
  const { item, read } = oneTask();
  const outvoted = [
    [0, -1],
    [10, 5],
    [20, 10],
    [30, 21],
    [40, 22],
  ].map(([atMs, answered]) => {
    read(atMs as number, fails('transient'), { answeredAtMs: now + (answered as number) });
    return item.outvoted;
  });
  assert.deepEqual(outvoted, [0, 1, 1, 2, 2]);
});

test('a job that is not found is looked for about as often as others are read, and lost where that is confirmed', () => {
  const { item, read, told } = oneTask();
  for (let i = 0; i < 9; i++) assert.equal(read(i, fails('not_found')).verdict, undefined);
  assert.equal(item.retries, 4);
  assert.ok(told.every((one) => one === 'sighted alone'));
  assert.deepEqual([item.failures, item.failingSinceMs], [0, undefined]);
  const batched = oneTask();
  batched.read(0, fails('not_found'), {}, 'getManyItem');
  assert.deepEqual(batched.told, ['sighted']);
  const lost = oneTask({ lost: true });
  assert.equal(lost.read(9_000, fails('not_found'), { frozen: () => true }).verdict, undefined, 'an outage loses none');
  assert.deepEqual(lost.read(9_000, fails('not_found')).verdict, {
    phase: 'RETRYABLE_FAILURE',
    code: 'RESOURCE_LOST',
    message: 'the remote does not know the job any more: 3 reads in a row over 9 s did not find it: not_found',
    faultKind: 'SYSTEM',
    oweDelete: true,
  });
});

test('a refusal ends the task at once, by the code and the fault that the plugin names', () => {
  const { item, read } = oneTask();
  const failure = {
    kind: 'permanent',
    code: 'Gone',
    message: 'no',
    faultKind: 'USER',
    retryAfterMs: undefined,
  } as const;
  assert.deepEqual(read(0, { ok: false, failure }).verdict, {
    phase: 'PERMANENT_FAILURE',
    code: 'Gone',
    message: 'no',
    faultKind: 'USER',
    oweDelete: true,
  });
  assert.deepEqual([item.failures, item.lastFailure], [0, failure]);
});
