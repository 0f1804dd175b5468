import assert from 'node:assert/strict';
import { test } from 'node:test';
import { heldBytes } from '../../src/lib/held-bytes.js';
import { phaseState } from '../../src/model/phase-state.js';
import type { TaskRecord } from '../../src/model/task-record.js';
import { deleteOrder } from '../../src/store/owed-deletes.js';
import { ReplayCache } from '../../src/store/replay-cache.js';
import type { StateFeed } from '../../src/store/state-feed.js';
import { identityOf } from '../support/identity.js';
import { adoptedTask, handleOf, insertTask, liveTask, storeOf } from './make-store.js';

const payload = {
  template: Buffer.from('t'),
  inputs: undefined,
  inputPrefix: '',
  metadata: {} as never,
  maxDatasetSizeBytes: 0,
};

/** A store whose feed and listener are noted; `news` answers what came since the last look. */
function noted(overrides: Parameters<typeof storeOf>[0] = {}) {
  const facts = new Set<string>();
  const heard: string[] = [];
  const feed: StateFeed = {
    durable: true,
    changed: (kind, name) => void facts.add(`${kind}/${name}`),
    safe: () => Promise.resolve(),
  };
  const made = storeOf({ feed, ...overrides });
  made.store.listen('demo', {
    left: (id) => void heard.push(`left ${id}`),
    asked: () => {},
    freed: (id) => void heard.push(`freed ${id}`),
  });
  const news = () => {
    const answer = { facts: [...facts].sort(), heard: [...heard] };
    facts.clear();
    heard.length = 0;
    return answer;
  };
  return { ...made, news };
}

const accepted = (store: ReturnType<typeof storeOf>['store']) => insertTask(store, 'a', { payload });

test('a life from accepted to over tells every fact that it changes, and frees the token once, at its end', () => {
  const { store, news } = noted();
  const task = accepted(store);
  assert.deepEqual(news(), { facts: ['payload/a-1', 'task/a-1'], heard: [] });
  store.answered(task, handleOf('a'));
  assert.deepEqual(news(), { facts: ['task/a-1'], heard: [] });
  store.sending(task, 60_000);
  assert.deepEqual([news().facts, task.sentBoundMs], [['task/a-1'], 60_000]);
  store.setCreated(task, Buffer.from('{}'));
  assert.deepEqual([news().facts, task.sentBoundMs], [['payload/a-1', 'task/a-1'], undefined]);
  store.observed(task, phaseState('RUNNING'));
  assert.deepEqual(news(), { facts: ['task/a-1'], heard: [] });
  store.observed(task, phaseState('RUNNING'));
  assert.deepEqual(news(), { facts: [], heard: [] }, 'what is the same is not written again');
  store.readFailed(task, { code: 'X', message: 'm' }, 1);
  assert.deepEqual(news(), { facts: ['task/a-1'], heard: [] });
  const outputs = { kind: 'inline', literalMap: Buffer.from('x'), names: ['x'] } as const;
  store.observed(task, phaseState('SUCCESS', { outputs }));
  const end = ['mark/a', 'outputs/a-1', 'payload/a-1', 'task/a-1'];
  assert.deepEqual(news(), { facts: end, heard: ['left a-1', 'freed a-1'] });
});

test('the end of a task whose job may run, and the delete that it owes, are one transition; the token waits for the delete', () => {
  const { store, news } = noted();
  const task = liveTask(store, 'a');
  store.enrich(task, 's3://b', { secrets: { key: 'hush' }, configs: {} }, 10);
  news();
  store.end(task, phaseState('RETRYABLE_FAILURE'), { reason: 'lost' });
  assert.deepEqual(news(), { facts: ['mark/a', 'owed/a-1', 'payload/a-1', 'task/a-1'], heard: ['left a-1'] });
  const { meta, outputPrefix, connection, jobOver } = store.owed.get('a-1') ?? assert.fail();
  assert.deepEqual(
    [String(meta), outputPrefix, connection?.secrets, jobOver],
    ['{}', 's3://b', { key: 'hush' }, false],
  );
  store.owed.note('a-1', { attempts: 1 });
  assert.deepEqual(news(), { facts: ['owed/a-1'], heard: [] });
  store.deleteFreed('a-1');
  assert.deepEqual([news().heard, store.owed.has('a-1')], [['freed a-1'], true]);
  store.deleteDone('a-1');
  assert.deepEqual(news(), { facts: ['owed/a-1'], heard: ['freed a-1'] });
  store.deleteDone('a-1');
  assert.deepEqual(news(), { facts: [], heard: [] }, 'and not twice');
});

test('a task that ends before it has a job owes no delete, whatever was asked, and frees its token', () => {
  const { store, news } = noted();
  const task = accepted(store);
  store.end(task, phaseState('RETRYABLE_FAILURE'), { reason: 'r' });
  assert.deepEqual([news().heard, store.owed.size], [['left a-1', 'freed a-1'], 0]);
});

test('a delete of a live task is one transition: the record gone, the mark set, the delete owed', () => {
  const { store, news } = noted();
  const task = liveTask(store, 'a');
  news();
  store.orderDelete(task, 'r', false);
  assert.deepEqual(news(), { facts: ['mark/a', 'owed/a-1', 'payload/a-1', 'task/a-1'], heard: ['left a-1'] });
  assert.deepEqual([store.byId('a-1'), store.owed.get('a-1')?.reason], [undefined, 'r']);
});

test('a delete of a waiting task frees the token at once, of one whose create is under way at its end alone', () => {
  const { store, news } = noted();
  store.orderDelete(accepted(store), 'r', false);
  assert.deepEqual(news().heard, ['left a-1', 'freed a-1']);
  for (const found of [false, true]) {
    const task = insertTask(store, `b${found}`, { payload });
    const { id } = task;
    news();
    store.orderDelete(task, 'r', true);
    assert.deepEqual(news().heard, [`left ${id}`]);
    assert.equal(store.cancelling(id)?.reason, 'r');
    const order = found ? deleteOrder({ ...jobOf(task), meta: Buffer.from('{}') }, 'r') : undefined;
    store.cancelled(task, order);
    const facts = [...(found ? [`owed/${id}`] : []), `payload/${id}`, `task/${id}`];
    assert.deepEqual(news(), { facts, heard: found ? [] : [`freed ${id}`] });
    assert.deepEqual([store.cancelling(id), store.owed.has(id)], [undefined, found]);
  }
});

test('a deleted end stays as it was, and owes nothing', () => {
  const { store, news } = noted();
  const task = liveTask(store, 'a');
  store.observed(task, phaseState('SUCCESS'));
  news();
  store.orderDelete(task, 'r', false);
  assert.deepEqual([news().facts, store.owed.size, task.deleted], [['mark/a', 'task/a-1'], 0, true]);
});

test('the next incarnation frees what the last one held, and tells both', () => {
  const { store, news } = noted();
  const task = accepted(store);
  news();
  store.nextIncarnation(task);
  const facts = ['mark/a', 'payload/a-1', 'payload/a-2', 'task/a-1', 'task/a-2'];
  assert.deepEqual(news(), { facts, heard: ['left a-1', 'freed a-1'] });
});

test('an adopted record that gives way, to its twin or for room, is read no more and frees its token', () => {
  const { store, news } = noted();
  const twin = adoptedTask(store, 'a');
  const task = insertTask(store, 'a', { answeredHandle: handleOf('other') });
  store.setCreated(task, Buffer.from('{}'));
  news();
  store.takeOver(task, twin);
  assert.deepEqual(news().heard, [`left ${twin.id}`, `freed ${twin.id}`]);
  const unread = adoptedTask(store, 'b');
  store.forget(unread);
  assert.deepEqual(news().heard, [`left ${unread.id}`, `freed ${unread.id}`]);
});

test('the mark and the order of what is deleted without being in memory come at once', () => {
  const { store, news } = noted();
  const identity = identityOf('a');
  const order = deleteOrder({ ...jobOf({ id: 'a-1', identity }), meta: Buffer.from('{}'), adopted: true }, 'r');
  store.markDeleted(identity, { order });
  assert.deepEqual(news(), { facts: ['mark/a', 'owed/a-1'], heard: [] });
  assert.deepEqual([store.owed.unheld, store.marks.of('a')?.byIncarnation.get(1)?.deleted], [1, true]);
});

test('a create of unclear outcome is a fact with its payload, from its listing until its job is found', () => {
  const { store, news } = noted();
  const args = { ...payload, outputPrefix: '', idempotencyKey: 'a-1', connection: undefined };
  const lastError = { code: 'X', message: 'm' };
  const of = { ...jobOf({ id: 'a-1', identity: identityOf('a') }), sinceMs: 1, looks: 0, lastError, args };
  store.unclear.add({ ...of, nextLookMs: undefined, leftBecause: undefined });
  assert.deepEqual([news().facts, store.unclear.bytes], [['payload/a-1', 'unclear/a-1'], heldBytes(args)]);
  store.unclear.note('a-1', { looks: 1 });
  assert.deepEqual([news().facts.includes('unclear/a-1'), store.unclear.get('a-1')?.looks], [true, 1]);
  store.unclear.leave('a-1', 'why');
  assert.deepEqual([store.unclear.get('a-1')?.args, store.unclear.bytes], [undefined, 0]);
  const inputs = Buffer.alloc(7);
  const each = heldBytes({ ...args, inputs });
  store.unclear.add({ ...of, id: 'b-1', args: { ...args, inputs }, nextLookMs: undefined, leftBecause: undefined });
  store.unclear.add({ ...of, id: 'c-1', args: { ...args, inputs }, nextLookMs: undefined, leftBecause: undefined });
  assert.equal(store.unclear.bytes, 2 * each);
  for (const [id, left] of [
    ['b-1', each],
    ['b-1', each],
    ['c-1', 0],
  ] as const) {
    store.unclear.delete(id);
    assert.equal(store.unclear.bytes, left);
  }
  news();
  store.cleared('a-1', deleteOrder({ ...of, meta: Buffer.from('{}') }, 'r'));
  assert.deepEqual([news().facts, store.unclear.size], [['owed/a-1', 'payload/a-1', 'unclear/a-1'], 0]);
});

test('an end that gives way in memory, a mark and a result of do that are too old are told as gone', async () => {
  const { store, news, clock } = noted({ finished: { maxCount: 1, maxBytes: 1e6, ttlMs: 60_000 } });
  store.observed(liveTask(store, 'a'), phaseState('SUCCESS'));
  const task = liveTask(store, 'b');
  news();
  store.observed(task, phaseState('SUCCESS'));
  const gone = news().facts.filter((fact) => fact.endsWith('/a-1'));
  assert.deepEqual(gone, ['outputs/a-1', 'task/a-1']);
  const told: string[] = [];
  const feed = { durable: true, changed: (kind: string, name: string) => void told.push(`${kind}/${name}`) };
  const replays = new ReplayCache({
    clock,
    feed: { ...feed, safe: () => Promise.resolve() },
    ttlMs: 10,
    max: 1,
    maxBytes: 1e6,
  });
  await replays.set('x', phaseState('SUCCESS'));
  assert.deepEqual([told, replays.end('x')?.endedAtMs], [['do/x'], clock.now()]);
  await replays.set('y', phaseState('SUCCESS'));
  assert.deepEqual(told, ['do/x', 'do/x', 'do/y']);
  const unsafe = Promise.reject(new Error('disk full'));
  const failing = new ReplayCache({ clock, feed: { ...feed, safe: () => unsafe }, ttlMs: 10, max: 1, maxBytes: 1e6 });
  await assert.rejects(failing.set('x', phaseState('SUCCESS')), /disk full/);
  assert.equal(failing.get('x')?.phase, 'SUCCESS', 'it is kept all the same');
});

function jobOf({ id, identity }: Pick<TaskRecord, 'id' | 'identity'>) {
  return { id, identity, node: undefined, outputPrefix: '', connection: undefined, connectionUntilMs: 0 };
}

test('a stage that moves is told also where the state that callers see stays the same', () => {
  const { store, news } = noted();
  const task = accepted(store);
  const same = phaseState('WAITING_FOR_RESOURCES', { reason: 'its turn' });
  store.setWaiting(task, 'accepted', same);
  news();
  store.setWaiting(task, 'creating', same);
  assert.deepEqual([news().facts, task.stage], [['task/a-1'], 'creating']);
  store.setWaiting(task, 'creating', same);
  assert.deepEqual(news().facts, []);
  store.lapsed(task, same);
  assert.deepEqual([news().facts, task.stage], [['task/a-1'], 'accepted']);
});
