import type { TaskRecord } from '../../model/task-record.js';
import type { TasksDeps } from '../deps.js';
import type { CallScope } from '../types.js';

/** The part of a deadline that a read of a stale task may take: the last known state has to be answered in time. */
const READ_SHARE = 1 / 3;

/**
 * Whether what is known of a task is older than its caller can bear. A remote that is down is left to its probe, and 0
 * takes whatever there is.
 */
export function isStale({ clock, runtimes }: TasksDeps, task: TaskRecord, maxStalenessMs: number | undefined): boolean {
  if (maxStalenessMs === undefined || maxStalenessMs === 0 || task.stage !== 'live') return false;
  if (clock.now() - (task.observedAtMs ?? task.liveSinceMs) <= maxStalenessMs) return false;
  return runtimes.get(task.scope.plugin)?.refresher.remoteDown !== true;
}

/**
 * The task, read now where it is stale. The last known state is a good answer; six failed calls and the engine never asks
 * again (FIELD 8).
 */
export async function freshTask(
  deps: TasksDeps,
  task: TaskRecord,
  maxStalenessMs: number | undefined,
  scope: CallScope,
  read: (scope: CallScope) => Promise<TaskRecord>,
): Promise<TaskRecord> {
  if (!isStale(deps, task, maxStalenessMs)) return task;
  const now = deps.clock.now();
  const deadlineMs = now + Math.max(0, scope.deadlineMs - now) * READ_SHARE;
  return read({ arrivedMs: scope.arrivedMs, deadlineMs, signal: scope.signal }).catch(() => task);
}
