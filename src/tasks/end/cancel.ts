import type { TaskId } from '../../model/attempt-key.js';
import type { TaskRecord } from '../../model/task-record.js';
import type { CreateRun } from '../accept/creator.js';
import type { TasksDeps } from '../deps.js';
import { runtimeOf } from '../runtime.js';
import type { DeleteList } from './delete-list.js';

/** A deletion under way; neither promise may be left without a handler for its rejection. */
export interface Cancellation {
  /** Resolves once the intent is safe. */
  readonly safe: Promise<void>;
  /** Resolves when the remote has nothing of the task any more that is known here. */
  readonly gone: Promise<void>;
}

export interface CancelParts {
  readonly deletes: DeleteList;
  /** The create that is under way for a task, if one is. */
  readonly creates: { run(id: TaskId): CreateRun | undefined };
}

/** Ends a task of this memory: out of whatever line it stands in, or onto the delete list. */
export function cancelTask(
  deps: TasksDeps,
  { deletes, creates }: CancelParts,
  task: TaskRecord,
  reason: string,
): Cancellation {
  const { store, journal } = deps;
  const { id, identity, outputPrefix, connection, connectionUntilMs, meta } = task;
  const runtime = runtimeOf(deps.runtimes, identity.plugin);
  const order = {
    id,
    identity,
    outputPrefix,
    connection,
    connectionUntilMs,
    reason,
    readFirst: false,
    fromHandle: task.adopted,
  };
  if (task.stage === 'over') {
    if (task.deleted) return { safe: Promise.resolve(), gone: Promise.resolve() };
    store.remove(task);
    const safe = journal.append({ kind: 'forgotten', id, incarnation: identity.incarnation });
    return { safe, gone: safe };
  }
  if (meta !== undefined) {
    runtime.refresher.untrack(id);
    store.remove(task);
    const safe = deletes.owe({ ...order, meta });
    return { safe, gone: safe.then(() => deletes.done(id)) };
  }
  const run = creates.run(id);
  run?.cancel();
  store.remove(task);
  const safe = journal.append({ kind: 'delete-owed', id, identity, meta: undefined, outputPrefix, reason });
  const gone = (run?.ended ?? Promise.resolve(undefined)).then(async (end) => {
    if (end?.kind !== 'created') {
      runtime.quotas.release(id);
      return;
    }
    await deletes.owe({ ...order, meta: end.meta });
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
