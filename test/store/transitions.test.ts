import assert from 'node:assert/strict';
import { test } from 'node:test';
import { phaseState } from '../../src/model/phase-state.js';
import type { TaskRecord } from '../../src/model/task-record.js';
import { deleteOrder } from '../../src/store/owed-deletes.js';
import type { StateFeed } from '../../src/store/state-feed.js';
import type { TaskStore } from '../../src/store/task-store.js';
import { identityOf } from '../support/identity.js';
import { adoptedTask, handleOf, insertTask, liveTask, storeOf } from './make-store.js';

const payload = { template: Buffer.from('t'), inputs: Buffer.from('i') } as never;
const meta = Buffer.from('{}');
const waiting = (reason: string) => phaseState('WAITING_FOR_RESOURCES', { reason });

/** A store that has one plugin's ear, and all that it tells from now on: facts, the listener, and what callers see rise. */
function toldBy(make: (store: TaskStore) => TaskRecord, act: (store: TaskStore, task: TaskRecord) => unknown): string {
  const told: string[] = [];
  let on = false;
  const tell = (words: string) => void (on && told.push(words));
  const feed: StateFeed = {
    durable: false,
    changed: (kind, name) => tell(`${kind}/${name}`),
    safe: () => Promise.resolve(),
  };
  const { store } = storeOf({ feed });
  store.listen('demo', {
    left: (id, becomes) => tell(`left ${id}${becomes === undefined ? '' : ` for ${becomes}`}`),
    asked: (id) => tell(`asked ${id}`),
    freed: (id) => tell(`freed ${id}`),
  });
  const task = make(store);
  const { phaseVersion, revision } = task;
  on = true;
  act(store, task);
  const seen = [
    ...(task.phaseVersion > phaseVersion ? [`version +${task.phaseVersion - phaseVersion}`] : []),
    ...(task.revision > revision ? ['fresh'] : []),
  ];
  return [...told, ...seen].join(', ').replace(/~[0-9a-f]{16}/g, '~');
}

const accepted = (store: TaskStore) => insertTask(store, 'a', { payload, answeredHandle: handleOf('a') });
const unnamed = (store: TaskStore) => insertTask(store, 'a', { payload });
const live = (store: TaskStore) => liveTask(store, 'a');
const over = (store: TaskStore) => {
  const task = liveTask(store, 'a');
  store.observed(task, phaseState('SUCCESS'));
  return task;
};
const removed = (store: TaskStore) => {
  const task = accepted(store);
  store.remove(task);
  return task;
};
const cancelling = (store: TaskStore) => {
  const task = accepted(store);
  store.orderDelete(task, 'r', true);
  return task;
};
const owed = (store: TaskStore) => {
  const task = live(store);
  store.orderDelete(task, 'r', false);
  return task;
};
const unclear = (store: TaskStore) => {
  const task = accepted(store);
  const { id, identity, node, outputPrefix, connection, connectionUntilMs } = task;
  const of = { id, identity, node, outputPrefix, connection, connectionUntilMs };
  const looking = { sinceMs: 1, looks: 0, nextLookMs: 5, leftBecause: undefined, args: undefined };
  store.unclear.add({ ...of, ...looking, lastError: { code: 'X', message: 'm' } });
  return task;
};
const confirmed = (store: TaskStore) => {
  const task = live(store);
  store.asked(task);
  return task;
};
const failed = { code: 'X', message: 'm' };
const secrets = { secrets: { key: 'hush' }, configs: {} };
const orderOf = (task: TaskRecord) =>
  deleteOrder({ ...task, id: task.id, identity: task.identity, meta } as never, 'r');

type Row = readonly [
  what: string,
  make: (store: TaskStore) => TaskRecord,
  act: (store: TaskStore, task: TaskRecord) => unknown,
  told: string,
];

const ROWS: readonly Row[] = [
  ['requirements', accepted, (s, t) => s.setRequirements(t, { namespace: 'gpu' }, 'gpu'), 'task/a-1'],
  [
    'a wait with a new reason',
    accepted,
    (s, t) => s.setWaiting(t, 'accepted', waiting('x')),
    'task/a-1, version +1, fresh',
  ],
  ['a wait with the same reason', accepted, (s, t) => s.setWaiting(t, 'accepted', t.state), ''],
  ['a wait of what was removed', removed, (s, t) => s.setWaiting(t, 'creating', waiting('x')), ''],
  ['its mark of sending', accepted, (s, t) => s.sending(t, 5), 'task/a-1'],
  [
    'a mark of sending that reaches no farther',
    (s) => {
      const task = accepted(s);
      s.sending(task, 5);
      return task;
    },
    (s, t) => {
      s.sending(t, 5);
      s.sending(t, 4);
      assert.equal(t.sentBoundMs, 5);
    },
    '',
  ],
  [
    'a mark of sending that reaches farther',
    (s) => {
      const task = accepted(s);
      s.sending(task, 5);
      return task;
    },
    (s, t) => {
      s.sending(t, 6);
      assert.equal(t.sentBoundMs, 6);
    },
    'task/a-1',
  ],
  ['the mark of one that was removed', removed, (s, t) => s.sending(t, 5), ''],
  ['the mark of one that is being cancelled', cancelling, (s, t) => s.sending(t, 5), 'task/a-1'],
  ['its creation', accepted, (s, t) => s.setCreated(t, meta), 'task/a-1, payload/a-1'],
  ['the creation of what was removed', removed, (s, t) => s.setCreated(t, meta), ''],
  ['its name', unnamed, (s, t) => s.answered(t, handleOf('a')), 'task/a-1'],
  ['a second name', accepted, (s, t) => s.answered(t, handleOf('b')), ''],
  ['a question', live, (s, t) => s.asked(t), 'task/a-1'],
  ['a second question', confirmed, (s, t) => s.asked(t), ''],
  ['a question that confirms nothing', live, (s, t) => s.asked(t, false), ''],
  ['a question about one that waits', accepted, (s, t) => s.asked(t), 'task/a-1'],
  ['a question about one that is over', over, (s, t) => s.asked(t), 'task/a-1'],
  ['a lost answer', live, (s, t) => s.undelivered(t), 'task/a-1'],
  ['a lost answer to one that is held', confirmed, (s, t) => s.undelivered(t), ''],
  [
    'a lost answer that is given anew',
    (s) => {
      const task = live(s);
      s.undelivered(task);
      return task;
    },
    (s, t) => s.answeredAnew(t),
    'task/a-1',
  ],
  ['an answer that is given anew and was not lost', live, (s, t) => s.answeredAnew(t), ''],
  [
    'a clean stop after it was answered',
    (s) => {
      const task = live(s);
      s.answersArrived(task, 1);
      return task;
    },
    (s) => s.noteDelivered(),
    'task/a-1',
  ],
  ['the first secrets that came', live, (s, t) => s.enrich(t, '', secrets, 9e15), 'task/a-1'],
  [
    'secrets that came again',
    (s) => {
      const task = live(s);
      s.enrich(task, '', secrets, 1);
      return task;
    },
    (s, t) => s.enrich(t, '', secrets, 9e15),
    '',
  ],
  ['a part of its grace', live, (s, t) => s.undeliveredFor(t, 5), 'task/a-1'],
  ['a part of the grace of what was removed', removed, (s, t) => s.undeliveredFor(t, 5), ''],
  ['an answer that arrives', live, (s, t) => s.answersArrived(t, 1), ''],
  ['a read of the same', live, (s, t) => s.observed(t, t.state), 'fresh'],
  ['a read of more', live, (s, t) => s.observed(t, phaseState('RUNNING')), 'task/a-1, version +1, fresh'],
  [
    'a read of its end',
    live,
    (s, t) => s.observed(t, phaseState('SUCCESS')),
    'mark/a, payload/a-1, left a-1, freed a-1, task/a-1, version +1, fresh',
  ],
  [
    'a read of an end that owes a delete',
    live,
    (s, t) => s.observed(t, phaseState('ABORTED'), { reason: 'r' }),
    'mark/a, payload/a-1, left a-1, owed/a-1, task/a-1, version +1, fresh',
  ],
  ['a read of what is over', over, (s, t) => s.observed(t, phaseState('RUNNING')), ''],
  ['a read of what was removed', removed, (s, t) => s.observed(t, phaseState('SUCCESS')), ''],
  ['a failed read', live, (s, t) => s.readFailed(t, failed, 1), 'task/a-1, fresh'],
  [
    'a failed read with a reason',
    live,
    (s, t) => s.readFailed(t, failed, 1, { reason: 'x' }),
    'task/a-1, task/a-1, version +1, fresh',
  ],
  ['a failed read of what is over', over, (s, t) => s.readFailed(t, failed, 1, { reason: 'x' }), ''],
  [
    'the verdict',
    live,
    (s, t) => s.end(t, phaseState('RETRYABLE_FAILURE')),
    'mark/a, payload/a-1, left a-1, freed a-1, task/a-1, version +1, fresh',
  ],
  [
    'the verdict with a delete owed',
    live,
    (s, t) => s.end(t, phaseState('ABORTED'), { reason: 'r' }),
    'mark/a, payload/a-1, left a-1, owed/a-1, task/a-1, version +1, fresh',
  ],
  ['a verdict about what is over', over, (s, t) => s.end(t, phaseState('ABORTED'), { reason: 'r' }), ''],
  [
    'its next incarnation',
    accepted,
    (s, t) => s.nextIncarnation(t),
    'mark/a, task/a-1, payload/a-1, left a-1, freed a-1, task/a-2, task/a-2, payload/a-2',
  ],
  [
    'its delete',
    live,
    (s, t) => s.orderDelete(t, 'r', false),
    'owed/a-1, mark/a, task/a-1, payload/a-1, left a-1, fresh',
  ],
  [
    'its delete before it was sent',
    accepted,
    (s, t) => s.orderDelete(t, 'r', false),
    'mark/a, task/a-1, payload/a-1, left a-1, freed a-1, fresh',
  ],
  [
    'its delete while it is sent',
    accepted,
    (s, t) => s.orderDelete(t, 'r', true),
    'mark/a, task/a-1, payload/a-1, left a-1, fresh',
  ],
  ['its delete when it is over', over, (s, t) => s.orderDelete(t, 'r', false), 'mark/a, task/a-1, freed a-1'],
  [
    'the end of its create, without a job',
    cancelling,
    (s, t) => s.cancelled(t, undefined),
    'task/a-1, payload/a-1, freed a-1',
  ],
  [
    'the end of its create, with a job',
    cancelling,
    (s, t) => s.cancelled(t, orderOf(t)),
    'task/a-1, payload/a-1, owed/a-1',
  ],
  ['its removal', live, (s, t) => s.remove(t), 'mark/a, task/a-1, payload/a-1, left a-1, fresh'],
  ['its removal when it is over', over, (s, t) => s.remove(t), 'mark/a, task/a-1'],
  [
    'a second removal when it is over',
    (s) => {
      const task = over(s);
      s.remove(task);
      return task;
    },
    (s, t) => s.remove(t),
    'mark/a',
  ],
  [
    'its loss from memory',
    (s) => adoptedTask(s, 'a'),
    (s, t) => s.forget(t),
    'task/a-1~, payload/a-1~, left a-1~, freed a-1~',
  ],
  [
    'the record that it takes the place of',
    live,
    (s, t) => s.takeOver(t, adoptedTask(s, 'b')),
    'task/b-1~, task/b-1~, payload/b-1~, task/b-1~, payload/b-1~, left b-1~ for a-1, freed b-1~, task/a-1, version +2147483648, fresh',
  ],
  ['its mark as deleted', over, (s, t) => s.markDeleted(t.identity), 'mark/a'],
  [
    'the mark of what is not held as deleted, with an order',
    removed,
    (s, t) => s.markDeleted(t.identity, { order: orderOf(t) }),
    'mark/a, owed/a-1',
  ],
  ['what an owed delete was answered', owed, (s, t) => s.owed.note(t.id, { attempts: 1 }), 'owed/a-1'],
  ['the loss of the token of an owed delete', owed, (s, t) => s.deleteFreed(t.id), 'owed/a-1, freed a-1'],
  ['the loss of the token of a delete that is not owed', live, (s, t) => s.deleteFreed(t.id), ''],
  ['the end of an owed delete', owed, (s, t) => s.deleteDone(t.id), 'owed/a-1, freed a-1'],
  ['the end of a delete that is not owed', live, (s, t) => s.deleteDone(t.id), ''],
  ['a look at an unclear create', unclear, (s, t) => s.unclear.note(t.id, { looks: 1 }), 'unclear/a-1, payload/a-1'],
  [
    'the job of an unclear create',
    unclear,
    (s, t) => s.cleared(t.id, orderOf(t)),
    'unclear/a-1, payload/a-1, owed/a-1',
  ],
  [
    'the end of the job of an unclear create',
    unclear,
    (s, t) => s.cleared(t.id, undefined),
    'unclear/a-1, payload/a-1, freed a-1',
  ],
  ['the job of a create that is not unclear', live, (s, t) => s.cleared(t.id, undefined), ''],
  [
    'the last look at an unclear create',
    unclear,
    (s, t) => s.leftUnclear(t.id, 'why'),
    'unclear/a-1, payload/a-1, freed a-1',
  ],
  ['the last look at a create that is not unclear', live, (s, t) => s.leftUnclear(t.id, 'why'), ''],
];

for (const [what, make, act, told] of ROWS) {
  test(`facts, listeners and callers are told of a task by ${what}: ${told || 'nothing'}`, () => {
    assert.equal(toldBy(make, act), told);
  });
}

test('what the state says of itself is passed on', async () => {
  const trouble = { code: 'STATE_FULL', message: 'm' } as const;
  const safe = Promise.resolve();
  const refuse = () => {
    throw new Error('full');
  };
  const { store } = storeOf({
    feed: { durable: true, completeSinceMs: 7, trouble, assertRoom: refuse, changed() {}, safe: () => safe },
  });
  assert.deepEqual([store.durable, store.completeSinceMs, store.trouble, store.safe()], [true, 7, trouble, safe]);
  assert.throws(() => store.assertStorable(), /full/);
  const none = storeOf().store;
  assert.deepEqual([none.durable, none.completeSinceMs, none.trouble], [false, undefined, undefined]);
  none.assertStorable();
});

test('the key of an attempt is claimed by its highest incarnation, by none that was deleted and none of a handle alone', () => {
  const { store } = storeOf();
  const later = (incarnation: number, more = {}) =>
    insertTask(store, 'a', { identity: identityOf('a', { incarnation }), ...more });
  const second = later(2);
  const handle = { adopted: true, answeredHandle: handleOf('x') };
  later(4, handle);
  later(5, { stage: 'over', deleted: true, state: phaseState('SUCCESS') });
  assert.equal(store.current('a'), second);
  const third = later(3);
  later(1);
  assert.equal(store.current('a'), third);
  store.orderDelete(third, 'r', false);
  assert.equal(store.current('a')?.identity.incarnation, 1, 'what is left of the key');
  assert.deepEqual([...store.plugins()], ['demo']);
  assert.deepEqual(
    store.unfinishedOf('demo').map(({ identity }) => identity.incarnation),
    [2, 4, 1],
  );
  assert.deepEqual(store.unfinishedOf('other'), []);
});

test('how often answers arrived and how much of its grace is over is counted on the record', () => {
  const { store } = storeOf();
  const task = live(store);
  assert.deepEqual([task.answersArrived, task.undeliveredForMs], [0, 0]);
  store.answersArrived(task, 2);
  store.answersArrived(task, -1);
  store.undeliveredFor(task, 5);
  store.undeliveredFor(task, 6);
  assert.deepEqual([task.answersArrived, task.undeliveredForMs], [1, 11]);
});
