import type { Clock } from '../lib/clock.js';
import { createDeferred, type Deferred } from '../lib/deferred.js';
import { TokenBucket } from '../limits/token-bucket.js';
import type { RateLimiter, Taken } from '../limits/types.js';
import type { GateEvents } from '../model/events/gate.js';
import type { PluginMethod, PluginMethods, PluginOutcome } from '../model/plugin-call.js';
import { type FailedCall, failedCall } from '../model/plugin-failure.js';
import { type Lane, methodTraits } from '../model/plugin-methods.js';
import { channelThrew, withBoundedWaits } from './failures.js';
import { type Blocked, CallLane, type LaneCall, type LaneLimits } from './lane.js';
import { type GatePlugin, refusalOf, takesCalls, untilChanged } from './serving.js';
import type { Gate, GateCallOptions, GateConfig, GateSnapshot, LaneCapacity } from './types.js';

export interface GateOptions {
  readonly plugin: GatePlugin;
  readonly config: GateConfig;
  readonly clock: Clock;
  /** In [0, 1); for the jitter of the throttle back-off. */
  readonly random: () => number;
  readonly events?: GateEvents;
  /** Whether calls may leave at all, asked at each; `look` is called when that may have changed. They may unless given. */
  readonly mayWork?: (() => boolean) | undefined;
  /** Bucket levels of the last clean stop; without them both start empty. */
  readonly snapshot?: GateSnapshot | undefined;
  /**
   * The limits of a lane that is shared with other replicas, which calls back when more calls than before may be possible. Without it each
   * lane has a bucket of its own.
   */
  readonly limiter?: ((lane: Lane, changed: () => void) => RateLimiter) | undefined;
}

/** Between two looks at a channel that said it was writable and is not. Milliseconds. */
const RECHECK_MS = 20;

const LAPSED: Blocked = {
  code: 'LEASE_LAPSED',
  message: 'this replica could not renew its lease in time, and calls nothing until it has',
  failFast: true,
};

const UNBOUNDED = { deadlineMs: undefined, signal: undefined };

type Outcome<M extends PluginMethod> = PluginOutcome<PluginMethods[M]['answer']>;

export function createGate(options: GateOptions): Gate {
  return new PluginGate(options);
}

/**
 * The one way to a plugin: slot → token → writable channel → send → classified outcome → metric.
 *
 * States: open; paused by the operator (nothing is sent, deletes included, what waits keeps its place); closed (what
 * waits is failed, nothing new is taken). Methods that stay inside the plugin's process pass by the lanes.
 */
class PluginGate implements Gate {
  readonly #plugin: GatePlugin;
  readonly #clock: Clock;
  readonly #events: GateEvents;
  readonly #mayWork: (() => boolean) | undefined;
  readonly #lanes: Readonly<Record<Lane, CallLane>>;
  readonly #readListeners: (() => void)[] = [];
  #config: GateConfig;
  #paused = false;
  #closed: Deferred<void> | undefined;
  #passing = 0;
  #awaitsWritable = false;

  constructor(options: GateOptions) {
    this.#plugin = options.plugin;
    this.#clock = options.clock;
    this.#events = options.events ?? {};
    this.#mayWork = options.mayWork;
    this.#config = options.config;
    const lane = (name: Lane) =>
      new CallLane({
        limits: laneLimits(name, options.config),
        limiter: (config, changed) =>
          options.limiter?.(name, changed) ??
          new TokenBucket({ config, clock: options.clock, snapshot: options.snapshot?.[name] }),
        clock: options.clock,
        random: options.random,
        blocked: () => this.#blocked(),
        throttled: (pauseMs) => this.#events.throttled?.({ plugin: this.#plugin.id, lane: name, pauseMs }),
        changed: () => this.#changed(name),
      });
    this.#lanes = { read: lane('read'), write: lane('write') };
  }

  get paused(): boolean {
    return this.#paused;
  }

  call<M extends PluginMethod>(
    method: M,
    args: PluginMethods[M]['args'],
    options: GateCallOptions,
  ): Promise<Outcome<M>> {
    if (this.#closed !== undefined) return Promise.resolve(this.#refuse(method, draining()));
    const { lane, first = false } = methodTraits(method);
    if (lane === undefined) return this.#pass(method, args, options);
    const { beforeSend } = options;
    const askedAtMs = this.#clock.now();
    const answer = createDeferred<Outcome<M>>();
    const call: LaneCall = {
      first,
      failFast: options.admission === 'fail-fast',
      deadlineMs: options.deadlineMs ?? askedAtMs + this.#config.maxWaitMs,
      signal: options.signal,
      prepare: beforeSend && (() => beforeSend(timeoutMs(method, this.#config))),
      send: (taken) => this.#send(method, args, options, taken),
      held: (why) => options.onHeld?.(why),
      refused: (failure) => answer.resolve(this.#refuse(method, { ok: false, failure })),
      ended: (outcome, sentAtMs) => {
        this.#ended(method, args, outcome, { askedAtMs, sentAtMs });
        answer.resolve(outcome as Outcome<M>);
      },
    };
    this.#lanes[lane].submit(call);
    if (this.#paused && !call.failFast) options.onHeld?.(this.#heldBecause());
    return answer.promise;
  }

  capacity(lane: Lane = 'read'): LaneCapacity {
    return this.#lanes[lane].capacity();
  }

  onReadCapacity(listener: () => void): void {
    this.#readListeners.push(listener);
  }

  readsDue(calls: number): void {
    this.#lanes.read.due(calls);
  }

  pause(): void {
    if (this.#paused) return;
    this.#paused = true;
    const failure = failedCall('not_admitted', 'PLUGIN_PAUSED', this.#pausedMessage()).failure;
    for (const lane of Object.values(this.#lanes)) {
      lane.expel((call) => (call.failFast ? failure : undefined));
      lane.hold(this.#heldBecause());
    }
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    for (const lane of Object.values(this.#lanes)) lane.hold(undefined);
    this.#pumpAll();
  }

  reconfigure(config: GateConfig): void {
    this.#config = config;
    for (const name of ['read', 'write'] as const) this.#lanes[name].reconfigure(laneLimits(name, config));
  }

  look(): void {
    this.#pumpAll();
  }

  snapshot(): GateSnapshot {
    return { read: this.#lanes.read.snapshot(), write: this.#lanes.write.snapshot() };
  }

  close(): Promise<void> {
    if (this.#closed === undefined) {
      this.#closed = createDeferred<void>();
      for (const lane of Object.values(this.#lanes)) lane.expel(() => draining().failure);
      this.#settleClose();
    }
    return this.#closed.promise;
  }

  #send<M extends PluginMethod>(
    method: M,
    args: PluginMethods[M]['args'],
    options: GateCallOptions,
    taken: Taken | undefined,
  ) {
    const { deadlineMs, signal } = options.boundsUntilSent === true ? UNBOUNDED : options;
    const now = this.#clock.now();
    const boundMs = Math.min(deadlineMs ?? Number.POSITIVE_INFINITY, now + timeoutMs(method, this.#config));
    options.onSent?.(boundMs - now);
    const beginByMs = taken?.epoch === undefined ? undefined : taken.endsAtMs;
    const outcome = this.#plugin.call(method, args, { deadlineMs: boundMs, signal, beginByMs }).then(withBoundedWaits);
    return { outcome, boundMs };
  }

  /** A method without slot and token: bounded by its deadline alone. */
  async #pass<M extends PluginMethod>(method: M, args: PluginMethods[M]['args'], options: GateCallOptions) {
    const sentAtMs = this.#clock.now();
    this.#passing += 1;
    try {
      const outcome = await this.#send(method, args, options, undefined).outcome.catch(channelThrew);
      this.#ended(method, args, outcome, { askedAtMs: sentAtMs, sentAtMs });
      return outcome;
    } catch (thrown) {
      return channelThrew(thrown);
    } finally {
      this.#passing -= 1;
      this.#settleClose();
    }
  }

  #ended<M extends PluginMethod>(
    method: M,
    args: PluginMethods[M]['args'],
    outcome: PluginOutcome<unknown>,
    { askedAtMs, sentAtMs }: { askedAtMs: number; sentAtMs: number },
  ): void {
    this.#events.callEnded?.({
      plugin: this.#plugin.id,
      method,
      outcome: outcome.ok ? 'ok' : outcome.failure.kind,
      waitMs: sentAtMs - askedAtMs,
      durationMs: this.#clock.now() - sentAtMs,
      batchSize: methodTraits(method).items?.(args) ?? 1,
    });
  }

  #refuse(method: PluginMethod, outcome: FailedCall): FailedCall {
    const { kind, code } = outcome.failure;
    if (kind === 'not_admitted') this.#events.rejected?.({ plugin: this.#plugin.id, method, code });
    return outcome;
  }

  #blocked(): Blocked | undefined {
    if (this.#paused) return { code: 'PLUGIN_PAUSED', message: this.#pausedMessage(), failFast: true };
    if (this.#mayWork?.() === false) return LAPSED;
    if (takesCalls(this.#plugin)) return undefined;
    this.#watchWritable();
    const refusal = refusalOf(this.#plugin);
    if (refusal !== undefined) return { ...refusal, failFast: true };
    const message = `the channel to plugin ${this.#plugin.id} takes no calls now`;
    return { code: 'PLUGIN_CHANNEL_OVERLOADED', message, failFast: false };
  }

  /** At most one wait on the channel at a time, however many calls it holds up. */
  #watchWritable(): void {
    if (this.#awaitsWritable) return;
    this.#awaitsWritable = true;
    const look = () => {
      const refusal = refusalOf(this.#plugin);
      if (refusal !== undefined) {
        const failure = failedCall('not_admitted', refusal.code, refusal.message).failure;
        for (const lane of Object.values(this.#lanes)) lane.expel((call) => (call.failFast ? failure : undefined));
      }
      // Told too early (a state that passed by): look again a little later rather than at once and for ever.
      if (!takesCalls(this.#plugin)) this.#clock.setTimer(RECHECK_MS, again);
      else again();
    };
    const again = () => {
      this.#awaitsWritable = false;
      this.#pumpAll();
    };
    untilChanged(this.#plugin).then(look, look);
  }

  #pumpAll(): void {
    for (const lane of Object.values(this.#lanes)) lane.pump();
    this.#changed('read');
  }

  #changed(lane: Lane): void {
    this.#settleClose();
    if (lane === 'read') for (const listener of this.#readListeners) listener();
  }

  #settleClose(): void {
    if (this.#passing + this.#lanes.read.inFlight + this.#lanes.write.inFlight === 0) this.#closed?.resolve();
  }

  #pausedMessage(): string {
    return `${this.#heldBecause()}; resume it, or ask Status, which answers meanwhile`;
  }

  #heldBecause(): string {
    return `an operator paused plugin ${this.#plugin.id}`;
  }
}

function draining() {
  return failedCall('cancelled', 'DAEMON_DRAINING', 'the daemon is stopping and starts no further calls');
}

function timeoutMs(method: PluginMethod, config: GateConfig): number {
  return methodTraits(method).runs === 'task' ? config.doTimeoutMs : config.callTimeoutMs;
}

function laneLimits(lane: Lane, config: GateConfig): LaneLimits {
  return lane === 'read'
    ? { rate: config.readRateLimiter, concurrency: config.readConcurrency, maxQueue: config.maxQueue }
    : { rate: config.writeRateLimiter, concurrency: config.writeConcurrency, maxQueue: config.maxQueue };
}
