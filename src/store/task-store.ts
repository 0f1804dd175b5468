import { HostError } from '../errors/index.js';
import type { Journal } from '../journal/journal.js';
import type { Clock } from '../lib/clock.js';
import { type AttemptKey, type TaskId, taskIdOf } from '../model/attempt-key.js';
import type { TaskIdentity } from '../model/handle.js';
import { compactState, type PhaseState } from '../model/phase-state.js';
import type { ReadFailure, TaskRecord, TaskStage } from '../model/task-record.js';
import type { WatchFilter, WatchReader } from '../model/watch.js';
import type { ConnectionInfo } from '../plugin-api/contexts.js';
import { isTerminal } from '../plugin-api/phase.js';
import type { ResourceRequirements } from '../plugin-api/plugin.js';
import { ChangeRing } from './change-ring.js';
import { EndMarks, endOf } from './end-marks.js';
import { Entry, type NewTask } from './entry.js';
import { FinishedTasks, type FinishedTrace } from './finished-tasks.js';
import { AdoptedTasks, HandleIndex, StageCounts } from './indexes.js';
import { nextState } from './transition.js';

export interface TaskStoreOptions {
  readonly clock: Clock;
  readonly journal: Journal;
  /** Tasks that are not over; a create beyond it is refused with STORE_FULL. */
  readonly maxTasks: number;
  /** Bounds of the finished tasks that are kept for late questions. */
  readonly finished: { readonly maxCount: number; readonly maxBytes: number; readonly ttlMs: number };
  /** Bounds of what is remembered of ended attempts; see `EndMarks`. */
  readonly endMarks: { readonly max: number; readonly ttlMs: number };
  /** Changes held for Watch. */
  readonly watchRing: number;
}

/** What the store tells the rest, synchronously, after it has changed a record. */
export interface TaskStoreEvents {
  /** The journal could not take an entry that nobody awaits. */
  journalFailed?(error: unknown): void;
}

const STAGE_ORDER: readonly TaskStage[] = ['accepted', 'creating', 'live', 'over'];

/**
 * All tasks in memory, and the only place where a phase is written (rule 7). Records that are not over are held until
 * they are over or removed; finished ones are kept within bounds.
 *
 * Invariants: a record is in exactly one of `unfinished` and `finished`; its stage never goes back; the current record of
 * an attempt key is the highest incarnation that a create made here and that was not deleted: what is known from a handle
 * alone claims no key.
 */
export class TaskStore {
  readonly #options: TaskStoreOptions;
  readonly #events: TaskStoreEvents;
  readonly #unfinished = new Map<TaskId, Entry>();
  readonly #finished: FinishedTasks<Entry>;
  readonly #current = new Map<AttemptKey, Entry>();
  readonly #handles = new HandleIndex();
  readonly #adopted = new AdoptedTasks<Entry>();
  readonly #counts = new StageCounts();
  readonly #ring: ChangeRing;
  readonly marks: EndMarks;
  #evictions = 0;

  constructor(options: TaskStoreOptions, events: TaskStoreEvents = {}) {
    this.#options = options;
    this.#events = events;
    this.marks = new EndMarks({ clock: options.clock, ...options.endMarks });
    this.#ring = new ChangeRing({ capacity: options.watchRing, current: () => this.#unfinished.values() });
    this.#finished = new FinishedTasks<Entry>({ clock: options.clock, ...options.finished }, (entry) => {
      this.#unlink(entry);
      this.#evictions += 1;
      this.#ring.evict(entry);
    });
  }

  get unfinished(): number {
    return this.#unfinished.size;
  }

  get finished(): number {
    return this.#finished.size;
  }

  /** Finished tasks dropped since the start, by room or by age. */
  get evictions(): number {
    return this.#evictions;
  }

  /** How often a reader of the ring was told that it lagged. */
  get watchersLagged(): number {
    return this.#ring.lagged;
  }

  get watchers(): number {
    return this.#ring.readers;
  }

  /** Records of one plugin by stage. */
  counts(plugin: string): Readonly<Record<TaskStage, number>> {
    return this.#counts.of(plugin);
  }

  /** Tasks that are not over and known from a handle alone. */
  get adopted(): AdoptedTasks<TaskRecord> {
    return this.#adopted;
  }

  /** Throws STORE_FULL unless another unfinished task fits. What is known from handles alone has a bound of its own. */
  assertRoom(owedDeletes = 0): void {
    const created = this.#unfinished.size - this.#adopted.size;
    if (created + owedDeletes < this.#options.maxTasks) return;
    const owed = owedDeletes === 0 ? '' : ` and ${owedDeletes} deletes owed`;
    throw this.#full(`${created} unfinished tasks are held${owed}`);
  }

  /** Throws STORE_FULL when as many deletes are owed as there may be tasks. */
  assertOwable(owedDeletes: number): void {
    if (owedDeletes >= this.#options.maxTasks) throw this.#full(`${owedDeletes} deletes are owed`);
  }

  #full(seen: string): HostError {
    return new HostError(
      'STORE_FULL',
      `${seen}, the bound is store.maxTasks = ${this.#options.maxTasks}; try again when some are over`,
      { retryAfterMs: 30_000 },
    );
  }

  insert(task: NewTask): TaskRecord {
    const entry = new Entry(task, this.#options.clock.now());
    const { id, identity } = entry;
    if (this.#unfinished.has(id) || this.#finished.has(id)) {
      throw new HostError('INTERNAL', `task ${id} is in the store already`);
    }
    if (!entry.adopted) this.#current.set(identity.key, entry);
    this.#counts.add(entry.identity.plugin, entry.stage, 1);
    if (task.stage === 'over') this.#finished.set(entry.id, entry);
    else this.#unfinished.set(id, entry);
    if (task.answeredHandle !== undefined) this.answered(entry, task.answeredHandle);
    if (entry.adopted && task.stage !== 'over') this.#adopted.add(entry);
    return entry;
  }

  /** The task that these handle bytes were answered for. Nothing is decoded and nothing allocated but the key. */
  byHandle(handle: Buffer): TaskRecord | undefined {
    return this.#handles.get(handle);
  }

  byId(id: TaskId): TaskRecord | undefined {
    return this.#unfinished.get(id) ?? this.#finished.get(id);
  }

  /** The highest incarnation of an attempt that is in memory. */
  current(key: AttemptKey): TaskRecord | undefined {
    return this.#current.get(key);
  }

  /** Whether anything here still goes by this id. */
  knows(id: TaskId): boolean {
    return this.byId(id) !== undefined || this.trace(id) !== undefined;
  }

  /** What is remembered of a finished task that memory no longer holds. */
  trace(id: TaskId): FinishedTrace | undefined {
    return this.#finished.trace(id);
  }

  *unfinishedTasks(): Iterable<TaskRecord> {
    yield* this.#unfinished.values();
  }

  *allTasks(): Iterable<TaskRecord> {
    yield* this.#unfinished.values();
    yield* this.#finished.values();
  }

  watch(filter: WatchFilter): WatchReader {
    return this.#ring.read(filter);
  }

  drainWatchers(): void {
    this.#ring.drain();
  }

  /** An engine asked for the task: its interest is fresh, and unless `confirms` is false it holds the handle. */
  asked(task: TaskRecord, confirms = true): void {
    const entry = task as Entry;
    entry.lastAskedAtMs = this.#options.clock.now();
    if (entry.stage === 'over') this.#finished.get(entry.id);
    if (confirms) entry.confirmed = true;
  }

  undelivered(task: TaskRecord): void {
    const entry = task as Entry;
    if (!entry.confirmed) entry.undeliveredAtMs ??= this.#options.clock.now();
  }

  /** Fixes the bytes a create answered; from here on the task can be found by them. */
  answered(task: TaskRecord, handle: Buffer): void {
    const entry = task as Entry;
    if (entry.answeredHandle !== undefined) return;
    entry.answeredHandle = handle;
    if (this.byId(entry.id) !== entry) return;
    this.#handles.add(entry);
    // What happened before the task had a name was shown to no watcher.
    if (entry.phaseVersion > 0) this.#ring.append(entry, false);
  }

  /** Facts that came with a later call; they never overwrite what is known by something empty. */
  enrich(task: TaskRecord, outputPrefix: string, connection: ConnectionInfo | undefined, untilMs: number): void {
    const entry = task as Entry;
    if (entry.outputPrefix === '' && outputPrefix !== '') entry.outputPrefix = outputPrefix;
    if (connection !== undefined) {
      entry.connection = connection;
      entry.connectionUntilMs = untilMs;
    }
  }

  setRequirements(task: TaskRecord, requirements: ResourceRequirements, quotaNamespace: string): void {
    const entry = task as Entry;
    entry.requirements = requirements;
    entry.identity = { ...entry.identity, quotaNamespace };
  }

  /** Moves a task that has not been created on, with the reason a caller sees. */
  setWaiting(task: TaskRecord, stage: 'accepted' | 'creating', state: PhaseState): void {
    const entry = task as Entry;
    if (!this.#isUnfinished(entry)) return;
    this.#dropOldConnection(entry);
    this.#moveTo(entry, stage);
    this.#write(entry, state);
  }

  /** The remote has the job. Drops the payload. */
  setCreated(task: TaskRecord, meta: Buffer): void {
    const entry = task as Entry;
    if (!this.#isUnfinished(entry)) return;
    entry.meta = meta;
    entry.payload = undefined;
    entry.liveSinceMs = this.#options.clock.now();
    this.#moveTo(entry, 'live');
  }

  /** A read that succeeded. Answers whether the task is over; false for one that was removed meanwhile. */
  observed(task: TaskRecord, state: PhaseState): boolean {
    const entry = task as Entry;
    if (entry.stage === 'over') return true;
    if (!this.#isUnfinished(entry)) return false;
    this.#dropOldConnection(entry);
    entry.observedAtMs = this.#options.clock.now();
    if (entry.adopted) this.#adopted.read(entry);
    const hadFailures = entry.consecutiveFailures > 0 || entry.lastFailure !== undefined;
    entry.consecutiveFailures = 0;
    entry.lastFailure = undefined;
    entry.revision += 1;
    this.#write(entry, state, hadFailures);
    return isTerminal(state.phase);
  }

  /**
   * A read that failed. The phase stays; the count and the error are visible. `reason`: what the phase's reason says until
   * a read succeeds.
   */
  readFailed(task: TaskRecord, failure: ReadFailure, consecutiveFailures: number, reason?: string): void {
    const entry = task as Entry;
    if (!this.#isUnfinished(entry)) return;
    this.#dropOldConnection(entry);
    entry.lastFailure = failure;
    entry.consecutiveFailures = consecutiveFailures;
    entry.revision += 1;
    if (reason !== undefined) this.#write(entry, { ...entry.state, reason });
  }

  /** The daemon's own verdict about a task (rule 4, a refused create, unusable outputs). Terminal phases only. */
  end(task: TaskRecord, state: PhaseState): void {
    const entry = task as Entry;
    if (!isTerminal(state.phase)) throw new HostError('INTERNAL', `a task cannot end in phase ${state.phase}`);
    if (this.#isUnfinished(entry)) this.#write(entry, state);
  }

  /**
   * Starts the next incarnation in place of a task whose key turned out to be taken at the remote. The engine keeps the
   * handle it was given, which now names the new record; the phase version goes on.
   */
  nextIncarnation(task: TaskRecord): TaskRecord {
    const { identity, answeredHandle, state, outputPrefix, payload, node, connection, connectionUntilMs } = task;
    const { phaseVersion, confirmed, undeliveredAtMs } = task;
    this.#ring.replace(task);
    const incarnation = identity.incarnation + 1;
    this.marks.set(identity.key, identity.incarnation, { deleted: true, next: incarnation });
    this.#unfinished.delete(task.id);
    this.#unlink(task as Entry);
    return this.insert({
      identity: { ...identity, incarnation },
      stage: 'accepted',
      seen: { phaseVersion, confirmed, undeliveredAtMs },
      state,
      outputPrefix,
      node,
      connection,
      connectionUntilMs,
      ...(payload === undefined ? {} : { payload }),
      ...(answeredHandle === undefined ? {} : { answeredHandle }),
    });
  }

  /** Remembers that an incarnation which memory does not hold was deleted; what is known of its end stays known. */
  bury({ key, incarnation }: Pick<TaskIdentity, 'key' | 'incarnation'>): void {
    this.marks.set(key, incarnation, { deleted: true });
    this.#finished.buried(taskIdOf(key, incarnation));
  }

  /**
   * Ends the incarnation of a task that was deleted. One that was over forgets nothing: its handle goes on answering how
   * it ended, while its key is free for the next incarnation (rule 8). Every other is forgotten.
   */
  remove(task: TaskRecord): void {
    const entry = task as Entry;
    const { key, incarnation } = entry.identity;
    this.marks.set(key, incarnation, { deleted: true, ended: entry.stage === 'over' });
    if (entry.stage === 'over') {
      if (entry.deleted) return;
      entry.deleted = true;
      if (this.#current.get(key) === entry) this.#current.delete(key);
      if (entry.answeredHandle !== undefined) this.#ring.append(entry, true);
      return;
    }
    if (entry.answeredHandle !== undefined) this.#ring.append(entry, true);
    entry.revision += 1;
    if (entry.meta !== undefined) this.letGo(entry);
    this.#drop(entry);
  }

  /** Lets go of an adopted task: nothing is lost that its handle does not say. */
  forget(task: TaskRecord): void {
    const entry = task as Entry;
    this.#ring.evict(entry);
    this.#drop(entry);
  }

  /**
   * A create came to know its job, which an engine has asked about by the handle of an earlier daemon: that one's record
   * gives way. The engine keeps its handle where it was not answered another, and its phase does not go back (rule 7).
   */
  takeOver(task: TaskRecord, adopted: TaskRecord): void {
    const entry = task as Entry;
    this.#ring.replace(adopted);
    this.#drop(adopted as Entry);
    entry.confirmed = true;
    entry.lastAskedAtMs = Math.max(entry.lastAskedAtMs, adopted.lastAskedAtMs);
    entry.phaseVersion = Math.max(entry.phaseVersion, adopted.phaseVersion);
    if (entry.answeredHandle === undefined && adopted.answeredHandle !== undefined) {
      entry.identity = { ...entry.identity, createdAtMs: adopted.identity.createdAtMs };
      this.answered(entry, adopted.answeredHandle);
    }
    this.#write(entry, adopted.state, true);
  }

  /**
   * Drops inputs and secrets of a task that was removed or is about to be. Its create may go on after the removal and
   * needs them; whoever ran it calls this at its end.
   */
  letGo(task: TaskRecord): void {
    const entry = task as Entry;
    entry.payload = undefined;
    entry.connection = undefined;
  }

  /** What was removed is told nothing more: its late news would count it again and show Watch a task that is gone. */
  #isUnfinished(entry: Entry): boolean {
    return this.#unfinished.get(entry.id) === entry;
  }

  #dropOldConnection(entry: Entry): void {
    if (entry.connection !== undefined && entry.connectionUntilMs <= this.#options.clock.now()) {
      entry.connection = undefined;
    }
  }

  #write(entry: Entry, read: PhaseState, forceVersion = false): void {
    const { state, changed } = nextState(entry.state, read);
    if (!changed && !forceVersion) {
      // What was read is the same but for the pace, which no caller sees.
      if (state.nextPollAfterMs !== entry.state.nextPollAfterMs) entry.state = compactState(state);
      return;
    }
    entry.state = compactState(state);
    entry.phaseVersion += 1;
    entry.revision += 1;
    if (isTerminal(state.phase)) this.#finish(entry);
    this.#ring.append(entry, false);
    this.#journal({ kind: 'phase', id: entry.id, state, phaseVersion: entry.phaseVersion });
  }

  #finish(entry: Entry): void {
    // What a handle alone says of a key must not become the end of the attempt that a create made.
    if (!entry.adopted) this.marks.set(entry.identity.key, entry.identity.incarnation, endOf(entry.state));
    this.#adopted.delete(entry);
    this.#moveTo(entry, 'over');
    this.letGo(entry);
    this.#unfinished.delete(entry.id);
    this.#finished.set(entry.id, entry);
  }

  #moveTo(entry: Entry, stage: TaskStage): void {
    if (STAGE_ORDER.indexOf(stage) < STAGE_ORDER.indexOf(entry.stage)) {
      throw new HostError('INTERNAL', `task ${entry.id} cannot go from stage ${entry.stage} back to ${stage}`);
    }
    this.#counts.add(entry.identity.plugin, entry.stage, -1);
    entry.stage = stage;
    this.#counts.add(entry.identity.plugin, entry.stage, 1);
  }

  #drop(entry: Entry): void {
    this.#adopted.delete(entry);
    if (this.#unfinished.delete(entry.id)) this.#unlink(entry);
  }

  #unlink(entry: Entry): void {
    this.#counts.add(entry.identity.plugin, entry.stage, -1);
    if (this.#current.get(entry.identity.key) === entry) this.#current.delete(entry.identity.key);
    this.#handles.remove(entry);
  }

  #journal(entry: Parameters<Journal['append']>[0]): void {
    this.#options.journal.append(entry).catch((error: unknown) => this.#events.journalFailed?.(error));
  }
}
