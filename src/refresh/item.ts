import { epochMsOf, smallTimeOf } from '../lib/small-time.js';
import type { Stop } from '../lib/stop.js';
import type { TaskId } from '../model/attempt-key.js';
import type { ReadPurpose } from '../model/events/refresh.js';
import type { PhaseState } from '../model/phase-state.js';
import type { PluginFailure, PluginOutcome } from '../model/plugin-call.js';
import type { FailingReads } from '../model/task-record.js';
import type { FrozenMarks } from './outages.js';
import type { Bin, Pooled } from './pool.js';
import type { PolledTask, PollHistory, ReadReport } from './types.js';

export type ReadOutcome = PluginOutcome<PhaseState>;

/** One read that is under way, shared by everybody who wants to know its outcome. */
export interface Flight {
  /** In the order of the outcomes. */
  ids: readonly TaskId[];
  /** Those of the ids, in their order; one that has left the schedule stays until another of its id comes. */
  readonly items: Item[];
  readonly purpose: ReadPurpose;
  readonly startedAtMs: number;
  /** Ends a read that an engine asked for, once nobody waits; polls and probes go to their end. */
  readonly stop: Stop | undefined;
  /** Resolves after every outcome was reported, with one for each id or that of the call as a whole; never rejects. */
  readonly done: Promise<readonly ReadOutcome[]>;
  /** Engine calls that wait for it. */
  waiting: number;
  /** Tasks that went on under another id meanwhile. */
  readonly renamed: Map<TaskId, TaskId>;
}

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

/** Bits of an item's `#flags`; among them age class and doublings, which are numbers of a few bits. */
const HELD = 1 << 0;
const COUNTED_FAILING = 1 << 1;
const COUNTED_MUTE = 1 << 2;
const FOUND = 1 << 3;
const COUNTED_UNSEEN = 1 << 4;
const GONE = 1 << 5;
const AGE_CLASS_AT = 6;
const AGE_CLASS = 0xff << AGE_CLASS_AT;
const DOUBLINGS_AT = 14;
const DOUBLINGS = 0xff << DOUBLINGS_AT;
const UNASKED = 1 << 22;
const EAGER = 1 << 23;

const NO_MARKS: FrozenMarks = Object.freeze({ plugin: 0, group: 0 });

/**
 * A task in the schedule: its record, which says all that is known of the task, and the state of its reads, which is kept
 * nowhere else. Half a million may be tracked. Times in milliseconds since the epoch.
 *
 * States: *queued*, in a bin (entered by `Schedule.track` and `again`); *in flight* (by a take; left by `again`); *held*, while its owner
 * is busy with what was read (by `hold`; left by `resume`); *unasked*, while only an engine's call makes it worth a poll (by `awaitAsked`;
 * left by `asked`). It is in one of them from `track` until `untrack`.
 */
export class Item implements Pooled<Item> {
  task: PolledTask;
  batchKey: string;
  heapIndex = -1;
  bin: Bin<Item> | undefined = undefined;
  /** The read of it that is under way; written by `Flights` alone. */
  flight: Flight | undefined = undefined;
  #flags = 0;
  #key: number | undefined = undefined;
  #due: number | undefined = undefined;
  #lastRead: number | undefined = undefined;
  #trouble: Trouble | undefined = undefined;

  constructor(task: PolledTask, history: PollHistory, nowMs: number) {
    const { lastReadAtMs, failures = 0, failingSinceMs, batchKey = '' } = history;
    this.task = task;
    this.batchKey = batchKey;
    this.lastReadAtMs = lastReadAtMs;
    this.dueMs = nowMs;
    if (failures > 0 || failingSinceMs !== undefined) {
      Object.assign(this.#troubled(), { failures, retries: failures, failingSinceMs });
    } else if (task.failing !== undefined) this.#resume(task.failing, nowMs);
  }

  /** What a run of the daemon before has counted goes on; the back-off begins anew. */
  #resume({ failures, failingForMs }: FailingReads, nowMs: number): void {
    const failingSinceMs = failures > 0 || failingForMs > 0 ? nowMs - failingForMs : undefined;
    Object.assign(this.#troubled(), { failures, failingSinceMs });
  }

  /** Its place in the bin; not to be asked of an item that never was in one. */
  get key(): number {
    return epochMsOf(this.#key as number);
  }

  set key(key: number) {
    this.#key = smallTimeOf(key);
  }

  /** When its next read is due, as of the time it was queued, or taken for the read; for the lag. */
  get dueMs(): number {
    return epochMsOf(this.#due as number);
  }

  set dueMs(dueMs: number) {
    this.#due = smallTimeOf(dueMs);
  }

  get lastReadAtMs(): number | undefined {
    return this.#lastRead === undefined ? undefined : epochMsOf(this.#lastRead);
  }

  set lastReadAtMs(atMs: number | undefined) {
    this.#lastRead = atMs === undefined ? undefined : smallTimeOf(atMs);
  }

  /** Age class it is counted in. */
  get ageClass(): number {
    return (this.#flags & AGE_CLASS) >> AGE_CLASS_AT;
  }

  set ageClass(ageClass: number) {
    this.#flags = (this.#flags & ~AGE_CLASS) | (ageClass << AGE_CLASS_AT);
  }

  /** How often the interval doubled since engines ceased to ask; 0 while they ask. */
  get doublings(): number {
    return (this.#flags & DOUBLINGS) >> DOUBLINGS_AT;
  }

  set doublings(doublings: number) {
    this.#flags = (this.#flags & ~DOUBLINGS) | (doublings << DOUBLINGS_AT);
  }

  get held(): boolean {
    return (this.#flags & HELD) !== 0;
  }

  set held(held: boolean) {
    this.#flag(HELD, held);
  }

  /** It is polled once an engine asks for it. */
  get unasked(): boolean {
    return (this.#flags & UNASKED) !== 0;
  }

  set unasked(unasked: boolean) {
    this.#flag(UNASKED, unasked);
  }

  /** It was last read at a time that nobody knows, and was not queued since for any other read than the one that makes up for it. */
  get eager(): boolean {
    return (this.#flags & EAGER) !== 0;
  }

  set eager(eager: boolean) {
    this.#flag(EAGER, eager);
  }

  /** It has left the schedule, for good: who comes back has another item. */
  get gone(): boolean {
    return (this.#flags & GONE) !== 0;
  }

  set gone(gone: boolean) {
    this.#flag(GONE, gone);
  }

  /** Whether it is counted among those that fail. */
  get countedFailing(): boolean {
    return (this.#flags & COUNTED_FAILING) !== 0;
  }

  set countedFailing(counted: boolean) {
    this.#flag(COUNTED_FAILING, counted);
  }

  /** Whether it is left out of those that may tell of their remote. */
  get countedMute(): boolean {
    return (this.#flags & COUNTED_MUTE) !== 0;
  }

  set countedMute(counted: boolean) {
    this.#flag(COUNTED_MUTE, counted);
  }

  /** Whether it is left out of those that are read well, or are still to be read. */
  get countedUnseen(): boolean {
    return (this.#flags & COUNTED_UNSEEN) !== 0;
  }

  set countedUnseen(counted: boolean) {
    this.#flag(COUNTED_UNSEEN, counted);
  }

  /** A read found the job: whatever was wrong is over. */
  readWell(nowMs: number): void {
    this.lastReadAtMs = nowMs;
    this.#flag(FOUND, true);
    this.#trouble = undefined;
  }

  /** A read did not tell the state. */
  readBadly(failure: PluginFailure, nowMs: number): void {
    this.#troubled().lastFailure = failure;
    this.#flag(FOUND, false);
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
    return (this.#flags & FOUND) !== 0 ? this.lastReadAtMs : this.#trouble?.seenAliveAtMs;
  }

  /** Whether its last read that told anything did not find the job. */
  get unseen(): boolean {
    return this.lastFailure !== undefined || this.failingSinceMs !== undefined;
  }

  get missing(): Missing | undefined {
    return this.#trouble?.missing;
  }

  set missing(missing: Missing | undefined) {
    if (missing !== undefined || this.#trouble !== undefined) this.#troubled().missing = missing;
  }

  /** How its reads fail, as of now; `frozenMs` of the time they did stood still. */
  failingNow(nowMs: number, frozenMs: number): FailingReads {
    const { failures, failingSinceMs, missing, wave } = this;
    const frozenSinceMs = wave?.frozen.get(this.id);
    return {
      failures,
      failingForMs: failingSinceMs === undefined ? 0 : Math.max(0, Math.round(nowMs - failingSinceMs - frozenMs)),
      notFound: missing?.reads ?? 0,
      notFoundForMs: missing === undefined ? 0 : Math.round(nowMs - missing.sinceMs),
      frozenForMs: frozenSinceMs === undefined ? undefined : Math.round(nowMs - frozenSinceMs),
    };
  }

  /** What is told of a task whose last answer was NotFound; undefined for every other. */
  get missingNow(): ReadReport['missing'] {
    return this.missing && { ...this.missing, wave: this.wave !== undefined };
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

  #flag(bit: number, on: boolean): void {
    this.#flags = on ? this.#flags | bit : this.#flags & ~bit;
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
