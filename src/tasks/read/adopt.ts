import { type AttemptKey, adoptedIdOf, taskIdOf } from '../../model/attempt-key.js';
import type { Handle } from '../../model/handle.js';
import { phaseState } from '../../model/phase-state.js';
import type { TaskRecord } from '../../model/task-record.js';
import { startPolling } from '../../runtime/polling.js';
import { keptUntil, type PluginRuntime, runtimeOf } from '../../runtime/runtime.js';
import { type NewTask, recordForAnswer } from '../../store/entry.js';
import type { TasksDeps } from '../deps.js';
import { failureState } from '../failures.js';
import type { HandleHints } from '../types.js';
import type { Adoptions } from './adoptions.js';
import { outputsLost } from './ended-before.js';

/** The end of a task that was accepted by a daemon whose memory is gone. */
export const CREATE_LOST = failureState(
  'RETRYABLE_FAILURE',
  'CREATE_LOST',
  'the task was accepted, and the daemon that accepted it stopped before it knew the job; create it again',
  'SYSTEM',
);

export interface Adoption extends Handle {
  readonly bytes: Buffer;
  readonly hints: HandleHints;
}

/**
 * A record for a handle that memory does not hold. One that ended here is answered as before; with a meta the remote is
 * polled, RUNNING until the first read says more, since nothing is known but that the task was created; without one its
 * create is lost. Where there is no room for more of these the answer is RUNNING too, and nothing is kept: an engine counts
 * a refused Status against its task, and asks again. What was told as over is told as nothing less meanwhile: see `assertToldAsOver`.
 */
export function adoptTask(
  deps: TasksDeps,
  adoptions: Adoptions,
  { identity, meta: told, bytes, hints }: Adoption,
): TaskRecord {
  const { store, clock, options, events } = deps;
  const { key, incarnation } = identity;
  const trace = store.trace(taskIdOf(key, incarnation)) ?? store.trace(adoptedIdOf(key, incarnation, bytes));
  const mark = store.marks.get(key, incarnation);
  const meta = told ?? trace?.meta;
  const base = {
    identity: trace?.identity ?? identity,
    outputPrefix: hints.outputPrefix || (trace?.outputPrefix ?? ''),
    connection: hints.connection,
    connectionUntilMs: keptUntil(hints.connection, clock.now(), options.connectionTtlMs),
    answeredHandle: bytes,
    adopted: true,
    deleted: mark?.deleted ?? trace?.deleted ?? false,
    endedBefore: trace !== undefined || mark?.ended === true,
    ...(meta === undefined ? {} : { meta }),
    // What the trace has left out is visible.
    ...(trace === undefined ? {} : { seen: { phaseVersion: trace.phaseVersion + 1 } }),
  };
  const end = trace?.state ?? mark?.failure;
  if (end !== undefined) return store.insert({ ...base, stage: 'over', state: end });
  if (meta === undefined && mark?.ended === true) {
    const lost = outputsLost('its handle was answered before its job was known');
    return forAnswer(deps, { ...base, stage: 'over', state: lost }, bytes);
  }
  if (meta === undefined) {
    store.told.add(bytes, CREATE_LOST);
    return forAnswer(deps, { ...base, stage: 'over', state: CREATE_LOST }, bytes);
  }
  // How it ended is told whatever became of its plugin; to be read it needs it.
  const runtime = runtimeOf(deps.runtimes, identity.plugin);
  if (!adoptions.admit()) {
    const reason =
      'known from its handle; it is read when there is room for it among the tasks that handles alone tell of';
    return forAnswer(deps, { ...base, stage: 'live', state: phaseState('RUNNING', { reason }) }, bytes);
  }
  mindLostState(deps, runtime, identity.createdAtMs);
  const state = phaseState('RUNNING', { reason: 'taken up again; the remote has not been read yet' });
  const task = store.insert({ ...base, stage: 'live', state });
  events.adopted?.(task);
  startPolling(deps, runtime, task);
  return task;
}

/** For so long after the birth of a state each start minds that the one before was lost. Milliseconds. */
const LOSS_REMEMBERED_MS = 3_600_000;
/**
 * A handle from before the birth of a state that is new: the one before was lost, and with it who held which token. Engines ask
 * for all that runs within an interval of theirs, so for as long after the birth nothing is granted anew (rule 10).
 */
function mindLostState(
  { store }: TasksDeps,
  { quotas, plugin, servesSinceMs }: PluginRuntime,
  createdAtMs: number,
): void {
  const bornMs = store.completeSinceMs;
  if (bornMs === undefined || createdAtMs >= Math.floor(bornMs)) return;
  // Handles are taken up from when the plugin is loaded, which may take longer than the interval, or another start.
  const sinceMs = servesSinceMs - bornMs <= LOSS_REMEMBERED_MS ? servesSinceMs : bornMs;
  quotas.closeUntil(sinceMs + plugin.config.caching.resyncIntervalMs);
}

/** A record that only answers a call: the next one comes to the same without it. */
function forAnswer({ clock }: TasksDeps, task: NewTask, bytes: Buffer): TaskRecord {
  return recordForAnswer(task, clock.now(), bytes);
}

/**
 * A repeated create of an attempt that ended here and gave way in memory: what is remembered of it becomes its record again. Throws
 * PLUGIN_NOT_SERVING where it has to be read and its plugin does not run here.
 */
export function recallEnded({ store, runtimes }: TasksDeps, key: AttemptKey): TaskRecord | undefined {
  const trace = store.trace(taskIdOf(key, store.marks.firstOpen(key)));
  if (trace === undefined || trace.deleted) return undefined;
  const { identity, meta, outputPrefix, answeredHandle, phaseVersion, state } = trace;
  if (state === undefined && meta === undefined) return undefined;
  if (state === undefined) runtimeOf(runtimes, identity.plugin);
  return store.insert({
    identity,
    stage: state === undefined ? 'live' : 'over',
    endedBefore: state === undefined,
    // Its outputs were not kept; whoever takes it up reads them again.
    state: state ?? phaseState('RUNNING', { reason: 'taken up again; its outputs are read again' }),
    outputPrefix,
    answeredHandle,
    seen: { phaseVersion: phaseVersion + 1 },
    ...(meta === undefined ? {} : { meta }),
  });
}
