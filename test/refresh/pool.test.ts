import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../src/lib/clock.js';
import { type Bin, Pool, type Pooled } from '../../src/refresh/pool.js';
import { configOf, createTestRefresher, FakeReader } from './fake-reader.js';

class Member implements Pooled<Member> {
  heapIndex = -1;
  bin: Bin<Member> | undefined;
  dueMs = 0;

  constructor(
    readonly name: string,
    readonly key: number,
    readonly alone = false,
    readonly batchLimit = 10,
  ) {}
}

/** A pool with a bin for each interval, of members by name. */
function poolOf(bins: Readonly<Record<number, readonly Member[]>>) {
  const pool = new Pool<Member>('k');
  for (const [interval, members] of Object.entries(bins)) {
    for (const member of members) pool.add(member, interval, () => Number(interval));
  }
  pool.refresh();
  const batch = (nowMs: number, max = 10) => pool.takeBatch(nowMs, max).map(({ name }) => name);
  return { pool, batch };
}

test('a batch begins with what is due, and nothing else begins one', () => {
  const { pool, batch } = poolOf({ 100: [new Member('a', 0), new Member('b', 20)], 1000: [new Member('c', 500)] });
  assert.equal(pool.key, 100);
  assert.deepEqual(batch(99), []);
  assert.deepEqual(batch(100, 1), ['a']);
  assert.deepEqual(batch(120), ['b'], 'c is due in 1,380 ms, more than half of its interval');
  assert.deepEqual(batch(1_499), []);
  assert.deepEqual(batch(1_500), ['c']);
  assert.equal(pool.empty, true);
});

test('an item was due when it was as it was queued, or later where its interval has grown since', () => {
  const [grown, shrunk] = [new Member('grown', 0), new Member('shrunk', 0)];
  grown.dueMs = 60;
  shrunk.dueMs = 150;
  const { batch } = poolOf({ 100: [grown, shrunk] });
  assert.equal(batch(200).length, 2);
  assert.deepEqual([grown.dueMs, shrunk.dueMs], [100, 150]);
});

test('a batch takes along what is due within half of its own interval, the most overdue first', () => {
  const soon = () => poolOf({ 100: [new Member('due', 0), new Member('soon', 50), new Member('later', 51)] });
  assert.deepEqual(soon().batch(100), ['due', 'soon']);
  assert.deepEqual(soon().batch(101), ['due', 'soon', 'later']);
  assert.deepEqual(soon().batch(500, 2), ['due', 'soon'], 'as many as a batch may have');
});

test('a batch is as small as its smallest member wants, and who is to be alone goes alone', () => {
  const members = (third: Member) => [new Member('a', 0), new Member('b', 1), third, new Member('d', 3)];
  assert.deepEqual(poolOf({ 0: members(new Member('two', 2, false, 2)) }).batch(9), ['a', 'b']);
  assert.deepEqual(poolOf({ 0: members(new Member('three', 2, false, 3)) }).batch(9), ['a', 'b', 'three']);
  assert.deepEqual(poolOf({ 0: members(new Member('alone', 2, true)) }).batch(9), ['a', 'b']);
  assert.deepEqual(poolOf({ 0: [new Member('alone', 0, true), new Member('b', 1)] }).batch(9), ['alone']);
  assert.deepEqual(poolOf({ 0: [new Member('b', 0), new Member('alone', 1, true)] }).batch(9), ['b']);
});

test('what is due is counted over all bins, and the first is found among those that are wanted', () => {
  const { pool } = poolOf({ 100: [new Member('a', 0), new Member('b', 20)], 50: [new Member('c', 60)] });
  assert.deepEqual(
    [99, 100, 110, 120].map((nowMs) => pool.countDue(nowMs)),
    [0, 1, 2, 3],
  );
  assert.equal(pool.firstOf()?.item.name, 'a');
  assert.deepEqual(pool.firstOf((bin) => bin === '50')?.dueMs, 110);
  assert.equal(
    pool.firstOf(() => false),
    undefined,
  );
});

test('who listens is told how late a read is begun, and of how many tasks it is, and never a negative lag', async () => {
  const clock = new ManualClock();
  const reader = new FakeReader(() => clock.now());
  const told: [string, number, number, number][] = [];
  const refresher = createTestRefresher({
    reader,
    config: configOf({ maxBatch: 10 }),
    clock,
    random: () => 0,
    events: { readStarted: ({ purpose, lagMs, late, batchSize }) => void told.push([purpose, lagMs, batchSize, late]) },
  });
  const createdAtMs = clock.now();
  reader.gate = { ...reader.gate, open: false, slotsFree: 0 };
  for (const id of ['a', 'b']) refresher.track({ id, createdAtMs });
  await clock.advance(11_000);
  reader.gate = { ...reader.gate, open: true, slotsFree: 10 };
  refresher.wake();
  await clock.advance(0);
  assert.equal(told.length, 1);
  const [, lagMs, batchSize, late] = told[0]!;
  assert.deepEqual([lagMs, batchSize, late], [10_000, 2, 2], 'due a second after their creation, and late both');
  void refresher.readNow('a', clock.now() + 1_000, new AbortController().signal);
  await clock.advance(0);
  assert.deepEqual(told[1]?.slice(1), [0, 1, 0], 'what an engine asks for is not late');
});

test('a read is late when it was due more than a tenth of the resync interval ago, and each task of a batch counts', async () => {
  const clock = new ManualClock();
  const reader = new FakeReader(() => clock.now());
  const told: [number, number][] = [];
  const refresher = createTestRefresher({
    reader,
    config: configOf({ maxBatch: 10 }),
    clock,
    random: () => 0,
    events: { readStarted: ({ lagMs, late }) => void told.push([lagMs, late]) },
  });
  const start = clock.now();
  reader.gate = { ...reader.gate, open: false, slotsFree: 0 };
  for (const [id, createdAtMs] of [
    ['in time', start],
    ['late', start - 1],
    ['later', start - 9],
  ] as const) {
    refresher.track({ id, createdAtMs });
  }
  await clock.advance(4_000);
  reader.gate = { ...reader.gate, open: true, slotsFree: 10 };
  refresher.wake();
  await clock.advance(0);
  assert.deepEqual(told, [[3_009, 2]]);
});
