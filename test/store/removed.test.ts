import assert from 'node:assert/strict';
import { test } from 'node:test';
import { phaseState } from '../../src/model/phase-state.js';
import { insertTask, storeOf } from './make-store.js';

function makeStore() {
  const { clock, store } = storeOf({ maxTasks: 10 });
  const connection = { secrets: { key: 'hush' }, configs: {} };
  const insert = (stage: 'accepted' | 'live') =>
    insertTask(store, 'a', { stage, connection, connectionUntilMs: clock.now() + 1_000 });
  return { clock, store, insert };
}

const NONE = { accepted: 0, creating: 0, live: 0, over: 0 };

test('what is told late about a removed task changes no count, holds no record, and no watcher hears of it', async () => {
  const { store, insert } = makeStore();
  const task = insert('accepted');
  store.answered(task, Buffer.from('handle'));
  store.setCreated(task, Buffer.from('{}'));
  store.remove(task);
  const reader = store.watch({ plugins: [], handles: [], resumeToken: '', includeCurrent: false });
  assert.equal(store.observed(task, phaseState('SUCCESS')), false);
  store.readFailed(task, { code: 'X', message: 'x' }, 1);
  store.setWaiting(task, 'creating', phaseState('WAITING_FOR_RESOURCES', { reason: 'late' }));
  store.end(task, phaseState('PERMANENT_FAILURE'));
  assert.deepEqual({ ...store.counts('demo') }, NONE);
  assert.equal(store.finished, 0);
  assert.equal(store.byId(task.id), undefined);
  assert.equal(store.byHandle(Buffer.from('handle')), undefined);
  store.drainWatchers();
  assert.equal((await reader.next())?.kind, 'bookmark');
});

test('a task that was removed before it was answered is not found by its handle for ever', () => {
  const { store, insert } = makeStore();
  const task = insert('accepted');
  store.remove(task);
  store.answered(task, Buffer.from('handle'));
  assert.deepEqual(task.answeredHandle, Buffer.from('handle'));
  assert.equal(store.byHandle(Buffer.from('handle')), undefined);
});

test('secrets that came with a call leave memory when their time is over, though the task goes on', async () => {
  const { clock, store, insert } = makeStore();
  const task = insert('live');
  store.observed(task, phaseState('RUNNING'));
  assert.notEqual(task.connection, undefined);
  await clock.advance(1_000);
  store.readFailed(task, { code: 'X', message: 'x' }, 1);
  assert.equal(task.connection, undefined);
});

test('a task that changed before its handle was answered is shown to watchers once it has that name', async () => {
  const { store, insert } = makeStore();
  const reader = store.watch({ plugins: [], handles: [], resumeToken: '', includeCurrent: false });
  const task = insert('live');
  store.observed(task, phaseState('RUNNING'));
  store.answered(task, Buffer.from('handle'));
  const event = await reader.next();
  assert.equal(event?.kind === 'change' && event.change.task, task);
});

test('a task that was deleted after its end goes on answering it by its handle, its key is free, and Watch is told once', async () => {
  const { store, insert } = makeStore();
  const task = insert('live');
  store.answered(task, Buffer.from('handle'));
  const outputs = { kind: 'inline', literalMap: Buffer.alloc(10), names: ['o'] } as const;
  store.observed(task, phaseState('SUCCESS', { outputs }));
  const reader = store.watch({ plugins: [], handles: [], resumeToken: '', includeCurrent: false });
  store.remove(task);
  store.remove(task);
  assert.deepEqual([store.byHandle(Buffer.from('handle')), store.current('a')], [task, undefined]);
  assert.deepEqual([task.state.outputs, task.deleted], [outputs, true]);
  const event = await reader.next();
  assert.ok(event?.kind === 'change' && event.change.deleted);
  store.drainWatchers();
  assert.equal((await reader.next())?.kind, 'bookmark');
});

test('a task that was deleted before its end is held no more, and an answer about it that is kept somewhere is out of date', () => {
  const { store, insert } = makeStore();
  const task = insert('live');
  store.answered(task, Buffer.from('handle'));
  const { revision } = task;
  store.remove(task);
  assert.deepEqual([store.byHandle(Buffer.from('handle')), task.deleted], [undefined, false]);
  assert.ok(task.revision > revision);
});

test('secrets of a removed task, which its create may still need, take no room from those that come after it', () => {
  const { clock, store } = storeOf();
  const large = { secrets: { key: 'x'.repeat(200 * 1024 * 1024) }, configs: {} };
  const insert = (key: string) =>
    insertTask(store, key, { connection: large, connectionUntilMs: clock.now() + 60_000 });
  const removed = insert('a');
  store.remove(removed);
  const next = insert('b');
  assert.deepEqual([removed.connection !== undefined, next.connection !== undefined], [true, true]);
});
