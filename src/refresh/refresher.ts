import type { Clock, Timer } from '../lib/clock.js';
import { createDeferred, type Deferred } from '../lib/deferred.js';
import { type Abortable, Stop } from '../lib/stop.js';
import type { TaskId } from '../model/attempt-key.js';
import type { ReadPurpose, RefreshEvents } from '../model/events/refresh.js';
import type { KeptOutage } from '../model/kept-outage.js';
import { failedCall } from '../model/plugin-failure.js';
import { awaitFlight, Flights, isFlight, readOnce, tooLate } from './flights.js';
import { Intake } from './intake.js';
import type { Flight, Item, ReadOutcome } from './item.js';
import { MissingTasks } from './missing.js';
import { Outages } from './outages.js';
import { ProbeRota } from './probe-rota.js';
import type { RemoteState } from './remote-state.js';
import { Schedule } from './schedule.js';
import type {
  PolledTask,
  PollHistory,
  ReadReport,
  RefreshConfig,
  Refresher,
  RefreshStats,
  TaskReader,
} from './types.js';

export interface RefresherOptions {
  readonly reader: TaskReader;
  readonly config: RefreshConfig;
  readonly clock: Clock;
  /** In [0, 1); for jitter and back-off. */
  readonly random: () => number;
  readonly events?: RefreshEvents;
  /**
   * Which share of its time the event loop was busy since it was last asked, 0 to 1; undefined where there is nothing new to say.
   * Absent: spare polls are bounded by the read limit alone.
   */
  readonly loopShare?: (() => number | undefined) | undefined;
  /** The part of the read limit that is for the tasks here, above 0 up to 1, where others have the rest; all of it unless given. */
  readonly limitShare?: (() => number) | undefined;
  /** Of the outages of reads; without it their grace begins anew with each start. */
  readonly outage?: KeptOutage | undefined;
}

/**
 * Longest time between two looks at the schedule while it has tasks: intervals are computed anew then, which may make
 * one due earlier than was planned. It also guards against a missed `wake`.
 */
const TICK_MS = 1_000;
/** Weight of the newest call in the running means of batch size and duration. */
const NEWEST = 0.1;
/** A read that comes later than this, as a part of `resyncInterval`, is told as late. */
const LATE_SHARE = 0.1;

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
  readonly #reader: TaskReader;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #events: RefreshEvents;
  readonly #schedule: Schedule;
  readonly #outages: Outages;
  readonly #remote: RemoteState;
  readonly #rota: ProbeRota;
  readonly #missing: MissingTasks;
  readonly #intake: Intake;
  readonly #loopShare: (() => number | undefined) | undefined;
  readonly #limitShare: (() => number) | undefined;
  readonly #flights = new Flights((id) => this.#schedule.get(id));
  #config: RefreshConfig;
  #timer: Timer | undefined;
  #timerAtMs = 0;
  #stopped: Deferred<void> | undefined;
  #tasksPerCall = 1;
  #callMs = 1;

  constructor(options: RefresherOptions) {
    this.#reader = options.reader;
    this.#clock = options.clock;
    this.#random = options.random;
    this.#loopShare = options.loopShare;
    this.#limitShare = options.limitShare;
    this.#events = options.events ?? {};
    this.#config = options.config;
    this.#missing = new MissingTasks(this.#events);
    this.#schedule = new Schedule({
      config: options.config,
      random: options.random,
      tokenWanted: (namespace) => this.#reader.tokenWanted(namespace),
      resumed: (item) => this.#missing.resumed(item, this.#clock.now()),
      gone: (item) => {
        this.#flights.leaves(item);
        this.#missing.gone(item, this.#clock.now());
      },
      keyGone: (batchKey) => {
        this.#outages.forgetGroup(batchKey);
        this.#missing.forgetKey(batchKey);
      },
    });
    this.#outages = new Outages(this.#remoteOptions(), options.outage);
    this.#remote = this.#outages.plugin;
    this.#rota = new ProbeRota(this.#schedule, this.#remote);
    const { reader } = options;
    this.#intake = new Intake({
      reader,
      schedule: this.#schedule,
      outages: this.#outages,
      missing: this.#missing,
      events: this.#events,
    });
  }

  track(task: PolledTask, history: PollHistory = {}): void {
    const now = this.#clock.now();
    this.#pace(now);
    this.#schedule.track(task, history, now, this.#flights.has(task.id));
    this.#comes(task.id);
    this.#armNext();
  }

  /** A read of the task that is under way since before it came is its own. */
  #comes(id: TaskId): void {
    const item = this.#schedule.get(id);
    if (item !== undefined) this.#flights.comes(item);
  }

  trackAll(tasks: readonly PolledTask[], batchKeyOf?: (task: PolledTask) => string): void {
    const now = this.#clock.now();
    const reading = this.#flights.tasks > 0;
    const inFlight = reading ? (id: TaskId) => this.#flights.has(id) : () => false;
    this.#schedule.trackAll(tasks, { batchKeyOf, inFlight }, now);
    if (reading) for (const { id } of tasks) this.#comes(id);
    // Those whom an outage of the last run concerned are all gone.
    if (this.#schedule.size === 0) this.#remote.forgetBefore();
    this.#armNext();
  }

  untrack(id: TaskId, becomes?: TaskId): void {
    if (becomes !== undefined) this.#flights.rename(id, becomes);
    this.#schedule.untrack(id);
    this.#intake.nobodyLeft(this.#clock.now());
  }

  hold(id: TaskId): void {
    this.#schedule.hold(id);
  }

  resume(id: TaskId, delayMs: number): boolean {
    const resumed = this.#schedule.resume(id, this.#clock.now(), delayMs);
    this.#armNext();
    return resumed;
  }

  awaitAsked(id: TaskId): void {
    this.#schedule.awaitAsked(id);
  }

  regroup(id: TaskId, batchKey: string): void {
    this.#schedule.regroup(id, batchKey);
  }

  missing(id: TaskId): ReadReport['missing'] {
    return this.#schedule.get(id)?.missingNow;
  }

  asked(id: TaskId): void {
    if (this.#schedule.asked(id, this.#clock.now())) this.#armNext();
  }

  async readNow(id: TaskId, deadlineMs: number, signal?: Abortable): Promise<ReadOutcome> {
    for (;;) {
      if (signal?.aborted === true) return failedCall('cancelled', 'CALL_CANCELLED', 'the caller cancelled the read');
      if (this.#clock.now() >= deadlineMs) return tooLate();
      const running = this.#flights.get(id);
      const flight = running ?? this.#startGet(id, deadlineMs);
      if (!isFlight(flight)) return flight;
      flight.waiting += 1;
      const outcome = await awaitFlight(flight, id, { clock: this.#clock, deadlineMs, signal });
      flight.waiting -= 1;
      if (outcome === undefined) {
        if (flight.waiting === 0 && flight.purpose === 'get') flight.stop?.abort();
      } else if (running === undefined || !endedByBounds(outcome)) return outcome;
    }
  }

  wake(): void {
    if (this.#schedule.size > 0) this.#arm(0);
  }

  reconfigure(config: RefreshConfig): void {
    this.#config = config;
    this.#schedule.reconfigure(config);
    this.#outages.reconfigure(this.#remoteOptions());
    this.wake();
  }

  get remoteDown(): boolean {
    return this.#remote.downSinceMs !== undefined;
  }

  get tracked(): number {
    return this.#schedule.size;
  }

  countDue(): number {
    return this.#schedule.countDue(this.#clock.now());
  }

  stats(): RefreshStats {
    const now = this.#clock.now();
    const { pacing } = this.#schedule;
    return {
      tracked: this.#schedule.size,
      inFlight: this.#flights.tasks,
      oldestOverdueMs: Math.max(0, now - (this.#schedule.nextDueMs() ?? now)),
      remote: this.#remote.downSinceMs === undefined ? 'up' : 'down',
      remoteDownSinceMs: this.#remote.failingSinceMs,
      firstFailureMs: this.#remote.firstFailureMs,
      answeredAtMs: this.#remote.answeredAtMs,
      notFound: this.#missing.size,
      notFoundFrozen: this.#missing.frozen,
      longestIntervalMs: pacing.longestMs,
      ageFactor: pacing.ageFactor,
    };
  }

  stop(): Promise<void> {
    if (this.#stopped === undefined) {
      this.#stopped = createDeferred<void>();
      this.#timer?.cancel();
      this.#timer = undefined;
      this.#reader.due?.(0);
      if (this.#flights.calls === 0) this.#stopped.resolve();
    }
    return this.#stopped.promise;
  }

  /** Starts what is due and admitted now, and arms the timer for what comes next. */
  #pump(): void {
    this.#timer = undefined;
    if (this.#stopped !== undefined) return;
    const now = this.#clock.now();
    this.#pace(now);
    const dueMs = this.#schedule.nextReadMs(now);
    if (dueMs === undefined) {
      this.#reader.due?.(0);
      return;
    }
    if (this.#remote.frozen(now)) {
      this.#probe(now);
      return;
    }
    if (dueMs > now) {
      this.#reader.due?.(0);
      this.#arm(dueMs - now);
      return;
    }
    const { open, slotsFree, tokensNow, msUntilToken } = this.#reader.capacity();
    if (!open) {
      this.#tellDue(now);
      this.#arm(msUntilToken > 0 ? msUntilToken : TICK_MS);
      return;
    }
    // Counted once and not asked for after each start: a reader that takes its time to hand calls to the gate must not
    // make us start everything that is due.
    for (let room = Math.min(slotsFree, tokensNow); room > 0; room--) {
      const batch = this.#schedule.takeDue(now);
      if (batch.length === 0) break;
      this.#tasksPerCall += NEWEST * (batch.length - this.#tasksPerCall);
      this.#start(batch, 'poll', undefined, undefined);
    }
    this.#tellDue(now);
    const nextMs = this.#schedule.nextReadMs(now);
    if (nextMs !== undefined) this.#arm(Math.max(1, nextMs - now));
  }

  /** Where somebody has to be asked for them: the calls that all due reads would take now. */
  #tellDue(now: number): void {
    this.#reader.due?.(Math.ceil(this.#schedule.countDue(now) / this.#config.maxBatch));
  }

  #pace(now: number): void {
    this.#schedule.pace(now, {
      tasksPerCall: this.#tasksPerCall,
      callMs: this.#callMs,
      loopShare: this.#loopShare,
      limitShare: this.#limitShare,
    });
  }

  /** The remote is down: one read at a time, at growing distances, tasks of every standing in turn. */
  #probe(now: number): void {
    if (this.#probing()) {
      this.#reader.due?.(0);
      return; // its end pumps
    }
    if (!this.#reader.capacity().open) {
      this.#reader.due?.(1);
      this.#arm(TICK_MS);
      return;
    }
    const { item, inMs } = this.#rota.next(now);
    this.#reader.due?.(0);
    if (item === undefined) this.#arm(Math.ceil(inMs));
    else this.#start([item], 'probe', undefined, undefined);
  }

  #probing(): boolean {
    return this.#flights.startedSince(this.#remote.downSinceMs ?? 0);
  }

  #startGet(id: TaskId, deadlineMs: number): Flight | ReadOutcome {
    const item = this.#schedule.get(id);
    if (this.#stopped !== undefined) {
      return failedCall('not_admitted', 'DAEMON_DRAINING', 'the daemon is stopping and starts no further reads');
    }
    if (item === undefined || item.held)
      return failedCall('not_admitted', 'TASK_UNKNOWN', `task ${id} is not polled here (any more)`);
    const now = this.#clock.now();
    if (this.#remote.frozen(now) && this.#probing()) {
      const message = `the remote is down (${this.#remote.failure?.message ?? 'reads fail'}); it is probed by another read`;
      return failedCall(
        'not_admitted',
        'REMOTE_OUTAGE',
        message,
        Math.max(1_000, this.#remote.nextProbeAtMs('rotation') - now),
      );
    }
    this.#schedule.take(item);
    return this.#start([item], 'get', deadlineMs, new Stop());
  }

  #start(items: readonly Item[], purpose: ReadPurpose, deadlineMs: number | undefined, stop: Stop | undefined): Flight {
    const ids = items.map((item) => item.id);
    const startedAtMs = this.#clock.now();
    this.#events.readStarted?.({ purpose, ...this.#lag(items, startedAtMs), batchSize: ids.length });
    const done = createDeferred<readonly ReadOutcome[]>();
    const flight: Flight = {
      ids,
      items: [...items],
      purpose,
      startedAtMs,
      stop,
      done: done.promise,
      waiting: 0,
      renamed: new Map(),
    };
    this.#flights.add(flight);
    readOnce(this.#reader, flight, deadlineMs)
      .then((outcomes) => {
        this.#finish(flight, outcomes);
        done.resolve(outcomes);
      })
      .catch((thrown: unknown) => this.#events.fault?.(thrown));
    return flight;
  }

  /** Has every outcome reported and its task queued again. */
  #finish(flight: Flight, outcomes: readonly ReadOutcome[]): void {
    const now = this.#clock.now();
    this.#callMs += NEWEST * (now - flight.startedAtMs - this.#callMs);
    this.#flights.delete(flight);
    this.#intake.take(flight, outcomes, now, this.#config);
    if (this.#flights.calls === 0) this.#stopped?.resolve();
    this.#arm(0);
  }

  /** How long the most overdue of them was due, and how many for more than is to be expected. */
  #lag(items: readonly Item[], now: number): { readonly lagMs: number; readonly late: number } {
    const lateMs = LATE_SHARE * this.#config.resyncIntervalMs;
    let lagMs = 0;
    let late = 0;
    for (const { dueMs } of items) {
      lagMs = Math.max(lagMs, now - dueMs);
      if (now - dueMs > lateMs) late += 1;
    }
    return { lagMs, late };
  }

  #armNext(): void {
    const now = this.#clock.now();
    const nextMs = this.#schedule.nextReadMs(now);
    if (nextMs !== undefined) this.#arm(Math.max(0, nextMs - now));
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
    const { outageGraceMs, minFailingMs, resyncIntervalMs } = this.#config;
    return {
      random: this.#random,
      outageGraceMs,
      probeMaxMs: Math.min(60_000, Math.max(1_000, resyncIntervalMs)),
      // Before failures of one task may end it.
      silenceMs: minFailingMs / 2,
    };
  }
}

/** A read that another caller's bounds ended says nothing to those who shared it. */
function endedByBounds(outcome: ReadOutcome): boolean {
  return !outcome.ok && ['not_admitted', 'cancelled'].includes(outcome.failure.kind);
}
