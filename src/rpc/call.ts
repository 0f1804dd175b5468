import { HostError } from '../errors/index.js';
import type { Clock } from '../lib/clock.js';
import { Stop } from '../lib/stop.js';
import type { RpcAction } from '../model/events/rpc.js';
import { HOP } from '../model/forwarding.js';
import type { CallScope } from '../tasks/types.js';
import type { Arrival } from './edge/arrival.js';

/** What this file needs of a call, by whichever way it came. */
export interface CallSurface {
  /** Nothing that is answered reaches the caller: it is gone, or was answered. */
  readonly cancelled: boolean;
  /** The text of a metadata key; undefined for one that did not come, and for bytes. */
  header(name: string): string | undefined;
  /** Calls back, once, when the call becomes `cancelled`, or is over. */
  onCancelled(listener: () => void): void;
}

/**
 * How long a caller waits, and whether it still does: by the edge, which knows it since its first header. Everything else is
 * made at the first use, since the hot path uses nothing of it.
 *
 * States: open, until the deadline passes, the caller goes (either aborts the signal) or `close` comes, after which nothing is
 * aborted any more. Apart from that, `undelivered` tells once, also after `close`, that the answer was lost.
 */
export class RpcCall implements CallScope {
  readonly #surface: CallSurface;
  readonly #arrival: Arrival;
  readonly #clock: Clock;
  #stop: Stop | undefined;
  #undelivered: (() => void)[] | undefined;
  #closed = false;
  #early: HostError | undefined;
  /** What it has done that is to be known later. */
  action: RpcAction | undefined;

  constructor(surface: CallSurface, arrival: Arrival, clock: Clock) {
    this.#surface = surface;
    this.#arrival = arrival;
    this.#clock = clock;
  }

  get arrivedMs(): number {
    return this.#arrival.arrivedMs;
  }

  /** The caller's deadline, cut to the maximum; the default where the caller set none. On the daemon's clock. */
  get deadlineMs(): number {
    return this.#arrival.deadlineMs;
  }

  /** Milliseconds until the deadline, 0 past it. */
  get leftMs(): number {
    return Math.max(0, this.#arrival.deadlineMs - this.#clock.now());
  }

  /** Whether another replica passed it on: what becomes of its answer on the way to the caller is not seen here. */
  get relayed(): boolean {
    return this.header(HOP) !== undefined;
  }

  /** The text of a metadata key; undefined for one that did not come, and for bytes. */
  header(name: string): string | undefined {
    return this.#surface.header(name);
  }

  /** Aborted when the caller is gone or the deadline has passed; its reason is a HostError. */
  get signal(): Stop {
    if (this.#stop === undefined) {
      this.#stop = new Stop();
      if (this.#surface.cancelled) this.#abortAsCancelled();
      else this.#surface.onCancelled(() => this.#abortAsCancelled());
    }
    return this.#stop;
  }

  /** The same as a signal of the platform; each is a new one. */
  abortSignal(): AbortSignal {
    const { signal } = this;
    const controller = new AbortController();
    if (signal.aborted) controller.abort(signal.reason);
    else signal.addEventListener('abort', () => controller.abort(signal.reason));
    return controller.signal;
  }

  /** Registers what is to happen when the answer visibly does not reach the caller (rule 9). */
  onUndelivered(fn: () => void): void {
    this.#undelivered ??= [];
    this.#undelivered.push(fn);
  }

  /** Whether the deadline has passed. */
  get passed(): boolean {
    return this.#arrival.passed || this.leftMs === 0;
  }

  get watchesDelivery(): boolean {
    return this.#undelivered !== undefined;
  }

  /** Called by the transport, once at most does anything. */
  undelivered(): void {
    const registered = this.#undelivered;
    this.#undelivered = undefined;
    for (const fn of registered ?? []) fn();
  }

  /** Why the call had to end before its deadline. */
  get early(): HostError | undefined {
    return this.#early;
  }

  /** At the deadline, or where the call has to end before, `onPassed` is called with the error to answer, unless `close` comes first; then the signal is aborted. */
  atDeadline(onPassed: (error: HostError) => void): void {
    this.#arrival.onPassed = (early) => {
      this.#early = early;
      const error = early ?? this.#deadlinePassed();
      onPassed(error);
      this.signal.abort(error);
    };
  }

  /** The call is answered: nothing is aborted any more, though 'cancelled' follows every call. */
  close(): void {
    this.#closed = true;
    this.#arrival.onPassed = undefined;
  }

  #abortAsCancelled(): void {
    if (this.#closed) return;
    this.#stop?.abort(
      this.passed ? (this.#early ?? this.#deadlinePassed()) : new HostError('CALL_CANCELLED', 'the caller cancelled'),
    );
  }

  #deadlinePassed(): HostError {
    const waited = Math.round(this.#clock.now() - this.#arrival.arrivedMs);
    return new HostError('DEADLINE_EXCEEDED', `no answer within the deadline; ${waited} ms had passed`);
  }
}
