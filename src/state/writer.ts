import { type ErrorCode, HostError, messageOf } from '../errors/index.js';
import { backoffMs } from '../lib/backoff.js';
import type { Clock, Timer } from '../lib/clock.js';
import { createDeferred, type Deferred } from '../lib/deferred.js';
import type { Guard, Puts, StateEngine } from './engine.js';
import type { FactKey } from './facts/facts.js';

/** Where the writer takes facts from. */
export interface FactSource {
  /** The fact as it stands, encoded; undefined where there is none any more. */
  fact(key: FactKey): Buffer | undefined;
  /** The keys of all facts as they stand. */
  keys(): Iterable<FactKey>;
}

/** Why the state cannot be written for now. */
export interface StateTrouble {
  readonly code: ErrorCode;
  readonly message: string;
  readonly sinceMs: number;
}

/** All optional; none may throw. */
export interface StateEvents {
  committed?(tookMs: number, facts: number): void;
  /** A try to write failed. */
  failed?(code: ErrorCode, message: string): void;
  degraded?(trouble: StateTrouble): void;
  mended?(downMs: number): void;
  /** Ends gave way to others within the replay window. */
  endsForgotten?(): void;
  /** One fact could not be encoded; the others are written. */
  fault?(key: FactKey, error: unknown): void;
}

export interface StateWriterOptions {
  readonly engine: StateEngine;
  readonly source: FactSource;
  readonly clock: Clock;
  readonly random: () => number;
  /** Above this the state takes nothing new; 0 where it has no bound. Bytes. */
  readonly maxBytes: number;
  readonly events?: StateEvents;
}

/** How wide a group of awaited changes is, and within which time the others are written. Milliseconds. */
const GROUP_MS = 2;
const LAZY_MS = 100;
/** A commit that takes longer is trouble of its own. Milliseconds. */
const SLOW_MS = 2_000;
const RETRY = { initialMs: 100, maxMs: 5_000 };
/** Tries of the last commit, at a stop. */
const LAST_TRIES = 3;

/** Somebody whose changes are only written while a guard is met. */
interface Guarded {
  readonly guard: Guard;
  readonly met: Deferred<boolean>;
}

/** Changes that one commit takes, and who waits for it. */
interface Group {
  readonly keys: Set<FactKey>;
  readonly safe: Deferred<void>;
  readonly guarded: Guarded[];
  /** Rows of the inbox that its changes follow from. */
  readonly consumed: string[];
  /** When its first change came. */
  sinceMs: number | undefined;
  /** Somebody waits until it is safe. */
  awaited: boolean;
}

/**
 * Brings facts to the engine, in groups. What changed is remembered by its key alone, and is encoded when its group is
 * written: so what is on disk is always the daemon's memory at one instant, every transition of the store is whole in it,
 * and a task that changes ten times within a group is written once. One commit is under way at a time.
 *
 * A commit that fails is repeated, joined by what changed meanwhile, until it succeeds: the waiters wait on, each within
 * its own deadline. Memory is bounded by the number of facts, however long it takes.
 *
 * A group with guards is written only where all are met. Where some are not, who waits under those is told so, and takes its change back;
 * then the group is encoded anew and written without them. No other commit is begun between, and one that is repeated keeps its guards: so
 * a change is in no commit that does not compare its guard.
 *
 * States: idle (nothing has changed); gathering (a timer is set for the next group); writing (one commit is under way while the
 * next group gathers, or takes back what a guard kept out), which leads to the next where somebody waits for that, else back to either; repeating, when it failed (a timer is set for the same group and what joined
 * it). `close` leads from each to closed, with all written, or an error. `trouble` stands beside them: from a failure, or a commit
 * that takes too long, until one succeeds.
 */
export class StateWriter {
  readonly #options: StateWriterOptions;
  readonly #events: StateEvents;
  #next: Group = newGroup();
  #writing: Group | undefined;
  /** Settles when no commit is under way. */
  #underWay: Promise<unknown> = Promise.resolve();
  #timer: Timer | undefined;
  #timerAtMs = Number.POSITIVE_INFINITY;
  #failures = 0;
  #trouble: StateTrouble | undefined;
  #closing: Promise<void> | undefined;
  /** Why a close left something unwritten. */
  #left: HostError | undefined;

  constructor(options: StateWriterOptions) {
    this.#options = options;
    this.#events = options.events ?? {};
  }

  get durable(): boolean {
    return this.#options.engine.durable;
  }

  /** Undefined while the state can be written. */
  get trouble(): StateTrouble | undefined {
    return this.#trouble;
  }

  get sizeBytes(): number {
    return this.#options.engine.sizeBytes;
  }

  /** How long the oldest change waits to be safe. Milliseconds. */
  get lagMs(): number {
    const sinceMs = this.#writing?.sinceMs ?? this.#next.sinceMs;
    return sinceMs === undefined ? 0 : this.#options.clock.now() - sinceMs;
  }

  /** Throws STATE_FULL while the state takes more than its bound. What ends or shrinks something is written all the same. */
  assertRoom(): void {
    const { maxBytes, engine } = this.#options;
    if (maxBytes === 0 || engine.sizeBytes <= maxBytes) return;
    throw new HostError(
      'STATE_FULL',
      `the state takes ${engine.sizeBytes} bytes, the bound is state.maxBytes = ${maxBytes}; try again when tasks are over, or raise it`,
      { retryAfterMs: 30_000 },
    );
  }

  /** These facts changed; they are written within 100 ms, or with the next group. */
  changed(...keys: readonly FactKey[]): void {
    if (!this.durable || keys.length === 0) return;
    for (const key of keys) this.#next.keys.add(key);
    this.#next.sinceMs ??= this.#options.clock.now();
    this.#within(LAZY_MS);
  }

  /** A row of the inbox led to what changed in this turn: one commit has both. */
  consumed(row: string): void {
    if (!this.durable) return;
    this.#next.consumed.push(row);
    this.#next.sinceMs ??= this.#options.clock.now();
    this.#within(LAZY_MS);
  }

  /** Resolves once all that changed so far is safe. Never rejects: who waits has a deadline of its own. */
  safe(): Promise<void> {
    if (isEmpty(this.#next)) return this.#writing?.safe.promise ?? Promise.resolve();
    this.#next.awaited = true;
    this.#within(GROUP_MS);
    return this.#next.safe.promise;
  }

  /** Whether the engine has guards. */
  get hasGuards(): boolean {
    return this.#options.engine.commitUnder !== undefined;
  }

  /**
   * The same for what is only written while the guard is met, to be asked in the turn of the change, before any of it can be written. False
   * where it is not: nothing of that turn was written, and it is to be taken back without waiting for anything. Rejects where a close
   * could not write it: whether it was written is not known then, and nobody here will know. Only with guards.
   */
  safeUnder(guard: Guard): Promise<boolean> {
    if (this.#left !== undefined) return Promise.reject(this.#left);
    const met = createDeferred<boolean>();
    this.#next.guarded.push({ guard, met });
    this.#next.sinceMs ??= this.#options.clock.now();
    this.#next.awaited = true;
    this.#within(GROUP_MS);
    return met.promise;
  }

  /** Writes at once what changed so far, at a start. Rejects with what went wrong: nothing is told yet that would have to be kept. */
  async begin(): Promise<void> {
    this.#timer?.cancel();
    this.#timerAtMs = Number.POSITIVE_INFINITY;
    const commit = this.#commit();
    this.#underWay = commit;
    const error = await commit;
    if (error !== undefined) throw error;
    if (!isEmpty(this.#next)) this.#within(LAZY_MS);
  }

  /** Everything is to be written anew: a new state was begun. */
  changedAll(): void {
    this.changed(...this.#options.source.keys());
  }

  /** Writes what is left and lets go of the engine. Rejects when it could not be written. Callable more than once. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#timer?.cancel();
    try {
      await this.#underWay;
      for (let tries = 1; !isEmpty(this.#next); tries++) {
        const error = await this.#commit();
        if (error !== undefined && tries === LAST_TRIES) {
          this.#leave(error);
          throw error;
        }
      }
    } finally {
      await this.#options.engine.close();
    }
  }

  /** Who waits under a guard has no deadline, as those have who wait for `safe`. */
  #leave(error: HostError): void {
    this.#left = error;
    for (const { met } of this.#next.guarded) met.reject(error);
  }

  #within(ms: number): void {
    if (this.#writing !== undefined || this.#failures > 0 || this.#closing !== undefined) return;
    const atMs = this.#options.clock.now() + ms;
    if (atMs >= this.#timerAtMs) return;
    this.#timer?.cancel();
    this.#timerAtMs = atMs;
    this.#timer = this.#options.clock.setTimer(ms, () => void this.#write());
  }

  /** Writes groups until nothing is left, or one fails. */
  async #write(): Promise<void> {
    this.#timerAtMs = Number.POSITIVE_INFINITY;
    if (this.#writing !== undefined) return;
    const commit = this.#commit();
    this.#underWay = commit;
    const error = await commit;
    if (this.#closing !== undefined) return;
    if (error !== undefined) {
      const delay = backoffMs(this.#failures, RETRY, this.#options.random);
      this.#timer = this.#options.clock.setTimer(delay, () => void this.#write());
    } else if (this.#next.awaited) {
      // It has gathered for as long as this one was written.
      void this.#write();
    } else if (!isEmpty(this.#next)) this.#within(GROUP_MS);
  }

  /** Writes one group; answers what went wrong. */
  async #commit(): Promise<HostError | undefined> {
    for (;;) {
      const group = this.#next;
      this.#next = newGroup();
      this.#writing = group;
      const startedMs = this.#options.clock.now();
      try {
        const unmet = await this.#hand(group);
        if (unmet.length === 0) {
          this.#written(group, startedMs);
          return undefined;
        }
        await this.#takenBack(group, unmet);
      } catch (thrown) {
        const error = HostError.is(thrown)
          ? thrown
          : new HostError('STATE_UNWRITABLE', `the state cannot be written: ${messageOf(thrown)}`, { cause: thrown });
        this.#failed(group, error);
        return error;
      }
    }
  }

  /** Answers the guards that are not met. */
  async #hand(group: Group): Promise<readonly Guard[]> {
    const { engine, clock } = this.#options;
    const slow = clock.setTimer(SLOW_MS, () => this.#degrade(tooSlow()));
    try {
      const { puts, drops, whole } = this.#encode(group.keys);
      // A row whose effect may be what cannot be written stays, and is shown again.
      const consumed = whole ? group.consumed : [];
      return await commitOf(engine, puts, drops, guardsOf(group), consumed);
    } finally {
      slow.cancel();
    }
  }

  #written(group: Group, startedMs: number): void {
    this.#writing = undefined;
    this.#failures = 0;
    this.#events.committed?.(this.#options.clock.now() - startedMs, group.keys.size);
    this.#mended();
    group.safe.resolve();
    for (const { met } of group.guarded) met.resolve(true);
  }

  /** Those under guards that are not met take their changes back, each in the turn in which it hears of it, while nothing is written. */
  async #takenBack(group: Group, unmet: readonly Guard[]): Promise<void> {
    this.#rejoin(group);
    const isUnmet = ({ guard }: Guarded) => unmet.some((one) => isSame(one, guard));
    const all = group.guarded.splice(0);
    group.guarded.push(...all.filter((one) => !isUnmet(one)));
    for (const { met } of all.filter(isUnmet)) met.resolve(false);
    await new Promise<void>((resolve) => void this.#options.clock.setTimer(0, resolve));
  }

  /** `whole`: each fact could be encoded. */
  #encode(keys: ReadonlySet<FactKey>): { puts: Map<FactKey, Buffer>; drops: FactKey[]; whole: boolean } {
    const puts = new Map<FactKey, Buffer>();
    const drops: FactKey[] = [];
    let whole = true;
    for (const key of keys) {
      try {
        const value = this.#options.source.fact(key);
        if (value === undefined) drops.push(key);
        else puts.set(key, value);
      } catch (error) {
        whole = false;
        this.#events.fault?.(key, error);
      }
    }
    return { puts, drops, whole };
  }

  /** What the group had to write joins what changed meanwhile. */
  #rejoin(group: Group): void {
    const later = this.#next;
    for (const key of later.keys) group.keys.add(key);
    group.guarded.push(...later.guarded);
    group.consumed.push(...later.consumed);
    group.awaited ||= later.awaited;
    void group.safe.promise.then(() => later.safe.resolve());
    this.#next = group;
  }

  #failed(group: Group, error: HostError): void {
    this.#rejoin(group);
    this.#writing = undefined;
    this.#failures += 1;
    this.#events.failed?.(error.code, error.message);
    this.#degrade(error);
    if (error.code === 'STATE_LOST') this.changedAll();
  }

  #degrade({ code, message }: HostError): void {
    if (this.#trouble?.code === code) return;
    this.#trouble = { code, message, sinceMs: this.#trouble?.sinceMs ?? this.#options.clock.now() };
    this.#events.degraded?.(this.#trouble);
  }

  #mended(): void {
    if (this.#trouble === undefined) return;
    const downMs = this.#options.clock.now() - this.#trouble.sinceMs;
    this.#trouble = undefined;
    this.#events.mended?.(downMs);
  }
}

function newGroup(): Group {
  return {
    keys: new Set(),
    safe: createDeferred<void>(),
    guarded: [],
    consumed: [],
    sinceMs: undefined,
    awaited: false,
  };
}

/** Somebody may wait under a guard for what changed nothing, and a row of the inbox may lead to nothing. */
function isEmpty({ keys, guarded, consumed }: Group): boolean {
  return keys.size === 0 && guarded.length === 0 && consumed.length === 0;
}

function isSame(a: Guard, b: Guard): boolean {
  return a.part === b.part && a.tenure === b.tenure;
}

/** Each once. */
function guardsOf({ guarded }: Group): readonly Guard[] {
  return [...new Map(guarded.map(({ guard }) => [`${guard.part}/${guard.tenure}`, guard])).values()];
}

async function commitOf(
  engine: StateEngine,
  puts: Puts,
  drops: readonly FactKey[],
  guards: readonly Guard[],
  consumed: readonly string[],
): Promise<readonly Guard[]> {
  if (guards.length === 0) {
    await engine.commit(puts, drops, consumed);
    return [];
  }
  if (engine.commitUnder === undefined) throw new HostError('INTERNAL', `the state of ${engine.name} has no guards`);
  return engine.commitUnder(puts, drops, guards, consumed);
}

function tooSlow(): HostError {
  return new HostError(
    'STATE_SLOW',
    `writing the state takes longer than ${SLOW_MS / 1000} s; look at its disk, or its database`,
  );
}
