import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createDeferred, type Deferred } from '../../src/lib/deferred.js';
import { phaseState } from '../../src/model/phase-state.js';
import type { StateFeed } from '../../src/store/state-feed.js';
import { MAX_UNSAFE_VERSIONS } from '../../src/store/task-store.js';
import { handleOf, insertTask, liveTask, storeOf } from './make-store.js';

/** A store whose commits are ended by hand; `waits` are those who wait for one. */
function written() {
  let waits: Deferred<void>[] = [];
  const changed: string[] = [];
  const feed: StateFeed = {
    durable: true,
    changed: (kind, name) => void changed.push(`${kind}/${name}`),
    safe() {
      const wait = createDeferred<void>();
      waits.push(wait);
      return wait.promise;
    },
  };
  const commit = async () => {
    const ended = waits;
    waits = [];
    for (const wait of ended) wait.resolve();
    for (let i = 0; i < 10; i++) await Promise.resolve();
    return ended.length;
  };
  return { ...storeOf({ feed }), commit, changed };
}

test('a rise of the phase is told once it is safe, what changes within a phase at once, after each rise anew', async () => {
  const { store, commit } = written();
  const task = liveTask(store, 'a');
  await commit();
  for (const phase of ['INITIALIZING', 'RUNNING'] as const) {
    const { phase: before } = task.state;
    store.observed(task, phaseState(phase));
    assert.equal(task.state.phase, before, 'not safe yet');
    assert.equal(await commit(), 1);
    assert.equal(task.state.phase, phase);
    store.observed(task, phaseState(phase, { reason: 'goes on' }));
    assert.equal(task.state.reason, 'goes on');
    assert.equal(await commit(), 0, 'nobody waits for what does not rise');
  }
});

test('what comes while a rise is written is told with it or after it, and a further rise is written first', async () => {
  const { store, commit } = written();
  const task = liveTask(store, 'a');
  await commit();
  store.observed(task, phaseState('INITIALIZING'));
  store.observed(task, phaseState('RUNNING'));
  await commit();
  assert.equal(task.state.phase, 'INITIALIZING');
  await commit();
  assert.equal(task.state.phase, 'RUNNING');
});

test('no more versions are told ahead of what is safe than a start leaps over', async () => {
  const { store, commit } = written();
  const task = liveTask(store, 'a');
  await commit();
  store.observed(task, phaseState('RUNNING'));
  await commit();
  // The last of a round is told with the commit, and counts as the first that is told ahead of the next.
  for (const ahead of [MAX_UNSAFE_VERSIONS, MAX_UNSAFE_VERSIONS - 1]) {
    const before = task.phaseVersion;
    for (let i = 0; i < MAX_UNSAFE_VERSIONS + 5; i++) {
      store.observed(task, phaseState('RUNNING', { reason: `${ahead}.${i}` }));
    }
    assert.equal(task.phaseVersion - before, ahead);
    await commit();
    assert.equal(task.state.reason, `${ahead}.${MAX_UNSAFE_VERSIONS + 4}`);
  }
});

test('a record that was never safe is told as often as one that was', async () => {
  const { store, commit } = written();
  const task = insertTask(store, 'a', { answeredHandle: handleOf('a') });
  for (let i = 0; i < MAX_UNSAFE_VERSIONS + 5; i++) {
    store.setWaiting(task, 'accepted', phaseState('WAITING_FOR_RESOURCES', { reason: `${i}` }));
  }
  assert.equal(task.phaseVersion, MAX_UNSAFE_VERSIONS);
  await commit();
  assert.equal(task.state.reason, `${MAX_UNSAFE_VERSIONS + 4}`);
});

test('that an owed delete was doubted is written, once', () => {
  const { store, changed } = written();
  const task = liveTask(store, 'a');
  store.orderDelete(task, 'r', false);
  changed.length = 0;
  store.deleteFreed(task.id);
  store.deleteFreed(task.id);
  assert.deepEqual(changed, [`owed/${task.id}`]);
});

test('who listens for a plugin hears of its tasks until it stops listening, and takes nobody away who came after it', () => {
  const { store } = storeOf();
  const heard: string[] = [];
  const listener = (name: string) => ({
    left: () => void heard.push(name),
    asked: () => {},
    freed: () => {},
  });
  const end = (key: string) => store.observed(liveTask(store, key), phaseState('SUCCESS'));
  const first = store.listen('demo', listener('first'));
  end('a');
  const second = store.listen('demo', listener('second'));
  first();
  end('b');
  second();
  end('c');
  assert.deepEqual(heard, ['first', 'second']);
});

test('who waits for what is told of a task waits until it is safe, and for nobody where nothing is being written', async () => {
  const { store, commit } = written();
  const task = liveTask(store, 'a');
  await commit();
  store.observed(task, phaseState('RUNNING'));
  let shown = false;
  const waits = store.shown(task).then(() => {
    shown = true;
  });
  for (let i = 0; i < 10; i++) await Promise.resolve();
  assert.equal(shown, false);
  // What came meanwhile is told by the next commit, which is waited for as well.
  store.observed(task, phaseState('SUCCESS'));
  await commit();
  assert.deepEqual([shown, task.state.phase], [false, 'RUNNING']);
  await commit();
  await waits;
  assert.equal(task.state.phase, 'SUCCESS');
  await store.shown(task);
  assert.equal(await commit(), 0);
});
