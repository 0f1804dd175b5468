import type { TaskId } from '../../model/attempt-key.js';
import type { TaskRecord } from '../../model/task-record.js';
import { deleteOrder } from '../../store/owed-deletes.js';
import type { CreateRun } from '../accept/creator.js';
import type { TasksDeps } from '../deps.js';
import type { DeleteList } from './delete-list.js';
import type { UnclearLooks } from './unclear-looks.js';

/** A deletion under way; neither promise may be left without a handler for its rejection. */
export interface Cancellation {
  /** Resolves once the intent is safe. */
  readonly safe: Promise<void>;
  /** Resolves when the remote has nothing of the task any more that is known here. */
  readonly gone: Promise<void>;
}

export interface CancelParts {
  readonly deletes: DeleteList;
  readonly unclear: Pick<UnclearLooks, 'deletedEarly'>;
  /** The create that is under way for a task, if one is. */
  readonly creates: { run(id: TaskId): CreateRun | undefined };
}

/** Ends a task of this memory: out of whatever line it stands in, or onto the delete list. */
export function cancelTask(
  deps: TasksDeps,
  { deletes, creates, unclear }: CancelParts,
  task: TaskRecord,
  reason: string,
): Cancellation {
  const { store } = deps;
  const { id, identity, node, outputPrefix, connection, connectionUntilMs } = task;
  if (task.stage === 'over' && task.deleted) return { safe: store.safe(), gone: Promise.resolve() };
  const run = task.stage === 'over' || task.meta !== undefined ? undefined : creates.run(id);
  run?.cancel();
  // An earlier run of the daemon may have sent its create, and this one has not come to repeat it.
  if (run === undefined && task.sentBoundMs !== undefined) unclear.deletedEarly(task, reason);
  store.orderDelete(task, reason, run !== undefined);
  if (run === undefined) {
    const safe = deletes.carryOut(id);
    return { safe, gone: safe.then(() => deletes.done(id)) };
  }
  const safe = store.safe();
  const gone = run.ended.then(async (end) => {
    // The next start finds out whether there is a job.
    if (end.kind === 'stopped' && store.durable) return;
    // What came with the task's calls is let go of with the run.
    const of = { id, identity, node, outputPrefix, connection, connectionUntilMs };
    store.cancelled(task, end.kind === 'created' ? deleteOrder({ ...of, meta: end.meta }, reason) : undefined);
    await deletes.carryOut(id);
    await deletes.done(id);
  });
  return { safe, gone };
}

/** The same for whoever does not wait for it; a failure is told to the log. */
export function cancelInBackground(
  deps: TasksDeps,
  parts: CancelParts,
  task: TaskRecord,
  reason: string,
): Cancellation {
  const cancellation = cancelTask(deps, parts, task, reason);
  for (const one of [cancellation.safe, cancellation.gone]) {
    one.catch((error: unknown) => deps.events.fault?.('cancel', error));
  }
  return cancellation;
}
