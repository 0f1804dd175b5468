/** On the signal of a call, whichever copy of the package reads it. */
const LEASE = Symbol.for('webapi-plugin-host.CallLease');

/** The lease of the daemon that made a call, as whoever sends within that call sees it. Only one of several replicas has one. */
export interface CallLease {
  /**
   * Asked right before something is sent to a remote. False once the lease is over: nothing may be sent then, and the call's signal
   * is aborted, with the reason that is to be thrown.
   */
  maySend(): boolean;
  /** A signal that is aborted with the call's and with another one; to make and to read it tells of no send. */
  with(other: AbortSignal): AbortSignal;
}

export function leaseOf(signal: AbortSignal | undefined): CallLease | undefined {
  return signal === undefined ? undefined : (signal as { readonly [LEASE]?: CallLease })[LEASE];
}

/** Puts the lease on the signal of its call, whose `aborted` asks `aborted` from then on. */
export function bindLease(signal: AbortSignal, lease: CallLease, aborted: () => boolean): void {
  Object.defineProperty(signal, LEASE, { value: lease });
  Object.defineProperty(signal, 'aborted', { configurable: true, enumerable: true, get: aborted });
}
