import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FailingReads } from '../../src/model/task-record.js';
import { Item } from '../../src/refresh/item.js';
import { MissingTasks } from '../../src/refresh/missing.js';
import type { RefreshConfig } from '../../src/refresh/types.js';
import { configOf, fails, pollsOf, recordOf, running } from './fake-reader.js';

const minute = 60_000;
const hour = 60 * minute;

/** Tasks of an hour, of which those in `gone` are not found. */
function setUp(parts: Partial<RefreshConfig> = {}) {
  const { clock, reader, refresher, told, track: trackOne } = pollsOf(parts);
  const gone = new Set<string>();
  reader.respond = (id) => (gone.has(id) ? fails('not_found') : running);
  const track = (ids: readonly string[], batchKey = '') => {
    for (const id of ids) trackOne(id, { createdAtMs: clock.now() - hour, batchKey });
    return ids;
  };
  const lost = () => reader.reports.filter(({ verdict }) => verdict?.code === 'RESOURCE_LOST').map(({ id }) => id);
  return { clock, reader, refresher, gone, track, lost, told };
}

const names = (prefix: string, n: number) => Array.from({ length: n }, (_, i) => `${prefix}${i}`);

test('one job that is not found is lost after the least time and three reads, and not before, nor by reads with another answer between', async () => {
  const { clock, reader, refresher, gone, track, lost } = setUp();
  track(names('t', 20));
  await clock.advance(minute);
  gone.add('t0');
  await clock.advance(minute);
  reader.respond = (id) => (id === 't0' ? fails('transient') : running);
  await clock.advance(40_000);
  reader.respond = (id) => (gone.has(id) ? fails('not_found') : running);
  await clock.advance(100_000);
  assert.deepEqual(lost(), [], 'a read with another answer begins it anew');
  await clock.advance(2 * minute);
  assert.deepEqual(lost(), ['t0']);
  await refresher.stop();
});

test('an engine that asks often loses no job sooner', async () => {
  const { clock, reader, refresher, gone, track, lost } = setUp();
  track(names('t', 2));
  await clock.advance(minute);
  gone.add('t0');
  for (let i = 0; i < 100; i++) {
    void refresher.readNow('t0', clock.now() + 1_000);
    await clock.advance(1_000);
  }
  assert.deepEqual(lost(), []);
  assert.ok(reader.readsOf('t0').length > 50);
  await refresher.stop();
});

for (const tasks of [2, 20])
  test(`where lists of ${tasks} are read, the read that loses a job is made for it alone`, async () => {
    const { clock, reader, refresher, gone, track, lost } = setUp({ maxBatch: 50 });
    track(names('t', tasks));
    await clock.advance(minute);
    gone.add('t0');
    reader.respond = (id, { ids }) => (ids.length > 1 && gone.has(id) ? fails('not_found') : running);
    await clock.advance(20 * minute);
    assert.deepEqual(lost(), [], 'a list that leaves it out for ever loses nothing that get finds');
    reader.respond = (id) => (gone.has(id) ? fails('not_found') : running);
    await clock.advance(5 * minute);
    assert.deepEqual(lost(), ['t0']);
    assert.deepEqual(reader.reads.filter(({ ids }) => ids.includes('t0')).at(-1)?.ids, ['t0']);
    await refresher.stop();
  });

for (const [what, key] of [
  ['of a plugin', ''],
  ['of one batch key', 'A'],
] as const) {
  test(`a wave ${what} freezes its tasks: each goes on when it is found, and is lost when the outage grace is over`, async () => {
    const { clock, reader, refresher, gone, track, lost, told } = setUp({ maxBatch: 10 });
    const ids = track(names('t', 10), key);
    track(names('other', 10), 'B');
    await clock.advance(minute);
    for (const id of ids) gone.add(id);
    await clock.advance(50 * minute);
    assert.deepEqual(lost(), []);
    assert.equal(refresher.stats().notFoundFrozen, 10);
    assert.equal(refresher.missing('t0')?.wave, true);
    assert.equal(reader.last('t0')?.missing?.wave, true);
    assert.equal(reader.last('other0')?.missing, undefined);
    assert.equal(refresher.stats().remote, 'up', 'not found is no outage');
    assert.deepEqual(told, [`wave ${key}`], 'one line, and not one a task');
    for (const id of ids.slice(3)) gone.delete(id);
    await clock.advance(2 * minute);
    assert.equal(refresher.stats().notFoundFrozen, 3);
    await clock.advance(15 * minute);
    assert.deepEqual(lost().sort(), ids.slice(0, 3));
    assert.deepEqual(told.slice(1), ['over 7 3']);
    assert.equal(refresher.stats().notFoundFrozen, 0);
    await refresher.stop();
  });
}

test('half a list is a wave, and two of a hundred jobs are none', async () => {
  for (const [n, wave] of [
    [50, true],
    [2, false],
  ] as const) {
    const { clock, refresher, gone, track, lost } = setUp({ maxBatch: 100 });
    const ids = track(names('t', 100));
    await clock.advance(minute);
    for (const id of ids.slice(0, n)) gone.add(id);
    await clock.advance(10 * minute);
    assert.equal(lost().length, wave ? 0 : n);
    await refresher.stop();
  }
});

for (const [what, kind] of [
  ['fails for ever', 'transient'],
  ['crashes its plugin', 'process_died'],
] as const) {
  test(`a task whose read ${what} makes no wave smaller by being one of many: a tenth is that of the tasks that are read`, async () => {
    for (const [well, wave] of [
      [18, true],
      [40, false],
    ] as const) {
      const { clock, reader, refresher, gone, track, told } = setUp({ maxSystemFailures: 1_000_000 });
      const ids = track(names('t', well), 'A');
      const sick = new Set(track(names('sick', 17), 'A'));
      reader.respond = (id) => (sick.has(id) ? fails(kind) : gone.has(id) ? fails('not_found') : running);
      await clock.advance(5 * minute);
      for (const id of ids.slice(0, 3)) gone.add(id);
      await clock.advance(minute);
      assert.deepEqual(
        told.filter((line) => line.startsWith('wave')),
        wave ? ['wave A'] : [],
      );
      await refresher.stop();
    }
  });
}

test('tasks of an older wave are none of the live ones of which the next one needs a tenth', async () => {
  const { clock, refresher, gone, track, told } = setUp();
  const ids = track(names('t', 60), 'A');
  await clock.advance(minute);
  for (const id of ids.slice(0, 35)) gone.add(id);
  await clock.advance(20 * minute);
  for (const id of ids.slice(35, 38)) gone.add(id);
  await clock.advance(5 * minute);
  assert.equal(refresher.stats().notFoundFrozen, 38);
  assert.deepEqual(told, ['wave A', 'wave A']);
  await refresher.stop();
});

test('jobs that were purged while the daemon was away make no wave', async () => {
  const { clock, refresher, gone, track, lost, told } = setUp();
  for (const id of track(names('t', 10))) gone.add(id);
  await clock.advance(5 * minute);
  assert.equal(lost().length, 10);
  assert.deepEqual(told, []);
  await refresher.stop();
});

test('not found neither starts nor ends an outage, and an outage loses nothing', async () => {
  const { clock, reader, refresher, track, lost } = setUp();
  track(names('t', 2));
  await clock.advance(minute);
  reader.respond = () => fails('transient');
  await clock.advance(2 * minute);
  assert.equal(refresher.stats().remote, 'down');
  reader.respond = () => fails('not_found');
  await clock.advance(20 * minute);
  assert.equal(refresher.stats().remote, 'down');
  assert.deepEqual(lost(), []);
  reader.respond = () => running;
  await clock.advance(2 * minute);
  assert.equal(refresher.stats().remote, 'up');
  await refresher.stop();
});

/** One task that is old enough, and what each of its reads that answer NotFound makes of it. */
function oneTask() {
  const missing = new MissingTasks({});
  const item = new Item(recordOf({ id: 't', createdAtMs: 0 }, hour), {}, hour);
  const read = (atMs: number, alone: boolean) =>
    missing.sighted(
      item,
      {
        startedAtMs: hour + atMs,
        nowMs: hour + atMs,
        alone,
        population: { ofKey: 100, ofPlugin: 100 },
        intervalMs: 30_000,
      },
      configOf(),
    );
  return { item, missing, read };
}

test('two reads lose no job, however far apart they are, and the third does', () => {
  const { read } = oneTask();
  assert.deepEqual([read(0, true), read(hour, true), read(2 * hour, true)], [false, false, true]);
});

test('a job that is to be read alone to be lost is read with others again once it was found, or nothing was told of it', () => {
  for (const after of ['found', 'doubted'] as const) {
    const { item, missing, read } = oneTask();
    assert.equal(item.alone, false);
    for (const atMs of [0, hour]) read(atMs, false);
    assert.equal(item.alone, true);
    missing[after](item, 2 * hour);
    assert.equal(item.alone, false, after);
  }
});

test('no list loses a job, however often it leaves it out; the next read by get alone does', () => {
  const { item, read } = oneTask();
  for (let i = 0; i < 20; i++) assert.equal(read(i * minute, false), false);
  assert.equal(item.alone, true, 'it is to be asked for alone');
  assert.equal(read(20 * minute, true), true);
});

test('an answer of any other kind begins the count and the time anew', () => {
  const { item, missing, read } = oneTask();
  for (let i = 0; i < 3; i++) read(i * minute, false);
  missing.doubted(item);
  assert.deepEqual([read(3 * minute, true), read(4 * minute, true), read(4.5 * minute, true)], [false, false, false]);
  assert.equal(read(5 * minute, true), true);
});

test('a wave of which some are found now and then loses no task before the grace of its own is over', () => {
  const told: string[] = [];
  const missing = new MissingTasks({
    notFoundWave: () => told.push('wave'),
    notFoundWaveOver: () => told.push('over'),
  });
  const tasks = ['a', 'b', 'c', 'd'].map((id) => new Item(recordOf({ id, createdAtMs: 0 }, hour), {}, hour));
  const population = { ofKey: 4, ofPlugin: 4 };
  const read = (item: Item, atMs: number, found: boolean): boolean => {
    const nowMs = hour + atMs;
    if (!found) {
      const lost = missing.sighted(
        item,
        { startedAtMs: nowMs, nowMs, alone: true, population, intervalMs: 30_000 },
        configOf(),
      );
      item.readBadly(
        { kind: 'not_found', code: 'X', message: '', faultKind: 'SYSTEM', retryAfterMs: undefined },
        nowMs,
      );
      return lost;
    }
    missing.found(item, nowMs);
    item.readWell(nowMs);
    return false;
  };
  let lost = 0;
  for (const item of tasks) read(item, -minute / 6, true);
  // In each round another one is found.
  for (let round = 0; round < 359; round++) {
    for (const [i, item] of tasks.entries())
      if (read(item, (round * minute) / 6, round > 0 && round % 4 === i)) lost += 1;
  }
  assert.deepEqual([lost, told], [0, ['wave']]);
  const lastFoundMs = tasks.map((item) => (item.seenAliveAtMs ?? 0) - hour);
  for (const [i, item] of tasks.entries()) {
    const missingSinceMs = lastFoundMs[i]! + minute / 6;
    assert.equal(read(item, 65 * minute, false), false, 'an hour after the wave began');
    assert.equal(read(item, missingSinceMs + hour - 1, false), false);
    assert.equal(read(item, missingSinceMs + hour, false), true);
  }
});

/** Tasks that an earlier run of the daemon knew so much of, taken on an hour after the epoch, and what is told of their waves. */
function resumedTasks(...knew: Partial<FailingReads>[]) {
  const told: string[] = [];
  const missing = new MissingTasks({
    notFoundWave: () => told.push('wave'),
    notFoundWaveOver: ({ lastedMs, found, lost }) => told.push(`over after ${lastedMs}: ${found} ${lost}`),
  });
  const resume = (id: string, known: Partial<FailingReads> | undefined, nowMs: number) => {
    const nothing = { failures: 0, failingForMs: 0, notFound: 0, notFoundForMs: 0, frozenForMs: undefined };
    const failing = known && { ...nothing, ...known };
    const item = new Item({ ...recordOf({ id, createdAtMs: 0 }, hour), failing }, {}, nowMs);
    missing.resumed(item, nowMs);
    return item;
  };
  const items = knew.map((known, i) => resume(`t${i}`, known, hour));
  return { missing, items, told, resume };
}

test('answers of NotFound that an earlier run of the daemon counted go on counting, from when they began', () => {
  const { missing, items } = resumedTasks({}, { notFound: 1, notFoundForMs: 5_000 }, { notFound: 2 });
  assert.deepEqual(
    items.map((item) => item.missing),
    [undefined, { sinceMs: hour - 5_000, reads: 1 }, { sinceMs: hour, reads: 2 }],
  );
  assert.deepEqual([missing.size, missing.frozen], [2, 0]);
  assert.deepEqual(
    items.map((item) => item.wave),
    [undefined, undefined, undefined],
  );
});

test('a task of which an earlier run knew nothing is neither missing nor frozen', () => {
  const { missing, resume } = resumedTasks();
  const item = resume('new', undefined, hour);
  assert.deepEqual([item.missing, item.wave, missing.size, missing.frozen], [undefined, undefined, 0, 0]);
});

test('what an earlier run froze is one wave again, each for as long as it was not found, until the last is found or lost', () => {
  const known = { notFound: 3, notFoundForMs: 9_000 };
  const { missing, items, told, resume } = resumedTasks(
    { ...known, frozenForMs: 7_000 },
    { ...known, frozenForMs: 0 },
    { frozenForMs: 1_000 },
  );
  const [first, second, third] = items as [Item, Item, Item];
  assert.deepEqual([missing.size, missing.frozen], [2, 3]);
  const wave = first.wave;
  assert.ok(wave !== undefined && second.wave === wave && third.wave === wave);
  assert.deepEqual([...wave.frozen.values()], [hour - 7_000, hour, hour - 1_000]);
  missing.found(first, hour + 10);
  assert.equal(first.wave, undefined);
  missing.gone(second, hour + 20);
  assert.deepEqual([missing.size, missing.frozen, told], [0, 1, []]);
  missing.found(third, hour + 30);
  assert.deepEqual([missing.frozen, told], [0, ['over after 30: 2 1']]);
  const later = resume('later', { ...known, frozenForMs: 4_000 }, 2 * hour);
  assert.notEqual(later.wave, wave, 'one that is over takes nobody on');
  missing.found(later, 2 * hour + 5);
  assert.equal(told.at(-1), 'over after 5: 1 0');
});

test('a task that is found in its first read of this run is lost by none of what an earlier run has counted', () => {
  const { missing, items } = resumedTasks({ notFound: 9, notFoundForMs: 2 * hour, frozenForMs: 2 * hour });
  const [item] = items as [Item];
  const read = (nowMs: number) => {
    const population = { ofKey: 1, ofPlugin: 1 };
    return missing.sighted(
      item,
      { startedAtMs: nowMs, nowMs, alone: true, population, intervalMs: 30_000 },
      configOf(),
    );
  };
  assert.equal(read(hour), true, 'the tenth answer of NotFound, long past both times');
  missing.found(item, hour);
  assert.deepEqual([read(hour + 1), read(hour + 2), read(hour + 3)], [false, false, false]);
});

test('what turned in a batch key whose last task has left is no part of a wave of the tasks that have it after that', () => {
  for (const forgets of [true, false]) {
    const told: string[] = [];
    const missing = new MissingTasks({ notFoundWave: ({ batchKey }) => told.push(batchKey) });
    const turn = (id: string) => {
      const item = new Item(recordOf({ id, createdAtMs: 0 }, hour), { batchKey: 'A' }, hour);
      item.readWell(hour);
      const population = { ofKey: 3, ofPlugin: 100 };
      const sighting = { startedAtMs: hour + 1, nowMs: hour + 1, alone: true, population, intervalMs: 30_000 };
      missing.sighted(item, sighting, configOf());
      return item;
    };
    // It went on under another key, and was the last of its old one.
    turn('moved').batchKey = 'B';
    if (forgets) missing.forgetKey('A');
    for (const id of ['a', 'b']) turn(id);
    assert.deepEqual(told, forgets ? [] : ['A']);
  }
});

test('the wave of a batch key does not wait for tasks that come when all of it have left', async () => {
  const { clock, refresher, gone, track, told } = setUp();
  track(names('other', 40), 'B');
  const [first] = track(names('a', 1), 'A');
  await clock.advance(minute);
  gone.add(first!);
  await clock.advance(40_000);
  refresher.regroup(first!, 'B');
  const next = track(names('b', 2), 'A');
  await clock.advance(2_000);
  for (const id of next) gone.add(id);
  for (const id of next) await refresher.readNow(id, clock.now() + 1_000);
  assert.deepEqual(told, []);
  await refresher.stop();
});
