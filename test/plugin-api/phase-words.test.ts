import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type PhaseTable, phases } from '../../src/plugin-api/phase.js';

const TABLE: PhaseTable = {
  WAITING: 'queued',
  BUSY: 'running',
  OK: 'success',
  BAD: 'failure',
  LOST: 'retryableFailure',
  OFF: 'aborted',
};

test('a word of the remote becomes the phase that the table says, with what belongs to it and no more', () => {
  const parts = { outputs: { n: 1 }, message: 'said the remote', code: 'Oops', kind: 'SYSTEM' as const };
  const seen = Object.keys(TABLE).map((word) => phases.from(word, TABLE, parts));
  const error = { code: 'Oops', message: 'said the remote', kind: 'SYSTEM' };
  assert.deepEqual(
    seen.map((info) => ({ ...info })),
    [
      { phase: 'QUEUED', remotePhase: 'WAITING', reason: 'said the remote' },
      { phase: 'RUNNING', remotePhase: 'BUSY', reason: 'said the remote' },
      { phase: 'SUCCESS', remotePhase: 'OK', outputs: { n: 1 } },
      { phase: 'PERMANENT_FAILURE', remotePhase: 'BAD', reason: 'said the remote', error },
      { phase: 'RETRYABLE_FAILURE', remotePhase: 'LOST', reason: 'said the remote', error },
      { phase: 'ABORTED', remotePhase: 'OFF', reason: 'said the remote' },
    ],
  );
});

test('what the remote does not say, or says with null, is made up for', () => {
  const nothing = { message: null, code: null };
  assert.equal(phases.from('BAD', TABLE, nothing).error?.message, 'the remote says BAD');
  assert.equal(phases.from('BAD', TABLE, nothing).error?.code, 'PERMANENT_FAILURE');
  assert.equal(phases.from('OFF', TABLE, nothing).reason, 'the remote says OFF');
  assert.deepEqual({ ...phases.from('BUSY', TABLE, nothing) }, { phase: 'RUNNING', remotePhase: 'BUSY' });
  assert.deepEqual({ ...phases.from('OK', TABLE) }, { phase: 'SUCCESS', remotePhase: 'OK' });
});

test('a word that the table lacks is that of a job that runs, and is told; the table may say otherwise', () => {
  for (const word of ['NEW', '', '__proto__', 'constructor', 'toString']) {
    const info = phases.from(word, TABLE);
    assert.equal(info.phase, 'RUNNING', word);
    assert.equal(info.reason, `the remote says ${word}, which the plugin does not know`);
    assert.equal(phases.from(word, { ...TABLE, '*': 'queued' }).phase, 'QUEUED');
  }
});
