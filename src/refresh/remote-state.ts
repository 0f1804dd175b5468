import { backoffMs } from '../lib/backoff.js';
import type { TaskId } from '../model/attempt-key.js';
import { type KeptOutage, NO_OUTAGE } from '../model/kept-outage.js';
import { outcomeRule } from '../model/outcomes.js';
import type { FailureKind, PluginFailure, PluginOutcome } from '../model/plugin-call.js';

/** Calls in a row without a sign of life after which the remote is taken to be down, if they concern enough tasks. */
const CALLS_TO_DOWN = 3;
const TASKS_TO_DOWN = 2;
/** Batch keys that must be among them where there are as many; of fewer all, since each may be a remote of its own. */
const KEYS_TO_DOWN = 5;
/** Answers to others, each between two failures of a task, after which it is the task that fails and not its remote. */
const ANSWERS_TO_OUTVOTE = 3;
const FIRST_PROBE_MS = 1_000;
/** Kinds that speak for an outage even when one task alone may tell, whose fault it might be as well. */
const OF_THE_REMOTE: ReadonlySet<FailureKind> = new Set(['transient', 'deadline']);

export interface RemoteStateOptions {
  /** In [0, 1). */
  readonly random: () => number;
  readonly outageGraceMs: number;
  /** Upper bound of the time between probes. */
  readonly probeMaxMs: number;
  /** When only one task was read for so long, its failures are taken for the remote's. */
  readonly silenceMs: number;
}

/** One item of a call that ended, as evidence. */
export interface Evidence {
  readonly id: TaskId;
  readonly batchKey: string;
  readonly outcome: PluginOutcome<unknown>;
  /** As it was before the call. */
  readonly task: FailingTask;
}

/** How a task's reads have failed so far. */
export interface FailingTask {
  readonly failingSinceMs: number | undefined;
  /** How often the remote answered others between two of its failures. */
  readonly outvoted: number;
  /** undefined: never read here. */
  readonly lastReadAtMs: number | undefined;
}

/** How many tasks the evidence is about, and how many of them fail. */
export interface Scope {
  readonly tasks: number;
  readonly failing: number;
  /** Those that were not outvoted, and how many batch keys have one. */
  readonly telling: number;
  readonly keys: number;
}

/** Whether its failures are its own, since the remote answered others again and again meanwhile. */
export function isOutvoted({ outvoted }: Pick<FailingTask, 'outvoted'>): boolean {
  return outvoted >= ANSWERS_TO_OUTVOTE;
}

/** `fresh`: tasks that were never read here. */
export type ProbeKind = 'fresh' | 'rotation';

interface ProbeClock {
  failures: number;
  atMs: number;
}

/**
 * Whether the remote of one plugin answers reads (rule 4, "a remote's outage does not end its tasks").
 *
 * - `up` → `down`: three calls in a row failed as the table marks `down`, with no `up` between them, and they concerned
 *   at least two tasks, and every batch key or five of them; where a single task may tell, transient errors and passed
 *   deadlines suffice, since these are what an outage looks like. The same where others may tell but are not read for a
 *   time; were it a mistake, the probes that follow read them.
 * - `down` → `up`: the first read that succeeds. Also when the last task is gone, since then nothing is read that could tell.
 *
 * While it is down and the outage grace lasts, which runs from the first failure after the last answer (of an earlier run of the daemon,
 * where it did not answer since), counts and failing times are frozen and reads are probes, one at a time, at growing distances. Tasks that were never read here have
 * distances of their own, so that a new one does not wait behind all that fail. After the grace the state stays `down`,
 * but reads and counts go on as usual, so that no fault can hide behind it.
 *
 * A task that failed before the remote last answered, and still does, is no evidence, unless more than half of all tasks
 * fail; one that others outvoted several times is none at all. So jobs that can never be read do not call the remote down
 * again and again, and end.
 */
export class RemoteState {
  #options: RemoteStateOptions;
  #calls = 0;
  readonly #tasks = new Set<TaskId>();
  readonly #keys = new Set<string>();
  #onlyOfTheRemote = true;
  #firstFailureMs: number | undefined;
  #downSinceMs: number | undefined;
  #answeredAtMs = Number.NEGATIVE_INFINITY;
  #answeredBy: TaskId | undefined;
  #failure: PluginFailure | undefined;
  #probes = probesFrom(0);
  #frozenMs = 0;
  readonly #kept: KeptOutage;
  /** What is over of the grace since an earlier run. */
  #beforeMs: number;

  constructor(options: RemoteStateOptions, kept: KeptOutage = NO_OUTAGE) {
    this.#options = options;
    this.#kept = kept;
    this.#beforeMs = kept.beforeMs;
  }

  reconfigure(options: RemoteStateOptions): void {
    this.#options = options;
  }

  get downSinceMs(): number | undefined {
    return this.#downSinceMs;
  }

  /** The first failure of the outage, from which its grace runs; undefined while it is up. */
  get failingSinceMs(): number | undefined {
    return this.#downSinceMs === undefined ? undefined : this.#firstFailureMs;
  }

  /** The first failure since it last answered, also while it is not taken to be down; undefined where none was. */
  get firstFailureMs(): number | undefined {
    return this.#firstFailureMs;
  }

  /** The failure that stands for the outage. */
  get failure(): PluginFailure | undefined {
    return this.#failure;
  }

  /** When it last answered a read; -Infinity if it never did. */
  get answeredAtMs(): number {
    return this.#answeredAtMs;
  }

  /** The task whose read it last answered. */
  get answeredBy(): TaskId | undefined {
    return this.#answeredBy;
  }

  nextProbeAtMs(kind: ProbeKind): number {
    return this.#probes[kind].atMs;
  }

  /** Whether counts stand still and only probes are made. */
  frozen(nowMs: number): boolean {
    const { failingSinceMs } = this;
    return failingSinceMs !== undefined && nowMs - failingSinceMs < this.#graceMs;
  }

  /** What an earlier run left of the outage grace. */
  get #graceMs(): number {
    return Math.max(0, this.#options.outageGraceMs - this.#beforeMs);
  }

  /** All time so far during which counts stood still, in milliseconds. */
  frozenTotalMs(nowMs: number): number {
    return this.#frozenMs + this.#frozenNowMs(nowMs);
  }

  /** Takes one call that ended as evidence. Answers the state it entered, if it did. */
  learn(call: readonly Evidence[], tracked: Scope, nowMs: number): 'down' | 'up' | undefined {
    const rules = call.map(({ outcome }) => (outcome.ok ? 'up' : outcomeRule('get', outcome.failure.kind).remote));
    // A refusal is an answer as well, but only a read that succeeds ends an outage (rule 4): half a broken API refuses all.
    const isDown = this.#downSinceMs !== undefined;
    const answered = call.findIndex(({ outcome }, i) => outcome.ok || (!isDown && rules[i] === 'up'));
    if (answered >= 0) return this.answered(call[answered]?.id, nowMs);
    const failed = call.filter((_, i) => rules[i] === 'down');
    if (failed.length === 0) return undefined;
    if (isDown) {
      this.probeFailed(kindOf(failed), nowMs);
      this.#keep(nowMs);
      return undefined;
    }
    const telling = failed.filter(({ task }) => !this.#failsAnyway(task, tracked));
    if (telling.length === 0) return undefined;
    this.#firstFailureMs ??= nowMs;
    this.#calls += 1;
    for (const { id, batchKey, outcome } of telling) {
      if (this.#keys.size < KEYS_TO_DOWN) this.#keys.add(batchKey);
      if (this.#tasks.size < TASKS_TO_DOWN) this.#tasks.add(id);
      if (!outcome.ok) {
        this.#failure = outcome.failure;
        if (!OF_THE_REMOTE.has(outcome.failure.kind)) this.#onlyOfTheRemote = false;
      }
    }
    if (this.#calls < CALLS_TO_DOWN || !this.#speaksForAll(tracked, nowMs - this.#firstFailureMs)) return undefined;
    this.#downSinceMs = nowMs;
    this.#probes = probesFrom(nowMs);
    for (const kind of ['fresh', 'rotation'] as const) this.probeFailed(kind, nowMs);
    this.#keep(nowMs);
    return 'down';
  }

  /** It answered the read of this task; the first part of `learn`. */
  answered(id: TaskId | undefined, nowMs: number): 'up' | undefined {
    this.#answeredAtMs = nowMs;
    this.#answeredBy = id;
    return this.#alive(nowMs);
  }

  /** Whether those that failed stand for all that may tell, or for the only ones that are read. */
  #speaksForAll({ telling, keys }: Scope, failingMs: number): boolean {
    if (this.#onlyOfTheRemote && failingMs >= this.#options.silenceMs) return true;
    const acrossTasks = this.#tasks.size >= TASKS_TO_DOWN || (telling <= 1 && this.#onlyOfTheRemote);
    return acrossTasks && this.#keys.size >= Math.min(KEYS_TO_DOWN, keys);
  }

  /** A probe found no answer, or came to nothing that says anything (throttled, not admitted): the next one waits. */
  probeFailed(kind: ProbeKind, nowMs: number): void {
    const probe = this.#probes[kind];
    if (nowMs < probe.atMs) return;
    probe.failures += 1;
    const backoff = { initialMs: FIRST_PROBE_MS, maxMs: this.#options.probeMaxMs };
    probe.atMs = nowMs + backoffMs(probe.failures, backoff, this.#options.random);
  }

  /** Drops what was learnt: no task is left that could learn more. */
  forget(nowMs: number): void {
    this.#alive(nowMs);
  }

  /** Nobody is left whom an outage of an earlier run concerned. */
  forgetBefore(): void {
    if (this.#beforeMs > 0) this.#kept.keep(undefined);
    this.#beforeMs = 0;
  }

  /** With the failed read that shows it, which is written as well. */
  #keep(nowMs: number): void {
    if (this.#firstFailureMs !== undefined) this.#kept.keep(this.#beforeMs + nowMs - this.#firstFailureMs);
  }

  #alive(nowMs: number): 'up' | undefined {
    const wasDown = this.#downSinceMs !== undefined;
    this.#frozenMs += this.#frozenNowMs(nowMs);
    if (wasDown || this.#beforeMs > 0) this.#kept.keep(undefined);
    this.#beforeMs = 0;
    this.#downSinceMs = undefined;
    this.#firstFailureMs = undefined;
    this.#failure = undefined;
    this.#calls = 0;
    // A set is cleared by a new table, an empty one as well.
    if (this.#tasks.size > 0) this.#tasks.clear();
    if (this.#keys.size > 0) this.#keys.clear();
    this.#onlyOfTheRemote = true;
    return wasDown ? 'up' : undefined;
  }

  /** Whether a failure of this task says nothing, since it failed while the remote answered others. */
  #failsAnyway(task: FailingTask, { tasks, failing }: Scope): boolean {
    if (isOutvoted(task)) return true;
    return task.failingSinceMs !== undefined && task.failingSinceMs <= this.#answeredAtMs && failing * 2 <= tasks;
  }

  #frozenNowMs(nowMs: number): number {
    const { failingSinceMs } = this;
    return failingSinceMs === undefined ? 0 : Math.min(nowMs - failingSinceMs, this.#graceMs);
  }
}

/** Before the first probe of an outage. */
function probesFrom(atMs: number): Record<ProbeKind, ProbeClock> {
  return { fresh: { failures: 0, atMs }, rotation: { failures: 0, atMs } };
}

/** What kind of probe a call was, whoever made it. */
export function kindOf(call: readonly Evidence[]): ProbeKind {
  return call.every(({ task }) => task.lastReadAtMs === undefined) ? 'fresh' : 'rotation';
}
