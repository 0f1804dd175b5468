import { HostError } from '../errors/index.js';
import { settledBefore } from '../lib/wait.js';
import type { TaskRecord } from '../model/task-record.js';
import type { TasksDeps } from './deps.js';
import type { CallScope } from './types.js';

/** When a caller whose call could not be made safe should try again. Milliseconds. */
const RETRY_AFTER_MS = 5_000;

/**
 * Resolves once `safe` does: what the caller is about to be told outlives a crash (design 6). Throws one of the STATE_ codes,
 * or OWNER_AWAY where another replica has the state, when that was not possible before the caller's deadline (without one it is waited for as long as it takes); nothing is promised then, and a repeat finds what was begun.
 */
export async function assertSafe(
  { store, clock, options }: TasksDeps,
  safe: Promise<void>,
  scope: CallScope | undefined,
  what: string,
): Promise<void> {
  if (!store.durable || scope === undefined) return safe;
  const { deadlineMs, signal } = scope;
  const until = Math.max(clock.now(), deadlineMs - options.answerMarginMs);
  if (await settledBefore(clock, safe, until, signal)) return safe;
  if (signal.aborted) throw new HostError('CALL_CANCELLED', `the caller cancelled the call before ${what} was safe`);
  const { code, message } = store.trouble ?? {
    code: 'STATE_SLOW' as const,
    message: 'writing the state takes longer than the deadline of the call',
  };
  // Who has the state now takes the call: its caller is told to try again, as for any other that is away.
  throw new HostError(
    code === 'STATE_LOCKED' ? 'OWNER_AWAY' : code,
    `${what} could not be made safe before the deadline: ${message}`,
    { retryAfterMs: RETRY_AFTER_MS },
  );
}

/** Logs and counts the end of a task, once it is told: the record says what is told. */
export function tellEnded({ store, events }: TasksDeps, task: TaskRecord): void {
  if (!store.durable) events.ended?.(task);
  else
    store
      .shown(task)
      .then(() => events.ended?.(task))
      .catch((error: unknown) => events.fault?.('end', error));
}

/** The task once what is known of it may be told, and is; as it was told before where that takes too long. */
export async function toldBefore(
  { store, clock, options }: TasksDeps,
  task: TaskRecord,
  { deadlineMs, signal }: CallScope,
): Promise<TaskRecord> {
  if (store.durable) await settledBefore(clock, store.shown(task), deadlineMs - options.answerMarginMs, signal);
  return task;
}
