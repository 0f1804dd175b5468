import { HostError } from '../../errors/index.js';
import { bindLease, leaseOf } from '../../plugin-api/call-lease.js';

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

/** The signal of a call, with one that its maker gave beside it. It asks the lease of the call as that one does. */
export function joinSignals(own: AbortSignal | undefined, call: AbortSignal): AbortSignal {
  if (own === undefined || own === call) return call;
  const joined = AbortSignal.any([own, call]);
  const lease = leaseOf(call);
  if (lease !== undefined) bindLease(joined, lease, () => own.aborted || call.aborted);
  return joined;
}
