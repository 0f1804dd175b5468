import type { RefreshConfig } from './types.js';

/**
 * Ages fall into classes of half an octave, so that all tasks of a class may share one interval and a class is ordered
 * by the last read alone: a changed interval moves no task.
 */
const CLASSES_PER_OCTAVE = 2;
const FIRST_CLASS_MS = 1_000;
/** 2^24 s is more than half a year; older tasks share the last class. */
export const AGE_CLASSES = 24 * CLASSES_PER_OCTAVE;

export function ageClassOf(ageMs: number): number {
  if (ageMs <= FIRST_CLASS_MS) return 0;
  return Math.min(AGE_CLASSES - 1, Math.floor(Math.log2(ageMs / FIRST_CLASS_MS) * CLASSES_PER_OCTAVE));
}

/** The age that stands for a class, in milliseconds. */
export function ageOfClass(ageClass: number): number {
  return FIRST_CLASS_MS * 2 ** ((ageClass + 0.5) / CLASSES_PER_OCTAVE);
}

/** Part of an interval by which a read may come early, so that tasks of one moment do not stay together. */
export const JITTER = 0.2;
/** How much more often than once an interval a task is read because of the jitter. */
const JITTER_RATE = 1 / (1 - JITTER / 2);

/** Below this factor nothing is gained: a task of one minute is read every 2 s, one of an hour every 15 s. In ms^½. */
const LEAST_FACTOR = 0.25 * Math.sqrt(1_000);

/**
 * The daemon's own core is a limit like the remote's. Above the first share of it polls beyond `resyncInterval` become half as many with
 * each look, below the second they come back step by step: what answers callers never waits for polls that nobody needs.
 */
const LOOP_FULL = 0.7;
const LOOP_FREE = 0.5;
const SPARE_STEP = 0.1;
/** So few are as good as none. */
const LEAST_SPARE = 0.05;

/** Number of tasks in each age class, and in each class of tasks nobody asks for. */
export interface Population {
  readonly byAge: readonly number[];
  /** Tasks that no engine asks for, by how many times their interval has doubled (1 is the first). */
  readonly idle: ReadonlyMap<number, number>;
}

/** What reads have cost lately. */
export interface Throughput {
  /** Tasks that one call reads, on average. */
  readonly tasksPerCall: number;
  /** Milliseconds that one call takes, on average. */
  readonly callMs: number;
  /** As `RefresherOptions` has them. */
  readonly loopShare?: (() => number | undefined) | undefined;
  readonly limitShare?: (() => number) | undefined;
}

/**
 * The interval of every class, from the number of tasks, the limit and what reads cost (rule 5):
 *
 * - While the read limit can bear it, no asked task waits longer than `resyncInterval`.
 * - What `pollShare` of the limit leaves beyond that goes to young tasks: interval c·√age, with c solved such that all
 *   reads together make up the share.
 * - Of replicas that share a limit each goes by its part of it, so that together they spend what one would.
 * - Where the daemon's event loop is busy, these are fewer, down to none.
 * - Past capacity everybody has `resyncInterval`, more is due than can be read, and the most overdue is read first: so
 *   all slow down alike, and no token is left unused whatever was estimated here. `longestMs` says how far.
 */
export class Pacing {
  #config: RefreshConfig;
  #stretch = 1;
  #ageFactor = Number.POSITIVE_INFINITY;
  /** Of the spare polls that the read limit allows, the part that the event loop is free for. */
  #spare = 1;
  readonly #intervals: number[] = new Array<number>(AGE_CLASSES).fill(0);

  constructor(config: RefreshConfig) {
    this.#config = config;
    this.#fill();
  }

  /** Takes new settings; `solve` applies them. */
  reconfigure(config: RefreshConfig): void {
    this.#config = config;
  }

  get ageFactor(): number {
    return this.#ageFactor;
  }

  /** The longest interval that asked tasks can be expected to have: more than `resyncInterval` past capacity. */
  get longestMs(): number {
    return this.#config.resyncIntervalMs * this.#stretch;
  }

  intervalMs(ageClass: number): number {
    return this.#intervals[ageClass] as number;
  }

  /** The interval of a task nobody asks for; `doublings` from 1. Never shorter than an asked task's. */
  idleIntervalMs(doublings: number): number {
    const { resyncIntervalMs, maxIntervalMs } = this.#config;
    return Math.max(resyncIntervalMs, Math.min(maxIntervalMs, resyncIntervalMs * 2 ** doublings));
  }

  /** Computes the intervals anew; true when one changed by more than a twentieth. */
  solve(population: Population, throughput: Throughput): boolean {
    const before = [...this.#intervals];
    const { resyncIntervalMs, pollShare } = this.#config;
    const capacity = this.#capacityPerMs(throughput);
    const asked = population.byAge.reduce((sum, n) => sum + n, 0);
    const idleRate = this.#idleRate(population);
    const base = (asked / resyncIntervalMs) * JITTER_RATE + idleRate;
    this.#stretch = Math.max(1, base / capacity);
    this.#spare = spareAfter(this.#spare, throughput.loopShare?.());
    const budget = base + this.#spare * (pollShare * capacity - base) - idleRate;
    const none = this.#spare === 0 || base >= pollShare * capacity;
    this.#ageFactor = none ? Number.POSITIVE_INFINITY : this.#factorFor(population, budget);
    this.#fill();
    return this.#intervals.some((ms, ageClass) => differs(before[ageClass] as number, ms));
  }

  /** Tasks that can be read here a millisecond: by the limit, or by the slots where reads are slow. */
  #capacityPerMs({ tasksPerCall, callMs, limitShare }: Throughput): number {
    const byLimit = this.#config.readQps / 1_000;
    const bySlots = this.#config.readConcurrency / Math.max(1, callMs);
    return Math.min(byLimit, bySlots) * (limitShare?.() ?? 1) * Math.max(1, tasksPerCall);
  }

  #idleRate({ idle }: Population): number {
    let rate = 0;
    for (const [doublings, n] of idle) rate += (n / this.idleIntervalMs(doublings)) * JITTER_RATE;
    return rate;
  }

  /** The c with which the reads of all asked tasks make up `budget` (tasks a millisecond), by bisection. */
  #factorFor({ byAge }: Population, budget: number): number {
    const rate = (factor: number) =>
      byAge.reduce(
        (sum, n, ageClass) => (n === 0 ? sum : sum + (n / this.#interval(ageClass, factor)) * JITTER_RATE),
        0,
      );
    if (rate(LEAST_FACTOR) <= budget) return LEAST_FACTOR;
    let low = LEAST_FACTOR;
    let high = this.#config.resyncIntervalMs; // at an age of 1 ms already the resync interval
    for (let i = 0; i < 40; i++) {
      const middle = (low + high) / 2;
      if (rate(middle) > budget) low = middle;
      else high = middle;
    }
    return high;
  }

  #interval(ageClass: number, factor: number): number {
    const { minIntervalMs, resyncIntervalMs } = this.#config;
    const least = Math.min(minIntervalMs, resyncIntervalMs);
    return Math.min(resyncIntervalMs, Math.max(least, factor * Math.sqrt(ageOfClass(ageClass))));
  }

  #fill(): void {
    for (let ageClass = 0; ageClass < AGE_CLASSES; ageClass++) {
      this.#intervals[ageClass] = this.#interval(ageClass, this.#ageFactor);
    }
  }
}

function differs(before: number, after: number): boolean {
  return Math.abs(after - before) > 0.05 * before;
}

function spareAfter(spare: number, loopShare: number | undefined): number {
  if (loopShare === undefined) return spare;
  if (loopShare > LOOP_FULL) return spare / 2 < LEAST_SPARE ? 0 : spare / 2;
  return loopShare < LOOP_FREE ? Math.min(1, spare + SPARE_STEP) : spare;
}
