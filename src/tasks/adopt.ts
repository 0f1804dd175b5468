import { type AttemptKey, taskIdOf } from '../model/attempt-key.js';
import type { Handle } from '../model/handle.js';
import { phaseState } from '../model/phase-state.js';
import type { TaskRecord } from '../model/task-record.js';
import type { TasksDeps } from './deps.js';
import { failureState } from './failures.js';
import { forceToken, startPolling } from './polling.js';
import { keptUntil, runtimeOf } from './runtime.js';
import type { HandleHints } from './types.js';

export interface Adoption extends Handle {
  readonly bytes: Buffer;
  readonly hints: HandleHints;
}

/**
 * A record for a handle that memory does not hold. One that ended here is answered as before; with a meta the remote is
 * polled, RUNNING until the first read says more, since nothing is known but that the task was created; without one its
 * create is lost.
 */
export function adoptTask(deps: TasksDeps, { identity, meta: told, bytes, hints }: Adoption): TaskRecord {
  const { store, clock, options, events } = deps;
  const runtime = runtimeOf(deps.runtimes, identity.plugin);
  const trace = store.trace(taskIdOf(identity.key, identity.incarnation));
  const meta = told ?? trace?.meta;
  const base = {
    identity: trace?.identity ?? identity,
    outputPrefix: hints.outputPrefix || (trace?.outputPrefix ?? ''),
    connection: hints.connection,
    connectionUntilMs: keptUntil(hints.connection, clock.now(), options.connectionTtlMs),
    answeredHandle: bytes,
    adopted: true,
    ...(meta === undefined ? {} : { meta }),
    // What the trace has left out is visible.
    ...(trace === undefined ? {} : { seen: { phaseVersion: trace.phaseVersion + 1 } }),
  };
  if (trace?.state !== undefined) return store.insert({ ...base, stage: 'over', state: trace.state });
  if (meta === undefined) {
    const lost =
      'the task was accepted, and the daemon that accepted it stopped before it knew the job; create it again';
    return store.insert({
      ...base,
      stage: 'over',
      state: failureState('RETRYABLE_FAILURE', 'CREATE_LOST', lost, 'SYSTEM'),
    });
  }
  const state = phaseState('RUNNING', { reason: 'taken up again; the remote has not been read yet' });
  const task = store.insert({ ...base, stage: 'live', state });
  events.adopted?.(task);
  forceToken(runtime, task);
  startPolling(deps, runtime, task);
  return task;
}

/** The task of an attempt that ended here and gave way in memory, under the handle that was answered for it. */
export function adoptEnded(deps: TasksDeps, key: AttemptKey): TaskRecord | undefined {
  const incarnation = (deps.store.tombstones.last(key) ?? 0) + 1;
  const trace = deps.store.trace(taskIdOf(key, incarnation));
  if (trace === undefined) return undefined;
  const { identity, meta, answeredHandle: bytes } = trace;
  return adoptTask(deps, { identity, meta, bytes, hints: { outputPrefix: '', connection: undefined } });
}
