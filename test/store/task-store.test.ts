import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostError } from '../../src/errors/index.js';
import { phaseState } from '../../src/model/phase-state.js';
import type { WatchEvent, WatchFilter } from '../../src/model/watch.js';
import type { TaskStore } from '../../src/store/task-store.js';
import { identityOf } from '../support/identity.js';
import { liveTask, storeOf } from './make-store.js';

const ALL: WatchFilter = { plugins: [], handles: [], resumeToken: '', includeCurrent: false };

async function nextEvents(store: TaskStore, filter: WatchFilter, count: number): Promise<WatchEvent[]> {
  const reader = store.watch(filter);
  const events: WatchEvent[] = [];
  for (let i = 0; i < count; i++) {
    const event = await reader.next();
    if (event !== undefined) events.push(event);
  }
  reader.close();
  return events;
}

test('the version rises with every visible change and not without one', () => {
  const { store } = storeOf();
  const task = liveTask(store, 'a');
  const before = task.phaseVersion;
  store.observed(task, phaseState('RUNNING', { reason: 'x' }));
  assert.equal(task.phaseVersion, before + 1);
  store.observed(task, phaseState('RUNNING', { reason: 'x' }));
  assert.equal(task.phaseVersion, before + 1);
  store.observed(task, phaseState('RUNNING', { reason: 'y' }));
  assert.equal(task.phaseVersion, before + 2);
});

test('the revision rises with every read, since how fresh the phase is can be seen too', () => {
  const { store } = storeOf();
  const task = liveTask(store, 'a');
  let { revision } = task;
  for (const read of [
    () => store.observed(task, phaseState('QUEUED')),
    () => store.readFailed(task, { code: 'X', message: 'm' }, 1),
    () => store.end(task, phaseState('ABORTED')),
  ]) {
    read();
    assert.ok(task.revision > revision);
    revision = task.revision;
  }
});

test('failures are counted and forgotten on success, and the phase stays', () => {
  const { store } = storeOf();
  const task = liveTask(store, 'a');
  store.readFailed(task, { code: 'X', message: 'refused' }, 3);
  assert.equal(task.state.phase, 'QUEUED');
  assert.equal(task.consecutiveFailures, 3);
  assert.equal(task.lastFailure?.code, 'X');
  store.observed(task, phaseState('QUEUED'));
  assert.equal(task.consecutiveFailures, 0);
  assert.equal(task.lastFailure, undefined);
});

test('a task that is over drops its payload and secrets and never changes again', () => {
  const { store } = storeOf();
  const task = store.insert({
    identity: identityOf('a'),
    stage: 'accepted',
    state: phaseState('WAITING_FOR_RESOURCES'),
    outputPrefix: '',
    connection: { secrets: { token: 's3cret' }, configs: {} },
  });
  store.end(task, phaseState('PERMANENT_FAILURE'));
  assert.equal(task.stage, 'over');
  assert.equal(task.connection, undefined);
  const version = task.phaseVersion;
  store.observed(task, phaseState('RUNNING'));
  store.end(task, phaseState('SUCCESS'));
  assert.equal(task.state.phase, 'PERMANENT_FAILURE');
  assert.equal(task.phaseVersion, version);
  assert.throws(() => store.end(task, phaseState('RUNNING')), /cannot end/);
});

test('only finished tasks are evicted, and an evicted one leaves no trace in the indexes', () => {
  const { store } = storeOf({ finished: { maxCount: 2, maxBytes: 1e6, ttlMs: 60_000 } });
  const live = liveTask(store, 'live');
  const finished = ['a', 'b', 'c'].map((key) => liveTask(store, key));
  for (const task of finished) store.observed(task, phaseState('SUCCESS'));
  assert.equal(store.finished, 2);
  assert.equal(store.byId(live.id), live);
  assert.equal(store.byHandle(Buffer.from('handle-a')), undefined);
  assert.equal(store.current('a'), undefined);
  assert.notEqual(store.byHandle(Buffer.from('handle-c')), undefined);
  assert.deepEqual(store.counts('demo'), { accepted: 0, creating: 0, live: 1, over: 2 });
});

test('a finished task larger than the whole bound is held alone, until the next one comes', () => {
  const { store } = storeOf({ finished: { maxCount: 10, maxBytes: 4_000, ttlMs: 60_000 } });
  const outputs = { kind: 'inline', literalMap: Buffer.alloc(10_000), names: [] } as const;
  for (const key of ['a', 'b', 'c']) {
    const task = liveTask(store, key);
    store.observed(task, phaseState('SUCCESS', key === 'c' ? {} : { outputs }));
    assert.equal(store.byHandle(Buffer.from(`handle-${key}`)), task);
    assert.deepEqual(store.counts('demo'), { accepted: 0, creating: 0, live: 0, over: 1 });
  }
  assert.equal(store.finished, 1);
});

test('what a finished task holds besides its outputs counts as well', () => {
  const { store } = storeOf({ finished: { maxCount: 10, maxBytes: 10_000, ttlMs: 60_000 } });
  const customInfo = { note: 'x'.repeat(3_000) };
  for (const key of ['a', 'b']) store.observed(liveTask(store, key), phaseState('SUCCESS', { customInfo }));
  assert.equal(store.finished, 1);
});

test('a finished task that is still asked for outlives one that is not', () => {
  const { store } = storeOf({ finished: { maxCount: 2, maxBytes: 1e6, ttlMs: 60_000 } });
  const [asked, forgotten] = ['a', 'b'].map((key) => liveTask(store, key));
  assert.ok(asked !== undefined && forgotten !== undefined);
  for (const task of [asked, forgotten]) store.observed(task, phaseState('SUCCESS'));
  store.asked(asked);
  store.observed(liveTask(store, 'c'), phaseState('SUCCESS'));
  assert.equal(store.byId(asked.id), asked);
  assert.equal(store.byId(forgotten.id), undefined);
});

test('a finished task that gave way for room leaves a trace for its time, one that grew old or was deleted does not', async () => {
  const { store, clock } = storeOf({ finished: { maxCount: 1, maxBytes: 1e6, ttlMs: 60_000 } });
  const tasks = ['a', 'b', 'c'].map((key) => liveTask(store, key));
  const states = [
    phaseState('PERMANENT_FAILURE', { reason: 'why', customInfo: { much: 'to keep' } }),
    phaseState('SUCCESS', { outputs: { kind: 'inline', literalMap: Buffer.from('x'), names: ['o'] } }),
    phaseState('SUCCESS'),
  ];
  tasks.forEach((task, i) => {
    store.observed(task, states[i] ?? assert.fail());
  });
  const [failed, succeeded, held] = tasks.map(({ id }) => store.trace(id));
  assert.deepEqual([failed?.state?.reason, failed?.state?.customInfo], ['why', undefined]);
  assert.equal(failed?.answeredHandle.toString(), 'handle-a');
  assert.deepEqual([succeeded?.state, succeeded?.meta], [undefined, tasks[1]?.meta]);
  assert.equal(held, undefined);
  store.remove(tasks[2] ?? assert.fail());
  assert.equal(store.trace(tasks[2]?.id ?? ''), undefined);
  await clock.advance(60_001);
  assert.equal(store.trace(tasks[0]?.id ?? ''), undefined);
});

test('room is refused at the bound of unfinished tasks, and there is room again when one is over', () => {
  const { store } = storeOf({ maxTasks: 1 });
  const task = liveTask(store, 'a');
  assert.throws(
    () => store.assertRoom(),
    (error) => HostError.is(error) && error.code === 'STORE_FULL',
  );
  store.observed(task, phaseState('SUCCESS'));
  store.assertRoom();
});

test('a deleted incarnation is remembered for its time only', async () => {
  const { store, clock } = storeOf();
  const task = liveTask(store, 'a');
  store.remove(task);
  assert.equal(store.marks.get('a', 1)?.deleted, true);
  assert.equal(store.byId(task.id), undefined);
  assert.equal(store.byHandle(Buffer.from('handle-a')), undefined);
  await clock.advance(60_001);
  assert.equal(store.marks.get('a', 1), undefined);
});

test('the next incarnation takes the place and the handle of one whose key was taken', () => {
  const { store } = storeOf();
  const task = store.insert({
    identity: identityOf('a'),
    stage: 'accepted',
    state: phaseState('WAITING_FOR_RESOURCES'),
    outputPrefix: 'x',
  });
  store.answered(task, Buffer.from('h'));
  const next = store.nextIncarnation(task);
  assert.equal(next.identity.incarnation, 2);
  assert.equal(store.byHandle(Buffer.from('h')), next);
  assert.equal(store.current('a'), next);
  assert.equal(store.unfinished, 1);
  assert.equal(store.marks.get('a', 1)?.deleted, true);
});

test('a watcher sees changes from now on, filtered, and resumes where it stopped', async () => {
  const { store } = storeOf();
  const a = liveTask(store, 'a');
  const reader = store.watch({ ...ALL, plugins: ['demo'] });
  store.observed(a, phaseState('RUNNING'));
  liveTask(store, 'other', 'another-plugin');
  const first = await reader.next();
  assert.ok(first?.kind === 'change' && first.change.task === a);
  const waiting = reader.next();
  store.observed(a, phaseState('SUCCESS'));
  const second = await waiting;
  assert.ok(second?.kind === 'change' && second.change.task.state.phase === 'SUCCESS');
  reader.close();
  assert.equal(await reader.next(), undefined);
  const [again] = await nextEvents(store, { ...ALL, resumeToken: first.resumeToken, plugins: ['demo'] }, 1);
  assert.ok(again?.kind === 'change' && again.change.task.state.phase === 'SUCCESS');
  assert.equal(store.watchers, 0);
});

test('a reader that fell out of the ring is told how much it missed, and holds nothing meanwhile', async () => {
  const { store } = storeOf();
  const reader = store.watch(ALL);
  const tasks = Array.from({ length: 20 }, (_, i) => liveTask(store, `t${i}`));
  const event = await reader.next();
  assert.ok(event?.kind === 'lagged');
  assert.equal(event.dropped, 12);
  const seen = new Set<string>();
  for (let i = 0; i < 8; i++) {
    const change = await reader.next();
    if (change?.kind === 'change') seen.add(change.change.task.id);
  }
  assert.equal(seen.size, 8);
  assert.ok(seen.has(tasks.at(-1)?.id ?? ''));
});

test('a token of an earlier run lags and gets the current state; one that nobody made is refused', async () => {
  const { store } = storeOf();
  liveTask(store, 'a');
  const events = await nextEvents(store, { ...ALL, resumeToken: '0123456789ab.5', includeCurrent: true }, 2);
  assert.deepEqual(
    events.map((event) => event.kind),
    ['lagged', 'change'],
  );
  assert.throws(
    () => store.watch({ ...ALL, resumeToken: 'nonsense' }),
    (error) => HostError.is(error) && error.code === 'RESUME_TOKEN_INVALID',
  );
});

test('a reader that was cut off while it was told the current state is told all of it again, and no change is lost', async () => {
  const { store } = storeOf();
  const tasks = ['a', 'b', 'c'].map((key) => liveTask(store, key));
  const [first] = await nextEvents(store, { ...ALL, includeCurrent: true }, 1);
  store.observed(tasks[0] ?? assert.fail(), phaseState('SUCCESS'));
  const resumed = { ...ALL, includeCurrent: true, resumeToken: first?.resumeToken ?? '' };
  const events = await nextEvents(store, resumed, 3);
  const keys = events.map((event) => (event.kind === 'change' ? event.change.task.identity.key : event.kind));
  assert.deepEqual(keys, ['b', 'c', 'a']);
  const [after] = await nextEvents(store, { ...resumed, includeCurrent: false }, 1);
  assert.ok(after?.kind === 'change' && after.change.task === tasks[0], 'who wants changes only goes on with them');
  store.drainWatchers();
  const [end] = await nextEvents(store, { ...resumed, resumeToken: events.at(-1)?.resumeToken ?? '' }, 1);
  assert.equal(end?.kind, 'bookmark', 'once told, the current state is not told again');
});

test('a drained ring ends every reader with a bookmark to come back with, after what it has not seen', async () => {
  const { store } = storeOf();
  const reader = store.watch(ALL);
  const task = liveTask(store, 'a');
  store.drainWatchers();
  const events = [await reader.next(), await reader.next(), await reader.next()];
  assert.ok(events[0]?.kind === 'change' && events[0].change.task === task);
  assert.ok(events[1]?.kind === 'bookmark' && events[1].draining);
  assert.equal(events[2], undefined);
});

test('an evicted task is let go by the ring, and a reader behind it is told', async () => {
  const { store } = storeOf({ finished: { maxCount: 1, maxBytes: 1e6, ttlMs: 60_000 } });
  const reader = store.watch(ALL);
  for (const key of ['a', 'b']) store.observed(liveTask(store, key), phaseState('SUCCESS'));
  const first = await reader.next();
  assert.ok(first?.kind === 'lagged' && first.dropped === 1);
  const second = await reader.next();
  assert.ok(second?.kind === 'change' && second.change.task.identity.key === 'b');
});

test('a reader that starts from the current tasks lets others run while it passes over those it does not want', async () => {
  const { store } = storeOf();
  for (let i = 0; i < 25_000; i++) liveTask(store, `other-${i}`, 'other');
  const wanted = liveTask(store, 'wanted');
  const reader = store.watch({ ...ALL, plugins: ['demo'], includeCurrent: true });
  let turns = 0;
  let found = false;
  const next = reader.next().then((event) => {
    found = true;
    return event;
  });
  while (!found) {
    turns += 1;
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.ok(turns >= 2, `${turns} turns`);
  const event = await next;
  assert.ok(event?.kind === 'change' && event.change.task === wanted);
  reader.close();
});

test('since when ends are known is what the state says of them, else since when it is complete', () => {
  const feed = { durable: true, changed: () => {}, safe: () => Promise.resolve(), completeSinceMs: 5 };
  assert.equal(storeOf({ feed }).store.endsKnownSinceMs, 5);
  assert.equal(storeOf({ feed: { ...feed, endsKnownSinceMs: 9 } }).store.endsKnownSinceMs, 9);
});

test('an answer that turns out to be lost is not taken for delivered by what a stop noted', () => {
  const { store } = storeOf();
  const task = liveTask(store, 'a');
  store.answersArrived(task, 1);
  store.noteDelivered();
  const { delivered } = task as unknown as { readonly delivered: boolean };
  store.answersArrived(task, -1);
  store.undelivered(task);
  assert.deepEqual([delivered, (task as unknown as { readonly delivered: boolean }).delivered], [true, false]);
});
