import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import type { TaskIdentity } from '../../src/model/handle.js';
import { deleteOrder } from '../../src/store/owed-deletes.js';
import { identityOf } from '../support/identity.js';
import { insertTask, liveTask, storeOf, unclearCreate } from './make-store.js';

async function isOver(promise: Promise<void> | undefined): Promise<boolean> {
  let over = promise === undefined;
  void promise?.then(() => {
    over = true;
  });
  await turn();
  return over;
}

function orderOf(id: string, identity: TaskIdentity, { adopted = false, jobOver = false } = {}) {
  const job = { meta: Buffer.from('{}'), outputPrefix: '', connection: undefined, connectionUntilMs: 0 };
  return deleteOrder({ id, identity, adopted, ...job }, 'r', { jobOver })!;
}

test('a key waits for the job of its deleted run until that is cancelled, and no other key and no earlier run does', async () => {
  const { store } = storeOf();
  const { earlier } = store;
  store.orderDelete(liveTask(store, 'a'), 'r', false);
  assert.deepEqual([earlier.gone('a', 1), earlier.gone('b', 2)], [undefined, undefined]);
  const gone = earlier.gone('a', 2);
  assert.equal(earlier.gone('a', 2), gone, 'whoever waits for the same shares one');
  assert.ok(earlier.gone('a', 3) !== undefined, 'a later one waits for it as well');
  store.orderDelete(liveTask(store, 'b'), 'r', false);
  store.deleteDone('b-1');
  assert.equal(await isOver(gone), false, 'the job of another key');
  store.deleteDone('a-1');
  assert.equal(await isOver(gone), true);
  assert.equal(earlier.gone('a', 2), undefined);
});

test('each run of a key waits for all that came before it, and for nothing else', async () => {
  const { store } = storeOf();
  const { earlier } = store;
  for (const incarnation of [1, 2]) {
    const task = insertTask(store, 'a', { identity: identityOf('a', { incarnation }) });
    store.setCreated(task, Buffer.from('{}'));
    store.orderDelete(task, 'r', false);
  }
  const waits = [earlier.gone('a', 2), earlier.gone('a', 3), earlier.gone('a', 4)];
  store.deleteDone('a-1');
  assert.deepEqual(await Promise.all(waits.map(isOver)), [true, false, false]);
  store.deleteDone('a-2');
  assert.deepEqual(await Promise.all(waits.map(isOver)), [true, true, true]);
});

test('a run whose create is still under way is waited for until it has ended, and the job that it made as well', async () => {
  const { store } = storeOf();
  for (const [key, found] of [
    ['a', false],
    ['b', true],
  ] as const) {
    const task = insertTask(store, key);
    store.orderDelete(task, 'r', true);
    const gone = store.earlier.gone(key, 2);
    assert.equal(await isOver(gone), false);
    store.cancelled(task, found ? orderOf(task.id, task.identity) : undefined);
    assert.equal(await isOver(gone), !found);
    store.deleteDone(task.id);
    assert.equal(await isOver(gone), true);
  }
});

test('a deleted run that may have been sent is waited for until its job is found or left to the operator, one that ended is not', async () => {
  const { store } = storeOf();
  store.unclear.add(unclearCreate('ended'));
  for (const key of ['left', 'found']) store.unclear.add(unclearCreate(key, { sentBoundMs: 5 }));
  assert.equal(store.earlier.gone('ended', 2), undefined);
  const [left, found] = [store.earlier.gone('left', 2), store.earlier.gone('found', 2)];
  assert.deepEqual([await isOver(left), await isOver(found)], [false, false]);
  store.leftUnclear('left-1', 'nobody finds it');
  store.cleared('found-1', undefined);
  assert.deepEqual([await isOver(left), await isOver(found)], [true, true]);
  assert.equal(store.earlier.gone('left', 2), undefined, 'though it stays listed');
});

test('an order for a handle alone holds up the later runs of its key until it is done or let go of, and none where its job is over', async () => {
  const { store } = storeOf();
  const second = identityOf('a', { incarnation: 2 });
  store.markDeleted(second, { order: orderOf('from a handle', second, { adopted: true }) });
  const over = identityOf('b');
  store.markDeleted(over, { order: orderOf('over', over, { adopted: true, jobOver: true }) });
  assert.deepEqual([store.earlier.gone('a', 2), store.earlier.gone('b', 2)], [undefined, undefined]);
  const gone = store.earlier.gone('a', 3);
  assert.equal(await isOver(gone), false);
  store.deleteFreed('from a handle');
  assert.equal(await isOver(gone), true);
  assert.equal(store.earlier.gone('a', 3), undefined, 'though it stays owed');
  const third = identityOf('c');
  store.markDeleted(third, { order: orderOf('done', third, { adopted: true }) });
  const done = store.earlier.gone('c', 2);
  assert.equal(await isOver(done), false);
  store.deleteDone('done');
  assert.equal(await isOver(done), true);
});

test('a delete whose job is known to be over holds up nobody', () => {
  const { store } = storeOf();
  const { id, identity } = liveTask(store, 'a');
  store.owed.add(orderOf(id, identity, { jobOver: true }), 1);
  assert.equal(store.earlier.gone('a', 2), undefined);
  store.owed.delete(id);
  store.owed.add(orderOf(id, identity), 1);
  assert.notEqual(store.earlier.gone('a', 2), undefined);
});

test('an order for a handle alone that is done lets go of nobody who waits for another one of the same key', async () => {
  const { store } = storeOf();
  const identity = identityOf('a');
  for (const id of ['one', 'two']) store.markDeleted(identity, { order: orderOf(id, identity, { adopted: true }) });
  const gone = store.earlier.gone('a', 2);
  store.deleteDone('one');
  assert.equal(await isOver(gone), false);
  store.deleteDone('two');
  assert.equal(await isOver(gone), true);
});

test('an order that an earlier run wrote holds up its key where it held its token, or still has to read its job, and no other', () => {
  const { store } = storeOf();
  const { needsCredentials: _, ...base } = store.owed.get(owe(store, 'base')) ?? assert.fail();
  for (const [key, parts] of [
    ['held', { holdsToken: true, readFirst: undefined }],
    ['freed', { holdsToken: false, readFirst: undefined }],
    ['to be read', { holdsToken: false, readFirst: Buffer.from('h') }],
  ] as const) {
    store.owed.restore({ ...base, ...parts, id: `${key}-1`, identity: identityOf(key), needsCredentials: false });
  }
  const waits = ['held', 'freed', 'to be read'].map((key) => store.earlier.gone(key, 2) !== undefined);
  assert.deepEqual(waits, [true, false, true]);
});

function owe(store: ReturnType<typeof storeOf>['store'], key: string): string {
  const task = liveTask(store, key);
  store.orderDelete(task, 'r', false);
  return task.id;
}

test('what is held up again after it was let go of is waited for anew, while others of its key wait as well', async () => {
  const { store } = storeOf();
  const of = (incarnation: number) => identityOf('a', { incarnation });
  store.markDeleted(of(1), { order: orderOf('one', of(1), { adopted: true }) });
  store.markDeleted(of(2), { order: orderOf('two', of(2), { adopted: true }) });
  const [second, third] = [store.earlier.gone('a', 2), store.earlier.gone('a', 3)];
  store.deleteDone('one');
  assert.deepEqual([await isOver(second), await isOver(third)], [true, false]);
  store.markDeleted(of(1), { order: orderOf('again', of(1), { adopted: true }) });
  assert.equal(await isOver(store.earlier.gone('a', 2)), false);
});
