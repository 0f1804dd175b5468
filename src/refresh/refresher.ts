import { messageOf } from '../errors/index.js';
import type { Clock, Timer } from '../lib/clock.js';
import { createDeferred, type Deferred } from '../lib/deferred.js';
import type { TaskId } from '../model/attempt-key.js';
import { awaitFlight, type Flight, failedRead, type ReadOutcome } from './flights.js';
import type { Item } from './item.js';
import { judge } from './judge.js';
import { RemoteState } from './remote-state.js';
import { Schedule } from './schedule.js';
import type {
  ReadDecision,
  ReadPurpose,
  ReadReport,
  RefreshConfig,
  RefreshEvents,
  Refresher,
  RefreshHost,
  RefreshStats,
  TrackedFacts,
} from './types.js';

export interface RefresherOptions {
  readonly host: RefreshHost;
  readonly config: RefreshConfig;
  readonly clock: Clock;
  /** In [0, 1); for jitter and back-off. */
  readonly random: () => number;
  readonly events?: RefreshEvents;
}

/**
 * Longest time between two looks at the schedule while it has tasks: intervals are computed anew then, which may make
 * one due earlier than was planned. It also guards against a missed `wake`.
 */
const TICK_MS = 1_000;
/** Weight of the newest call in the running means of batch size and duration. */
const NEWEST = 0.1;

export function createRefresher(options: RefresherOptions): Refresher {
  return new PollRefresher(options);
}

/**
 * The polls of one plugin (rules 3, 4, 5).
 *
 * States: polling; probing (the remote is down and the outage grace lasts: one read at a time); stopped (no read is
 * started). Invariants: a task's read is in at most one flight, whoever asked for it; a task is queued or in flight and
 * never both; no poll is started that the gate would not send now, so polls never wait in the gate's queue.
 */
class PollRefresher implements Refresher {
  readonly #host: RefreshHost;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #events: RefreshEvents;
  readonly #schedule: Schedule;
  readonly #remote: RemoteState;
  readonly #flights = new Map<TaskId, Flight>();
  readonly #calls = new Set<Flight>();
  #config: RefreshConfig;
  #timer: Timer | undefined;
  #timerAtMs = 0;
  #stopped: Deferred<void> | undefined;
  #tasksPerCall = 1;
  #callMs = 1;

  constructor(options: RefresherOptions) {
    this.#host = options.host;
    this.#clock = options.clock;
    this.#random = options.random;
    this.#events = options.events ?? {};
    this.#config = options.config;
    this.#schedule = new Schedule({
      config: options.config,
      random: options.random,
      tokenWanted: (namespace) => this.#host.tokenWanted?.(namespace) ?? false,
    });
    this.#remote = new RemoteState(this.#remoteOptions());
  }

  track(facts: TrackedFacts): void {
    const now = this.#clock.now();
    this.#pace(now);
    this.#schedule.track(facts, now, this.#flights.has(facts.id));
    this.#armFor(this.#schedule.nextDueMs());
  }

  untrack(id: TaskId): void {
    this.#schedule.untrack(id);
  }

  asked(id: TaskId): void {
    if (this.#schedule.asked(id, this.#clock.now())) this.#armFor(this.#schedule.nextDueMs());
  }

  async readNow(id: TaskId, deadlineMs: number, signal?: AbortSignal): Promise<ReadOutcome> {
    for (;;) {
      if (signal?.aborted === true) return failedRead('cancelled', 'CALL_CANCELLED', 'the caller cancelled the read');
      if (this.#clock.now() >= deadlineMs) return tooLate();
      const running = this.#flights.get(id);
      const flight = running ?? this.#startGet(id, deadlineMs);
      if (!isFlight(flight)) return flight;
      flight.waiting += 1;
      const outcome = await awaitFlight(flight, id, { clock: this.#clock, deadlineMs, signal });
      flight.waiting -= 1;
      if (outcome !== undefined) {
        // A read that another caller's bounds ended says nothing to this one.
        const ended = !outcome.ok && ['not_admitted', 'cancelled'].includes(outcome.failure.kind);
        if (running === undefined || !ended) return outcome;
        continue;
      }
      if (flight.waiting === 0 && flight.purpose === 'get') flight.stop.abort();
    }
  }

  wake(): void {
    if (this.#schedule.size > 0) this.#arm(0);
  }

  reconfigure(config: RefreshConfig): void {
    this.#config = config;
    this.#schedule.reconfigure(config);
    this.#remote.reconfigure(this.#remoteOptions());
    this.wake();
  }

  stats(): RefreshStats {
    const now = this.#clock.now();
    const { pacing } = this.#schedule;
    return {
      tracked: this.#schedule.size,
      inFlight: this.#flights.size,
      due: this.#schedule.countDue(now),
      oldestOverdueMs: Math.max(0, now - (this.#schedule.nextDueMs() ?? now)),
      remote: this.#remote.downSinceMs === undefined ? 'up' : 'down',
      remoteDownSinceMs: this.#remote.downSinceMs,
      longestIntervalMs: pacing.longestMs,
      ageFactor: pacing.ageFactor,
    };
  }

  stop(): Promise<void> {
    if (this.#stopped === undefined) {
      this.#stopped = createDeferred<void>();
      this.#timer?.cancel();
      this.#timer = undefined;
      if (this.#calls.size === 0) this.#stopped.resolve();
    }
    return this.#stopped.promise;
  }

  /** Starts what is due and admitted now, and arms the timer for what comes next. */
  #pump(): void {
    this.#timer = undefined;
    if (this.#stopped !== undefined) return;
    const now = this.#clock.now();
    this.#pace(now);
    const dueMs = this.#schedule.nextDueMs();
    if (dueMs === undefined) return;
    if (this.#remote.frozen(now)) {
      this.#probe(now);
      return;
    }
    if (dueMs > now) {
      this.#armFor(dueMs);
      return;
    }
    const { open, slotsFree, tokensNow, msUntilToken } = this.#host.capacity();
    if (!open) {
      this.#arm(msUntilToken > 0 ? msUntilToken : TICK_MS);
      return;
    }
    // Counted once and not asked for after each start: a host that takes its time to hand calls to the gate must not
    // make us start everything that is due.
    for (let room = Math.min(slotsFree, tokensNow); room > 0; room--) {
      const batch = this.#schedule.takeDue(now);
      if (batch.length === 0) break;
      this.#tasksPerCall += NEWEST * (batch.length - this.#tasksPerCall);
      this.#start(batch, 'poll', undefined, new AbortController());
    }
    const nextMs = this.#schedule.nextDueMs();
    if (nextMs !== undefined) this.#arm(Math.max(1, nextMs - now));
  }

  #pace(now: number): void {
    this.#schedule.pace(now, { tasksPerCall: this.#tasksPerCall, callMs: this.#callMs });
  }

  /** The remote is down: one read at a time, at growing distances. */
  #probe(now: number): void {
    if (this.#probing()) return; // its end pumps
    const waitMs = this.#remote.nextProbeAtMs - now;
    if (waitMs > 0) {
      this.#arm(Math.ceil(waitMs));
      return;
    }
    if (!this.#host.capacity().open) {
      this.#arm(TICK_MS);
      return;
    }
    const item = this.#schedule.takeFirst();
    if (item !== undefined) this.#start([item], 'probe', undefined, new AbortController());
  }

  /** Whether a read is under way that was started since the remote is down. */
  #probing(): boolean {
    const since = this.#remote.downSinceMs ?? 0;
    for (const flight of this.#calls) if (flight.purpose === 'probe' || flight.startedAtMs >= since) return true;
    return false;
  }

  #startGet(id: TaskId, deadlineMs: number): Flight | ReadOutcome {
    const item = this.#schedule.get(id);
    if (this.#stopped !== undefined) {
      return failedRead('not_admitted', 'DAEMON_DRAINING', 'the daemon is stopping and starts no further reads');
    }
    if (item === undefined)
      return failedRead('not_admitted', 'TASK_UNKNOWN', `task ${id} is not polled here (any more)`);
    const now = this.#clock.now();
    if (this.#remote.frozen(now) && this.#probing()) {
      const message = `the remote is down (${this.#remote.failure?.message ?? 'reads fail'}); it is probed by another read`;
      return failedRead('not_admitted', 'REMOTE_OUTAGE', message, Math.max(1_000, this.#remote.nextProbeAtMs - now));
    }
    this.#schedule.take(item);
    return this.#start([item], 'get', deadlineMs, new AbortController());
  }

  #start(items: readonly Item[], purpose: ReadPurpose, deadlineMs: number | undefined, stop: AbortController): Flight {
    const ids = items.map((item) => item.id);
    const startedAtMs = this.#clock.now();
    this.#events.readStarted?.({ purpose, lagMs: this.#lagMs(items, startedAtMs), batchSize: ids.length });
    const done = createDeferred<ReadonlyMap<TaskId, ReadOutcome>>();
    const flight: Flight = { ids, purpose, startedAtMs, stop, done: done.promise, waiting: 0 };
    for (const id of ids) this.#flights.set(id, flight);
    this.#calls.add(flight);
    this.#read(flight, deadlineMs).then(
      (outcomes) => done.resolve(this.#finish(flight, outcomes)),
      (thrown: unknown) => done.resolve(this.#finish(flight, [unknown(thrown)])),
    );
    return flight;
  }

  async #read({ ids, purpose, stop }: Flight, deadlineMs: number | undefined): Promise<readonly ReadOutcome[]> {
    const outcomes = await this.#host.read({ ids, purpose, deadlineMs, signal: stop.signal });
    if (outcomes.length === ids.length) return outcomes;
    const seen = `the plugin answered ${outcomes.length} outcomes for a batch of ${ids.length}`;
    return [failedRead('invalid', 'PLUGIN_ANSWER_INVALID', `${seen}; expected one for each, in order`)];
  }

  /** Reports every outcome and queues its task again. A single outcome for several ids is that of the call as a whole. */
  #finish(flight: Flight, outcomes: readonly ReadOutcome[]): ReadonlyMap<TaskId, ReadOutcome> {
    const now = this.#clock.now();
    this.#callMs += NEWEST * (now - flight.startedAtMs - this.#callMs);
    this.#calls.delete(flight);
    const results = flight.ids.map((id, i) => ({ id, outcome: outcomes[i] ?? (outcomes[0] as ReadOutcome) }));
    for (const id of flight.ids) this.#flights.delete(id);
    this.#learn(flight, results, now);
    const spoilt = flight.ids.length > 1 && results.every(({ outcome }) => !outcome.ok && spoilsBatch(outcome));
    for (const { id, outcome } of results) {
      const item = this.#schedule.get(id);
      if (item === undefined) continue;
      if (spoilt) item.batchLimit = Math.ceil(flight.ids.length / 2);
      this.#settle(item, flight, outcome, now);
    }
    if (this.#calls.size === 0) this.#stopped?.resolve();
    this.#arm(0);
    return new Map(results.map(({ id, outcome }) => [id, outcome]));
  }

  #learn(flight: Flight, results: readonly { id: TaskId; outcome: ReadOutcome }[], now: number): void {
    const downSinceMs = this.#remote.downSinceMs;
    const entered = this.#remote.learn(results, this.#schedule.size, now);
    if (entered === 'up') this.#events.remoteUp?.({ downMs: now - (downSinceMs ?? now) });
    const { failure } = this.#remote;
    if (entered === 'down' && failure !== undefined) this.#events.remoteDown?.({ sinceMs: now, failure });
    if (flight.purpose === 'probe' && this.#remote.downSinceMs !== undefined) this.#remote.probeFailed(now);
  }

  #settle(item: Item, flight: Flight, outcome: ReadOutcome, now: number): void {
    const place = flight.ids.length > 1 ? 'getManyItem' : 'get';
    const read = { outcome, place, startedAtMs: flight.startedAtMs, nowMs: now } as const;
    const { verdict, again } = judge(item, read, this.#remote, this.#config);
    const decision = this.#report({
      id: item.id,
      outcome,
      startedAtMs: flight.startedAtMs,
      finishedAtMs: now,
      failures: item.failures,
      failingSinceMs: item.failingSinceMs,
      lastFailure: item.lastFailure,
      verdict,
    });
    if (decision.terminal) {
      this.#schedule.untrack(item.id);
      return;
    }
    if (outcome.ok) item.nextPollAfterMs = decision.nextPollAfterMs;
    // The report may have untracked the task or, by another track, queued it already.
    if (this.#schedule.get(item.id) === item && item.bin === undefined) this.#schedule.again(item, now, again);
  }

  #report(report: ReadReport): ReadDecision {
    try {
      return this.#host.onOutcome(report);
    } catch (thrown) {
      this.#events.fault?.(thrown);
      return { terminal: false };
    }
  }

  #lagMs(items: readonly Item[], now: number): number {
    return Math.max(0, ...items.map((item) => now - item.dueMs));
  }

  #armFor(dueMs: number | undefined): void {
    if (dueMs !== undefined) this.#arm(Math.max(0, dueMs - this.#clock.now()));
  }

  /** Pumps in `inMs`, or earlier if that is planned already. */
  #arm(inMs: number): void {
    if (this.#stopped !== undefined) return;
    const ms = Math.min(TICK_MS, inMs);
    const atMs = this.#clock.now() + ms;
    if (this.#timer !== undefined && this.#timerAtMs <= atMs) return;
    this.#timer?.cancel();
    this.#timerAtMs = atMs;
    this.#timer = this.#clock.setTimer(Math.ceil(ms), () => this.#pump());
  }

  #remoteOptions() {
    const { outageGraceMs, resyncIntervalMs } = this.#config;
    return { random: this.#random, outageGraceMs, probeMaxMs: Math.min(60_000, Math.max(1_000, resyncIntervalMs)) };
  }
}

/** Failures by which one item can take the whole batch down. */
function spoilsBatch(outcome: ReadOutcome): boolean {
  return !outcome.ok && ['process_died', 'deadline', 'invalid', 'unknown'].includes(outcome.failure.kind);
}

function isFlight(value: Flight | ReadOutcome): value is Flight {
  return 'ids' in value;
}

function unknown(thrown: unknown): ReadOutcome {
  return failedRead('unknown', 'PLUGIN_THREW_UNKNOWN', `reading failed: ${messageOf(thrown)}`);
}

function tooLate(): ReadOutcome {
  return failedRead('deadline', 'DEADLINE_EXCEEDED', 'the deadline passed before the read was answered');
}
