import type { Abortable } from '../lib/stop.js';
import type { BucketSnapshot } from '../limits/types.js';
import type { PluginMethod, PluginMethods, PluginOutcome } from '../model/plugin-call.js';
import type { Lane } from '../model/plugin-methods.js';
import type { RateLimiterConfig } from '../plugin-api/config.js';

/** The effective limits of one plugin, as the gate takes them; `gateConfig` makes one from a PluginConfig. */
export interface GateConfig {
  readonly readRateLimiter: RateLimiterConfig;
  readonly writeRateLimiter: RateLimiterConfig;
  /** Calls in flight, each lane its own bound. */
  readonly readConcurrency: number;
  readonly writeConcurrency: number;
  /** Calls that may wait in each lane; further ones with a deadline fail as `not_admitted`. */
  readonly maxQueue: number;
  /** Longest a call may run once it is sent, whatever deadline its caller has. Milliseconds. */
  readonly callTimeoutMs: number;
  /** `do` runs a whole task and has a bound of its own. Milliseconds. */
  readonly doTimeoutMs: number;
  /** Longest wait for admission where the caller set no deadline. Milliseconds. */
  readonly maxWaitMs: number;
}

export interface GateCallOptions {
  /**
   * Admission and answer together, milliseconds since the epoch, or UNTIL_SENT; absent means: wait `maxWaitMs`, then the call's own
   * bound.
   */
  readonly deadlineMs?: number | undefined;
  readonly signal?: Abortable | undefined;
  /**
   * `deadlineMs` and `signal` end the wait for admission alone; once sent, the call runs to the bound of its method. For
   * reads: what a caller with little time has paid for tells the next one, and its haste is no fault of the remote.
   */
  readonly boundsUntilSent?: boolean | undefined;
  /** `fail-fast`: fails at once when it is certain that the call cannot be sent before its deadline. */
  readonly admission: 'wait' | 'fail-fast';
  /**
   * Called when slot and token are there: the call keeps its place in the line, is sent once this resolves and both are
   * there still, and may be withdrawn by `signal` until then. `boundMs`: how long it may run from its send.
   */
  readonly beforeSend?: ((boundMs: number) => Promise<void>) | undefined;
  /**
   * Called once, synchronously, when the call is about to be handed to the channel: from here on it may have reached the
   * remote, before it certainly has not. `boundMs`: how long it may run from now.
   */
  readonly onSent?: ((boundMs: number) => void) | undefined;
  /** Called with the reason when the operator holds the plugin back while the call waits, without one when it goes on. */
  readonly onHeld?: ((why: string | undefined) => void) | undefined;
}

/** What the refresher looks at before it reads, and the load report shows. */
export interface LaneCapacity {
  /** Free call slots. */
  readonly slotsFree: number;
  /** Tokens that could be taken now, after those that wait in the queue have had theirs. */
  readonly tokensNow: number;
  /** Milliseconds until a call made now would have its token; 0 when at once. */
  readonly msUntilToken: number;
  /** End of a throttle pause, in milliseconds since the epoch. */
  readonly pausedUntilMs: number | undefined;
  /** Calls that wait in the lane. */
  readonly queued: number;
  readonly inFlight: number;
  /** Whether a call made now would be sent now: slot, token and channel are free, nothing waits, nobody paused it. */
  readonly open: boolean;
}

/** Bucket levels of a plugin, for the state at a clean stop. */
export interface GateSnapshot {
  readonly read: BucketSnapshot;
  readonly write: BucketSnapshot;
}

/** The one way to a plugin. Every path of `call` resolves; none rejects. */
export interface Gate {
  call<M extends PluginMethod>(
    method: M,
    args: PluginMethods[M]['args'],
    options: GateCallOptions,
  ): Promise<PluginOutcome<PluginMethods[M]['answer']>>;
  capacity(lane?: Lane): LaneCapacity;
  /** Registers a listener for "the read lane may have become open": slot freed, channel writable, resumed, reconfigured. */
  onReadCapacity(listener: () => void): void;
  /** Tells of reads that wait for the read lane to open, and would be called now; what is granted for them comes by `onReadCapacity`. */
  readsDue(calls: number): void;
  /** Operator pause: nothing is sent, deletes included; what waits keeps its place. Both may be called twice. */
  pause(): void;
  resume(): void;
  readonly paused: boolean;
  reconfigure(config: GateConfig): void;
  /** What kept calls back from outside may have passed. */
  look(): void;
  snapshot(): GateSnapshot;
  /** Fails what waits as `cancelled`, lets what is in flight finish, and resolves when nothing is. May be called twice. */
  close(): Promise<void>;
}
