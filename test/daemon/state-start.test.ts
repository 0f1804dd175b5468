import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KeptState } from '../../src/daemon/state.js';
import { HostError } from '../../src/errors/index.js';
import { ManualClock } from '../../src/lib/clock.js';
import { noState, type StateEngine } from '../../src/state/index.js';
import { ReplayCache } from '../../src/store/replay-cache.js';
import { TaskStore } from '../../src/store/task-store.js';
import { DEFAULTS } from '../support/defaults.js';

function opening(over: Partial<StateEngine>, stop?: AbortSignal) {
  const clock = new ManualClock();
  const seen = { closed: 0 };
  const close = async () => {
    seen.closed += 1;
  };
  const engine: StateEngine = { ...noState, name: 'of the test', durable: true, close, ...over };
  const state = new KeptState({ config: DEFAULTS, env: {}, clock, random: () => 0.5, events: {}, engine });
  const { feed } = state;
  const finished = { maxCount: 10, maxBytes: 1e6, ttlMs: 1e6 };
  const store = new TaskStore({
    clock,
    feed,
    maxTasks: 10,
    finished,
    endMarks: { max: 10, ttlMs: 1e6 },
    watchRing: 10,
  });
  const replays = new ReplayCache({ clock, feed, ttlMs: 1, max: 1, maxBytes: 1e6 });
  return { seen, opened: state.open(store, replays, stop) };
}

test('a start whose first commit fails ends with what went wrong, and holds nothing', async () => {
  const full = new HostError('STATE_DISK_FULL', 'full');
  const { seen, opened } = opening({ commit: () => Promise.reject(full) });
  await assert.rejects(opened, full);
  assert.equal(seen.closed, 1);
});

test('a start whose first commit hangs hears that it is to stop', async () => {
  const stop = new AbortController();
  const { seen, opened } = opening({ commit: () => new Promise(() => {}) }, stop.signal);
  setImmediate(() => stop.abort());
  await assert.rejects(opened, { name: 'AbortError' });
  assert.equal(seen.closed, 1);
});
