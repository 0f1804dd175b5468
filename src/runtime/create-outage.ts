import { backoffMs } from '../lib/backoff.js';
import { PassingMap } from '../lib/passing.js';
import type { TaskId } from '../model/attempt-key.js';
import { type KeptOutage, NO_OUTAGE } from '../model/kept-outage.js';
import type { ReadFailure } from '../model/task-record.js';

/** Failed calls in a row, and tasks among them, after which creates are taken to be down. */
const CALLS_TO_DOWN = 3;
const TASKS_TO_DOWN = 2;
const FIRST_PROBE_MS = 1_000;
const LONGEST_PROBE_MS = 60_000;

/** `fresh`: no create call was made for the task yet. */
export type ProbeKind = 'fresh' | 'tried';

/** What a create call says of the remote: `up` where it succeeded. */
export type CreateTold = 'up' | 'down' | 'unknown';

export interface CreateOutageOptions {
  /** In [0, 1). */
  readonly random: () => number;
  /** How long budgets stand still, from the first failure after the last success. Milliseconds. */
  readonly graceMs: number;
  /** What is over of that since an earlier run; without it the grace begins anew with each start. */
  readonly kept?: KeptOutage | undefined;
}

interface Member {
  tried: boolean;
  failingSinceMs: number | undefined;
}

interface ProbeClock {
  failures: number;
  atMs: number;
}

/**
 * Whether the remote of one plugin takes creates (rule 4: reads and writes are judged apart). Pure: time is handed in. States:
 *
 * - `open`: every create may be sent.
 * - `closed`: creates are probes, one at a time, and budgets stand still. Entered when three calls in a row failed that
 *   concern two tasks (creates are *down*), or when reads are down, which makes no outage of creates yet. Left by the
 *   first create that succeeds, whatever reads say; where reads alone closed it, by their end as well; and with the last
 *   task, since then nothing is left that could tell.
 * - `lapsed`: closed for longer than the grace, which runs from the first failure after the last success. Creates are
 *   sent as in `open` and budgets go on, so that no fault can hide behind it.
 *
 * Probes of tasks that were never tried and of those that were have a growing interval each, so that what fails again
 * and again delays nothing new. A task that failed before the last success, and still does, says nothing about the
 * remote, unless more than half of all tasks fail.
 */
export class CreateOutage<Run extends TaskId | symbol = TaskId> {
  readonly #options: CreateOutageOptions;
  readonly #members = new PassingMap<Run, Member>();
  #failing = 0;
  #calls = 0;
  readonly #tasks = new Set<TaskId>();
  #firstFailureMs: number | undefined;
  #answeredAtMs = Number.NEGATIVE_INFINITY;
  #downSinceMs: number | undefined;
  #failure: ReadFailure | undefined;
  #readsDown = false;
  #frozenFromMs: number | undefined;
  #thawedAtMs = Number.NEGATIVE_INFINITY;
  #frozenMs = 0;
  readonly #clocks: Readonly<Record<ProbeKind, ProbeClock>> = {
    fresh: { failures: 0, atMs: 0 },
    tried: { failures: 0, atMs: 0 },
  };

  readonly #kept: KeptOutage;
  /** What is over of the grace since an earlier run, in which no create has succeeded. */
  #beforeMs: number;

  constructor(options: CreateOutageOptions) {
    this.#options = options;
    this.#kept = options.kept ?? NO_OUTAGE;
    this.#beforeMs = this.#kept.beforeMs;
  }

  /** When creates were taken to be down; undefined while they are not, also where reads alone hold them. */
  get downSinceMs(): number | undefined {
    return this.#downSinceMs;
  }

  /** The first failure since a create last succeeded, which may be no outage yet; undefined where none was. */
  get firstFailureMs(): number | undefined {
    return this.#firstFailureMs;
  }

  /** When a create last succeeded; -Infinity where none did. */
  get answeredAtMs(): number {
    return this.#answeredAtMs;
  }

  /** The failure that stands for the outage of creates. */
  get failure(): ReadFailure | undefined {
    return this.#failure;
  }

  /** Whether only probes are sent and budgets stand still. */
  holds(nowMs: number): boolean {
    return this.#frozenFromMs !== undefined && nowMs < this.lapsesAtMs;
  }

  /** When the state lapses; Infinity as long as no create has failed. */
  get lapsesAtMs(): number {
    if (this.#firstFailureMs === undefined) return Number.POSITIVE_INFINITY;
    return this.#firstFailureMs + Math.max(0, this.#options.graceMs - this.#beforeMs);
  }

  /** All time so far during which budgets stood still, in milliseconds. */
  frozenTotalMs(nowMs: number): number {
    if (this.#frozenFromMs === undefined) return this.#frozenMs;
    return this.#frozenMs + Math.max(0, Math.min(nowMs, this.lapsesAtMs) - this.#frozenFromMs);
  }

  probeAtMs(kind: ProbeKind): number {
    return this.#clocks[kind].atMs;
  }

  kindOf(id: Run): ProbeKind {
    return this.#members.get(id)?.tried === true ? 'tried' : 'fresh';
  }

  /** A task wants to be created. */
  enter(id: Run, tried: boolean): void {
    if (!this.#members.has(id)) this.#members.set(id, { tried, failingSinceMs: undefined });
  }

  /** Its create is through, or given up. Answers `up` where an outage of creates ends with it. */
  leave(id: Run, nowMs: number): 'up' | undefined {
    const member = this.#members.get(id);
    if (member === undefined) return undefined;
    this.#members.delete(id);
    this.#noteFailing(member, undefined);
    // What it told of the remote stays, also where its failure ended it, as long as there is somebody whom it concerns.
    if (this.#members.size > 0) return undefined;
    const wasHeld = this.#frozenFromMs !== undefined;
    const told = this.#forget(nowMs);
    // What is learnt of creates is let go, but not that reads are down.
    if (wasHeld && this.#readsDown) this.#frozenFromMs = nowMs;
    return told;
  }

  /**
   * Takes one create call that ended as evidence; one that was not `sent` is no try of its task. Answers the state that creates
   * entered, if they did.
   */
  learn(
    id: Run,
    told: CreateTold,
    failure: ReadFailure | undefined,
    nowMs: number,
    sent = true,
  ): 'down' | 'up' | undefined {
    const member = this.#members.get(id) ?? { tried: true, failingSinceMs: undefined };
    const kind = member.tried ? 'tried' : 'fresh';
    member.tried ||= sent;
    if (told === 'up') {
      this.#noteFailing(member, undefined);
      this.#answeredAtMs = nowMs;
      return this.#forget(nowMs);
    }
    if (this.#frozenFromMs !== undefined) this.#backOff(kind, told === 'down', nowMs);
    if (told !== 'down') return undefined;
    const failedBefore = member.failingSinceMs !== undefined && member.failingSinceMs <= this.#answeredAtMs;
    this.#noteFailing(member, member.failingSinceMs ?? nowMs);
    if (this.#downSinceMs !== undefined) {
      this.#keep(nowMs);
      return undefined;
    }
    if (failedBefore && this.#failing * 2 <= this.#members.size) return undefined;
    this.#firstFailureMs ??= nowMs;
    this.#calls += 1;
    if (this.#tasks.size < TASKS_TO_DOWN) this.#tasks.add(taskOf(id));
    if (this.#calls < CALLS_TO_DOWN || this.#tasks.size < TASKS_TO_DOWN) return undefined;
    this.#downSinceMs = nowMs;
    this.#failure = failure;
    this.#keep(nowMs);
    this.#close(nowMs);
    return 'down';
  }

  /** Reads of the plugin are down: whether creates are, too, is to be found out. */
  readsDown(nowMs: number): void {
    this.#readsDown = true;
    this.#close(nowMs);
  }

  /** Reads are up again. An outage of creates goes on, but is probed at once. */
  readsUp(nowMs: number): void {
    this.#readsDown = false;
    if (this.#downSinceMs === undefined) this.#open(nowMs);
    else
      for (const clock of [this.#clocks.fresh, this.#clocks.tried]) Object.assign(clock, { failures: 0, atMs: nowMs });
  }

  #close(nowMs: number): void {
    if (this.#frozenFromMs !== undefined) return;
    // The failures that showed the outage are part of it; what stood still before is not counted twice.
    this.#frozenFromMs = Math.max(this.#thawedAtMs, this.#firstFailureMs ?? nowMs);
    Object.assign(this.#clocks.fresh, { failures: 0, atMs: nowMs });
    Object.assign(this.#clocks.tried, { failures: 0, atMs: nowMs });
    if (this.#downSinceMs !== undefined) {
      this.#backOff('fresh', true, nowMs);
      this.#backOff('tried', true, nowMs);
    }
  }

  #open(nowMs: number): void {
    if (this.#frozenFromMs === undefined) return;
    this.#frozenMs = this.frozenTotalMs(nowMs);
    this.#frozenFromMs = undefined;
    this.#thawedAtMs = nowMs;
  }

  /** See CreateLane. */
  forgetBefore(): void {
    if (this.#beforeMs > 0) this.#kept.keep(undefined);
    this.#beforeMs = 0;
  }

  /** With the failed create that shows it, of which is written how long it has failed. */
  #keep(nowMs: number): void {
    if (this.#firstFailureMs !== undefined) this.#kept.keep(this.#beforeMs + nowMs - this.#firstFailureMs);
  }

  /** Drops what was learnt, and opens. */
  #forget(nowMs: number): 'up' | undefined {
    const wasDown = this.#downSinceMs !== undefined;
    this.#open(nowMs);
    if (wasDown || this.#beforeMs > 0) this.#kept.keep(undefined);
    this.#beforeMs = 0;
    this.#downSinceMs = undefined;
    this.#failure = undefined;
    this.#firstFailureMs = undefined;
    this.#calls = 0;
    // A set is cleared by a new table, an empty one as well.
    if (this.#tasks.size > 0) this.#tasks.clear();
    return wasDown ? 'up' : undefined;
  }

  #noteFailing(member: Member, sinceMs: number | undefined): void {
    this.#failing += Number(sinceMs !== undefined) - Number(member.failingSinceMs !== undefined);
    member.failingSinceMs = sinceMs;
  }

  #backOff(kind: ProbeKind, failed: boolean, nowMs: number): void {
    const clock = this.#clocks[kind];
    if (nowMs < clock.atMs) return;
    if (failed) clock.failures += 1;
    const backoff = { initialMs: FIRST_PROBE_MS, maxMs: LONGEST_PROBE_MS };
    clock.atMs = nowMs + backoffMs(Math.max(1, clock.failures), backoff, this.#options.random);
  }
}

/** A run is described by its task, of which one alone makes no outage, however many runs it has. */
function taskOf(run: TaskId | symbol): TaskId {
  return typeof run === 'symbol' ? (run.description ?? '') : run;
}
