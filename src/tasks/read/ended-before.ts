import { HostError } from '../../errors/index.js';
import { settledBefore } from '../../lib/wait.js';
import type { TaskRecord } from '../../model/task-record.js';
import { runtimeOf } from '../../runtime/runtime.js';
import type { TasksDeps } from '../deps.js';
import type { CallScope } from '../types.js';

/** Whether a task was told as over, and what it ended with is still to be read again. */
export function awaitsItsEnd(task: TaskRecord): boolean {
  return task.endedBefore && task.stage === 'live' && task.observedAtMs === undefined;
}

/** Throws OUTPUTS_UNREAD for a task that was told as over and cannot be told so yet: no phase below that is told of it (rule 7). */
export function assertToldAsOver(task: TaskRecord): void {
  if (!awaitsItsEnd(task)) return;
  const { message } = task.lastFailure ?? { message: 'it has not been read yet' };
  throw new HostError(
    'OUTPUTS_UNREAD',
    `the task was over; its outputs are no longer in memory, and are read again from its remote: ${message}`,
    { retryAfterMs: 5_000 },
  );
}

/** Reads such a task, within the caller's time, unless that has failed before. Throws as `assertToldAsOver`. */
export async function readEnd(deps: TasksDeps, task: TaskRecord, { deadlineMs, signal }: CallScope): Promise<void> {
  if (!awaitsItsEnd(task)) return;
  if (task.lastFailure === undefined) {
    const until = deadlineMs - deps.options.answerMarginMs;
    const { refresher } = runtimeOf(deps.runtimes, task.identity.plugin);
    await settledBefore(deps.clock, refresher.readNow(task.id, until, signal), until, signal);
  }
  assertToldAsOver(task);
}
