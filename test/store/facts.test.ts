import assert from 'node:assert/strict';
import { test } from 'node:test';
import { phaseState } from '../../src/model/phase-state.js';
import { factKey } from '../../src/state/index.js';
import { StoreFacts } from '../../src/store/facts.js';
import { ReplayCache } from '../../src/store/replay-cache.js';
import { adoptedTask, insertTask, liveTask, storeOf, unclearCreate } from './make-store.js';

test('whether there is a fact is said as if it had been made, of each kind, of what is gone, and of what is no fact', () => {
  const { clock, store } = storeOf();
  const replays = new ReplayCache({ clock, ttlMs: 60_000, max: 10, maxBytes: 1e6 });
  const buckets = new Map([['demo/read', { level: 1, pausedUntilMs: undefined, failingForMs: undefined }]]);
  const facts = new StoreFacts(store, replays, {
    buckets,
    birth: { id: 'x', completeSinceMs: 0, endsKnownSinceMs: undefined, starts: 1 },
  });
  insertTask(store, 'a');
  const live = liveTask(store, 'b');
  const over = liveTask(store, 'c');
  store.observed(over, phaseState('SUCCESS', { outputs: { kind: 'inline', literalMap: Buffer.from([1]), names: [] } }));
  const madeUp = adoptedTask(store, 'd');
  const read = adoptedTask(store, 'e');
  store.observed(read, phaseState('RUNNING'));
  const owed = liveTask(store, 'f');
  store.orderDelete(owed, 'r', false);
  const keys = [...facts.keys(), factKey('task', 'nobody-1'), factKey('owed', 'nobody-1'), 'made/up', 'task', ''];
  const there = keys.filter((key) => facts.has(key));
  assert.deepEqual(
    there,
    keys.filter((key) => facts.fact(key) !== undefined),
  );
  for (const key of [factKey('task', live.id), factKey('task', read.id), factKey('outputs', over.id), 'birth']) {
    assert.ok(there.includes(key), key);
  }
  for (const key of [factKey('task', madeUp.id), 'routes', 'made/up']) assert.ok(!there.includes(key), key);
});

test('how many facts there are of each kind counts the finished tasks with the others', async () => {
  const { clock, store } = storeOf();
  const replays = new ReplayCache({ clock, ttlMs: 60_000, max: 10, maxBytes: 1e6 });
  await replays.set('do', phaseState('SUCCESS'));
  const facts = new StoreFacts(store, replays, {
    buckets: new Map([['demo/read', { level: 1, pausedUntilMs: undefined, failingForMs: undefined }]]),
  });
  for (const key of ['a', 'b', 'c']) liveTask(store, key);
  store.observed(liveTask(store, 'd'), phaseState('SUCCESS'));
  for (const key of ['e', 'f']) store.orderDelete(liveTask(store, key), 'r', false);
  store.unclear.add(unclearCreate('g'));
  assert.deepEqual(facts.counts(), { task: 4, owed: 2, unclear: 1, mark: 3, do: 1, bucket: 1 });
});
