import assert from 'node:assert/strict';
import { test } from 'node:test';
import { phaseState } from '../../src/model/phase-state.js';
import type { TaskRecord } from '../../src/model/task-record.js';
import type { PluginRuntime } from '../../src/runtime/runtime.js';
import type { OwedDelete } from '../../src/store/owed-deletes.js';
import { deleteRow, taskRow, unclearRow } from '../../src/tasks/list/rows.js';
import { handleOf, insertTask, liveTask, storeOf } from '../store/make-store.js';
import { identityOf } from '../support/identity.js';

const iso = (ms: number) => new Date(ms).toISOString();
const identity = identityOf('a', { createdAtMs: 1_700_000_000_000, project: 'ml', domain: 'dev', taskType: 'spark' });
const failure = { code: 'X', message: 'm' };

/** A runtime whose schedule says this of every task. */
const runtimeThat = (missing: object | undefined) =>
  ({ refresher: { missing: () => missing } }) as unknown as PluginRuntime;

test('the row of a task says what is known of it, and null where nothing is', () => {
  const { store } = storeOf();
  const task = insertTask(store, 'a', { identity });
  assert.deepEqual(taskRow(task, runtimeThat({ sinceMs: 5, reads: 2, wave: true })), {
    id: 'a-1',
    plugin: 'demo',
    taskType: 'spark',
    project: 'ml',
    domain: 'dev',
    stage: 'accepted',
    phase: 'WAITING_FOR_RESOURCES',
    phaseVersion: 0,
    reason: '',
    error: null,
    remotePhase: '',
    created: iso(1_700_000_000_000),
    observed: null,
    consecutiveFailures: 0,
    lastFailure: null,
    // Only what is polled can be missing.
    notFound: null,
    confirmed: false,
    undelivered: null,
    adopted: false,
    handle: null,
  });
});

test('the row of a task that runs says when it was seen, what failed, since when it is missing, and what it is called', async () => {
  const { clock, store } = storeOf();
  const task = liveTask(store, 'a');
  const error = { code: 'E', message: 'why', kind: 'USER' } as const;
  store.observed(task, phaseState('RUNNING', { reason: 'on node 7', remotePhase: 'R', error }));
  const observedMs = clock.now();
  await clock.advance(5_000);
  store.readFailed(task, failure, 3);
  store.undelivered(task);
  const row = taskRow(task, runtimeThat({ sinceMs: observedMs + 1, reads: 2, wave: false }));
  assert.deepEqual(
    { ...row, phaseVersion: 0 },
    {
      ...taskRow(insertTask(storeOf().store, 'a'), undefined),
      created: iso(1),
      stage: 'live',
      phase: 'RUNNING',
      reason: 'on node 7',
      remotePhase: 'R',
      error,
      observed: iso(observedMs),
      consecutiveFailures: 3,
      lastFailure: failure,
      notFound: { since: iso(observedMs + 1), reads: 2, frozen: false },
      undelivered: iso(observedMs + 5_000),
      handle: handleOf('a').toString('base64'),
    },
  );
  assert.equal(taskRow(task, runtimeThat(undefined)).notFound, null);
  assert.equal(taskRow(task, undefined).notFound, null, 'a plugin that is not here says nothing');
});

test('a time that is none is an error of its row, and not a word in it', () => {
  const task = { identity, state: phaseState('RUNNING'), stage: 'live', createdAtMs: Number.NaN } as TaskRecord;
  assert.throws(() => taskRow(task, undefined), RangeError);
});

test('the row of an owed delete says since when, how often it was tried and when it is again, or null', () => {
  const owed = {
    id: 'a-1',
    identity,
    reason: 'r',
    sinceMs: 1_000,
    attempts: 4,
    nextAttemptMs: 2_000,
    needsCredentials: true,
    holdsToken: true,
    lastError: failure,
  } as OwedDelete;
  const row = { id: 'a-1', plugin: 'demo', reason: 'r', since: iso(1_000), attempts: 4 };
  assert.deepEqual(deleteRow(owed), {
    ...row,
    nextAttempt: iso(2_000),
    needsCredentials: true,
    holdsToken: true,
    lastError: failure,
  });
  const spent = { nextAttemptMs: undefined, needsCredentials: false, holdsToken: false, lastError: undefined };
  assert.deepEqual(deleteRow({ ...owed, ...spent }), {
    ...row,
    nextAttempt: null,
    needsCredentials: false,
    holdsToken: false,
    lastError: null,
  });
});

test('the row of an unclear create says when it is looked for again, or why it is not', () => {
  const create = {
    id: 'a-1',
    identity,
    node: undefined,
    outputPrefix: '',
    sinceMs: 1_000,
    looks: 2,
    nextLookMs: 9_000,
    leftBecause: undefined,
    lastError: failure,
    args: undefined,
    connection: undefined,
    connectionUntilMs: 0,
  };
  const row = {
    id: 'a-1',
    plugin: 'demo',
    taskType: 'spark',
    project: 'ml',
    domain: 'dev',
    since: iso(1_000),
    looks: 2,
    lastError: failure,
  };
  assert.deepEqual(unclearRow(create), { ...row, nextLook: iso(9_000), left: null });
  assert.deepEqual(unclearRow({ ...create, nextLookMs: undefined, leftBecause: 'why' }), {
    ...row,
    nextLook: null,
    left: 'why',
  });
});
