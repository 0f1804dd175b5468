import type { PluginFailure, PluginOutcome } from '../model/plugin-call.js';
import { pluginFailure } from '../model/plugin-failure.js';
import { bindLease, type CallLease } from '../plugin-api/call-lease.js';
import { TransientError } from '../plugin-api/errors.js';

const OVER = 'the lease of this replica was over before the call was sent, and another one may have its work';

/** The lease of the daemon, as it told it last: a time of the boot clock, which daemon and plugin read on one machine. */
export class ToldLease {
  readonly #bootMs: () => number;
  #untilMs = Number.NEGATIVE_INFINITY;

  constructor(bootMs: () => number) {
    this.#bootMs = bootMs;
  }

  /** What was told earlier may come later. */
  told(untilMs: number): void {
    this.#untilMs = Math.max(this.#untilMs, untilMs);
  }

  get over(): boolean {
    return this.#bootMs() >= this.#untilMs;
  }

  isPast(ms: number): boolean {
    return this.#bootMs() >= ms;
  }
}

/**
 * The lease within one call. A process that was frozen wakes in the midst of a call, long after the daemon looked: so whatever is sent
 * asks here first. The HTTP client does at each request, and the call's signal whenever its `aborted` is read, as `fetch` and SDKs do.
 *
 * States: live → refused, once something asked after the end; a renewal that comes later changes nothing for this call.
 */
export class LeasedCall implements CallLease {
  readonly #lease: ToldLease;
  readonly #controller: AbortController;
  readonly #isAborted: () => boolean;
  /** Aborted with the call's signal. To read whether it is asks nobody, whenever and by whatever Node does that. */
  #follower: AbortController | undefined;
  #refused = false;
  /** Something was let through: what of it arrived is not known. */
  #sent = false;

  constructor(lease: ToldLease, controller: AbortController) {
    const { signal } = controller;
    this.#lease = lease;
    this.#controller = controller;
    const own = Object.getOwnPropertyDescriptor(AbortSignal.prototype, 'aborted')!.get!;
    this.#isAborted = () => own.call(signal) as boolean;
    bindLease(signal, this, () => !this.maySend());
  }

  maySend(): boolean {
    if (this.#isAborted()) return false;
    if (this.#lease.over) {
      this.#refused = true;
      this.#controller.abort(new TransientError(OVER, { code: 'LEASE_LAPSED' }));
      return false;
    }
    this.#sent = true;
    return true;
  }

  with(other: AbortSignal): AbortSignal {
    this.#follower ??= this.#follow();
    return AbortSignal.any([this.#follower.signal, other]);
  }

  #follow(): AbortController {
    const { signal } = this.#controller;
    const follower = new AbortController();
    const follow = () => follower.abort(signal.reason);
    if (this.#isAborted()) follow();
    else signal.addEventListener('abort', follow, { once: true });
    return follower;
  }

  /** What is to be told of the call: where a send was refused, a failure is that refusal, whatever the plugin made of it. */
  outcome<T>(outcome: PluginOutcome<T>): PluginOutcome<T> {
    if (!this.#refused) return outcome;
    const refused = { ok: false, failure: cutOff(this.#sent) } as const;
    if (!outcome.ok) return refused;
    if (!Array.isArray(outcome.value)) return outcome;
    const items = outcome.value as readonly PluginOutcome<unknown>[];
    return { ok: true, value: items.map((item) => (item.ok ? item : refused)) as T };
  }
}

/** The call was not begun. */
export function notBegun(): PluginFailure {
  return pluginFailure('not_admitted', 'LEASE_LAPSED', OVER);
}

/** Nor was this one: it came so late that the limits which it was granted by may be another one's by now. */
export function grantOver(): PluginFailure {
  const late = 'the grant of the call was over before the process of the plugin began it; it is made again';
  return pluginFailure('not_admitted', 'GRANT_LAPSED', late);
}

/** Where nothing was let through before, nothing was made either, and the call may be repeated as if it had not been. */
function cutOff(sent: boolean): PluginFailure {
  const message = sent
    ? 'the lease of this replica was over in the midst of the call; nothing was sent from then on'
    : OVER;
  return pluginFailure('cancelled', 'LEASE_LAPSED', message, sent ? {} : { notCreated: true });
}
