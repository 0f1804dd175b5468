import { HostError } from '../../errors/index.js';

/** DEADLINE_EXCEEDED where a time-out aborted the signal, else CALL_CANCELLED. */
export function abortedError(signal: AbortSignal, what: string): HostError {
  const timedOut = signal.reason instanceof Error && signal.reason.name === 'TimeoutError';
  return new HostError(
    timedOut ? 'DEADLINE_EXCEEDED' : 'CALL_CANCELLED',
    `${what}: ${timedOut ? 'the deadline passed' : 'cancelled'}.`,
    { cause: signal.reason },
  );
}

export function throwIfAborted(signal: AbortSignal | undefined, what: string): void {
  if (signal?.aborted) throw abortedError(signal, what);
}

/** One signal of two, of which either may be missing. */
export function joinSignals(one: AbortSignal | undefined, other: AbortSignal | undefined): AbortSignal | undefined {
  if (one === undefined || one === other) return other;
  return other === undefined ? one : AbortSignal.any([one, other]);
}
