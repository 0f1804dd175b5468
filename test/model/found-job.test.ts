import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type FoundJob, isOfEarlierLife } from '../../src/model/found-job.js';
import { phaseState } from '../../src/model/phase-state.js';
import { isTerminal, PHASES } from '../../src/plugin-api/phase.js';

const WINDOW = 86_400_000;
const found = (parts: Partial<FoundJob>): FoundJob => ({
  state: phaseState('SUCCESS'),
  mark: undefined,
  maySend: false,
  completeSinceMs: undefined,
  nowMs: 10 * WINDOW,
  replayWindowMs: WINDOW,
  ...parts,
});

test('a job that runs, or of which nothing is told, is the attempt’s own', () => {
  for (const completeSinceMs of [undefined, 0, 10 * WINDOW]) {
    assert.equal(isOfEarlierLife(found({ state: undefined, completeSinceMs })), false);
    for (const phase of PHASES.filter((one) => !isTerminal(one))) {
      assert.equal(isOfEarlierLife(found({ state: phaseState(phase), completeSinceMs })), false, phase);
    }
  }
});

test('without a state that is complete for the replay window a job that is over is the attempt’s own, unless it was cancelled', () => {
  for (const completeSinceMs of [undefined, 9 * WINDOW, 9 * WINDOW + 1]) {
    for (const phase of ['SUCCESS', 'RETRYABLE_FAILURE', 'PERMANENT_FAILURE'] as const) {
      assert.equal(isOfEarlierLife(found({ state: phaseState(phase), completeSinceMs })), false, phase);
    }
    assert.equal(isOfEarlierLife(found({ state: phaseState('ABORTED'), completeSinceMs })), true);
  }
});

test('where the state is complete for longer, an unknown end is an earlier life’s, but not of a job that this run may have made', () => {
  const completeSinceMs = 9 * WINDOW - 1;
  assert.equal(isOfEarlierLife(found({ completeSinceMs })), true);
  assert.equal(isOfEarlierLife(found({ completeSinceMs, maySend: true })), false);
});

test('a mark decides: what was deleted is an earlier life, what ended is the attempt’s own, also if it was cancelled', () => {
  for (const phase of ['RUNNING', 'SUCCESS', 'ABORTED'] as const) {
    const state = phaseState(phase);
    assert.equal(isOfEarlierLife(found({ state, mark: { deleted: true } })), true);
    assert.equal(isOfEarlierLife(found({ state, mark: { deleted: false }, completeSinceMs: 0 })), false);
  }
});
