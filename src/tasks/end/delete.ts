import { adoptedIdOf, taskIdOf } from '../../model/attempt-key.js';
import { type PhaseState, phaseState } from '../../model/phase-state.js';
import { keptUntil } from '../../runtime/runtime.js';
import { deleteOrder, type OwedDelete } from '../../store/owed-deletes.js';
import type { CreateTask } from '../accept/create.js';
import type { TasksDeps } from '../deps.js';
import { CREATE_LOST } from '../read/adopt.js';
import { endedHere, type Handles } from '../read/handles.js';
import type { ReadSink } from '../read/reads.js';
import type { HandleHints } from '../types.js';
import { cancelInBackground, cancelTask } from './cancel.js';
import type { DeleteList } from './delete-list.js';
import type { UnclearLooks } from './unclear-looks.js';

interface Parts {
  readonly handles: Handles;
  readonly creates: CreateTask;
  readonly deletes: DeleteList;
  readonly unclear: UnclearLooks;
}

/**
 * Ends the incarnation that a handle names; resolves once the intent is safe (design 1a, Delete). What memory does not
 * hold is read first and cancelled only if it is not over; what was never created has nothing to cancel. Throws, at once, DAEMON_DRAINING where
 * nobody would carry it out. `promised`: by a stand-in, whatever room there is for it.
 */
export function deleteTask(
  deps: TasksDeps,
  { handles, ...parts }: Parts,
  bytes: Buffer,
  reason: string,
  hints: HandleHints,
  promised = false,
): Promise<void> {
  const found = handles.find(bytes, hints);
  const connectionUntilMs = keptUntil(hints.connection, deps.clock.now(), deps.options.connectionTtlMs);
  if (found.kind === 'deleted') {
    deps.store.owed.renew(found.id, hints.connection, connectionUntilMs);
    // The order may not be written yet, whatever carries it out.
    return deps.store.safe();
  }
  if (found.kind === 'held') {
    // The daemon may owe a delete of a task that it ended itself.
    deps.store.owed.renew(found.task.id, hints.connection, connectionUntilMs);
    if (found.task.stage !== 'over') parts.deletes.assertTaken();
    if (found.task.adopted && found.task.stage === 'live' && !promised) deps.store.assertOwable();
    const { safe, gone } = cancelTask(deps, parts, found.task, reason);
    gone.catch((error: unknown) => deps.events.fault?.('delete', error));
    // A repeated create of the attempt may be under way while its engine still has the handle of an earlier daemon.
    const { key, incarnation } = found.task.identity;
    const created = found.task.adopted ? deps.store.byId(taskIdOf(key, incarnation)) : undefined;
    if (created !== undefined) cancelInBackground(deps, parts, created, reason);
    return safe;
  }
  const { identity, meta } = found.handle;
  const { key, incarnation } = identity;
  const attempt = taskIdOf(key, incarnation);
  const created = deps.store.byId(attempt);
  const id = created === undefined ? attempt : adoptedIdOf(key, incarnation, bytes);
  const over = endedHere(deps.store, found.handle, bytes);
  if (!over) parts.deletes.assertTaken();
  // What memory holds makes room for its order; what it does not hold must find room, or nothing would bound the list.
  if (meta !== undefined && !over && !promised) deps.store.assertOwable();
  // A repeated create that does not know the job of this handle yet.
  if (created !== undefined) cancelInBackground(deps, parts, created, reason);
  const { connection, outputPrefix } = hints;
  const of = { id, identity, meta, outputPrefix, connection, connectionUntilMs, adopted: true };
  deps.store.markDeleted(identity, {
    // What was never created here ended as its handle was answered, and goes on answering so (rule 8).
    ...(meta === undefined && !over ? { end: CREATE_LOST } : {}),
    order: over ? undefined : deleteOrder(of, reason, { readFirst: bytes }),
  });
  return parts.deletes.carryOut(id);
}

/**
 * A task that this memory did not hold turned out to be over when it was to be cancelled. Its handle goes on answering how
 * it ended: an engine may poll it again after a Delete whose effects it failed to write (FIELD 27).
 */
export function keepEnd(deps: TasksDeps, reads: ReadSink, order: OwedDelete, state: PhaseState): void {
  const { store, runtimes } = deps;
  const { identity, meta, outputPrefix, readFirst: handle } = order;
  const runtime = runtimes.get(identity.plugin);
  if (runtime === undefined || handle === undefined || store.byHandle(handle) !== undefined) return;
  // Whoever asked meanwhile was told that it was deleted.
  if (store.told.of(handle) !== undefined) return;
  const running = phaseState('RUNNING', { reason: 'deleted, and found to be over' });
  const task = store.insert({
    identity,
    stage: 'live',
    state: running,
    meta,
    outputPrefix,
    answeredHandle: handle,
    adopted: true,
  });
  reads.state(runtime, task, state);
  reads.settled(task.id).then(
    () => store.remove(task),
    (error: unknown) => deps.events.fault?.('delete', error),
  );
}
