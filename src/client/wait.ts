import { backoffMs } from '../lib/backoff.js';
import { isTerminal } from '../plugin-api/phase.js';
import { PluginHostError } from './error.js';
import type { Client, TaskStatus, WaitOptions } from './types.js';
import { BACKOFF, pause } from './watch.js';

/** A longer one would fire at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

function deleted(): PluginHostError {
  return new PluginHostError('the task was deleted while it was waited for', 'CANCELLED', {
    errorInfo: { reason: 'TASK_DELETED', domain: 'pluginhost', metadata: {} },
  });
}

/**
 * Follows one task to its end. Status is read first (it also makes the daemon adopt a task that it does not hold), and
 * again whenever Watch cannot vouch for having shown everything. A daemon that goes away meanwhile is awaited: the first
 * read alone fails with UNAVAILABLE.
 */
export async function waitForEnd(client: Client, handle: Uint8Array, options: WaitOptions): Promise<TaskStatus> {
  const { timeoutMs, signal, onStatus, onUnreachable, ...hints } = options;
  const stop = new AbortController();
  const abort = () => stop.abort();
  const timer = timeoutMs === undefined ? undefined : setTimeout(abort, Math.min(timeoutMs, LONGEST_TIMER_MS));
  signal?.addEventListener('abort', abort);
  if (signal?.aborted) abort();
  const seen = (status: TaskStatus): boolean => {
    onStatus?.(status);
    return isTerminal(status.phaseInfo.phase);
  };
  const read = () => client.status(handle, { ...hints, signal: stop.signal });
  const readAgain = async (): Promise<TaskStatus> => {
    for (let failures = 1; ; failures++) {
      try {
        return await read();
      } catch (error) {
        if (stop.signal.aborted || !(error instanceof PluginHostError) || error.status !== 'UNAVAILABLE') throw error;
        onUnreachable?.(error);
        await pause(error.retryAfterMs ?? backoffMs(failures, BACKOFF, Math.random), stop.signal);
      }
    }
  };
  try {
    const first = await read();
    if (seen(first)) return first;
    const updates = client.watch(
      { handles: [handle], includeCurrent: true },
      { signal: stop.signal, ...(onUnreachable === undefined ? {} : { onUnreachable }) },
    );
    for await (const update of updates) {
      if (update.kind === 'change' && update.deleted) throw deleted();
      const status = update.kind === 'change' ? update.status : await readAgain();
      if (seen(status)) return status;
    }
  } catch (error) {
    if (!stop.signal.aborted) throw error;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
    stop.abort();
  }
  if (signal?.aborted) throw new PluginHostError('waiting for the task was given up', 'CANCELLED');
  throw new PluginHostError(`the task was not over within ${timeoutMs} ms`, 'DEADLINE_EXCEEDED');
}
