import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { ManualClock } from '../../src/lib/clock.js';
import { phaseState } from '../../src/model/phase-state.js';
import type { TaskRecord } from '../../src/model/task-record.js';
import { deleteOrder } from '../../src/store/owed-deletes.js';
import type { TaskStore } from '../../src/store/task-store.js';
import { identityOf } from '../support/identity.js';
import { adoptedTask, handleOf, insertTask, liveTask, storeOf, unclearCreate } from './make-store.js';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

const RING = 4;
const payload = { template: Buffer.from('t') } as never;

function over(store: TaskStore, key: string): TaskRecord {
  const task = liveTask(store, key);
  store.observed(task, phaseState('SUCCESS'));
  return task;
}

/** Makes a record and has it leave. The next changes push what is told of it out of the ring. */
type Leaving = (store: TaskStore, clock: ManualClock) => TaskRecord | Promise<TaskRecord>;

const LEAVING: Readonly<Record<string, Leaving>> = {
  'its delete, once it is done': (store) => {
    const task = liveTask(store, 'a');
    store.orderDelete(task, 'r', false);
    store.deleteDone(task.id);
    return task;
  },
  'a delete while its create was under way': (store) => {
    const task = insertTask(store, 'a', { payload, answeredHandle: handleOf('a') });
    store.orderDelete(task, 'r', true);
    store.cancelled(task, undefined);
    return task;
  },
  'others that are over later than it': (store) => {
    const task = over(store, 'a');
    over(store, 'b');
    return task;
  },
  'its age': async (store, clock) => {
    const task = over(store, 'a');
    await clock.advance(60_001);
    assert.equal(store.byId(task.id), undefined);
    return task;
  },
  'the next incarnation of its key': (store) => {
    const task = insertTask(store, 'a', { answeredHandle: handleOf('a') });
    const next = store.nextIncarnation(task);
    store.orderDelete(store.nextIncarnation(next), 'r', false);
    return next;
  },
  'its delete, where it was a later incarnation': (store) => {
    const task = insertTask(store, 'a', { identity: identityOf('a', { incarnation: 2 }) });
    store.orderDelete(task, 'r', false);
    return task;
  },
  'the task that takes its place': (store) => {
    const adopted = adoptedTask(store, 'a', { answeredHandle: handleOf('older') });
    store.observed(adopted, phaseState('RUNNING'));
    store.takeOver(liveTask(store, 'a'), adopted);
    return adopted;
  },
  'newcomers, where only its handle told of it': (store) => {
    const task = adoptedTask(store, 'a');
    store.observed(task, phaseState('RUNNING'));
    store.forget(task);
    return task;
  },
};

for (const [way, leave] of Object.entries(LEAVING)) {
  test(`a record that has left by ${way} is held by nothing in the store`, async () => {
    const { clock, store } = storeOf({ watchRing: RING, finished: { maxCount: 1, maxBytes: 1e6, ttlMs: 60_000 } });
    const record = new WeakRef(await leave(store, clock));
    for (let i = 0; i < RING; i++) liveTask(store, `later ${i}`);
    // What a job dereferenced or made is kept to its end.
    for (let turn = 0; turn < 50 && record.deref() !== undefined; turn++) {
      await new Promise((resolve) => setImmediate(resolve));
      collect();
    }
    assert.equal(record.deref(), undefined);
    assert.equal(store.unfinished >= RING, true, 'which is there itself');
  });
}

test('outputs that are kept lie in memory of their own, and keep no pool or message that they came in', () => {
  const { store } = storeOf();
  const message = Buffer.alloc(100_000, 'x');
  const task = liveTask(store, 'a');
  const literalMap = message.subarray(0, 20);
  store.observed(task, phaseState('SUCCESS', { outputs: { kind: 'inline', literalMap, names: ['o'] } }));
  const { outputs } = task.state;
  assert.ok(outputs.kind === 'inline');
  assert.deepEqual([outputs.literalMap, outputs.literalMap.buffer.byteLength], [literalMap, 20]);
});

test('what is remembered of a finished task that gave way keeps nothing alive of the pool that its bytes came from', async () => {
  const { store } = storeOf({ finished: { maxCount: 1, maxBytes: 1e8, ttlMs: 60_000 } });
  const many = 500;
  const taken = () => {
    collect();
    return process.memoryUsage().arrayBuffers;
  };
  const before = taken();
  const first = over(store, 'first').id;
  for (let i = 0; i < many; i++) {
    over(store, `t${i}`);
    // What others take of the pool meanwhile.
    for (let left = Buffer.poolSize; left > 0; left -= 2_048) Buffer.allocUnsafe(2_048);
  }
  const eachNow = () => (taken() - before) / many;
  let each = eachNow();
  // The collector gives memory back in a thread of its own.
  for (let again = 0; again < 100 && each >= Buffer.poolSize / 8; again++) {
    await sleep(20);
    each = eachNow();
  }
  assert.deepEqual(store.trace(first)?.answeredHandle, handleOf('first'));
  assert.ok(each < Buffer.poolSize / 8, `${each} bytes for each`);
});

test('a delete that failed, and is owed on, keeps its meta and its handle in memory of their own', () => {
  const { store } = storeOf();
  const message = Buffer.alloc(100_000, 'x');
  const [meta, readFirst] = [message.subarray(0, 20), message.subarray(50, 90)];
  const task = adoptedTask(store, 'a');
  const order = deleteOrder({ ...unclearCreate('a'), id: task.id, meta }, 'r', { readFirst });
  store.owed.add(order ?? assert.fail(), 0);
  store.owed.note(task.id, { lastError: { code: 'X', message: 'm' } });
  const owed = store.owed.get(task.id);
  assert.deepEqual([owed?.meta, owed?.readFirst], [meta, readFirst]);
  assert.deepEqual([owed?.meta.buffer.byteLength, owed?.readFirst?.buffer.byteLength], [20, 40]);
});
