import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { phaseState } from '../../src/model/phase-state.js';
import type { TaskRecord } from '../../src/model/task-record.js';
import type { WatchFilter } from '../../src/model/watch.js';
import { RestoredFacts } from '../../src/store/restore.js';
import type { TaskStore } from '../../src/store/task-store.js';
import { adoptedTask, handleOf, insertTask, liveTask, storeOf } from './make-store.js';

const ALL: WatchFilter = { plugins: [], handles: [], resumeToken: '', includeCurrent: false };

/** What a watcher is told of what is done to a task: its key, its phase, and whether it was deleted. */
async function toldOf(make: (store: TaskStore) => TaskRecord, act: (store: TaskStore, task: TaskRecord) => void) {
  const { store } = storeOf();
  const task = make(store);
  const reader = store.watch(ALL);
  act(store, task);
  store.drainWatchers();
  const told: string[] = [];
  for (let event = await reader.next(); event?.kind === 'change'; event = await reader.next()) {
    const { task: seen, deleted } = event.change;
    told.push(`${seen.identity.key} ${seen.state.phase}${deleted ? ' deleted' : ''}`);
  }
  return told;
}

const live = (store: TaskStore) => liveTask(store, 'a');
const over = (store: TaskStore) => {
  const task = liveTask(store, 'a');
  store.observed(task, phaseState('SUCCESS'));
  return task;
};
const unnamed = (store: TaskStore) => {
  const task = insertTask(store, 'a');
  store.setWaiting(task, 'accepted', phaseState('WAITING_FOR_RESOURCES', { reason: 'in line' }));
  return task;
};

const TOLD: readonly (readonly [
  what: string,
  make: (store: TaskStore) => TaskRecord,
  act: (store: TaskStore, task: TaskRecord) => void,
  told: readonly string[],
])[] = [
  ['a read that changes it', live, (s, t) => s.observed(t, phaseState('RUNNING')), ['a RUNNING']],
  ['a read that does not', live, (s, t) => s.observed(t, phaseState('QUEUED')), []],
  ['its end', live, (s, t) => s.end(t, phaseState('RETRYABLE_FAILURE')), ['a RETRYABLE_FAILURE']],
  ['a second end', over, (s, t) => s.end(t, phaseState('RETRYABLE_FAILURE')), []],
  ['its delete while it runs', live, (s, t) => s.orderDelete(t, 'r', false), ['a QUEUED deleted']],
  ['its delete when it is over', over, (s, t) => s.remove(t), ['a SUCCESS deleted']],
  [
    'a second delete when it is over',
    over,
    (s, t) => {
      s.remove(t);
      s.remove(t);
    },
    ['a SUCCESS deleted'],
  ],
  [
    'its name, once it has changed before it had one',
    unnamed,
    (s, t) => s.answered(t, handleOf('a')),
    ['a WAITING_FOR_RESOURCES'],
  ],
  ['a change before it has a name', unnamed, (s, t) => s.setWaiting(t, 'creating', phaseState('INITIALIZING')), []],
];

for (const [what, make, act, told] of TOLD) {
  test(`what watchers are told of a task by ${what}`, async () => {
    assert.deepEqual(await toldOf(make, act), told);
  });
}

test('a record that another takes the place of is told of no more, and the other one is', async () => {
  const told = await toldOf(
    (store) => insertTask(store, 'a'),
    (store, task) => {
      const adopted = adoptedTask(store, 'b');
      store.observed(adopted, phaseState('RUNNING'));
      store.setCreated(task, Buffer.from('{}'));
      store.takeOver(task, adopted);
    },
  );
  assert.deepEqual(told, ['a RUNNING']);
});

test('an end that was told of a handle without a record is told again', () => {
  const { store } = storeOf();
  const end = phaseState('RETRYABLE_FAILURE');
  assert.equal(store.told.of(handleOf('a')), undefined);
  store.told.add(handleOf('a'), end);
  assert.equal(store.told.of(handleOf('a'))?.state, end);
  assert.equal(store.told.of(handleOf('b')), undefined);
});

test('an unclear create that is left to the operator says why, and asks for no further look', () => {
  const { store } = storeOf();
  const { id, identity } = insertTask(store, 'a');
  store.unclear.add({
    id,
    identity,
    node: undefined,
    outputPrefix: '',
    sinceMs: 1,
    looks: 2,
    nextLookMs: 5,
    leftBecause: undefined,
    lastError: { code: 'X', message: 'm' },
    args: undefined,
    connection: undefined,
    connectionUntilMs: 0,
  });
  store.leftUnclear(id, 'nobody finds it');
  const left = store.unclear.get(id);
  assert.deepEqual([left?.leftBecause, left?.nextLookMs, store.unclear.size], ['nobody finds it', undefined, 1]);
});

test('what was gathered of a state is there by kind and name', () => {
  const facts = new RestoredFacts(1);
  assert.equal(facts.of('mark').size, 0);
  const fact = { atMs: 1, byIncarnation: new Map() } as never;
  assert.equal(facts.add({ kind: 'mark', name: 'a', fact } as never), true);
  assert.equal(facts.add({ kind: 'mark', name: 'b', fact } as never), true);
  assert.deepEqual([[...facts.of('mark').keys()], facts.live], [['a', 'b'], []]);
});

test('who follows handles keeps those tasks asked for, and no others of their plugin', async () => {
  const { clock, store } = storeOf();
  const [followed, other] = [liveTask(store, 'a'), liveTask(store, 'b')];
  const unnamedYet = insertTask(store, 'c');
  store.setCreated(unnamedYet, Buffer.from('{}'));
  const startMs = clock.now();
  const reader = store.watch({ ...ALL, handles: [handleOf('a')] });
  await clock.advance(5_000);
  for (const task of [followed, other, unnamedYet]) store.observed(task, phaseState('RUNNING'));
  const asked = [followed, other, unnamedYet].map(({ lastAskedAtMs }) => lastAskedAtMs - startMs);
  assert.deepEqual(asked, [5_000, 0, 0]);
  reader.close();
  await clock.advance(5_000);
  store.observed(followed, phaseState('RUNNING'));
  assert.equal(followed.lastAskedAtMs - startMs, 5_000, 'until it has left');
});

/** Tasks of two plugins that nobody has asked for since five seconds, and how long ago they were asked for. */
async function unasked() {
  const { clock, store } = storeOf();
  const asked: string[] = [];
  for (const plugin of ['demo', 'other']) {
    store.listen(plugin, { left: () => {}, freed: () => {}, asked: (id) => void asked.push(id) });
  }
  const tasks = [liveTask(store, 'a'), liveTask(store, 'b'), liveTask(store, 'c', 'other')];
  await clock.advance(5_000);
  const ages = () => tasks.map(({ lastAskedAtMs }) => clock.now() - lastAskedAtMs);
  return { clock, store, tasks, asked, ages };
}

test('who begins to follow all tasks has all of them read soon, who follows a plugin those of it, and nobody takes a handle for held', async () => {
  for (const [plugins, ages, ids] of [
    [[], [0, 0, 0], ['a-1', 'b-1', 'c-1']],
    [['other'], [5_000, 5_000, 0], ['c-1']],
  ] as const) {
    const watched = await unasked();
    watched.store.watch({ ...ALL, plugins });
    assert.deepEqual([watched.ages(), watched.asked], [ages, ids]);
    assert.ok(watched.tasks.every(({ confirmed }) => !confirmed));
    await watched.clock.advance(5_000);
    watched.store.watch({ ...ALL, plugins });
    assert.equal(watched.asked.length, ids.length, 'the second one finds them followed');
  }
});

test('who follows tasks by their handles asks for those, which it holds, and for no other', async () => {
  for (const handles of [[handleOf('a')], [handleOf('a'), handleOf('nobody')]]) {
    const { store, tasks, asked, ages } = await unasked();
    store.watch({ ...ALL, plugins: ['demo'], handles });
    assert.deepEqual([ages(), asked], [[0, 5_000, 5_000], ['a-1']]);
    assert.deepEqual(
      tasks.map(({ confirmed }) => confirmed),
      [true, false, false],
    );
  }
});

test('a read that fails keeps a followed task asked for as one that succeeds does', async () => {
  const { clock, store, tasks, ages } = await unasked();
  store.watch({ ...ALL, plugins: ['demo'] });
  await clock.advance(3_000);
  store.readFailed(tasks[0]!, { code: 'X', message: 'm' }, 1);
  store.observed(tasks[1]!, phaseState('RUNNING'));
  assert.deepEqual(ages(), [0, 0, 8_000]);
});

test('where very many tasks are to be followed others run in between, and none is left out', async () => {
  const { clock, store } = storeOf({ maxTasks: 30_000 });
  for (let i = 0; i < 10_050; i++) insertTask(store, `k${i}`);
  await clock.advance(5_000);
  store.watch(ALL);
  const left = () => [...store.unfinishedTasks()].filter(({ lastAskedAtMs }) => lastAskedAtMs < clock.now()).length;
  assert.equal(left(), 50);
  await turn();
  assert.equal(left(), 0);
});

test('a task of the current state that a new watcher is told is not a deleted one', async () => {
  const { store } = storeOf();
  liveTask(store, 'a');
  const event = await store.watch({ ...ALL, includeCurrent: true }).next();
  assert.ok(event?.kind === 'change');
  assert.deepEqual([event.change.deleted, event.change.task.id], [false, 'a-1']);
});

test('a record of a handle alone that is let go of is told to who had not seen its change', async () => {
  const { store } = storeOf();
  const reader = store.watch(ALL);
  const adopted = adoptedTask(store, 'a');
  store.observed(adopted, phaseState('RUNNING'));
  store.forget(adopted);
  const event = await reader.next();
  assert.deepEqual([event?.kind, event?.kind === 'lagged' && event.dropped], ['lagged', 1]);
});

test('who follows one plugin keeps its tasks asked for and those of no other, until it leaves, which it does once', async () => {
  const { clock, store, tasks, ages } = await unasked();
  const reader = store.watch({ ...ALL, plugins: ['other'] });
  const another = store.watch({ ...ALL, plugins: ['other'] });
  const readAll = async () => {
    await clock.advance(1_000);
    for (const task of tasks) store.observed(task, phaseState('RUNNING'));
    return ages();
  };
  assert.deepEqual(await readAll(), [6_000, 6_000, 0]);
  for (let i = 0; i < 2; i++) reader.close();
  assert.deepEqual(await readAll(), [7_000, 7_000, 0], 'the other one follows on');
  another.close();
  assert.deepEqual(await readAll(), [8_000, 8_000, 1_000]);
});
