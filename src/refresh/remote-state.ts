import { backoffMs } from '../lib/backoff.js';
import type { TaskId } from '../model/attempt-key.js';
import { outcomeRule } from '../model/outcomes.js';
import type { FailureKind, PluginFailure, PluginOutcome } from '../model/plugin-call.js';

/** Calls in a row without a sign of life after which the remote is taken to be down, if they concern enough tasks. */
const CALLS_TO_DOWN = 3;
const TASKS_TO_DOWN = 2;
/** Batch keys that must be among them where there are as many; of fewer all, since each may be a remote of its own. */
const KEYS_TO_DOWN = 5;
/** Kinds that speak for an outage even when a plugin has one task only, whose fault it might be as well. */
const OF_THE_REMOTE: ReadonlySet<FailureKind> = new Set(['transient', 'deadline']);

export interface RemoteStateOptions {
  /** In [0, 1). */
  readonly random: () => number;
  readonly outageGraceMs: number;
  /** Upper bound of the time between probes. */
  readonly probeMaxMs: number;
}

/** One item of a finished call, as evidence. */
export interface Evidence {
  readonly id: TaskId;
  readonly batchKey: string;
  readonly outcome: PluginOutcome<unknown>;
}

/** How many tasks, and how many batch keys, the evidence is about. */
export interface Scope {
  readonly tasks: number;
  readonly keys: number;
}

/**
 * Whether the remote of one plugin answers reads (rule 4, "a remote's outage does not end its tasks").
 *
 * - `up` → `down`: three calls in a row failed as the table marks `down`, with no `up` between them, and they concerned
 *   at least two tasks, and every batch key or five of them; for a plugin with a single task transient errors and passed
 *   deadlines suffice, since these are what an outage looks like.
 * - `down` → `up`: the first outcome that the table marks `up`: a success, a not_found, a permanent refusal. Also when the
 *   last task is gone, since then nothing is read that could tell.
 *
 * While it is down and the outage grace lasts, counts and failing times are frozen and reads are probes, one at a time.
 * After the grace the state stays `down`, but reads and counts go on as usual, so that no fault can hide behind it.
 */
export class RemoteState {
  #options: RemoteStateOptions;
  #calls = 0;
  readonly #tasks = new Set<TaskId>();
  readonly #keys = new Set<string>();
  #onlyOfTheRemote = true;
  #downSinceMs: number | undefined;
  #failure: PluginFailure | undefined;
  #probes = 0;
  #nextProbeAtMs = 0;
  #frozenMs = 0;

  constructor(options: RemoteStateOptions) {
    this.#options = options;
  }

  reconfigure(options: RemoteStateOptions): void {
    this.#options = options;
  }

  get downSinceMs(): number | undefined {
    return this.#downSinceMs;
  }

  /** The failure that stands for the outage. */
  get failure(): PluginFailure | undefined {
    return this.#failure;
  }

  get nextProbeAtMs(): number {
    return this.#nextProbeAtMs;
  }

  /** Whether counts stand still and only probes are made. */
  frozen(nowMs: number): boolean {
    return this.#downSinceMs !== undefined && nowMs - this.#downSinceMs < this.#options.outageGraceMs;
  }

  /** All time so far during which counts stood still, in milliseconds. */
  frozenTotalMs(nowMs: number): number {
    return this.#frozenMs + this.#frozenNowMs(nowMs);
  }

  /** Takes one finished call as evidence. Answers the state it entered, if it did. */
  learn(call: readonly Evidence[], tracked: Scope, nowMs: number): 'down' | 'up' | undefined {
    const rules = call.map(({ outcome }) => (outcome.ok ? 'up' : outcomeRule('get', outcome.failure.kind).remote));
    if (rules.includes('up')) return this.#alive(nowMs);
    const failed = call.filter((_, i) => rules[i] === 'down');
    if (failed.length === 0) return undefined;
    if (this.#downSinceMs !== undefined) {
      this.#backOff(nowMs);
      return undefined;
    }
    this.#calls += 1;
    for (const { id, batchKey, outcome } of failed) {
      if (this.#keys.size < KEYS_TO_DOWN) this.#keys.add(batchKey);
      if (this.#tasks.size < TASKS_TO_DOWN) this.#tasks.add(id);
      if (!outcome.ok) {
        this.#failure = outcome.failure;
        if (!OF_THE_REMOTE.has(outcome.failure.kind)) this.#onlyOfTheRemote = false;
      }
    }
    const acrossTasks = this.#tasks.size >= TASKS_TO_DOWN || (tracked.tasks <= 1 && this.#onlyOfTheRemote);
    const acrossKeys = this.#keys.size >= Math.min(KEYS_TO_DOWN, tracked.keys);
    if (this.#calls < CALLS_TO_DOWN || !acrossTasks || !acrossKeys) return undefined;
    this.#downSinceMs = nowMs;
    this.#probes = 0;
    this.#backOff(nowMs);
    return 'down';
  }

  /** A probe came to nothing that says anything (throttled, not admitted): the next one waits all the same. */
  probeFailed(nowMs: number): void {
    this.#backOff(nowMs);
  }

  /** Drops what was learnt: no task is left that could learn more. */
  forget(nowMs: number): void {
    this.#alive(nowMs);
  }

  #alive(nowMs: number): 'up' | undefined {
    const wasDown = this.#downSinceMs !== undefined;
    this.#frozenMs += this.#frozenNowMs(nowMs);
    this.#downSinceMs = undefined;
    this.#failure = undefined;
    this.#calls = 0;
    this.#tasks.clear();
    this.#keys.clear();
    this.#onlyOfTheRemote = true;
    return wasDown ? 'up' : undefined;
  }

  #backOff(nowMs: number): void {
    if (nowMs < this.#nextProbeAtMs) return;
    this.#probes += 1;
    const backoff = { initialMs: 1_000, maxMs: this.#options.probeMaxMs };
    this.#nextProbeAtMs = nowMs + backoffMs(this.#probes, backoff, this.#options.random);
  }

  #frozenNowMs(nowMs: number): number {
    return this.#downSinceMs === undefined ? 0 : Math.min(nowMs - this.#downSinceMs, this.#options.outageGraceMs);
  }
}
