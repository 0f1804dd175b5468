import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Item } from '../../src/refresh/item.js';
import { MissingTasks } from '../../src/refresh/missing.js';
import type { RefreshConfig } from '../../src/refresh/types.js';
import { configOf, fails, recordOf } from './fake-reader.js';

/** When every task here came to be; times are told from then on. */
const start = 1_700_000_000_000;
const second = 1_000;
const failure = (fails('not_found') as Extract<ReturnType<typeof fails>, { ok: false }>).failure;

/** Tasks that are found or not, as a test says; `told` has the waves and their ends. */
function shore(parts: Partial<RefreshConfig> = {}) {
  const config = configOf(parts);
  const told: string[] = [];
  const missing = new MissingTasks({
    notFoundWave: ({ batchKey, tasks, of }) => told.push(`wave ${batchKey}: ${tasks} of ${of}`),
    notFoundWaveOver: ({ lastedMs, found, lost }) => told.push(`over after ${lastedMs}: ${found} found, ${lost} lost`),
  });
  const task = (id: string, batchKey = 'A') =>
    new Item(recordOf({ id, createdAtMs: start }, start), { batchKey }, start);
  const found = (item: Item, atMs: number) => {
    missing.found(item, start + atMs);
    item.readWell(start + atMs);
    item.countedUnseen = false;
  };
  /** Read at this time and not found; answers whether it is lost by it. `of`: how many others are read well. */
  const sight = (item: Item, atMs: number, { alone = true, of = 10, all = 1_000 } = {}) => {
    const lost = missing.sighted(
      item,
      {
        startedAtMs: start + atMs,
        nowMs: start + atMs,
        alone,
        population: { ofKey: of, ofPlugin: all },
        intervalMs: 30 * second,
      },
      config,
    );
    item.readBadly(failure, start + atMs);
    item.countedUnseen = true;
    return lost;
  };
  /** Tasks that were seen at the start. */
  const seen = (...ids: string[]) =>
    ids.map((id) => {
      const item = task(id, id.slice(0, 1));
      found(item, 0);
      return item;
    });
  return { missing, told, task, found, sight, seen };
}

test('a job that was never seen may be invisible until the grace is over, to the millisecond, and nothing is noted before', () => {
  const { missing, task, sight } = shore();
  const item = task('a');
  assert.equal(sight(item, 60 * second - 1), false);
  assert.deepEqual([item.missing, missing.size], [undefined, 0]);
  sight(item, 60 * second);
  assert.deepEqual([item.missing, missing.size], [{ sinceMs: start + 60 * second, reads: 1 }, 1]);
});

test('a job that was seen is missed at once, and lost no sooner than one that was not', () => {
  const { missing, found, task, sight } = shore({ notFoundMinMs: 10 * second });
  const item = task('a');
  found(item, second);
  const lost = [2, 12, 22, 59.999].map((atS) => sight(item, atS * second));
  assert.deepEqual([lost, missing.size], [[false, false, false, false], 1]);
  assert.equal(sight(item, 60 * second), true);
});

test('a job is lost by the third read, past the least time, by a read for it alone, and that one is asked for when it may', () => {
  const { task, sight } = shore();
  const item = task('a');
  const atMs = 100 * second;
  assert.deepEqual([sight(item, atMs), item.alone], [false, false]);
  assert.deepEqual([sight(item, atMs + 120 * second - 1), item.alone], [false, false]);
  assert.deepEqual([sight(item, atMs + 120 * second, { alone: false }), item.alone], [false, true]);
  assert.equal(item.missing?.reads, 3);
  assert.equal(sight(item, atMs + 120 * second), true);
  const two = task('b');
  assert.deepEqual([sight(two, atMs), sight(two, atMs + 500 * second), two.alone], [false, false, true]);
});

test('three tasks that turn not found together are a wave where they are a tenth of those that are read, and not below', () => {
  for (const [of, tasks, told] of [
    [28, 3, ['wave A: 3 of 30']],
    [29, 3, []],
    [29, 4, ['wave A: 4 of 32']],
    [5, 2, []],
  ] as const) {
    const { told: seenToTell, sight, seen, missing } = shore();
    for (const item of seen('A1', 'A2', 'A3', 'A4').slice(0, tasks)) sight(item, second, { of });
    assert.deepEqual([seenToTell, missing.frozen], [told, told.length === 0 ? 0 : tasks]);
  }
});

test('tasks of several batch keys make a wave of the plugin by the same tenth of all', () => {
  for (const [all, told] of [
    [28, ['wave C: 3 of 30']],
    [29, []],
  ] as const) {
    const { told: seenToTell, sight, seen } = shore();
    for (const item of seen('A1', 'B1', 'C1')) sight(item, second, { all });
    assert.deepEqual(seenToTell, told);
  }
});

test('a task turns together with others while its turn is no older than its interval', () => {
  for (const [lastMs, wave] of [
    [31 * second, true],
    [31 * second + 1, false],
  ] as const) {
    const { told, sight, seen } = shore();
    const [a, b, c] = seen('A1', 'A2', 'A3');
    for (const item of [a, b]) sight(item as Item, second);
    sight(c as Item, lastMs);
    assert.equal(told.length > 0, wave);
  }
});

test('only who was seen within two intervals belongs to a wave, each by its own where that is longer', () => {
  for (const [dueMs, atMs, wave] of [
    [undefined, 60 * second, true],
    [undefined, 60 * second + 1, false],
    [100 * second, 200 * second, true],
    [100 * second, 200 * second + 1, false],
  ] as const) {
    const { told, sight, seen } = shore();
    const items = seen('A1', 'A2', 'A3');
    for (const item of items) item.dueMs = start + (dueMs ?? 0);
    for (const item of items) sight(item, atMs);
    assert.equal(told.length > 0, wave, `${dueMs} ${atMs}`);
  }
});

test('a wave is open until the last turn is an interval old, and others that turn until then are frozen with it', () => {
  for (const [joinMs, frozen] of [
    [51 * second, 4],
    [51 * second + 1, 3],
  ] as const) {
    const { told, sight, seen, missing } = shore();
    const [a, b, c, late] = seen('A1', 'A2', 'A3', 'A4') as [Item, Item, Item, Item];
    for (const [item, atMs] of [
      [a, second],
      [b, second],
      [c, 21 * second],
    ] as const) {
      sight(item, atMs);
    }
    assert.equal(missing.frozen, 3);
    sight(late, joinMs);
    assert.deepEqual([missing.frozen, told.length], [frozen, 1]);
  }
});

test('a wave is over with its last task, says how it went, and takes nobody in any more', () => {
  const { told, sight, seen, found, missing } = shore();
  const [a, b, c, next] = seen('A1', 'A2', 'A3', 'A4') as [Item, Item, Item, Item];
  for (const item of [a, b, c]) sight(item, second);
  found(a, 5 * second);
  assert.deepEqual([missing.frozen, missing.size, a.wave, told.length], [2, 2, undefined, 1]);
  missing.gone(b, start + 6 * second);
  found(c, 7 * second);
  assert.deepEqual([missing.frozen, missing.size], [0, 0]);
  assert.deepEqual(told.slice(1), ['over after 6000: 2 found, 1 lost']);
  for (const item of [a, c]) missing.gone(item, start + 7 * second);
  sight(next, 8 * second);
  assert.equal(missing.frozen, 0);
});

test('a task of a wave of which a read told nothing leaves the schedule as found, and stays frozen until then', () => {
  const { told, sight, seen, missing } = shore();
  const items = seen('A1', 'A2', 'A3');
  for (const item of items) sight(item, second);
  missing.doubted(items[0] as Item);
  assert.deepEqual([missing.size, missing.frozen], [2, 3]);
  for (const item of items) missing.gone(item, start + 2 * second);
  assert.deepEqual(told.slice(1), ['over after 1000: 1 found, 2 lost']);
});

test('a task that has left makes no wave with those that turn after it, of its key or of the plugin', () => {
  for (const all of [1_000, 5]) {
    const { told, sight, seen, missing } = shore();
    const [a, b, c] = seen('A1', 'A2', 'A3') as [Item, Item, Item];
    for (const item of [a, b]) sight(item, second, { all });
    missing.gone(a, start + 2 * second);
    sight(c, 3 * second, { all });
    assert.deepEqual(told, []);
  }
});

test('who was found and is not found again in an open wave turns anew, and its own grace begins anew', () => {
  const { told, sight, seen, found, missing } = shore({ outageGraceMs: 300 * second });
  const [a, b, c] = seen('A1', 'A2', 'A3') as [Item, Item, Item];
  for (const item of [a, b, c]) sight(item, second);
  found(a, 10 * second);
  sight(a, 20 * second);
  assert.deepEqual([missing.frozen, told.length], [3, 1]);
  for (const atS of [100, 200, 300.999]) assert.equal(sight(b, atS * second), false);
  assert.equal(sight(b, 301 * second), true);
  for (const atS of [100, 200, 319.999]) assert.equal(sight(a, atS * second), false);
  assert.equal(sight(a, 320 * second), true);
});

test('the grace of a wave is no shorter than the least time of a single task, and a doubt in it does not begin the grace anew', () => {
  const short = shore({ outageGraceMs: second });
  const items = short.seen('A1', 'A2', 'A3') as [Item, Item, Item];
  for (const item of items) short.sight(item, second);
  short.sight(items[0], 2 * second);
  assert.equal(short.sight(items[0], 121 * second - 1), false);
  assert.equal(short.sight(items[0], 121 * second), true);

  const { sight, seen, missing } = shore({ outageGraceMs: 300 * second });
  const [a, b, c] = seen('A1', 'A2', 'A3') as [Item, Item, Item];
  for (const item of [a, b, c]) sight(item, second);
  missing.doubted(a);
  const lost = [170, 180, 289.999].map((atS) => sight(a, atS * second));
  assert.deepEqual(lost, [false, false, false]);
  assert.equal(
    sight(a, 301 * second),
    true,
    'three reads over the least time, and the grace since it was missed first',
  );
});

test('an open wave of one batch key goes on taking tasks in when those of other keys turn meanwhile', () => {
  const { sight, seen, missing } = shore();
  const [a, b, c, late, other] = seen('A1', 'A2', 'A3', 'A4', 'B1') as [Item, Item, Item, Item, Item];
  for (const item of [a, b]) sight(item, second);
  sight(c, 21 * second);
  missing.gone(c, start + 22 * second);
  sight(other, 40 * second);
  sight(late, 45 * second);
  assert.equal(missing.frozen, 3);
});
