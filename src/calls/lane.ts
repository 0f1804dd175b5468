import type { ErrorCode } from '../errors/index.js';
import type { Clock, Timer } from '../lib/clock.js';
import { LinkedQueue, type QueueNode } from '../lib/linked-queue.js';
import type { Abortable } from '../lib/stop.js';
import type { BucketSnapshot, RateLimiter, Taken } from '../limits/types.js';
import { type PluginFailure, type PluginOutcome, UNTIL_SENT } from '../model/plugin-call.js';
import { failedCall } from '../model/plugin-failure.js';
import type { RateLimiterConfig } from '../plugin-api/config.js';
import { channelThrew, throttleOf } from './failures.js';
import { ThrottleBackoff } from './throttle.js';
import type { LaneCapacity } from './types.js';

/** The channel settles a call at its deadline; where it fails to, the slot is freed this much later. Milliseconds. */
const GUARD_MS = 1_000;

/** What is left of a line in which nobody stands. */
const NOBODY = { empty: true, preparing: 0 };

/** One call on its way through a lane. */
export interface LaneCall {
  /** Goes before calls that are not. */
  readonly first: boolean;
  readonly failFast: boolean;
  /** Latest time of the send, in milliseconds since the epoch, or UNTIL_SENT. */
  readonly deadlineMs: number;
  readonly signal: Abortable | undefined;
  /**
   * What has to be done before the send, once it could be sent: it keeps its place meanwhile, and slot and token are kept
   * free for it. Called at most once. Absent: nothing.
   */
  readonly prepare?: (() => Promise<void>) | undefined;
  /** Sends the call; called at most once, synchronously with the taking of slot and token. `boundMs` is its deadline. */
  send(taken: Taken): { readonly outcome: Promise<PluginOutcome<unknown>>; readonly boundMs: number };
  /** The operator holds the plugin back while the call waits, and why; undefined: it goes on. */
  held?(why: string | undefined): void;
  /** Told once that the call failed before it was sent. */
  refused(failure: PluginFailure): void;
  /** Told once the outcome of a call that was sent. */
  ended(outcome: PluginOutcome<unknown>, sentAtMs: number): void;
}

export interface LaneLimits {
  readonly rate: RateLimiterConfig;
  readonly concurrency: number;
  readonly maxQueue: number;
}

export interface LaneOptions {
  readonly limits: LaneLimits;
  /** Makes what is asked before each send. One that is told what is wanted calls `changed` when more calls than before may be possible. */
  readonly limiter: (rate: RateLimiterConfig, changed: () => void) => RateLimiter;
  readonly clock: Clock;
  readonly random: () => number;
  /** Why nothing may be sent now, apart from slot and token; the owner calls `pump` when that has passed. */
  blocked(): Blocked | undefined;
  /** The remote throttled; the lane rests. */
  throttled(pauseMs: number): void;
  /** A slot was freed or the limits changed. */
  changed(): void;
}

export interface Blocked {
  readonly code: ErrorCode;
  readonly message: string;
  /** Whether a call that may not wait fails at once. */
  readonly failFast: boolean;
}

interface Waiting {
  readonly call: LaneCall;
  place: QueueNode<Waiting> | undefined;
  timer: Timer | undefined;
  onAbort: (() => void) | undefined;
  /** It has left the line. */
  left: boolean;
  readiness: 'unprepared' | 'preparing' | 'ready';
}

/**
 * Reads or writes of one plugin: slot → token → send, first come, first served, deletes first (rule 1).
 *
 * Invariants: slot, writable channel and token are taken in one synchronous step with the send, so nothing ever queues
 * behind a token; every call is told exactly once how it ended; a slot is freed exactly once per send. What waits
 * leaves the line at its deadline or when its signal is aborted.
 *
 * States of a call: in line (from `submit`, unless it is refused there); being prepared, in which slot, token and place are kept
 * for it; then sent, until its outcome or the guard after its deadline frees the slot; or refused, by its deadline, its signal or
 * the close. The lane has one timer, for the first moment at which what is in line could be sent.
 *
 * Where the tokens are another replica's to grant, the lane tells how many calls it would send now, and goes on when more are granted; a
 * call that is being prepared while its grant ends keeps its place for the next one.
 */
export class CallLane {
  readonly #clock: Clock;
  readonly #options: LaneOptions;
  readonly #limiter: RateLimiter;
  readonly #throttle: ThrottleBackoff;
  readonly #urgent = new LinkedQueue<Waiting>();
  readonly #normal = new LinkedQueue<Waiting>();
  #limits: LaneLimits;
  #inFlight = 0;
  #timer: Timer | undefined;
  /** Calls that would be submitted now if they would be sent. */
  #due = 0;

  constructor(options: LaneOptions) {
    this.#options = options;
    this.#clock = options.clock;
    this.#limits = options.limits;
    this.#limiter = options.limiter(options.limits.rate, () => {
      this.pump();
      options.changed();
    });
    this.#throttle = new ThrottleBackoff(options.random);
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  get queued(): number {
    return this.#urgent.size + this.#normal.size;
  }

  submit(call: LaneCall): void {
    if (call.signal?.aborted === true) {
      call.refused(cancelled());
      return;
    }
    const ahead = call.first ? this.#urgent.size : this.queued;
    if (ahead === 0 && call.prepare === undefined && this.#trySend(call)) return;
    const refusal = this.#refusal(call, ahead);
    if (refusal !== undefined) call.refused(refusal);
    else this.#enqueue(call);
  }

  capacity(): LaneCapacity {
    const queued = this.queued;
    const slotsFree = Math.max(0, this.#limits.concurrency - this.#inFlight);
    const tokensNow = Math.max(0, this.#limiter.available() - queued);
    return {
      slotsFree,
      tokensNow,
      msUntilToken: this.#limiter.msUntil(queued + 1),
      pausedUntilMs: this.#limiter.pausedUntilMs(),
      queued,
      inFlight: this.#inFlight,
      open: slotsFree > 0 && tokensNow > 0 && queued === 0 && this.#options.blocked() === undefined,
    };
  }

  snapshot(): BucketSnapshot {
    return this.#limiter.snapshot();
  }

  reconfigure(limits: LaneLimits): void {
    this.#limits = limits;
    this.#limiter.reconfigure(limits.rate);
    this.pump();
    this.#options.changed();
  }

  /** Calls that are not submitted yet, since they would have to wait, and would be made now. */
  due(calls: number): void {
    this.#due = calls;
    this.#tellWanted();
  }

  /** Sends what may be sent now and arms a timer for the next token. Called after every change that may allow a send. */
  pump(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    const line = this.queued === 0 ? NOBODY : this.#sendLine();
    this.#tellWanted();
    // Whoever is told what is wanted says when there is some of it.
    if (line.empty || this.#limiter.want !== undefined) return;
    // A freed slot, a writable channel and a call that is prepared bring their own call of pump; only a token comes with
    // time alone. It may have come since the look above, which then is to be repeated: nobody else would.
    const waitMs = this.#limiter.msUntil(1 + line.preparing);
    const sendable = this.#inFlight < this.#limits.concurrency && this.#options.blocked() === undefined;
    if (waitMs > 0 || (sendable && line.preparing === 0)) {
      this.#timer = this.#clock.setTimer(Math.max(1, waitMs), () => this.pump());
    }
  }

  /** As many as would be sent at once: what a slot or the channel keeps here is not about to be. */
  #tellWanted(): void {
    const limiter = this.#limiter;
    if (limiter.want === undefined) return;
    const slots = Math.max(0, this.#limits.concurrency - this.#inFlight);
    const calls = Math.min(this.queued + this.#due, slots);
    limiter.want(calls > 0 && this.#options.blocked() !== undefined ? 0 : calls);
  }

  /** Sends or prepares from the head of the line on what may be sent now. */
  #sendLine(): { readonly empty: boolean; readonly preparing: number } {
    let preparing = 0;
    for (const queue of [this.#urgent, this.#normal]) {
      for (const waiting of queue) {
        if (waiting.left) continue;
        if (waiting.readiness === 'preparing') preparing += 1;
        else if (!this.#mayTake(waiting.call, preparing)) return { empty: false, preparing };
        else if (waiting.readiness === 'unprepared') {
          this.#prepare(waiting);
          preparing += 1;
        } else {
          this.#leave(waiting);
          // Looked at and taken in one synchronous step, so it cannot fail.
          this.#trySend(waiting.call);
        }
      }
    }
    return { empty: this.queued === 0, preparing };
  }

  /** Whether slot, channel and token are there for one more, besides those that calls ahead are being prepared for. */
  #mayTake(call: LaneCall, preparing: number): boolean {
    if (call.deadlineMs <= this.#clock.now() || this.#options.blocked() !== undefined) return false;
    return this.#inFlight + preparing < this.#limits.concurrency && this.#limiter.available() > preparing;
  }

  #prepare(waiting: Waiting): void {
    waiting.readiness = 'preparing';
    const ready = () => {
      waiting.readiness = 'ready';
      // Also where it has left meanwhile: others stood behind it.
      this.pump();
    };
    (waiting.call.prepare?.() ?? Promise.resolve()).then(ready, ready);
  }

  /** Fails every waiting call for which `why` gives a reason. */
  expel(why: (call: LaneCall) => PluginFailure | undefined): void {
    for (const queue of [this.#urgent, this.#normal]) {
      for (const waiting of queue) {
        const failure = why(waiting.call);
        if (failure === undefined) continue;
        this.#leave(waiting);
        waiting.call.refused(failure);
      }
    }
    this.pump();
  }

  /** Tells every waiting call that the operator holds the plugin back, or that it goes on. */
  hold(why: string | undefined): void {
    for (const queue of [this.#urgent, this.#normal]) for (const { call } of queue) call.held?.(why);
  }

  /** The certain reasons for which a call would not be sent in time; undefined lets it wait. */
  #refusal(call: LaneCall, ahead: number): PluginFailure | undefined {
    const now = this.#clock.now();
    if (call.deadlineMs <= now) return notAdmitted('ADMISSION_DEADLINE', 'its deadline had passed already');
    if (call.failFast) {
      const blocked = this.#options.blocked();
      if (blocked?.failFast === true) return notAdmitted(blocked.code, blocked.message);
      const waitMs = this.#leastMs(ahead + 1);
      if (now + waitMs >= call.deadlineMs) return this.#tooLate(waitMs, call.deadlineMs);
    }
    if (this.queued < this.#limits.maxQueue || call.deadlineMs === UNTIL_SENT) return undefined;
    const message = `${this.queued} calls wait already, which is the bound; retry later`;
    return notAdmitted('ADMISSION_DEADLINE', message, this.#limiter.msUntil(this.queued + 1));
  }

  /** The least time until a call could have its token. */
  #leastMs(count: number): number {
    const limiter = this.#limiter;
    if (limiter.want === undefined) return limiter.msUntil(count);
    return Math.max(0, (limiter.pausedUntilMs() ?? 0) - this.#clock.now());
  }

  #tooLate(waitMs: number, deadlineMs: number): PluginFailure {
    const wait = `the next free place is ${Math.ceil(waitMs)} ms away`;
    if ((this.#limiter.pausedUntilMs() ?? 0) >= deadlineMs) {
      return notAdmitted('RATE_LIMIT_THROTTLED', `the remote asked for a pause: ${wait}, after the deadline`, waitMs);
    }
    return notAdmitted('ADMISSION_DEADLINE', `the rate limit is spent: ${wait}, after the deadline`, waitMs);
  }

  #enqueue(call: LaneCall): void {
    const waiting: Waiting = {
      call,
      place: undefined,
      timer: undefined,
      onAbort: undefined,
      left: false,
      readiness: call.prepare === undefined ? 'ready' : 'unprepared',
    };
    waiting.place = (call.first ? this.#urgent : this.#normal).push(waiting);
    if (call.deadlineMs !== UNTIL_SENT) {
      waiting.timer = this.#clock.setTimer(call.deadlineMs - this.#clock.now(), () => this.#expired(waiting));
    }
    waiting.onAbort = () => {
      this.#leave(waiting);
      call.refused(cancelled());
    };
    call.signal?.addEventListener('abort', waiting.onAbort);
    if (this.#timer === undefined) this.pump();
    else this.#tellWanted();
  }

  #expired(waiting: Waiting): void {
    if (this.#clock.now() < waiting.call.deadlineMs) {
      waiting.timer = this.#clock.setTimer(waiting.call.deadlineMs - this.#clock.now(), () => this.#expired(waiting));
      return;
    }
    const blocked = this.#options.blocked();
    const paused = this.#limiter.pausedUntilMs() !== undefined;
    const retryAfterMs = Math.max(1, this.#limiter.msUntil(1));
    this.#leave(waiting);
    waiting.call.refused(
      blocked !== undefined
        ? notAdmitted(blocked.code, `${blocked.message}; the deadline passed while the call waited`)
        : notAdmitted(
            paused ? 'RATE_LIMIT_THROTTLED' : 'ADMISSION_DEADLINE',
            'the deadline passed while the call waited for its turn',
            retryAfterMs,
          ),
    );
    this.pump();
  }

  #leave(waiting: Waiting): void {
    waiting.left = true;
    const queue = waiting.call.first ? this.#urgent : this.#normal;
    if (waiting.place !== undefined) queue.remove(waiting.place);
    waiting.timer?.cancel();
    if (waiting.onAbort !== undefined) waiting.call.signal?.removeEventListener('abort', waiting.onAbort);
  }

  /** Slot, channel, token and send in one step; false leaves everything as it was. */
  #trySend(call: LaneCall): boolean {
    const sentAtMs = this.#clock.now();
    if (call.deadlineMs <= sentAtMs) return false;
    if (this.#inFlight >= this.#limits.concurrency || this.#options.blocked() !== undefined) return false;
    const taken = this.#limiter.take();
    if (taken === undefined) return false;
    this.#inFlight += 1;
    const mark = this.#throttle.mark;
    let done = false;
    const finish = (outcome: PluginOutcome<unknown>) => {
      if (done) return;
      done = true;
      guard?.cancel();
      this.#inFlight -= 1;
      this.#limiter.ended?.();
      this.#learn(outcome, mark);
      call.ended(outcome, sentAtMs);
      this.pump();
      this.#options.changed();
    };
    const { outcome, boundMs } = sendSafely(call, taken, sentAtMs);
    const guard = this.#clock.setTimer(boundMs - sentAtMs + GUARD_MS, () =>
      finish(failedCall('deadline', 'PLUGIN_DEADLINE', 'the plugin did not answer within the deadline of its call')),
    );
    outcome.then(finish, (thrown: unknown) => finish(channelThrew(thrown)));
    return true;
  }

  /** A throttle rests the lane, whoever was throttled; calls that cannot outlast the rest fail at once. */
  #learn(outcome: PluginOutcome<unknown>, mark: number): void {
    const throttle = throttleOf(outcome);
    if (throttle === undefined) {
      if (outcome.ok) this.#throttle.accepted(mark);
      return;
    }
    const restMs = this.#throttle.restMs(mark, throttle.retryAfterMs);
    this.#limiter.pause(this.#clock.now() + restMs);
    this.#options.throttled(restMs);
    const until = this.#limiter.pausedUntilMs() ?? 0;
    this.expel((call) =>
      call.failFast && call.deadlineMs <= until ? this.#tooLate(until - this.#clock.now(), call.deadlineMs) : undefined,
    );
  }
}

function sendSafely(call: LaneCall, taken: Taken, nowMs: number): ReturnType<LaneCall['send']> {
  try {
    return call.send(taken);
  } catch (thrown) {
    return { outcome: Promise.reject(thrown), boundMs: nowMs };
  }
}

function notAdmitted(code: ErrorCode, message: string, retryAfterMs?: number): PluginFailure {
  return failedCall('not_admitted', code, message, retryAfterMs).failure;
}

function cancelled(): PluginFailure {
  return failedCall('cancelled', 'CALL_CANCELLED', 'the caller gave the call up before it was sent').failure;
}
