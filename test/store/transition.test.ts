import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { phaseRank, phaseState } from '../../src/model/phase-state.js';
import { isTerminal, PHASES } from '../../src/plugin-api/phase.js';
import { nextState } from '../../src/store/transition.js';

const anyState = fc
  .record({
    phase: fc.constantFrom(...PHASES),
    reason: fc.constantFrom('', 'a', 'b'),
    remotePhase: fc.constantFrom('', 'PD'),
  })
  .map(({ phase, ...parts }) => phaseState(phase, parts));

test('over any sequence of reads the phase never goes back, and a terminal state never changes', () => {
  fc.assert(
    fc.property(fc.array(anyState, { minLength: 1, maxLength: 20 }), (reads) => {
      let current = phaseState('WAITING_FOR_RESOURCES');
      for (const read of reads) {
        const { state, changed } = nextState(current, read);
        assert.ok(phaseRank(state.phase) >= phaseRank(current.phase));
        if (isTerminal(current.phase)) {
          assert.equal(state, current);
          assert.equal(changed, false);
        }
        current = state;
      }
    }),
  );
});

test('a requeued job keeps the higher phase, and the reason and remote phase say what happened', () => {
  const running = phaseState('RUNNING', { logs: [{ uri: 'http://logs' }] });
  const { state, changed } = nextState(running, phaseState('QUEUED', { reason: 'preempted', remotePhase: 'PENDING' }));
  assert.equal(state.phase, 'RUNNING');
  assert.match(state.reason, /QUEUED.*preempted/);
  assert.equal(state.remotePhase, 'PENDING');
  assert.deepEqual(state.logs, [{ uri: 'http://logs' }]);
  assert.equal(changed, true);
});

test('a read that says the same, but for the pacing that nobody sees, is no change', () => {
  const state = phaseState('RUNNING', { reason: 'r', customInfo: { a: [1, { b: 2 }] } });
  assert.equal(nextState(state, structuredClone(state)).changed, false);
  assert.equal(nextState(state, { ...state, nextPollAfterMs: 5 }).changed, false);
  assert.equal(nextState(state, { ...state, customInfo: { a: [1, { b: 3 }] } }).changed, true);
  assert.equal(nextState(state, { ...state, version: 1 }).changed, true);
});

test('a job that was put back shows its newer logs and the phase the remote gave it, or else the one it was put back to', () => {
  const running = phaseState('RUNNING', { logs: [{ uri: 'http://old' }] });
  const back = (parts: Parameters<typeof phaseState>[1]) => nextState(running, phaseState('QUEUED', parts)).state;
  const { reason, remotePhase, logs } = back({});
  assert.deepEqual([remotePhase, logs], ['QUEUED', running.logs]);
  assert.ok(!reason.includes(':'), 'there is no reason to add');
  assert.deepEqual(back({ logs: [{ uri: 'http://new' }] }).logs, [{ uri: 'http://new' }]);
});

test('the very same state is no change', () => {
  const state = phaseState('RUNNING');
  assert.deepEqual(nextState(state, state), { state, changed: false });
});

test('details that come or go are a change, though nothing else is said', () => {
  const plain = phaseState('RUNNING', { reason: 'r' });
  const detailed = phaseState('RUNNING', { reason: 'r', customInfo: { a: 1 } });
  assert.deepEqual([nextState(plain, detailed).changed, nextState(detailed, plain).changed], [true, true]);
});
