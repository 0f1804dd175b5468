import assert from 'node:assert/strict';
import { test } from 'node:test';
import { heldBytes } from '../../src/lib/held-bytes.js';
import { type PhaseState, phaseState } from '../../src/model/phase-state.js';
import type { TaskRecord } from '../../src/model/task-record.js';
import { Entry } from '../../src/store/entry.js';
import { LiveStates } from '../../src/store/live-states.js';
import { identityOf } from '../support/identity.js';
import { insertTask, storeOf } from './make-store.js';

const KIB = 1024;
const large = (kib: number): PhaseState =>
  phaseState('RUNNING', { reason: 'r'.repeat(400), customInfo: { text: 'x'.repeat(kib * KIB) } });
const task = (plugin = 'p') => ({ plugin });

test('past the bound a state of a plugin keeps its phase and the start of its reason, and others theirs', () => {
  const states = new LiveStates<{ readonly plugin: string }>(100 * KIB);
  const [a, b, c] = [task(), task(), task('other')];
  assert.equal(states.fit(a, large(60)).customInfo === undefined, false);
  const cut = states.fit(b, large(60));
  assert.deepEqual(
    [cut.phase, cut.reason.length, cut.customInfo, cut.logs, cut.externalResources],
    ['RUNNING', 256, undefined, [], []],
  );
  assert.notEqual(states.fit(c, large(60)).customInfo, undefined);
  states.delete(a);
  assert.notEqual(states.fit(b, large(60)).customInfo, undefined, 'there is room again');
  states.fit(b, phaseState('RUNNING', { reason: 'short' }));
  assert.notEqual(states.fit(a, large(60)).customInfo, undefined, 'a state that got small makes room');
  assert.notEqual(states.fit(a, large(80)).customInfo, undefined, 'its own is not counted twice');
});

test('a state that says no more than usual is kept as it is, however full it is', () => {
  const states = new LiveStates<{ readonly plugin: string }>(0);
  const state = phaseState('RUNNING', { reason: 'x'.repeat(256) });
  assert.equal(states.fit(task(), state), state);
});

test('a plugin that fills its room has its states cut and not told anew with each read; their ends are whole', () => {
  const cut: string[] = [];
  const { store } = storeOf({ events: { stateCut: (of: TaskRecord) => void cut.push(of.id) } });
  const state = phaseState('RUNNING', { customInfo: { text: 'x'.repeat(100 * 1024 * KIB) } });
  const tasks = ['a', 'b', 'c'].map((key) => {
    const one = insertTask(store, key);
    store.setCreated(one, Buffer.from('{}'));
    return one;
  });
  for (const one of tasks) store.observed(one, state);
  const has = () => tasks.map((one) => one.state.customInfo !== undefined);
  assert.deepEqual([has(), cut], [[true, true, false], ['c-1']]);
  const version = tasks[2]?.phaseVersion;
  for (let i = 0; i < 3; i++) store.observed(tasks[2] as TaskRecord, state);
  assert.equal(tasks[2]?.phaseVersion, version);
  store.observed(tasks[2] as TaskRecord, { ...state, phase: 'SUCCESS' });
  assert.deepEqual(has(), [true, true, true]);
  const fitsAnother = (key: string) => {
    const next = insertTask(store, key);
    store.setCreated(next, Buffer.from('{}'));
    store.observed(next, state);
    return next.state.customInfo !== undefined;
  };
  store.end(tasks[0] as TaskRecord, phaseState('ABORTED'));
  assert.deepEqual([fitsAnother('d'), fitsAnother('e')], [true, false], 'one that has ended makes room for one');
  store.remove(tasks[1] as TaskRecord);
  assert.deepEqual([fitsAnother('f'), fitsAnother('g')], [true, false], 'as one does that was removed');
});

test('a state counts with what it says beside its phase, and fits where it fills the room to the last byte', () => {
  const states: PhaseState[] = [
    phaseState('RUNNING', { reason: 'r'.repeat(1_000) }),
    phaseState('RUNNING', { customInfo: { text: 'x'.repeat(1_000) } }),
  ];
  for (const state of states) {
    const { reason, error, logs, customInfo, externalResources } = state;
    const bytes = heldBytes([reason, error, logs, customInfo, externalResources]);
    const room = (maxBytes: number) =>
      new LiveStates<{ readonly plugin: string }>(maxBytes).fit(task(), state) === state;
    assert.deepEqual([room(bytes), room(bytes - 1)], [true, false]);
  }
});

test('a task that leaves twice makes room once', () => {
  const state = large(10);
  const { reason, error, logs, customInfo, externalResources } = state;
  const bytes = heldBytes([reason, error, logs, customInfo, externalResources]);
  const states = new LiveStates<{ readonly plugin: string }>(2 * bytes);
  const [gone, stays, next, last] = [task(), task(), task(), task()];
  for (const one of [gone, stays]) states.fit(one, state);
  for (let i = 0; i < 3; i++) states.delete(gone);
  assert.equal(states.fit(next, state), state);
  assert.notEqual(states.fit(last, state), state);
});

test('states that an earlier run of the daemon wrote count, and those past the bound are told without their details', () => {
  const { store } = storeOf();
  const state = phaseState('RUNNING', { customInfo: { text: 'x'.repeat(100 * 1024 * KIB) } });
  const entries = ['a', 'b', 'c'].map((key) => {
    const entry = new Entry({ identity: identityOf(key), stage: 'live', state, outputPrefix: '' }, 1);
    store.restore(entry);
    return entry;
  });
  assert.deepEqual(
    entries.map((entry) => [entry.state.customInfo !== undefined, entry.known.customInfo !== undefined]),
    [
      [true, true],
      [true, true],
      [false, false],
    ],
  );
});
