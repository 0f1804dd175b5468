import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostError } from '../../src/errors/index.js';
import { phaseState } from '../../src/model/phase-state.js';
import type { WatchEvent, WatchFilter, WatchReader } from '../../src/model/watch.js';
import type { TaskStore } from '../../src/store/task-store.js';
import { handleOf, insertTask, liveTask, storeOf } from './make-store.js';

const ALL: WatchFilter = { plugins: [], handles: [], resumeToken: '', includeCurrent: false };

/** What the reader is told up to the draining bookmark: keys of changed tasks, how many a lag dropped. */
async function rest(reader: WatchReader): Promise<(string | number)[]> {
  const told: (string | number)[] = [];
  for (;;) {
    const event = await reader.next();
    if (event === undefined || event.kind === 'bookmark') return told;
    told.push(event.kind === 'change' ? event.change.task.identity.key : event.dropped);
  }
}

function keyOf(event: WatchEvent | undefined): string {
  return event?.kind === 'change' ? event.change.task.identity.key : (event?.kind ?? 'the end');
}

test('a ring that is just full has lost nothing, and one change more is one lost', async () => {
  const { store } = storeOf({ watchRing: 4 });
  const [full, over] = [store.watch(ALL), store.watch(ALL)];
  for (const key of ['a', 'b', 'c', 'd']) liveTask(store, key);
  for (const key of ['a', 'b', 'c', 'd']) assert.equal(keyOf(await full.next()), key);
  assert.equal(store.watchersLagged, 0);
  liveTask(store, 'e');
  assert.equal(keyOf(await full.next()), 'e');
  store.drainWatchers();
  assert.deepEqual(await rest(over), [1, 'b', 'c', 'd', 'e']);
  assert.equal(store.watchersLagged, 1);
});

test('a task that changed often is told once, as it is now', async () => {
  const { store } = storeOf();
  const reader = store.watch(ALL);
  const task = liveTask(store, 'a');
  liveTask(store, 'b');
  store.observed(task, phaseState('RUNNING'));
  store.observed(task, phaseState('RUNNING', { reason: 'x' }));
  store.drainWatchers();
  assert.deepEqual(await rest(reader), ['b', 'a']);
});

test('a reader of some handles or plugins hears of these alone, from the changes as from the current state', async () => {
  const { store } = storeOf();
  const filters = [
    { ...ALL, handles: [handleOf('b'), handleOf('x')] },
    { ...ALL, plugins: ['other'] },
    { ...ALL, plugins: ['demo'], handles: [handleOf('c')] },
    ALL,
  ];
  const readers = filters.map((filter) => store.watch(filter));
  for (const key of ['a', 'b']) liveTask(store, key);
  liveTask(store, 'c', 'other');
  const current = filters.map((filter) => store.watch({ ...filter, includeCurrent: true }));
  store.drainWatchers();
  const expected = [['b'], ['c'], [], ['a', 'b', 'c']];
  assert.deepEqual(await Promise.all(readers.map(rest)), expected);
  assert.deepEqual(await Promise.all(current.map(rest)), expected);
});

test('a task without a handle is shown to nobody, neither its changes nor as it is', async () => {
  const { store } = storeOf();
  const reader = store.watch(ALL);
  store.observed(insertTask(store, 'nameless', { stage: 'live' }), phaseState('RUNNING'));
  const current = store.watch({ ...ALL, includeCurrent: true });
  store.drainWatchers();
  assert.deepEqual([await rest(reader), await rest(current)], [[], []]);
});

test('a reader that was closed while it waits ends, is counted no more, and may be closed again', async () => {
  const { store } = storeOf();
  const [reader, other] = [store.watch(ALL), store.watch(ALL)];
  const waiting = reader.next();
  assert.equal(store.watchers, 2);
  reader.close();
  reader.close();
  assert.equal(await waiting, undefined);
  assert.equal(await reader.next(), undefined);
  assert.equal(store.watchers, 1);
  other.close();
});

test('a reader is closed in the midst of the current state and tells nothing more', async () => {
  const { store } = storeOf();
  for (const key of ['a', 'b']) liveTask(store, key);
  const reader = store.watch({ ...ALL, includeCurrent: true });
  assert.equal(keyOf(await reader.next()), 'a');
  reader.close();
  assert.equal(await reader.next(), undefined);
});

test('a bookmark names the place of the last event, ends nothing, and a reader goes on from it', async () => {
  const { store } = storeOf();
  const reader = store.watch(ALL);
  liveTask(store, 'a');
  await reader.next();
  const bookmark = reader.bookmark();
  assert.ok(bookmark.kind === 'bookmark' && !bookmark.draining);
  liveTask(store, 'b');
  assert.equal(keyOf(await reader.next()), 'b');
  const again = store.watch({ ...ALL, resumeToken: bookmark.resumeToken });
  assert.equal(keyOf(await again.next()), 'b');
});

test('a token ahead of all changes is not of this run: its reader is told that it lagged, of no certain number', async () => {
  const { store } = storeOf();
  liveTask(store, 'a');
  const { resumeToken } = store.watch(ALL).bookmark();
  const ahead = resumeToken.replace(/[0-9]+$/, (sequence) => `${Number(sequence) + 1}`);
  const event = await store.watch({ ...ALL, resumeToken: ahead }).next();
  assert.ok(event?.kind === 'lagged' && event.dropped === 0);
  store.drainWatchers();
  assert.deepEqual(await rest(store.watch({ ...ALL, resumeToken })), [], 'the newest place itself is known');
});

test('the current state that a reader was told is not told again, one that it was not told is told in full', async () => {
  const { store } = storeOf();
  for (const key of ['a', 'b']) liveTask(store, key);
  const reader = store.watch({ ...ALL, includeCurrent: true });
  const { resumeToken: half } = (await reader.next()) ?? assert.fail();
  store.drainWatchers();
  await rest(reader);
  const whole = reader.bookmark().resumeToken;
  const resume = (resumeToken: string) => rest(store.watch({ ...ALL, includeCurrent: true, resumeToken }));
  assert.deepEqual(await resume(half), ['a', 'b']);
  assert.deepEqual(await resume(whole), []);
});

test('a token that Watch cannot have sent is refused and quoted no longer than it needs', () => {
  const { store } = storeOf();
  for (const resumeToken of ['x', '0123456789ab', '0123456789ab.', '0123456789ab.1x', ' 0123456789ab.1']) {
    assert.throws(
      () => store.watch({ ...ALL, resumeToken }),
      (error) => HostError.is(error) && error.code === 'RESUME_TOKEN_INVALID',
    );
  }
  assert.throws(
    () => store.watch({ ...ALL, resumeToken: `z${'y'.repeat(10_000)}` }),
    (error) => HostError.is(error) && error.message.includes(`resume_token "z${'y'.repeat(39)}" is not`),
  );
});

test('a task that leaves memory takes no other change with it whose place in the ring its own once had', async () => {
  const { store } = storeOf({ watchRing: 2, finished: { maxCount: 1, maxBytes: 1e6, ttlMs: 60_000 } });
  store.observed(liveTask(store, 'old'), phaseState('SUCCESS'));
  for (const key of ['a', 'b']) liveTask(store, key);
  const reader = store.watch({
    ...ALL,
    resumeToken: store
      .watch(ALL)
      .bookmark()
      .resumeToken.replace(/[0-9]+$/, '3'),
  });
  store.observed(liveTask(store, 'new'), phaseState('SUCCESS'));
  store.drainWatchers();
  const told = await rest(reader);
  assert.equal(store.byHandle(handleOf('old')), undefined);
  assert.deepEqual(told, [1, 'new'], 'what was pushed out of the ring alone');
});

test('a task whose place its next incarnation takes is lost to no reader: it is told the new one', async () => {
  const { store } = storeOf();
  const reader = store.watch(ALL);
  const task = insertTask(store, 'a', { answeredHandle: handleOf('a') });
  store.setWaiting(task, 'creating', phaseState('WAITING_FOR_RESOURCES', { reason: 'soon' }));
  const next = store.nextIncarnation(task);
  store.setCreated(next, Buffer.from('{}'));
  store.observed(next, phaseState('RUNNING'));
  const event = await reader.next();
  assert.ok(event?.kind === 'change' && event.change.task === next);
  store.drainWatchers();
  assert.deepEqual(await rest(reader), []);
});

test('a reader lets others run while it passes over changes that it does not want', async () => {
  const { store } = storeOf({ watchRing: 50_000, maxTasks: 50_000 });
  const reader = store.watch({ ...ALL, plugins: ['demo'] });
  for (let i = 0; i < 25_000; i++) liveTask(store, `t${i}`, 'other');
  liveTask(store, 'wanted');
  let turns = 0;
  let found: WatchEvent | undefined;
  void reader.next().then((event) => {
    found = event;
  });
  while (found === undefined) {
    turns += 1;
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.ok(turns >= 2, `${turns} turns`);
  assert.equal(keyOf(found), 'wanted');
});

test('a reader that has seen all waits without a turn of its own, until a change, its close or the draining of the ring', async () => {
  const ends = {
    change: (store: TaskStore) => void liveTask(store, 'a'),
    close: (_store: TaskStore, reader: WatchReader) => reader.close(),
    drain: (store: TaskStore) => store.drainWatchers(),
  };
  const told: string[] = [];
  for (const end of Object.values(ends)) {
    const { store } = storeOf();
    const reader = store.watch(ALL);
    let ended = false;
    const next = reader.next().finally(() => {
      ended = true;
    });
    for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
    assert.equal(ended, false);
    end(store, reader);
    told.push(keyOf(await next));
  }
  assert.deepEqual(told, ['a', 'the end', 'bookmark']);
});
