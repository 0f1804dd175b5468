import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fails, pollsOf, running } from './fake-reader.js';

const minute = 60_000;

test('a task of another batch key from now on is read with those of that key, when it was due anyway, and once', async () => {
  const { clock, reader, refresher } = pollsOf({ maxBatch: 10 }, 0);
  for (const [id, batchKey] of [
    ['a', 'one'],
    ['b', 'two'],
  ] as const) {
    refresher.track({ id, createdAtMs: clock.now(), batchKey });
  }
  refresher.regroup('nobody', 'two');
  refresher.regroup('b', 'one');
  refresher.regroup('b', 'one');
  await clock.advance(1_000);
  assert.deepEqual(
    reader.reads.map(({ ids }) => [...ids].sort()),
    [['a', 'b']],
  );
  await clock.advance(10 * minute);
  assert.ok(reader.readsOf('b').length > 5, 'it stays in the schedule');
});

test('what is said of a task that is not found: since when, how many reads, and nothing of one that is', async () => {
  const { clock, reader, refresher } = pollsOf({ maxBatch: 10 }, 0);
  const createdAtMs = clock.now() - 60 * minute;
  for (const id of ['gone', 'there']) refresher.track({ id, createdAtMs, lastReadAtMs: clock.now() });
  reader.respond = (id) => (id === 'gone' ? fails('not_found') : running);
  const sinceMs = clock.now();
  assert.equal(refresher.missing('gone'), undefined);
  await clock.advance(minute);
  const missing = refresher.missing('gone');
  assert.ok(missing !== undefined && missing.reads >= 1 && missing.sinceMs > sinceMs);
  assert.equal(missing.wave, false);
  assert.equal(refresher.missing('there'), undefined);
  assert.equal(refresher.missing('nobody'), undefined);
});

test('tasks that are taken on at once are read when those are that are taken on one after the other, where there is room', async () => {
  const facts = Array.from({ length: 40 }, (_, i) => ({
    id: `t${i}`,
    createdAtMs: ((i * 37) % 40) * minute,
    batchKey: `key ${i % 3}`,
  }));
  const readsOf = async (take: (refresher: ReturnType<typeof pollsOf>['refresher']) => void) => {
    const { clock, reader, refresher } = pollsOf({ maxBatch: 10 }, 0);
    take(refresher);
    await clock.advance(5 * minute);
    refresher.wake();
    await clock.advance(20 * minute);
    return reader.reads.map(({ ids, atMs }) => ({ ids, atMs }));
  };
  /** What was read, and in calls of how many when, whichever batch key went first. */
  const told = (reads: Awaited<ReturnType<typeof readsOf>>) => ({
    ids: reads.flatMap(({ ids }) => ids).sort(),
    calls: reads.map(({ ids, atMs }) => `${atMs} ${ids.length}`).sort(),
  });
  const oneByOne = await readsOf((refresher) => {
    for (const each of facts) refresher.track(each);
  });
  const atOnce = await readsOf((refresher) => refresher.trackAll(facts));
  assert.ok(oneByOne.length > 20);
  assert.deepEqual(told(atOnce), told(oneByOne));
  const twice = await readsOf((refresher) => {
    refresher.trackAll(facts);
    refresher.trackAll(facts.slice(0, 10));
  });
  assert.deepEqual(told(twice), told(oneByOne), 'each once');
});
