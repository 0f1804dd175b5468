import type { Clock } from './clock.js';
import type { Abortable } from './stop.js';

/** Resolves to true when `promise` settles first, to false at `atMs` or when the signal is aborted. Never rejects. */
export function settledBefore(
  clock: Clock,
  promise: Promise<unknown>,
  atMs: number,
  signal?: Abortable,
): Promise<boolean> {
  return new Promise((resolve) => {
    if (signal?.aborted === true) {
      resolve(false);
      return;
    }
    const end = (settled: boolean) => {
      timer.cancel();
      signal?.removeEventListener('abort', giveUp);
      resolve(settled);
    };
    const settled = () => end(true);
    const giveUp = () => end(false);
    const timer = clock.setTimer(atMs - clock.now(), giveUp);
    signal?.addEventListener('abort', giveUp, { once: true });
    promise.then(settled, settled);
  });
}

/** Resolves after `delayMs`, or at once when the signal is aborted. */
export async function sleep(clock: Clock, delayMs: number, signal: Abortable): Promise<void> {
  // One of its own: a promise that never settles keeps all that waits on it.
  await settledBefore(clock, new Promise<never>(() => {}), clock.now() + delayMs, signal);
}
