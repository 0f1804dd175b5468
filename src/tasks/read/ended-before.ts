import { HostError } from '../../errors/index.js';
import { settledBefore } from '../../lib/wait.js';
import { type PhaseState, phaseState } from '../../model/phase-state.js';
import type { TaskRecord } from '../../model/task-record.js';
import { isTerminal } from '../../plugin-api/phase.js';
import { runtimeOf } from '../../runtime/runtime.js';
import type { TasksDeps } from '../deps.js';
import { toldBefore } from '../safe.js';
import type { CallScope } from '../types.js';

/** Whether a task was told as over, and what it ended with is still to be read again. */
export function awaitsItsEnd(task: TaskRecord): boolean {
  return task.endedBefore && !isTerminal(task.state.phase);
}

/** Throws OUTPUTS_UNREAD for a task that was told as over and cannot be told so yet: no phase below that is told of it (rule 7). */
export function assertToldAsOver(task: TaskRecord): void {
  if (!awaitsItsEnd(task)) return;
  const why = task.stage === 'over' ? 'they were, and are being kept' : task.lastFailure?.message;
  throw new HostError(
    'OUTPUTS_UNREAD',
    `the task was over; its outputs are no longer in memory, and are read again from its remote: ${why ?? 'it has not been read yet'}`,
    { retryAfterMs: 5_000 },
  );
}

/** The same, once a read of it that succeeded may be told. */
export async function assertEndTold(deps: TasksDeps, task: TaskRecord, scope: CallScope): Promise<void> {
  if (awaitsItsEnd(task)) await toldBefore(deps, task, scope);
  assertToldAsOver(task);
}

/** Reads such a task, within the caller's time, unless that has failed before. Throws as `assertToldAsOver`. */
export async function readEnd(deps: TasksDeps, task: TaskRecord, scope: CallScope): Promise<void> {
  if (!awaitsItsEnd(task)) return;
  if (task.stage === 'live' && task.lastFailure === undefined) {
    const { deadlineMs, signal } = scope;
    const until = deadlineMs - deps.options.answerMarginMs;
    const { refresher } = runtimeOf(deps.runtimes, task.scope.plugin);
    await settledBefore(deps.clock, refresher.readNow(task.id, until, signal), until, signal);
  }
  await assertEndTold(deps, task, scope);
}

/**
 * What is told of a task that was told as a success before, and whose outputs can be had no more: anything else would be another end
 * (rule 7). An engine that was told of them has them already, or finds that there are none.
 */
export function outputsLost(why: string): PhaseState {
  const message = `the task succeeded; its outputs gave way in memory, and can be read no more: ${why}`;
  return phaseState('SUCCESS', { reason: message, error: { code: 'OUTPUTS_LOST', message, kind: 'SYSTEM' } });
}
