import type { Clock } from './clock.js';
import { createDeferred } from './deferred.js';

/** Resolves to true when `promise` settles first, to false at `atMs` or when the signal is aborted. Never rejects. */
export async function settledBefore(
  clock: Clock,
  promise: Promise<unknown>,
  atMs: number,
  signal?: AbortSignal,
): Promise<boolean> {
  const outcome = createDeferred<boolean>();
  const settled = () => outcome.resolve(true);
  const giveUp = () => outcome.resolve(false);
  const timer = clock.setTimer(atMs - clock.now(), giveUp);
  signal?.addEventListener('abort', giveUp, { once: true });
  if (signal?.aborted === true) giveUp();
  promise.then(settled, settled);
  try {
    return await outcome.promise;
  } finally {
    timer.cancel();
    signal?.removeEventListener('abort', giveUp);
  }
}

/** Resolves after `delayMs`, or at once when the signal is aborted. */
export async function sleep(clock: Clock, delayMs: number, signal: AbortSignal): Promise<void> {
  const never = createDeferred<void>();
  await settledBefore(clock, never.promise, clock.now() + delayMs, signal);
}
