import type { TaskId } from '../model/attempt-key.js';
import type { PluginFailure } from '../model/plugin-call.js';
import type { FrozenMarks } from './outages.js';
import type { Bin, Pooled } from './pool.js';
import type { PolledTask, PollHistory } from './types.js';

/** Answers of NotFound in a row, without any other answer between them. */
export interface Missing {
  readonly sinceMs: number;
  reads: number;
}

/** A wave that a task belongs to, until a read finds it. */
export interface Wave {
  readonly sinceMs: number;
  /** Those that it froze, and since when each of them is not found. */
  readonly frozen: Map<TaskId, number>;
  found: number;
  lost: number;
  /** A task that turns NotFound before this belongs to it as well. */
  openUntilMs: number;
}

/** What is known of a task whose reads do not go well; the others, which are nearly all, have none of it. */
interface Trouble {
  failures: number;
  retries: number;
  failingSinceMs: number | undefined;
  frozenBefore: FrozenMarks;
  lastFailure: PluginFailure | undefined;
  lastFailedAtMs: number | undefined;
  outvoted: number;
  seenAliveAtMs: number | undefined;
  missing: Missing | undefined;
  wave: Wave | undefined;
  alone: boolean;
  batchLimit: number;
}

const NO_MARKS: FrozenMarks = Object.freeze({ plugin: 0, group: 0 });

/**
 * A task in the schedule: its record, which says all that is known of the task, and the state of its reads, which is kept
 * nowhere else. Half a million may be tracked. Times in milliseconds since the epoch.
 *
 * States: *queued*, in a bin (entered by `Schedule.track` and `again`); *in flight* (by a take; left by `again`); *held*, while its host
 * is busy with what was read (by `hold`; left by `resume`). It is in one of them from `track` until `untrack`.
 */
export class Item implements Pooled<Item> {
  task: PolledTask;
  batchKey: string;
  lastReadAtMs: number | undefined;
  /** Age class it is counted in; -1 when it is counted among the idle ones. */
  ageClass = 0;
  /** How often the interval doubled since engines ceased to ask; 0 while they ask. */
  doublings = 0;
  key = 0;
  heapIndex = -1;
  /** When its next read is due, as of the time it was queued; for the lag. */
  dueMs: number;
  bin: Bin<Item> | undefined = undefined;
  held = false;
  /** Whether it is counted among those that fail. */
  countedFailing = false;
  /** Whether it is left out of those that may tell of their remote. */
  countedMute = false;
  /** Whether its last read found the job. */
  #found = false;
  #trouble: Trouble | undefined = undefined;

  constructor(task: PolledTask, history: PollHistory, nowMs: number) {
    const { lastReadAtMs, failures = 0, failingSinceMs, batchKey = '' } = history;
    this.task = task;
    this.batchKey = batchKey;
    this.lastReadAtMs = lastReadAtMs;
    this.dueMs = nowMs;
    if (failures > 0 || failingSinceMs !== undefined) {
      Object.assign(this.#troubled(), { failures, retries: failures, failingSinceMs });
    }
  }

  /** A read found the job: whatever was wrong is over. */
  readWell(nowMs: number): void {
    this.lastReadAtMs = nowMs;
    this.#found = true;
    this.#trouble = undefined;
  }

  /** A read did not tell the state. */
  readBadly(failure: PluginFailure, nowMs: number): void {
    const { seenAliveAtMs } = this;
    const trouble = this.#troubled();
    trouble.seenAliveAtMs = seenAliveAtMs;
    trouble.lastFailure = failure;
    this.#found = false;
    this.lastReadAtMs = nowMs;
  }

  /** Takes over what a second `track` of the same task says; what it leaves out stays. */
  correct(task: PolledTask, { lastReadAtMs, batchKey = '' }: PollHistory): void {
    this.task = task;
    this.lastReadAtMs = lastReadAtMs ?? this.lastReadAtMs;
    this.batchKey = batchKey;
  }

  get id(): PolledTask['id'] {
    return this.task.id;
  }

  /** Consecutive reads that count as failed. */
  get failures(): number {
    return this.#trouble?.failures ?? 0;
  }

  set failures(failures: number) {
    this.#troubled().failures = failures;
  }

  /** Consecutive reads that did not tell the state, for the back-off. */
  get retries(): number {
    return this.#trouble?.retries ?? 0;
  }

  set retries(retries: number) {
    this.#troubled().retries = retries;
  }

  get failingSinceMs(): number | undefined {
    return this.#trouble?.failingSinceMs;
  }

  set failingSinceMs(sinceMs: number | undefined) {
    this.#troubled().failingSinceMs = sinceMs;
  }

  /** The remote's frozen time when the failing began; that time does not count as failing. */
  get frozenBefore(): FrozenMarks {
    return this.#trouble?.frozenBefore ?? NO_MARKS;
  }

  set frozenBefore(marks: FrozenMarks) {
    this.#troubled().frozenBefore = marks;
  }

  get lastFailure(): PluginFailure | undefined {
    return this.#trouble?.lastFailure;
  }

  get lastFailedAtMs(): number | undefined {
    return this.#trouble?.lastFailedAtMs;
  }

  set lastFailedAtMs(atMs: number | undefined) {
    this.#troubled().lastFailedAtMs = atMs;
  }

  /** How often its remote answered others between two of its failures. */
  get outvoted(): number {
    return this.#trouble?.outvoted ?? 0;
  }

  set outvoted(times: number) {
    this.#troubled().outvoted = times;
  }

  /** When a read last found the job. */
  get seenAliveAtMs(): number | undefined {
    return this.#found ? this.lastReadAtMs : this.#trouble?.seenAliveAtMs;
  }

  get missing(): Missing | undefined {
    return this.#trouble?.missing;
  }

  set missing(missing: Missing | undefined) {
    if (missing !== undefined || this.#trouble !== undefined) this.#troubled().missing = missing;
  }

  get wave(): Wave | undefined {
    return this.#trouble?.wave;
  }

  set wave(wave: Wave | undefined) {
    if (wave !== undefined || this.#trouble !== undefined) this.#troubled().wave = wave;
  }

  /** Its next read is made for it alone. */
  get alone(): boolean {
    return this.#trouble?.alone ?? false;
  }

  set alone(alone: boolean) {
    if (alone || this.#trouble !== undefined) this.#troubled().alone = alone;
  }

  /** Items a batch with this one may carry: halved while whole batches with it fail, so that a culprit is found. */
  get batchLimit(): number {
    return this.#trouble?.batchLimit ?? Number.POSITIVE_INFINITY;
  }

  set batchLimit(limit: number) {
    this.#troubled().batchLimit = limit;
  }

  #troubled(): Trouble {
    this.#trouble ??= {
      failures: 0,
      retries: 0,
      failingSinceMs: undefined,
      frozenBefore: NO_MARKS,
      lastFailure: undefined,
      lastFailedAtMs: undefined,
      outvoted: 0,
      seenAliveAtMs: this.seenAliveAtMs,
      missing: undefined,
      wave: undefined,
      alone: false,
      batchLimit: Number.POSITIVE_INFINITY,
    };
    return this.#trouble;
  }
}
