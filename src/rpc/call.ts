import { HostError } from '../errors/index.js';
import type { CallScope } from '../tasks/types.js';

/** What this file needs of a call of grpc-js; unary and streaming ones have it. */
export interface CallSurface {
  readonly cancelled: boolean;
  getDeadline(): Date | number;
  once(event: 'cancelled', listener: () => void): unknown;
}

export interface DeadlineBounds {
  /** Applied where the caller set none; engines with named deployments set none (FIELD 9). */
  readonly defaultDeadlineMs: number;
  /** A longer one is cut to this. */
  readonly maxDeadlineMs: number;
}

function epochMs(deadline: Date | number): number {
  return typeof deadline === 'number' ? deadline : deadline.getTime();
}

/**
 * How long a caller waits, and whether it still does. Everything is made at the first use, since the hot path uses
 * nothing of it.
 */
export class RpcCall implements CallScope {
  readonly #surface: CallSurface;
  readonly #bounds: DeadlineBounds;
  readonly #startedAt = Date.now();
  #controller: AbortController | undefined;
  #timer: NodeJS.Timeout | undefined;
  #undelivered: (() => void)[] | undefined;
  #closed = false;
  #passed = false;

  constructor(surface: CallSurface, bounds: DeadlineBounds) {
    this.#surface = surface;
    this.#bounds = bounds;
  }

  /** The caller's deadline, cut to the maximum; the default where the caller set none. Epoch milliseconds. */
  get deadlineMs(): number {
    const own = epochMs(this.#surface.getDeadline());
    if (!Number.isFinite(own)) return this.#startedAt + this.#bounds.defaultDeadlineMs;
    return Math.min(own, this.#startedAt + this.#bounds.maxDeadlineMs);
  }

  /** Aborted when the caller is gone or the deadline has passed; its reason is a HostError. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#surface.cancelled) this.#abortAsCancelled();
      else this.#surface.once('cancelled', () => this.#abortAsCancelled());
    }
    return this.#controller.signal;
  }

  /** Registers what is to happen when the answer visibly does not reach the caller (rule 9). */
  onUndelivered(fn: () => void): void {
    this.#undelivered ??= [];
    this.#undelivered.push(fn);
  }

  /** Whether `passDeadline` was called. */
  get passed(): boolean {
    return this.#passed;
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

  /**
   * Starts the daemon's own timer where the transport has none, or a later one: `onPassed` is called with the error to
   * answer, unless `close` comes first.
   */
  armDeadline(onPassed: (error: HostError) => void): void {
    const deadline = this.deadlineMs;
    if (deadline === epochMs(this.#surface.getDeadline())) return;
    this.#timer = setTimeout(
      () => {
        const error = this.#deadlinePassed();
        onPassed(error);
        this.#abort(error);
      },
      Math.max(0, deadline - Date.now()),
    );
  }

  /** Aborts the signal as at the deadline, which has passed; answers the error that says so. */
  passDeadline(): HostError {
    this.#passed = true;
    const error = this.#deadlinePassed();
    this.#abort(error);
    return error;
  }

  /** The call is answered: nothing is aborted any more, though 'cancelled' follows every call. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  #abortAsCancelled(): void {
    if (this.#closed) return;
    const passed = Date.now() >= epochMs(this.#surface.getDeadline());
    this.#controller?.abort(passed ? this.#deadlinePassed() : new HostError('CALL_CANCELLED', 'the caller cancelled'));
  }

  #abort(error: HostError): void {
    void this.signal;
    this.#controller?.abort(error);
  }

  #deadlinePassed(): HostError {
    const waited = Math.round(Date.now() - this.#startedAt);
    return new HostError('DEADLINE_EXCEEDED', `no answer within the deadline; ${waited} ms had passed`);
  }
}
