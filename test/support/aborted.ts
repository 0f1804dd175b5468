import type { Abortable } from '../../src/lib/stop.js';

/** Resolves when the signal is aborted, at once where it is already. */
export function aborted(signal: Abortable): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve());
  });
}

/** The code of the HostError that the signal was aborted with. */
export const abortCode = (signal: Abortable): unknown => (signal.reason as { readonly code?: unknown }).code;
