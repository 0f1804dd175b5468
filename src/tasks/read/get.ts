import { HostError } from '../../errors/index.js';
import type { TaskRecord } from '../../model/task-record.js';
import { runtimeOf } from '../../runtime/runtime.js';
import type { TasksDeps } from '../deps.js';
import { errorOf } from '../failures.js';
import type { CallScope, HandleHints } from '../types.js';
import type { Handles } from './handles.js';
import type { ReadSink } from './reads.js';

/** Reads the remote now; a task that has no job, or is over, is answered from memory. Throws what the read failed with. */
export async function getTask(
  deps: TasksDeps,
  { handles, reads }: { readonly handles: Handles; readonly reads: ReadSink },
  bytes: Buffer,
  hints: HandleHints,
  scope: CallScope,
): Promise<TaskRecord> {
  // Outputs that are being written end the task, and it is not polled meanwhile: there is nothing left to read.
  const settled = async (before: TaskRecord): Promise<TaskRecord> => {
    const task = handles.latest(bytes, hints, before);
    await reads.settled(task.id);
    return handles.latest(bytes, hints, task);
  };
  const task = await settled(await handles.resolve(bytes, hints, scope));
  if (task.stage !== 'live') return task;
  if (deps.store.byId(task.id) !== task) {
    const full = 'there is no room to take up more tasks that this daemon knows from their handles alone';
    throw new HostError('STORE_FULL', `${full}; Status answers meanwhile, try again in a moment`, {
      retryAfterMs: 5_000,
    });
  }
  const { refresher } = runtimeOf(deps.runtimes, task.scope.plugin);
  const outcome = await refresher.readNow(task.id, scope.deadlineMs, scope.signal);
  const latest = await settled(task);
  if (outcome.ok || isOver(latest)) return latest;
  throw errorOf(outcome.failure, task.scope.plugin, 'reading the task', 'get');
}

/** The read may have ended the task; the compiler does not know that the record changes meanwhile. */
function isOver(task: TaskRecord): boolean {
  return task.stage === 'over';
}
