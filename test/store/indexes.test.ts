import assert from 'node:assert/strict';
import { test } from 'node:test';
import { phaseState } from '../../src/model/phase-state.js';
import { identityOf } from '../support/identity.js';
import { adoptedTask, handleOf, insertTask, liveTask, storeOf, unclearCreate } from './make-store.js';

test('adopted tasks are counted with what they hold, from the first to the last of them', () => {
  const { store } = storeOf();
  assert.deepEqual([store.adopted.size, store.adopted.bytes], [0, 0]);
  const small = adoptedTask(store, 'a', { meta: Buffer.alloc(10) });
  const one = store.adopted.bytes;
  const large = adoptedTask(store, 'b', { meta: Buffer.alloc(5_010) });
  assert.deepEqual([store.adopted.size, store.adopted.bytes - 2 * one], [2, 5_000]);
  assert.ok(one > 10 + 2 * handleOf('a').length, 'the record itself counts as well');
  store.forget(large);
  assert.deepEqual([store.adopted.size, store.adopted.bytes], [1, one]);
  store.observed(small, phaseState('SUCCESS'));
  assert.deepEqual([store.adopted.size, store.adopted.bytes], [0, 0]);
  store.forget(small);
  assert.deepEqual([store.adopted.size, store.adopted.bytes], [0, 0], 'one that is over is not counted off again');
});

test('an adopted task counts its handle twice, as bytes and as the name it is found by', () => {
  const { store } = storeOf();
  const bytesOf = (length: number) => {
    const before = store.adopted.bytes;
    adoptedTask(store, `k${length}`, { answeredHandle: Buffer.alloc(length, length) });
    return store.adopted.bytes - before;
  };
  assert.equal(bytesOf(300) - bytesOf(100), 400);
  const before = store.adopted.bytes;
  const { meta: _, ...unknown } = { stage: 'live', adopted: true, meta: undefined } as const;
  insertTask(store, 'no meta', { ...unknown, answeredHandle: Buffer.alloc(50, 1) });
  const without = store.adopted.bytes - before;
  adoptedTask(store, 'empty meta', { meta: Buffer.alloc(0), answeredHandle: Buffer.alloc(50, 2) });
  assert.ok(without > 100, 'the record and its handle');
  assert.equal(store.adopted.bytes - before, 2 * without, 'what is not there takes nothing');
});

test('the adopted task that gives way is the oldest that no read has shown to exist', () => {
  const { store } = storeOf();
  assert.equal(store.adopted.oldestUnread, undefined);
  const [first, second, third] = ['a', 'b', 'c'].map((key) => adoptedTask(store, key));
  assert.equal(store.adopted.oldestUnread, first);
  store.observed(first ?? assert.fail(), phaseState('RUNNING'));
  assert.equal(store.adopted.oldestUnread, second);
  store.readFailed(second ?? assert.fail(), { code: 'X', message: 'm' }, 1);
  assert.equal(store.adopted.oldestUnread, second, 'a read that failed shows nothing');
  store.forget(second ?? assert.fail());
  assert.equal(store.adopted.oldestUnread, third);
});

test('all adopted tasks of one incarnation are found together, and none of another', () => {
  const { store } = storeOf();
  const [one, two] = ['x', 'y'].map((name) => adoptedTask(store, 'a', { answeredHandle: handleOf(name) }));
  adoptedTask(store, 'a', { identity: identityOf('a', { incarnation: 2 }) });
  assert.deepEqual([...store.adopted.of('a', 1)], [one, two]);
  store.forget(one ?? assert.fail());
  assert.deepEqual([...store.adopted.of('a', 1)], [two]);
  store.forget(two ?? assert.fail());
  assert.deepEqual([[...store.adopted.of('a', 1)], [...store.adopted.of('b', 1)]], [[], []]);
  assert.equal(store.adopted.size, 1);
});

test('tasks are counted by plugin and stage at every move', () => {
  const { store } = storeOf();
  const counts = () => Object.values(store.counts('demo'));
  assert.deepEqual(counts(), [0, 0, 0, 0]);
  const task = insertTask(store, 'a');
  assert.deepEqual(counts(), [1, 0, 0, 0]);
  store.setWaiting(task, 'accepted', phaseState('WAITING_FOR_RESOURCES', { reason: 'x' }));
  assert.deepEqual(counts(), [1, 0, 0, 0]);
  store.setWaiting(task, 'creating', phaseState('WAITING_FOR_RESOURCES'));
  assert.deepEqual(counts(), [0, 1, 0, 0]);
  store.setCreated(task, Buffer.from('{}'));
  assert.deepEqual(counts(), [0, 0, 1, 0]);
  liveTask(store, 'b', 'other');
  store.observed(task, phaseState('SUCCESS'));
  assert.deepEqual(counts(), [0, 0, 0, 1]);
  store.remove(liveTask(store, 'c'));
  assert.deepEqual(
    [counts(), Object.values(store.counts('other'))],
    [
      [0, 0, 0, 1],
      [0, 0, 1, 0],
    ],
  );
});

test('a plugin has work left while a task of it is not over, a delete is owed or under way, or a job is looked for', () => {
  const { store } = storeOf();
  const work = () => [...store.workFor()].sort();
  assert.deepEqual(work(), []);
  const first = liveTask(store, 'a', 'ray');
  const second = liveTask(store, 'b', 'ray');
  const waits = insertTask(store, 'c', { identity: identityOf('c', { plugin: 'dask' }) });
  assert.deepEqual(work(), ['dask', 'ray']);
  store.end(waits, phaseState('ABORTED'));
  for (const task of [first, second]) store.orderDelete(task, 'r', false);
  assert.deepEqual(work(), ['ray']);
  store.owed.delete(first.id);
  assert.deepEqual(work(), ['ray']);
  store.owed.delete(second.id);
  assert.deepEqual(work(), []);
  store.unclear.add(unclearCreate('d', { identity: identityOf('d', { plugin: 'emr' }) }));
  assert.deepEqual(work(), ['emr']);
  store.unclear.leave('d-1', 'enough');
  assert.deepEqual(work(), []);
  const creating = insertTask(store, 'e', { identity: identityOf('e', { plugin: 'ray' }) });
  store.orderDelete(creating, 'r', true);
  assert.deepEqual([work(), store.cancelling(creating.id) !== undefined], [['ray'], true]);
});

test('the end of a task that a create made counts off none of those that handles alone tell of, though they name the same attempt', () => {
  const { store } = storeOf();
  adoptedTask(store, 'a');
  const bytes = store.adopted.bytes;
  store.end(insertTask(store, 'a'), phaseState('ABORTED'));
  assert.deepEqual([store.adopted.size, store.adopted.bytes], [1, bytes]);
});
