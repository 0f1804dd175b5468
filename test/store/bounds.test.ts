import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../src/lib/clock.js';
import { type PhaseState, phaseState } from '../../src/model/phase-state.js';
import type { TaskRecord } from '../../src/model/task-record.js';
import { ReplayCache } from '../../src/store/replay-cache.js';
import { stateBytes } from '../../src/store/state-bytes.js';
import { identityOf } from '../support/identity.js';
import { adoptedTask, handleOf, insertTask, liveTask, storeOf } from './make-store.js';

function inline(bytes: number) {
  return { kind: 'inline', literalMap: Buffer.alloc(bytes), names: ['o'] } as const;
}

test('results of do are kept for their time, and the oldest give way to a bound by number and one by bytes', async () => {
  const clock = new ManualClock();
  const result = phaseState('SUCCESS', { outputs: inline(1_000) });
  const few = new ReplayCache({ clock, ttlMs: 1_000, max: 2, maxBytes: 1e6 });
  for (const key of ['a', 'b', 'c']) await few.set(key, result);
  assert.deepEqual([few.get('a'), few.get('b'), few.get('c')], [undefined, result, result]);
  await clock.advance(1_000);
  assert.deepEqual(few.get('c'), result);
  await clock.advance(1);
  assert.equal(few.get('c'), undefined);
  const small = new ReplayCache({ clock, ttlMs: 1_000, max: 100, maxBytes: 2 * stateBytes(result) });
  for (const key of ['a', 'b', 'c']) await small.set(key, result);
  assert.deepEqual([small.get('a'), small.get('b'), small.get('c')], [undefined, result, result]);
});

test('what a state holds counts with all its parts: outputs by the byte, texts by two bytes a character', () => {
  const empty = stateBytes(phaseState('SUCCESS'));
  const more = (parts: Partial<PhaseState>) => stateBytes(phaseState('SUCCESS', parts)) - empty;
  assert.ok(empty >= 1, 'the state itself');
  assert.equal(more({ outputs: inline(100) }), 100);
  assert.equal(more({ outputs: { kind: 'prefix' } }), 0);
  assert.equal(more({ reason: 'x'.repeat(100) }), 200);
  assert.equal(more({ error: { code: 'X', kind: 'USER', message: 'x'.repeat(100) } }), 200);
  assert.equal(more({ customInfo: { a: 1 } }), 2 * '{"a":1}'.length);
  assert.equal(more({ logs: [{ uri: 'u' }] }), 2 * '[{"uri":"u"}]'.length);
  const external = [{ externalId: 'e' }] as unknown as PhaseState['externalResources'];
  assert.equal(more({ externalResources: external }), 2 * '[{"externalId":"e"}]'.length);
});

test('finished tasks take no more bytes than they may, outputs and meta counted', () => {
  const { store } = storeOf({ finished: { maxCount: 1_000, maxBytes: 100_000, ttlMs: 60_000 } });
  for (let i = 0; i < 30; i++)
    store.observed(liveTask(store, `t${i}`), phaseState('SUCCESS', { outputs: inline(8_000) }));
  assert.equal(store.finished, 10);
  for (let i = 0; i < 30; i++) {
    const task = adoptedTask(store, `m${i}`, { meta: Buffer.alloc(8_000) });
    store.observed(task, phaseState('SUCCESS'));
  }
  assert.equal(store.finished, 10);
});

test('traces of finished tasks that gave way take a quarter of what the tasks may', () => {
  const { store } = storeOf({ finished: { maxCount: 1, maxBytes: 400_000, ttlMs: 60_000 } });
  const tasks = Array.from({ length: 60 }, (_, i) => {
    const task = adoptedTask(store, `t${i}`, { meta: Buffer.alloc(9_000) });
    store.observed(task, phaseState('SUCCESS'));
    return task;
  });
  assert.equal(tasks.filter(({ id }) => store.trace(id) !== undefined).length, 9);
  const large = storeOf({ finished: { maxCount: 1, maxBytes: 400_000, ttlMs: 60_000 } }).store;
  const named = Array.from({ length: 60 }, (_, i) => {
    const task = adoptedTask(large, `t${i}`, { answeredHandle: Buffer.alloc(9_000, i) });
    large.observed(task, phaseState('SUCCESS', { reason: '' }));
    return task;
  });
  assert.equal(named.filter(({ id }) => large.trace(id) !== undefined).length, 9, 'handles count as well');
});

test('a trace takes its meta, its handle and what its end says; what just fits is kept', () => {
  const [meta, answeredHandle] = [Buffer.alloc(100), Buffer.alloc(200, 1)];
  const ends = [
    [phaseState('SUCCESS', { outputs: inline(10) }), 512 + 100 + 200],
    [phaseState('SUCCESS'), 512 + 100 + 200 + stateBytes(phaseState('SUCCESS'))],
  ] as const;
  for (const [end, bytes] of ends) {
    for (const [short, kept] of [
      [0, true],
      [4, false],
    ] as const) {
      const { store } = storeOf({ finished: { maxCount: 1, maxBytes: 4 * bytes - short, ttlMs: 60_000 } });
      const task = adoptedTask(store, 'a', { meta, answeredHandle });
      store.observed(task, end);
      store.observed(liveTask(store, 'b'), phaseState('SUCCESS'));
      assert.equal(store.trace(task.id) !== undefined, kept);
    }
  }
});

test('a task that ended before it had a job leaves a trace like any other, one without a handle leaves none', () => {
  const { store } = storeOf({ finished: { maxCount: 1, maxBytes: 1e6, ttlMs: 60_000 } });
  const named = insertTask(store, 'a', { answeredHandle: handleOf('a') });
  const nameless = insertTask(store, 'b');
  const last = insertTask(store, 'c');
  for (const task of [named, nameless, last]) store.end(task, phaseState('PERMANENT_FAILURE', { reason: 'why' }));
  const trace = store.trace(named.id);
  assert.deepEqual([trace?.meta, trace?.state?.reason, trace?.deleted], [undefined, 'why', false]);
  assert.equal(store.trace(nameless.id), undefined);
  assert.deepEqual(
    ['a', 'b', 'c'].map((key) => store.freeIncarnation(key)),
    [2, 1, 2],
    'what nobody has a handle of leaves its key free',
  );
  assert.equal(store.evictions, 2);
});

test('a deleted task that memory holds no more is remembered as deleted, by its mark and its trace', () => {
  const { store } = storeOf({ finished: { maxCount: 1, maxBytes: 1e6, ttlMs: 60_000 } });
  const [{ id }] = ['a', 'b'].map((key) => liveTask(store, key)) as [TaskRecord, TaskRecord];
  for (const task of [...store.unfinishedTasks()]) store.observed(task, phaseState('SUCCESS'));
  store.markDeleted(identityOf('a'));
  store.markDeleted(identityOf('never seen'));
  assert.deepEqual(
    [store.trace(id)?.deleted, store.marks.get('a', 1)],
    [true, { deleted: true, ended: true, failure: undefined, next: undefined }],
  );
});

test('a task that is held leaves no trace beside itself', () => {
  const { store } = storeOf({ finished: { maxCount: 1, maxBytes: 1e6, ttlMs: 60_000 } });
  const first = liveTask(store, 'a');
  store.observed(first, phaseState('SUCCESS'));
  store.observed(liveTask(store, 'b'), phaseState('SUCCESS'));
  assert.notEqual(store.trace(first.id), undefined);
  store.observed(liveTask(store, 'a'), phaseState('SUCCESS'));
  assert.equal(store.trace(first.id), undefined);
});
