import assert from 'node:assert/strict';
import { test } from 'node:test';
import { phaseState } from '../../src/model/phase-state.js';
import type { FailureKind } from '../../src/model/plugin-call.js';
import type { TaskRecord } from '../../src/model/task-record.js';
import type { ReadReport } from '../../src/refresh/types.js';
import type { PluginRuntime } from '../../src/runtime/runtime.js';
import type { TasksDeps } from '../../src/tasks/deps.js';
import type { DeleteList } from '../../src/tasks/end/delete-list.js';
import { ReadSink } from '../../src/tasks/read/reads.js';
import { insertTask, liveTask, storeOf } from '../store/make-store.js';
import { fail, ok } from './harness.js';

/** Where reads of one task go, with what is told of it. */
function sinkOf(make: (store: ReturnType<typeof storeOf>['store']) => TaskRecord = (store) => liveTask(store, 'a')) {
  const { clock, store } = storeOf();
  const told: string[] = [];
  const deps = {
    clock,
    store,
    random: () => 0.5,
    options: { maxInlineOutputBytes: 1e6, retryInitialMs: 1_000, retryMaxMs: 60_000, outputsBudgetMs: 1_000 },
    events: {
      ended: ({ id }: TaskRecord) => told.push(`ended ${id}`),
      fault: (...words: unknown[]) => told.push(words.join(' ')),
    },
  } as unknown as TasksDeps;
  const deletes = { carryOut: async (id: string) => void told.push(`carry out ${id}`) } as unknown as DeleteList;
  const runtime = { refresher: { untrack: (id: string) => told.push(`untrack ${id}`) } } as unknown as PluginRuntime;
  const sink = new ReadSink(deps, deletes);
  const task = make(store);
  const report = (parts: Partial<ReadReport> & Pick<ReadReport, 'outcome'>) =>
    sink.report(runtime, { id: task.id, task, failures: 0, ...parts } as ReadReport);
  return { store, sink, task, told, report, runtime };
}

const failed = (kind: FailureKind) => fail(kind, { message: `${kind} message` });
const UNTIL = 'the remote does not find the job; the task goes on until that is confirmed';
const WAVE = 'the remote does not find this job and others that were alive; the task waits until it does';

const REPORTS: readonly [
  what: string,
  parts: Parameters<ReturnType<typeof sinkOf>['report']>[0],
  count: number,
  reason: string,
][] = [
  ['a failure that counts', { outcome: failed('transient'), failures: 3 }, 3, ''],
  ['a failure that does not count', { outcome: failed('throttled'), failures: 2 }, 2, ''],
  ['a first NotFound', { outcome: failed('not_found'), missing: { sinceMs: 1, reads: 1, wave: false } }, 1, ''],
  ['a second NotFound', { outcome: failed('not_found'), missing: { sinceMs: 1, reads: 2, wave: false } }, 2, UNTIL],
  [
    'a NotFound after failures',
    { outcome: failed('not_found'), failures: 3, missing: { sinceMs: 1, reads: 4, wave: false } },
    7,
    UNTIL,
  ],
  ['a NotFound in a wave', { outcome: failed('not_found'), missing: { sinceMs: 1, reads: 1, wave: true } }, 1, WAVE],
  [
    'another failure while it is missing',
    { outcome: failed('transient'), missing: { sinceMs: 1, reads: 5, wave: true } },
    5,
    '',
  ],
  ['a NotFound that counts for nothing', { outcome: failed('not_found') }, 0, ''],
];

for (const [what, parts, count, reason] of REPORTS) {
  test(`${what} is kept with its number, and changes no phase`, () => {
    const { task, told, report } = sinkOf();
    report(parts);
    const { failure } = parts.outcome as ReturnType<typeof fail> & { ok: false };
    assert.deepEqual(
      [task.consecutiveFailures, task.lastFailure, task.state.phase, task.state.reason, told],
      [count, { code: failure.code, message: failure.message }, 'QUEUED', reason, []],
    );
  });
}

test('the failure that is told of a batch stands for that of its read', () => {
  const { task, report } = sinkOf();
  const lastFailure = { ...(failed('transient') as { failure: object }).failure, code: 'MINE' };
  report({ outcome: failed('unknown'), failures: 1, lastFailure } as never);
  assert.equal(task.lastFailure?.code, 'MINE');
});

test('a verdict ends the task with its words, and its job is cancelled where it may run', () => {
  for (const oweDelete of [true, false]) {
    const { store, task, told, report } = sinkOf();
    const verdict = {
      phase: 'RETRYABLE_FAILURE',
      code: 'LOST',
      message: 'gone',
      faultKind: 'SYSTEM',
      oweDelete,
    } as const;
    report({ outcome: failed('not_found'), verdict });
    assert.deepEqual(
      [task.state.phase, task.state.reason, task.state.error],
      ['RETRYABLE_FAILURE', 'gone', { code: 'LOST', message: 'gone', kind: 'SYSTEM' }],
    );
    assert.equal(store.owed.get(task.id)?.reason, oweDelete ? 'the daemon ended the task: gone' : undefined);
    assert.deepEqual(told, ['ended a-1', 'carry out a-1']);
  }
});

test('what is told of a task that is over, or that is another record by now, ends its polls and nothing else', () => {
  const over = sinkOf();
  over.store.end(over.task, phaseState('ABORTED'));
  const gone = sinkOf();
  gone.store.remove(gone.task);
  for (const { task, told, report } of [over, gone]) {
    const { revision } = task;
    for (const outcome of [ok(phaseState('RUNNING')), failed('transient')]) report({ outcome, failures: 1 });
    assert.deepEqual([told, task.revision], [['untrack a-1', 'untrack a-1'], revision]);
  }
});

test('a told state says whether the task goes on: not when it is over by it or before, nor when it was removed', () => {
  const { store, sink, task, told, runtime } = sinkOf();
  assert.equal(sink.state(runtime, task, phaseState('RUNNING')), true);
  assert.equal(sink.state(runtime, task, phaseState('SUCCESS')), false);
  assert.equal(sink.state(runtime, task, phaseState('RUNNING')), false);
  assert.deepEqual([task.state.phase, store.owed.size], ['SUCCESS', 0]);
  assert.deepEqual(told.slice(0, 2), ['ended a-1', 'carry out a-1']);
});

test('a success without its outputs is a failure; the job is over, and its plugin may clean up', () => {
  const { store, task, told, report } = sinkOf((made) => {
    const one = insertTask(made, 'a', {
      identity: { ...insertTask(made, 'b').identity, key: 'a', outputNames: ['o'] },
    });
    made.setCreated(one, Buffer.from('{}'));
    return one;
  });
  report({ outcome: ok(phaseState('SUCCESS')) });
  assert.deepEqual([task.state.phase, task.state.error?.code], ['PERMANENT_FAILURE', 'OUTPUTS_UNUSABLE']);
  const { jobOver, reason } = store.owed.get('a-1') ?? assert.fail('no delete is owed');
  assert.deepEqual([jobOver, reason], [true, `the daemon ended the task: ${task.state.reason}`]);
  assert.deepEqual(told, ['ended a-1', 'carry out a-1']);
});
