import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KeptState } from '../../src/daemon/state.js';
import { ManualClock } from '../../src/lib/clock.js';
import { phaseState } from '../../src/model/phase-state.js';
import { decodePair, type StateEngine } from '../../src/state/index.js';
import { ReplayCache } from '../../src/store/replay-cache.js';
import { CrashEngine } from '../state/engines.js';
import { GuardedEngine } from '../state/guarded-engine.js';
import { insertTask, storeOf } from '../store/make-store.js';
import { DEFAULTS } from '../support/defaults.js';

const ITS_TURN = phaseState('WAITING_FOR_RESOURCES', { reason: 'its turn' });
const ANEW = phaseState('WAITING_FOR_RESOURCES', { reason: 'asked for anew' });

function stateOn(engine: StateEngine) {
  const clock = new ManualClock();
  const state = new KeptState({ config: DEFAULTS, env: {}, clock, random: () => 0.5, events: {}, engine });
  const { store } = storeOf({ clock, feed: state.feed });
  const replays = new ReplayCache({ clock, feed: state.feed, ttlMs: 1, max: 1, maxBytes: 1e6 });
  return { clock, state, store, open: () => state.open(store, replays) };
}

test('the record that has a token is written while the tenancy that granted it counts, and else never', async () => {
  const engine = new GuardedEngine();
  const { clock, state, store, open } = stateOn(engine);
  await open();
  const written: string[] = [];
  engine.onWrite = (_texts, puts) => {
    for (const [key, value] of puts) {
      const { kind, fact } = decodePair(key, value);
      if (kind === 'task') written.push(`${key} ${fact.stage}`);
    }
  };
  const ends: boolean[] = [];
  const create = async (name: string) => {
    const task = insertTask(store, name);
    store.setWaiting(task, 'creating', ITS_TURN);
    const isKept = await store.safeUnder('replica/3/1');
    if (!isKept) store.lapsed(task, ANEW);
    ends.push(isKept);
  };
  void create('a');
  await clock.advance(2);
  engine.move(3);
  void create('b');
  await clock.advance(2);
  assert.deepEqual(ends, [true, false]);
  assert.deepEqual(written, ['task/a-1 creating', 'task/b-1 accepted']);
  assert.deepEqual(engine.asked.slice(-3), [['3/1'], ['3/1'], []]);
  await assert.rejects(store.safeUnder('what nobody says'), /no tenancy of limits/);
  await state.close();
});

test('where nobody else has a part, and before the state is open, what is safe is safe under any tenancy', async () => {
  const { clock, state, store, open } = stateOn(new CrashEngine());
  assert.equal(await store.safeUnder('replica/3/1'), true);
  await open();
  assert.equal(state.feed.safeUnder, undefined);
  store.setWaiting(insertTask(store, 'a'), 'creating', ITS_TURN);
  const kept = store.safeUnder('replica/3/1');
  await clock.advance(2);
  assert.equal(await kept, true);
  await state.close();
});
