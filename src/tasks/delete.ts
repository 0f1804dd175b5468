import { taskIdOf } from '../model/attempt-key.js';
import { cancelTask } from './cancel.js';
import type { CreateTask } from './create.js';
import type { DeleteList } from './delete-list.js';
import type { TasksDeps } from './deps.js';
import type { Handles } from './handles.js';
import { keptUntil } from './runtime.js';
import type { HandleHints } from './types.js';

interface Parts {
  readonly handles: Handles;
  readonly creates: CreateTask;
  readonly deletes: DeleteList;
}

/**
 * Ends the incarnation that a handle names; resolves once the intent is safe (design 1a, Delete). What memory does not
 * hold is read first and cancelled only if it is not over; what was never created has nothing to cancel.
 */
export async function deleteTask(
  deps: TasksDeps,
  { handles, creates, deletes }: Parts,
  bytes: Buffer,
  reason: string,
  hints: HandleHints,
): Promise<void> {
  const found = handles.find(bytes, hints);
  const connectionUntilMs = keptUntil(hints.connection, deps.clock.now(), deps.options.connectionTtlMs);
  if (found.kind === 'deleted') {
    deletes.renew(found.id, hints.connection, connectionUntilMs);
    return deletes.safe(found.id);
  }
  if (found.kind === 'held') {
    // The daemon may owe a delete of a task that it ended itself.
    deletes.renew(found.task.id, hints.connection, connectionUntilMs);
    const { safe, gone } = cancelTask(deps, { deletes, creates }, found.task, reason);
    gone.catch((error: unknown) => deps.events.fault?.('delete', error));
    return safe;
  }
  const { identity, meta } = found.handle;
  // What memory holds makes room for its order; what it does not hold must find room, or nothing would bound the list.
  if (meta !== undefined) deps.store.assertOwable(deletes.size);
  deps.store.bury(identity);
  if (meta === undefined) return;
  await deletes.owe({
    id: taskIdOf(identity.key, identity.incarnation),
    identity,
    meta,
    outputPrefix: hints.outputPrefix,
    connection: hints.connection,
    connectionUntilMs,
    reason,
    readFirst: true,
  });
}
