import assert from 'node:assert/strict';
import { test } from 'node:test';
import { JoinedStores } from '../../src/store/joined-stores.js';
import { listPlaces, type StoreListener, type TaskStore } from '../../src/store/task-store.js';
import { insertTask, liveTask, storeOf, unclearCreate } from './make-store.js';

function stores(count: number): [TaskStore, TaskStore, ...TaskStore[]] {
  const places = listPlaces();
  return Array.from({ length: count }, () => storeOf({ places }).store) as [TaskStore, TaskStore];
}

test('tasks, deletes and unclear creates of several stores are listed in the order they came, from any place on', () => {
  const all = stores(3);
  const joined = new JoinedStores(all);
  const keys = Array.from({ length: 30 }, (_, at) => `k${at}`);
  for (const [at, key] of keys.entries()) liveTask(all[(at * 7) % 3] as TaskStore, key);
  const listed = [...joined.listed()];
  assert.deepEqual(
    listed.map(({ identity }) => identity.key),
    keys,
  );
  const after = listed[11]?.listedAt;
  assert.deepEqual(
    [...joined.listed(after)].map(({ identity }) => identity.key),
    keys.slice(12),
  );
  for (const [at, key] of ['u0', 'u1', 'u2', 'u3'].entries()) all[at % 2]?.unclear.add(unclearCreate(key));
  assert.deepEqual(
    [...joined.unclear.listed()].map(({ id }) => id),
    ['u0-1', 'u1-1', 'u2-1', 'u3-1'],
  );
  for (const { id } of listed.slice(0, 4)) {
    const store = all.find((one) => one.byId(id) !== undefined) as TaskStore;
    store.orderDelete(store.byId(id) as never, 'no longer wanted', false);
  }
  assert.deepEqual(
    [...joined.owed.listed()].map(({ id }) => id),
    listed.slice(0, 4).map(({ id }) => id),
  );
  assert.equal(joined.owed.size, 4);
  assert.equal(joined.unclear.size, 4);
});

test('counts are those of all, a task is found in whichever has it, and a listener hears of all until it is taken away', () => {
  const all = stores(2);
  const joined = new JoinedStores(all);
  const heard: string[] = [];
  const listener: StoreListener = { left: (id) => heard.push(id), asked: () => {}, freed: () => {} };
  const deaf = joined.listen('demo', listener);
  const [a, b] = [liveTask(all[0], 'a'), liveTask(all[1], 'b')];
  insertTask(all[1], 'c');
  const { accepted, live } = joined.counts('demo');
  assert.deepEqual([accepted, live, joined.unfinished], [1, 2, 3]);
  assert.deepEqual([joined.byId(a.id), joined.entry(b.id), joined.byId('none-1')], [a, b, undefined]);
  assert.equal(joined.unfinishedOf('demo').length, 3);
  all[0].remove(a);
  all[1].remove(b);
  deaf();
  all[1].remove(joined.byId('c-1') as never);
  assert.deepEqual(heard, [a.id, b.id]);
});

test('a list that is left early leaves those it is made of', () => {
  const all = stores(2);
  for (const [at, key] of ['a', 'b', 'c', 'd'].entries()) liveTask(all[at % 2] as TaskStore, key);
  for (const task of new JoinedStores(all).listed()) {
    assert.equal(task.identity.key, 'a');
    break;
  }
});

test('who listens hears of a store that comes, and of none that went, whose counts stay', () => {
  const [first, second] = stores(2);
  const joined = new JoinedStores([first]);
  const left: string[] = [];
  const listener: StoreListener = { left: (id) => left.push(id), asked: () => {}, freed: () => {} };
  const deaf = joined.listen('demo', listener);
  joined.add(second);
  assert.equal(joined.unfinished, 0);
  const [a, b, late] = [liveTask(first, 'a'), liveTask(second, 'b'), liveTask(second, 'late')];
  assert.equal(joined.unfinished, 3);
  for (const [store, task] of [
    [first, a],
    [second, b],
  ] as const)
    store.remove(task);
  joined.remove(second);
  second.remove(late);
  assert.deepEqual(left, [a.id, b.id]);
  assert.equal(joined.unfinished, 0);
  deaf();
});
