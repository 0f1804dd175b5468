import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createDeferred } from '../../src/lib/deferred.js';
import { phaseState } from '../../src/model/phase-state.js';
import type { TaskRecord } from '../../src/model/task-record.js';
import { Orphans } from '../../src/tasks/accept/orphans.js';
import type { TasksDeps } from '../../src/tasks/deps.js';
import { insertTask, storeOf } from '../store/make-store.js';
import { identityOf } from '../support/identity.js';

const GRACE_MS = 80_000;

/** Candidates over a real store; `expired` are the ids of those whose grace is over, with the time that it took. */
function orphansOf(readNow?: (task: string) => void) {
  const { clock, store } = storeOf();
  const faults: unknown[] = [];
  const reads: unknown[] = [];
  const startMs = clock.now();
  const orphans = new Orphans({
    clock,
    store,
    options: { orphanGraceMs: GRACE_MS },
    events: { fault: (where: string, error: unknown) => faults.push([where, String(error)]) },
    runtimes: {
      get: () => ({
        refresher: {
          readNow: async (id: string, deadlineMs: number) => {
            reads.push([id, deadlineMs - clock.now()]);
            readNow?.(id);
          },
        },
      }),
    },
  } as unknown as TasksDeps);
  const expired: [id: string, afterMs: number][] = [];
  orphans.onExpired = (task) => expired.push([task.id, clock.now() - startMs]);
  const live = (key: string, attempt?: number) => {
    const node = attempt === undefined ? {} : { node: { nodeKey: 'n', attempt } };
    const task = insertTask(store, key, { identity: identityOf(key), ...node });
    store.setCreated(task, Buffer.from('{}'));
    return task;
  };
  const lost = (task: TaskRecord, answers = 1) => {
    for (let i = 0; i < answers; i++) orphans.answered(task);
    for (let i = 0; i < answers; i++) orphans.lost(task);
    return task;
  };
  return { clock, store, orphans, expired, reads, faults, live, lost };
}

test('a task is a candidate once the last of its answers that may have arrived is lost, and counts as one', async () => {
  const { clock, orphans, expired, reads, faults, live } = orphansOf();
  const task = live('a');
  for (let i = 0; i < 2; i++) orphans.answered(task);
  orphans.lost(task);
  assert.deepEqual([orphans.size, clock.pending], [0, 0]);
  orphans.lost(task);
  orphans.lost(task);
  assert.deepEqual([orphans.size, clock.pending], [1, 1]);
  await clock.advance(GRACE_MS - 1);
  assert.deepEqual([expired, reads], [[], []]);
  await clock.advance(1);
  assert.deepEqual(
    [expired, reads, orphans.size, clock.pending, faults],
    [[['a-1', GRACE_MS]], [['a-1', 30_000]], 0, 0, []],
  );
});

test('what waits is not read before it expires; what was confirmed, ended or left meanwhile does not expire', async () => {
  const { clock, store, orphans, expired, reads, live, lost } = orphansOf();
  lost(insertTask(store, 'waits'));
  const [confirmed, ended, removed] = ['confirmed', 'ended', 'removed'].map((key) => lost(live(key)));
  await clock.advance(GRACE_MS - 1);
  store.asked(confirmed!);
  store.end(ended!, phaseState('ABORTED'));
  store.remove(removed!);
  await clock.advance(GRACE_MS);
  assert.deepEqual([expired, reads, orphans.size], [[['waits-1', GRACE_MS]], [], 0]);
});

test('what a last read shows to be over does not expire', async () => {
  const ended: TaskRecord[] = [];
  const { clock, store, expired, live, lost } = orphansOf(() => store.end(ended[0]!, phaseState('SUCCESS')));
  ended.push(lost(live('a')));
  await clock.advance(GRACE_MS);
  assert.deepEqual(expired, []);
});

test('a last read that fails in the daemon is a fault, and the task stays a candidate for its next attempt', async () => {
  const { clock, orphans, expired, faults, live, lost } = orphansOf(() => {
    throw new Error('no');
  });
  lost(live('a', 0));
  await clock.advance(GRACE_MS);
  assert.deepEqual([expired, faults, orphans.size], [[], [['orphans', 'Error: no']], 1]);
});

test('neither one that is confirmed nor one that is over becomes a candidate', () => {
  const { store, orphans, live, lost } = orphansOf();
  const confirmed = live('a');
  store.asked(confirmed);
  const over = live('b');
  store.end(over, phaseState('ABORTED'));
  for (const task of [confirmed, over]) lost(task);
  assert.equal(orphans.size, 0);
});

test('of an earlier run the rest of the grace runs on; who may have been answered waits for a later attempt alone', async () => {
  const { clock, store, orphans, expired, live } = orphansOf();
  const known = live('known', 0);
  store.undelivered(known);
  store.undeliveredFor(known, 50_000);
  const late = live('late');
  store.undelivered(late);
  store.undeliveredFor(late, GRACE_MS + 5);
  const unsure = live('unsure', 1);
  const nodeless = live('nodeless');
  const confirmed = live('confirmed', 2);
  store.asked(confirmed);
  for (const task of [known, late, unsure, unsure, nodeless, confirmed]) orphans.restored(task);
  assert.equal(orphans.size, 3);
  await clock.advance(29_999);
  assert.deepEqual(expired, [['late-1', 0]]);
  await clock.advance(1);
  assert.deepEqual(expired.slice(1), [['known-1', 30_000]]);
  await clock.advance(10 * GRACE_MS);
  assert.deepEqual([expired.length, orphans.size], [2, 1]);
  // Where its answer is lost after all its grace begins.
  orphans.answered(unsure);
  orphans.lost(unsure);
  assert.equal(clock.pending, 1);
  await clock.advance(GRACE_MS);
  assert.equal(expired.at(-1)?.[0], 'unsure-1');
});

test('how much of the grace is over is kept in eight parts', async () => {
  const { clock, live, lost } = orphansOf();
  const task = lost(live('a'));
  for (let part = 1; part <= 7; part++) {
    await clock.advance(GRACE_MS / 8 - 1);
    assert.equal(task.undeliveredForMs, ((part - 1) * GRACE_MS) / 8);
    await clock.advance(1);
    assert.equal(task.undeliveredForMs, (part * GRACE_MS) / 8);
  }
});

test('a later attempt of a node removes the lost ones before it, waits for them, and touches no other', async () => {
  const { store, orphans, live, lost } = orphansOf();
  const [first, second, same, later] = [0, 1, 2, 3].map((attempt) => lost(live(`a${attempt}`, attempt)));
  const arrived = live('arrived', 0);
  orphans.restored(arrived);
  orphans.answered(arrived);
  const other = insertTask(store, 'other', { node: { nodeKey: 'm', attempt: 0 } });
  lost(other);
  const next = live('next', 2);
  const removed: string[] = [];
  const gone = [createDeferred<void>(), createDeferred<void>()];
  orphans.supersede(next, (task) => gone[removed.push(task.id) - 1]!.promise);
  assert.deepEqual(removed, [first!.id, second!.id]);
  // The one that was answered meanwhile is none any more, and is waited for by nobody.
  assert.equal(orphans.size, 3);
  const waits = orphans.predecessorsGone(next);
  assert.equal(orphans.predecessorsGone(next), undefined, 'they are waited for once');
  let over = false;
  void waits?.then(() => {
    over = true;
  });
  gone[0]!.resolve();
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(over, false);
  gone[1]!.reject(new Error('no'));
  await waits;
  const nodeless = live('nodeless');
  orphans.supersede(nodeless, () => assert.fail('it has no node'));
  assert.equal(orphans.predecessorsGone(nodeless), undefined);
  const earliest = live('earliest', 0);
  orphans.supersede(earliest, () => assert.fail('nothing is before it'));
  assert.equal(orphans.predecessorsGone(earliest), undefined, 'who waits for nobody does not wait');
  orphans.supersede(live('last', 9), (task) => Promise.resolve(void removed.push(task.id)));
  assert.deepEqual(removed.slice(2), [same!.id, later!.id]);
});

test('what another replica passed on is deleted by a later attempt, and by no grace, unless another answer arrived or a call confirms it', async () => {
  const { clock, store, orphans, expired, live } = orphansOf();
  const relayed = live('relayed', 0);
  orphans.answered(relayed, true);
  const confirmed = live('confirmed', 0);
  orphans.answered(confirmed, true);
  store.asked(confirmed);
  const both = live('both', 0);
  orphans.answered(both, true);
  orphans.answered(both);
  // The answers of before were lost, and this one may be as well.
  const anew = live('anew', 0);
  orphans.answered(anew);
  orphans.lost(anew);
  orphans.answered(anew, true);
  const broken = live('broken', 0);
  orphans.answered(broken, true);
  orphans.lost(broken, true);
  assert.deepEqual([anew.undeliveredAtMs, clock.pending], [undefined, 1]);
  await clock.advance(GRACE_MS);
  assert.deepEqual(
    expired.map(([id]) => id),
    [broken.id],
  );
  const removed: string[] = [];
  orphans.supersede(live('next', 1), (task) => Promise.resolve(void removed.push(task.id)));
  assert.deepEqual(removed.sort(), [anew.id, relayed.id]);
});

test('answers that were passed on and confirmed, or whose tasks are over or gone, do not pile up', () => {
  const { store, orphans, live, lost } = orphansOf();
  const kept = [live('kept', 0), lost(live('lost', 0))];
  orphans.answered(kept[0]!, true);
  for (let i = 0; i < 300; i++) {
    const task = live(`a${i}`, i);
    orphans.answered(task, true);
    if (i % 3 === 0) store.asked(task);
    else if (i % 3 === 1) store.end(task, phaseState('SUCCESS'));
    else store.forget(task);
  }
  assert.ok(orphans.size <= 6, `${orphans.size} candidates`);
  const removed: string[] = [];
  orphans.supersede(live('next', 1_000), (task) => Promise.resolve(void removed.push(task.id)));
  assert.deepEqual(removed.sort(), kept.map(({ id }) => id).sort());
});

test('a candidate whose delivery is unknown is one under the record that it goes on as', () => {
  const { store, orphans } = orphansOf();
  const node = { node: { nodeKey: 'n', attempt: 0 } };
  const task = insertTask(store, 'a', { answeredHandle: Buffer.from('h'), ...node });
  orphans.restored(task);
  const next = store.nextIncarnation(task);
  orphans.moved(task, next);
  const removed: string[] = [];
  const later = insertTask(store, 'b', { node: { nodeKey: 'n', attempt: 1 } });
  orphans.supersede(later, (orphan) => Promise.resolve(void removed.push(orphan.id)));
  assert.deepEqual(removed, [next.id]);
});

test('a candidate that goes on as another record is one under that, with the answers that were given', async () => {
  const { clock, store, orphans, expired } = orphansOf();
  const task = insertTask(store, 'a', { answeredHandle: Buffer.from('h') });
  orphans.answered(task);
  const next = store.nextIncarnation(task);
  orphans.moved(task, next);
  assert.equal(next.answersArrived, 1);
  const third = store.nextIncarnation(next);
  orphans.moved(next, third);
  assert.equal(orphans.size, 0);
  orphans.lost(task);
  assert.deepEqual([orphans.size, third.answersArrived], [1, -1 + 1]);
  const fourth = store.nextIncarnation(third);
  orphans.moved(third, fourth);
  assert.equal(orphans.size, 1);
  await clock.advance(GRACE_MS);
  assert.deepEqual(
    expired.map(([id]) => id),
    [fourth.id],
  );
});

test('a stop ends every wait, and nothing becomes a candidate after it', () => {
  const { clock, orphans, live, lost } = orphansOf();
  for (const key of ['a', 'b']) lost(live(key, 0));
  orphans.restored(live('c', 1));
  assert.equal(orphans.size, 3);
  orphans.stop();
  assert.deepEqual([orphans.size, clock.pending], [0, 0]);
  lost(live('d'));
  assert.deepEqual([orphans.size, clock.pending], [0, 0]);
  orphans.supersede(live('e', 5), () => assert.fail('nothing is a candidate'));
});

test('one that is answered anew is none until that answer is lost as well', () => {
  const { clock, orphans, live, lost } = orphansOf();
  const task = lost(live('a', 0));
  assert.equal(orphans.size, 1);
  orphans.answered(task);
  assert.deepEqual([orphans.size, clock.pending, task.undeliveredAtMs], [0, 0, undefined]);
  orphans.lost(task);
  assert.equal(orphans.size, 1);
});

test('who waits for the jobs of several waits for all of them that are before it, also those that another one had deleted', async () => {
  const { orphans, live, lost } = orphansOf();
  const task = live('a', 3);
  const gone = [createDeferred<void>(), createDeferred<void>()];
  lost(live('first', 0));
  const between = lost(live('between', 1));
  orphans.supersede(between, () => gone[0]!.promise);
  orphans.leaves({ nodeKey: 'n', attempt: 2 }, gone[1]!.promise);
  orphans.leaves({ nodeKey: 'n', attempt: 3 }, new Promise(() => undefined));
  orphans.leaves({ nodeKey: 'other', attempt: 0 }, new Promise(() => undefined));
  orphans.supersede(task, () => Promise.resolve());
  let over = false;
  void orphans.predecessorsGone(task)?.then(() => {
    over = true;
  });
  gone[0]!.resolve();
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(over, false);
  gone[1]!.resolve();
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(over, true);
});

test('a candidate that a stop lets go of while it is read for the last time does not expire', async () => {
  const stops: (() => void)[] = [];
  const { clock, orphans, expired, live, lost } = orphansOf(() => stops[0]?.());
  stops.push(() => orphans.stop());
  lost(live('a'));
  await clock.advance(GRACE_MS);
  assert.deepEqual([expired, orphans.size], [[], 0]);
});
