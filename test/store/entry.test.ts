import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../src/lib/clock.js';
import { phaseState } from '../../src/model/phase-state.js';
import { deleteOrder, OwedDeletes } from '../../src/store/owed-deletes.js';
import { ToldEnds } from '../../src/store/told-ends.js';
import { identityOf } from '../support/identity.js';
import { adoptedTask, insertTask, liveTask, storeOf } from './make-store.js';

const connection = { secrets: { key: 'hush' }, configs: {} };

test('what a record has of the rare facts changes none of the others', () => {
  const { store } = storeOf();
  const task = insertTask(store, 'a', { connection, connectionUntilMs: 7 });
  const { payload, requirements, sentBoundMs, consecutiveFailures, lastFailure, undeliveredAtMs } = task;
  assert.deepEqual([task.connection, task.connectionUntilMs, consecutiveFailures], [connection, 7, 0]);
  assert.deepEqual([payload, requirements, sentBoundMs, lastFailure, undeliveredAtMs], Array(5).fill(undefined));
});

test('a meta is the same bytes whether the handle ends with it, holds it elsewhere or not at all', () => {
  for (const [meta, handle] of [
    ['{"job":1}', 'head{"job":1}'],
    ['{"job":1}', '{"job":1}tail'],
    ['{"job":1}', 'other'],
    ['whole', 'whole'],
  ] as const) {
    const { store } = storeOf();
    const task = insertTask(store, 'a', { answeredHandle: Buffer.from(handle) });
    store.setCreated(task, Buffer.from(meta));
    assert.equal(task.meta?.toString(), meta);
    assert.equal(task.answeredHandle?.toString(), handle);
    const known = adoptedTask(store, 'b', { meta: Buffer.from(meta), answeredHandle: Buffer.from(handle) });
    assert.equal(known.meta?.toString(), meta);
  }
});

test('orders for handles alone are counted as they come and go, and one that comes twice renews its secrets', () => {
  const changed: string[] = [];
  const owed = new OwedDeletes((id) => changed.push(id));
  const order = (id: string, adopted: boolean, more: object = {}) =>
    deleteOrder(
      {
        id,
        identity: identityOf(id),
        meta: Buffer.from('{}'),
        outputPrefix: '',
        connection: undefined,
        connectionUntilMs: 0,
        adopted,
        ...more,
      },
      'why',
    )!;
  for (const id of ['a', 'b']) owed.add(order(id, true), 10);
  owed.add(order('c', false), 11);
  assert.deepEqual([owed.size, owed.unheld, owed.get('a')?.attempts, owed.get('a')?.sinceMs], [3, 2, 0, 10]);
  const { adopted: _, ...unsaid } = { ...order('d', false), adopted: undefined };
  assert.equal(deleteOrder(unsaid, 'why')?.fromHandle, false, 'what is not said to be adopted was created here');
  owed.note('a', { needsCredentials: true });
  owed.add(order('a', true, { connection, connectionUntilMs: 99 }), 12);
  const { connection: renewed, connectionUntilMs, needsCredentials, sinceMs } = owed.get('a')!;
  assert.deepEqual([renewed, connectionUntilMs, needsCredentials, sinceMs], [connection, 99, false, 10]);
  assert.equal(owed.delete('a'), true);
  assert.deepEqual([owed.size, owed.unheld], [2, 1]);
  owed.delete('c');
  assert.deepEqual([owed.size, owed.unheld], [1, 1]);
  assert.equal(owed.delete('a'), false);
  assert.deepEqual(changed, ['a', 'b', 'c', 'a', 'a', 'c']);
});

test('the listener of a plugin is told of questions about its live tasks alone, not of each within a second, and leaves without taking a newer one away', async () => {
  const { clock, store } = storeOf();
  const asked: string[] = [];
  const listenerOf = (name: string) => ({
    asked: (id: string) => void asked.push(`${name} ${id}`),
    left() {},
    freed() {},
  });
  const waiting = insertTask(store, 'a');
  const live = liveTask(store, 'b');
  const leave = store.listen('demo', listenerOf('old'));
  await clock.advance(1_000);
  store.asked(waiting);
  assert.deepEqual(asked.splice(0), []);
  store.asked(live);
  store.asked(live);
  assert.deepEqual(asked.splice(0), [`old ${live.id}`]);
  await clock.advance(1_000);
  store.listen('demo', listenerOf('new'));
  leave();
  store.asked(live);
  assert.deepEqual(asked.splice(0), [`new ${live.id}`]);
  for (const matters of [false, true]) {
    live.asksMatter = matters;
    await clock.advance(1_000);
    store.asked(live);
    assert.deepEqual(asked.splice(0), matters ? [`new ${live.id}`] : [], 'nor where its schedule has no use for it');
  }
});

test('an end that was told of a handle is remembered, be it the only one', () => {
  const clock = new ManualClock();
  const ends = new ToldEnds({ clock, ttlMs: 1_000 });
  const [one, two] = [Buffer.from('one'), Buffer.from('two')];
  assert.equal(ends.of(one), undefined);
  ends.add(one, phaseState('ABORTED'));
  const { state, atMs } = ends.of(one)!;
  assert.deepEqual([state.phase, atMs], ['ABORTED', clock.now()]);
  assert.equal(ends.of(two), undefined);
});
