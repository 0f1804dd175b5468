import { HostError } from '../errors/index.js';
import type { Clock } from '../lib/clock.js';
import { type Listed, Places, Roll } from '../lib/roll.js';
import { type AttemptKey, type TaskId, taskIdOf } from '../model/attempt-key.js';
import type { TaskEvents } from '../model/events/tasks.js';
import type { TaskIdentity } from '../model/handle.js';
import { compactState, type PhaseState, phaseRank } from '../model/phase-state.js';
import type { FailingReads, ReadFailure, TaskRecord, TaskStage } from '../model/task-record.js';
import type { WatchFilter, WatchReader } from '../model/watch.js';
import type { ConnectionInfo } from '../plugin-api/contexts.js';
import { isTerminal } from '../plugin-api/phase.js';
import type { ResourceRequirements } from '../plugin-api/plugin.js';
import { ChangeRing } from './change-ring.js';
import { EarlierLives } from './earlier-lives.js';
import { EndMarks, endOf } from './end-marks.js';
import { Entry, type NewTask } from './entry.js';
import { FinishedTasks, type FinishedTrace } from './finished-tasks.js';
import { AdoptedTasks, HandleIndex, StageCounts } from './indexes.js';
import { KeptSecrets } from './kept-secrets.js';
import { LiveStates } from './live-states.js';
import { type DeleteOrder, deleteOrder, OwedDeletes } from './owed-deletes.js';
import { noState, type StateFeed } from './state-feed.js';
import { ToldEnds } from './told-ends.js';
import { nextState, type Transition } from './transition.js';
import { UnclearCreates } from './unclear-creates.js';
import { WatchInterest } from './watch-interest.js';

export interface TaskStoreOptions {
  readonly clock: Clock;
  /** Told of every fact that changed; without one nothing survives a crash. */
  readonly feed?: StateFeed;
  /** Tasks that are not over; a create beyond it is refused with STORE_FULL. */
  readonly maxTasks: number;
  /** Bounds of the finished tasks that are kept for late questions. */
  readonly finished: { readonly maxCount: number; readonly maxBytes: number; readonly ttlMs: number };
  /** Bounds of what is remembered of ended attempts; see `EndMarks`. */
  readonly endMarks: { readonly max: number; readonly ttlMs: number };
  /** What is listed together with that of other stores, in one order. */
  readonly places?: ListPlaces;
  /** Changes held for Watch. */
  readonly watchRing: number;
  readonly events?: Pick<TaskEvents, 'stateCut'>;
}

/** The places of each of the lists. */
export interface ListPlaces {
  readonly tasks: Places;
  readonly owed: Places;
  readonly unclear: Places;
}

export function listPlaces(): ListPlaces {
  return { tasks: new Places(), owed: new Places(), unclear: new Places() };
}

/** What the store tells the rest of one plugin's tasks, synchronously, within the transition. None may throw. */
export interface StoreListener {
  /**
   * The task is not live any more, however it ended: nobody reads it from here on. `becomes`: another task turned out to be
   * the same resource and stands in its place.
   */
  left(id: TaskId, becomes?: TaskId): void;
  /** An engine asked for a live task, to whose schedule that matters; told once a second at most. */
  asked(id: TaskId): void;
  /** Secrets came with a call about a task that had none, or none any more. */
  enriched?(id: TaskId): void;
  /** Nothing of the task is left at the remote, as far as is known: its token is free. May come more than once. */
  freed(id: TaskId): void;
}

/** A delete that comes with the end of a task. */
export type OwedWithEnd = { readonly reason: string } & Partial<Pick<DeleteOrder, 'jobOver'>>;

/** A task that was deleted while its create was under way. */
export interface Cancelling {
  readonly task: TaskRecord;
  readonly reason: string;
}

/** Versions of a task that may be told before they are safe; a start leaps over as many, so that none is told twice. */
export const MAX_UNSAFE_VERSIONS = 1_000;

/** Who asks again within this time changes nothing in the schedule, where interest fades over minutes. */
const ASKED_ANEW_MS = 1_000;

const STAGE_ORDER: readonly TaskStage[] = ['accepted', 'creating', 'live', 'over'];

/** Of the secrets of all tasks together; a task whose secrets are gone waits for its engine's next call. */
const MAX_SECRET_BYTES = 256 * 1024 * 1024;
/** Of the details of one plugin's live tasks; see `LiveStates`. */
const MAX_STATE_BYTES = 256 * 1024 * 1024;
/** Tasks that a new Watch stream has looked at before others run. */
const FOLLOWED_PER_TURN = 10_000;

/**
 * The live task records, owed deletes, unclear creates and end marks: the only place where a phase is written (rule 7) and
 * the only feeder of state and Watch. Each transition is one method, synchronous and whole: what it changes is told to the
 * feed in one go, and `safe` resolves once it outlives a crash.
 *
 * A record's stages are those of `TaskRecord`: it comes by `insert`, goes on by `setWaiting`, `sending`, `setCreated`, `observed`
 * and `readFailed`, is over by `observed` or `end`, and leaves by `orderDelete`, `remove`, `nextIncarnation`, `takeOver` or
 * `forget`. A finished one leaves by room or age as well.
 *
 * Invariants: a record is in exactly one of `unfinished` and `finished`; its stage never goes back; the current record of
 * an attempt key is the highest incarnation that a create made here and that was not deleted: what is known from a handle
 * alone claims no key. A task whose token is out is unfinished, owed a delete, or being cancelled.
 */
export class TaskStore {
  readonly #options: TaskStoreOptions;
  readonly #feed: StateFeed;
  readonly #listeners = new Map<string, StoreListener>();
  readonly #unfinished = new Map<TaskId, Entry>();
  readonly #finished: FinishedTasks<Entry>;
  readonly #roll: Roll<Entry>;
  /** Current records but for those of first incarnations, which nearly all are: they are found by their id. */
  readonly #later = new Map<AttemptKey, Entry>();
  readonly #handles = new HandleIndex();
  readonly #adopted = new AdoptedTasks<Entry>();
  readonly #counts = new StageCounts();
  readonly #ring: ChangeRing;
  readonly #interest = new WatchInterest();
  readonly #cancelling = new Map<TaskId, Cancelling>();
  readonly #secrets = new KeptSecrets<Entry>(MAX_SECRET_BYTES);
  readonly #liveStates = new LiveStates<Entry>(MAX_STATE_BYTES);
  readonly marks: EndMarks;
  readonly told: ToldEnds;
  readonly owed: OwedDeletes;
  readonly unclear: UnclearCreates;
  /** What a create of a key has to wait for. */
  readonly earlier: Pick<EarlierLives, 'gone'>;
  readonly #earlier: EarlierLives;
  #evictions = 0;
  #order = 0;

  constructor(options: TaskStoreOptions) {
    const feed = options.feed ?? noState;
    const places = options.places ?? listPlaces();
    this.#options = options;
    this.#feed = feed;
    this.#roll = new Roll(places.tasks);
    this.marks = new EndMarks(
      { clock: options.clock, ...options.endMarks },
      (key) => feed.changed('mark', key),
      () => feed.endForgotten?.(),
    );
    this.told = new ToldEnds({ clock: options.clock, ttlMs: options.endMarks.ttlMs });
    this.owed = new OwedDeletes((id) => feed.changed('owed', id), places.owed);
    this.unclear = new UnclearCreates((id) => {
      feed.changed('unclear', id);
      feed.changed('payload', id);
    }, places.unclear);
    this.earlier = this.#earlier = new EarlierLives({
      cancelling: this.#cancelling,
      owed: this.owed,
      unclear: this.unclear,
    });
    this.#ring = new ChangeRing({ capacity: options.watchRing, current: () => toTell(this.#unfinished.values()) });
    this.#finished = new FinishedTasks<Entry>({ clock: options.clock, ...options.finished }, (entry) => {
      this.#unlink(entry);
      this.#evictions += 1;
      this.#ring.evict(entry);
      this.#changed(entry, 'outputs');
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

  /** Whether what is safe outlives the process. */
  get durable(): boolean {
    return this.#feed.durable;
  }

  /** Since when every end is known, over restarts; undefined where that cannot be said. Epoch milliseconds. */
  get completeSinceMs(): number | undefined {
    return this.#feed.completeSinceMs;
  }

  /** The same, less what was forgotten since, because too much ended within the replay window. */
  get endsKnownSinceMs(): number | undefined {
    return this.#feed.endsKnownSinceMs ?? this.#feed.completeSinceMs;
  }

  /** Resolves once every transition so far is safe. Rejects when it cannot be written. */
  safe(): Promise<void> {
    return this.#feed.safe();
  }

  /** The same of what is only true while this tenancy of limits counts; false where it does not. See the feed. */
  async safeUnder(tenancy: string): Promise<boolean> {
    if (this.#feed.safeUnder !== undefined) return this.#feed.safeUnder(tenancy);
    await this.#feed.safe();
    return true;
  }

  /** What was told in this turn is the effect of a row of the inbox, which goes with it. */
  consumed(row: string): void {
    this.#feed.consumed?.(row);
  }

  /** Why nothing can be made safe for now; undefined while it can. */
  get trouble(): StateFeed['trouble'] {
    return this.#feed.trouble;
  }

  /** Throws STATE_FULL where the state takes nothing new. */
  assertStorable(): void {
    this.#feed.assertRoom?.();
  }

  /**
   * Another has the state from here on: what ends late is of no task that stands here. To be called once nobody listens and nothing is
   * written any more.
   */
  abandon(): void {
    for (const entry of this.#unfinished.values()) entry.unfinished = false;
    this.#unfinished.clear();
  }

  /** Resolves once what is known of a task may be told, and is. */
  async shown(task: TaskRecord): Promise<void> {
    const entry = task as Entry;
    // What came while one commit was under way is told by the next.
    while (entry.telling) await this.#feed.safe();
  }

  /** The record of a task that is held, or is being cancelled; does not count as use. For what is written of it. */
  entry(id: TaskId): Entry | undefined {
    return this.#unfinished.get(id) ?? this.#finished.peek(id) ?? (this.#cancelling.get(id)?.task as Entry | undefined);
  }

  /** The ids of all that `entry` answers. */
  *entryIds(): Iterable<TaskId> {
    for (const task of this.listed()) yield task.id;
    yield* this.#cancelling.keys();
  }

  /** Takes back a record that an earlier run of the daemon wrote, in the order of acceptance. Nobody is told. */
  restore(entry: Entry): void {
    const { id, stage } = entry;
    if (this.#unfinished.has(id) || (this.#finished.size > 0 && this.#finished.peek(id) !== undefined)) return;
    this.#order = Math.max(this.#order, entry.order);
    this.#makeCurrent(entry);
    this.#counts.add(entry.plugin, stage, 1);
    this.#handles.add(entry);
    this.#roll.add(entry);
    if (stage === 'over') this.#finished.set(id, entry, this.#endedAtMs(entry));
    else {
      this.#keep(entry);
      entry.known = this.#liveStates.fit(entry, entry.known);
      entry.state = entry.known;
    }
    if (!entry.adopted || stage === 'over') return;
    this.#adopted.add(entry);
    this.#adopted.read(entry);
  }

  /** When an earlier run saw the task end, as far as that is known. */
  #endedAtMs({ key, observedAtMs }: Entry): number {
    const nowMs = this.#options.clock.now();
    return Math.min(this.marks.of(key)?.atMs ?? observedAtMs ?? nowMs, nowMs);
  }

  /** Lets go of what is past its time and nobody asks for: secrets, ended tasks with their outputs, and marks. Called once a minute. */
  dropOld(): void {
    const nowMs = this.#options.clock.now();
    this.#secrets.dropOld(nowMs);
    this.owed.dropOldSecrets(nowMs);
    this.unclear.dropOldSecrets(nowMs);
    this.#finished.dropOld();
    this.marks.dropOld();
  }

  /** One listener a plugin; answers how to take it away. */
  listen(plugin: string, listener: StoreListener): () => void {
    this.#listeners.set(plugin, listener);
    return () => {
      if (this.#listeners.get(plugin) === listener) this.#listeners.delete(plugin);
    };
  }

  /**
   * Throws STORE_FULL unless another unfinished task fits beside the deletes that are owed. What is known from handles alone
   * has a bound of its own.
   */
  assertRoom(): void {
    const owedDeletes = this.owed.size - this.owed.unheld;
    const created = this.#unfinished.size - this.#adopted.size;
    if (created + owedDeletes < this.#options.maxTasks) return;
    const owed = owedDeletes === 0 ? '' : ` and ${owedDeletes} deletes owed`;
    throw this.#full(`${created} unfinished tasks are held${owed}`);
  }

  /** Throws STORE_FULL when as many deletes are owed for handles alone as there may be tasks. */
  assertOwable(): void {
    const { unheld } = this.owed;
    if (unheld >= this.#options.maxTasks) throw this.#full(`${unheld} deletes are owed`);
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
    entry.order = ++this.#order;
    const { id } = entry;
    if (this.#unfinished.has(id) || this.#finished.has(id)) {
      throw new HostError('INTERNAL', `task ${id} is in the store already`);
    }
    this.#makeCurrent(entry);
    this.#counts.add(entry.plugin, entry.stage, 1);
    this.#roll.add(entry);
    this.#secrets.add(entry);
    if (task.stage === 'over') this.#finished.set(entry.id, entry);
    else this.#keep(entry);
    if (task.answeredHandle !== undefined) this.answered(entry, task.answeredHandle);
    if (entry.adopted && task.stage !== 'over') this.#adopted.add(entry);
    this.#changed(entry, 'payload');
    return entry;
  }

  /** The task that these handle bytes were answered for. Nothing is decoded and nothing allocated but the key. */
  byHandle(handle: Buffer): TaskRecord | undefined {
    return this.#handles.get(handle);
  }

  byId(id: TaskId): TaskRecord | undefined {
    return this.#unfinished.get(id) ?? this.#finished.get(id);
  }

  /** Whether it is this very record that stands for its task now. */
  holds(task: TaskRecord): boolean {
    return (task as Entry).unfinished || this.#finished.get(task.id) === task;
  }

  /** The highest incarnation of an attempt that is in memory. */
  current(key: AttemptKey): TaskRecord | undefined {
    const later = this.#later.get(key);
    if (later !== undefined) return later;
    const id = taskIdOf(key, 1);
    const first = this.#unfinished.get(id) ?? this.#finished.peek(id);
    return first?.deleted === true ? undefined : first;
  }

  #makeCurrent(entry: Entry): void {
    const { incarnation } = entry;
    if (incarnation === 1 || entry.adopted || entry.deleted) return;
    const { key } = entry;
    if ((this.#later.get(key)?.incarnation ?? 1) < incarnation) this.#later.set(key, entry);
  }

  #dropCurrent(entry: Entry): void {
    if (this.#later.get(entry.key) === entry) this.#later.delete(entry.key);
  }

  /**
   * The first incarnation of a key that nothing here still refers to. A job that is to be cancelled goes by its idempotency
   * key: a new task under the same one would share the job, or lose its own.
   */
  freeIncarnation(key: AttemptKey): number {
    let incarnation = this.marks.firstOpen(key);
    while (this.isTaken(key, incarnation)) incarnation += 1;
    return incarnation;
  }

  /** Whether something here refers to this incarnation of a key, or it was deleted. */
  isTaken(key: AttemptKey, incarnation: number): boolean {
    const id = taskIdOf(key, incarnation);
    if (this.marks.get(key, incarnation)?.deleted === true || this.byId(id) !== undefined) return true;
    return this.trace(id) !== undefined || this.owed.has(id) || this.unclear.has(id);
  }

  /** What is known of a task that was deleted while its create was under way. */
  cancelling(id: TaskId): Cancelling | undefined {
    return this.#cancelling.get(id);
  }

  /** What is remembered of a finished task that memory no longer holds. */
  trace(id: TaskId): FinishedTrace | undefined {
    return this.#finished.trace(id);
  }

  *unfinishedTasks(): Iterable<TaskRecord> {
    yield* this.#unfinished.values();
  }

  /** Those of one plugin as they are now, in the order they came. */
  unfinishedOf(plugin: string): readonly TaskRecord[] {
    const tasks: TaskRecord[] = [];
    for (const entry of this.#unfinished.values()) if (entry.plugin === plugin) tasks.push(entry);
    return tasks;
  }

  /** The plugins that have, or had, tasks here. */
  plugins(): Iterable<string> {
    return this.#counts.plugins();
  }

  /** The plugins that have something left to do here: a task that is not over, a delete that is owed, a job to look for. Walks no live tasks. */
  workFor(): ReadonlySet<string> {
    const busy = new Set(this.owed.plugins);
    for (const plugin of this.plugins()) {
      const { accepted, creating, live } = this.counts(plugin);
      if (accepted + creating + live > 0) busy.add(plugin);
    }
    for (const { identity, leftBecause } of this.unclear.listed())
      if (leftBecause === undefined) busy.add(identity.plugin);
    for (const { task } of this.#cancelling.values()) busy.add(task.scope.plugin);
    return busy;
  }

  /** All in memory, in the order they came, from a place in the list on. */
  listed(after = 0): Iterable<TaskRecord & Listed> {
    return this.#roll.after(after);
  }

  /** Who follows tasks wants them read as if it asked for them; a handle that it names it holds (rules 5, 9). */
  watch(filter: WatchFilter): WatchReader {
    let leave = () => {};
    const reader = this.#ring.read(filter, () => leave());
    const plugins = filter.plugins.length > 0 ? filter.plugins : [...this.plugins()];
    const fresh = filter.handles.length > 0 ? [] : plugins.filter((plugin) => !this.#interest.followsAll(plugin));
    leave = this.#interest.add(filter);
    for (const handle of filter.handles) {
      const task = this.#handles.get(handle);
      if (task !== undefined) this.asked(task);
    }
    if (fresh.length > 0) this.#followAll(new Set(fresh), this.#unfinished.values());
    return reader;
  }

  #noteFollowed(entry: Entry): void {
    if (this.#interest.follows(entry)) entry.lastAskedAtMs = this.#options.clock.now();
  }

  /** Tasks that nobody asked for until now are read soon; a part of them in each turn of the event loop. */
  #followAll(plugins: ReadonlySet<string>, tasks: Iterator<Entry>): void {
    for (let seen = 0; seen < FOLLOWED_PER_TURN; seen++) {
      const { value: task, done } = tasks.next();
      if (done === true) return;
      if (plugins.has(task.plugin)) this.asked(task, false);
    }
    setImmediate(() => this.#followAll(plugins, tasks));
  }

  drainWatchers(): void {
    this.#ring.drain();
  }

  /** An engine asked for the task: its interest is fresh, and unless `confirms` is false it holds the handle. */
  asked(task: TaskRecord, confirms = true): void {
    const entry = task as Entry;
    const nowMs = this.#options.clock.now();
    const fresh = nowMs - entry.lastAskedAtMs < ASKED_ANEW_MS;
    entry.lastAskedAtMs = nowMs;
    if (entry.stage === 'over') this.#finished.get(entry.id);
    else if (entry.stage === 'live' && !fresh && entry.asksMatter) this.#listeners.get(entry.plugin)?.asked(entry.id);
    if (!confirms || entry.confirmed) return;
    entry.confirmed = true;
    this.#changed(entry);
  }

  /** So many more create calls about the task were answered, or fewer, where answers turned out to be lost. */
  answersArrived(task: TaskRecord, more: number): void {
    (task as Entry).answersArrived += more;
  }

  /** The answer to its create visibly did not reach the engine (rule 9). */
  undelivered(task: TaskRecord): void {
    const entry = task as Entry;
    if (entry.confirmed || entry.undeliveredAtMs !== undefined) return;
    entry.undeliveredAtMs = this.#options.clock.now();
    entry.delivered = false;
    this.#changed(entry);
  }

  /** A create about it is answered once more, so that none of its answers is known to be the last one that was lost. */
  answeredAnew(task: TaskRecord): void {
    const entry = task as Entry;
    if (entry.undeliveredAtMs === undefined) return;
    entry.undeliveredAtMs = undefined;
    this.#changed(entry);
  }

  /** No call is under way any more: what answered a create and is not known to be lost has arrived. For a clean stop. */
  noteDelivered(): void {
    for (const entry of this.#unfinished.values()) {
      if (entry.confirmed || entry.delivered || entry.answersArrived <= 0) continue;
      entry.delivered = true;
      this.#changed(entry);
    }
  }

  /** So much more of the grace of an undelivered create is over. It is written when it is convenient. */
  undeliveredFor(task: TaskRecord, moreMs: number): void {
    const entry = task as Entry;
    entry.undeliveredForMs += moreMs;
    if (this.byId(entry.id) === entry) this.#changed(entry);
  }

  /** Fixes the bytes a create answered; from here on the task can be found by them. */
  answered(task: TaskRecord, handle: Buffer): void {
    const entry = task as Entry;
    if (entry.hasHandle) return;
    entry.answeredHandle = handle;
    if (this.byId(entry.id) !== entry) return;
    this.#handles.add(entry);
    this.#changed(entry);
    // What happened before the task had a name was shown to no watcher.
    if (entry.phaseVersion > 0) this.#append(entry, false);
  }

  /** Facts that came with a later call; they never overwrite what is known by something empty. */
  enrich(task: TaskRecord, outputPrefix: string, connection: ConnectionInfo | undefined, untilMs: number): void {
    const entry = task as Entry;
    if (entry.outputPrefix === '' && outputPrefix !== '') entry.outputPrefix = outputPrefix;
    if (connection === undefined) return;
    const { connectionUntilMs } = entry;
    entry.connection = connection;
    entry.connectionUntilMs = untilMs;
    this.#secrets.add(entry);
    if (connectionUntilMs > this.#options.clock.now() || !entry.unfinished) return;
    // The state is to know of the first secrets that came.
    if (connectionUntilMs === 0) this.#changed(entry);
    this.#listeners.get(entry.plugin)?.enriched?.(entry.id);
  }

  setRequirements(task: TaskRecord, requirements: ResourceRequirements, quotaNamespace: string): void {
    const entry = task as Entry;
    entry.requirements = requirements;
    entry.identity = { ...entry.identity, quotaNamespace };
    entry.createFailingForMs = 0;
    this.#changed(entry);
  }

  /** Moves a task that has not been created on, with the reason a caller sees. */
  setWaiting(task: TaskRecord, stage: 'accepted' | 'creating', state: PhaseState): void {
    const entry = task as Entry;
    if (!entry.unfinished) return;
    this.#dropOldConnection(entry);
    // It is kept, though no caller sees it.
    if (stage !== entry.stage) this.#changed(entry);
    this.#moveTo(entry, stage);
    this.#write(entry, state);
  }

  /** The token with which it went on to be created is none, before anything was sent: it waits for another one. */
  lapsed(task: TaskRecord, state: PhaseState): void {
    const entry = task as Entry;
    if (!entry.unfinished || entry.stage !== 'creating' || entry.sentBoundMs !== undefined) return;
    this.#counts.add(entry.plugin, 'creating', -1);
    entry.stage = 'accepted';
    this.#counts.add(entry.plugin, 'accepted', 1);
    this.#changed(entry);
    this.#write(entry, state);
  }

  /** The mark of sending: from here on a create call may have reached the remote, and may until so long from now. */
  sending(task: TaskRecord, boundMs: number): void {
    const entry = task as Entry;
    if (entry.sentBoundMs !== undefined && entry.sentBoundMs >= boundMs) return;
    entry.sentBoundMs = boundMs;
    if (entry.unfinished || this.#cancelling.has(entry.id)) this.#changed(entry);
  }

  /** A try of its create, or of what it asks before, failed, as they have for so long. */
  createFailed(task: TaskRecord, forMs: number): void {
    const entry = task as Entry;
    entry.createFailingForMs = forMs;
    if (entry.unfinished || this.#cancelling.has(entry.id)) this.#changed(entry);
  }

  /** Its create has waited for so much longer for what was before it. It is written when it is convenient. */
  waitedFor(task: TaskRecord, moreMs: number): void {
    const entry = task as Entry;
    entry.waitedForMs += moreMs;
    if (moreMs > 0 && entry.unfinished) this.#changed(entry);
  }

  /** The remote has the job. Drops the payload. */
  setCreated(task: TaskRecord, meta: Buffer): void {
    const entry = task as Entry;
    if (!entry.unfinished) return;
    entry.meta = meta;
    entry.payload = undefined;
    entry.sentBoundMs = undefined;
    entry.createFailingForMs = 0;
    entry.waitedForMs = 0;
    // The quota namespace is the identity's; what was asked without constraints says nothing more.
    if (entry.requirements?.constraints === undefined) entry.requirements = undefined;
    entry.liveSinceMs = this.#options.clock.now();
    this.#moveTo(entry, 'live');
    this.#changed(entry, 'payload');
  }

  /**
   * A read that succeeded. Answers whether the task is over; false for one that was removed meanwhile. `owe`: a delete that
   * comes with its end.
   */
  observed(task: TaskRecord, state: PhaseState, owe?: OwedWithEnd): boolean {
    const entry = task as Entry;
    if (entry.stage === 'over') return true;
    if (!entry.unfinished) return false;
    this.#dropOldConnection(entry);
    entry.observedAtMs = this.#options.clock.now();
    this.#noteFollowed(entry);
    if (entry.adopted) this.#adopted.read(entry);
    const hadFailures = entry.lastFailure !== undefined;
    entry.consecutiveFailures = 0;
    entry.lastFailure = undefined;
    entry.failing = undefined;
    entry.revision += 1;
    this.#write(entry, state, hadFailures, owe);
    return isTerminal(state.phase);
  }

  /**
   * A read that failed. The phase stays; the count and the error are visible. `reason`: what the phase's reason says until
   * a read succeeds. `failing`: what the next run of the daemon goes on from.
   */
  readFailed(
    task: TaskRecord,
    failure: ReadFailure,
    consecutiveFailures: number,
    { reason, failing }: { readonly reason?: string | undefined; readonly failing?: FailingReads | undefined } = {},
  ): void {
    const entry = task as Entry;
    if (!entry.unfinished) return;
    this.#dropOldConnection(entry);
    this.#noteFollowed(entry);
    entry.lastFailure = failure;
    entry.consecutiveFailures = consecutiveFailures;
    entry.failing = failing;
    entry.revision += 1;
    this.#changed(entry);
    if (reason !== undefined) this.#write(entry, { ...entry.known, reason });
  }

  /**
   * The daemon's own verdict about a task (rule 4, a refused create, unusable outputs). Terminal phases only. `owe`: its job
   * may run, and is to be cancelled.
   */
  end(task: TaskRecord, state: PhaseState, owe?: OwedWithEnd): void {
    const entry = task as Entry;
    if (!isTerminal(state.phase)) throw new HostError('INTERNAL', `a task cannot end in phase ${state.phase}`);
    if (entry.unfinished) this.#write(entry, state, false, owe);
  }

  /**
   * Starts the next incarnation in place of a task whose key turned out to be taken at the remote. The engine keeps the
   * handle it was given, which now names the new record; the phase version goes on.
   */
  nextIncarnation(task: TaskRecord): TaskRecord {
    const { identity, answeredHandle, state, outputPrefix, payload, node, connection, connectionUntilMs } = task;
    const { phaseVersion, confirmed, undeliveredAtMs, undeliveredForMs } = task;
    this.#ring.replace(task);
    const incarnation = identity.incarnation + 1;
    this.marks.set(identity.key, identity.incarnation, { deleted: true, next: incarnation });
    this.#drop(task as Entry);
    this.#free(task);
    return this.insert({
      identity: { ...identity, incarnation },
      stage: 'accepted',
      seen: { phaseVersion, confirmed, undeliveredAtMs, undeliveredForMs },
      state,
      outputPrefix,
      node,
      connection,
      connectionUntilMs,
      ...(payload === undefined ? {} : { payload }),
      ...(answeredHandle === undefined ? {} : { answeredHandle }),
    });
  }

  /**
   * Remembers that an incarnation which memory does not hold was deleted; what is known of its end stays known. `end`: how
   * it ended before. `order`: its job may run, and is to be cancelled.
   */
  markDeleted(
    { key, incarnation }: Pick<TaskIdentity, 'key' | 'incarnation'>,
    { end, order }: { readonly end?: PhaseState; readonly order?: DeleteOrder | undefined } = {},
  ): void {
    this.marks.set(key, incarnation, { ...(end === undefined ? {} : endOf(end)), deleted: true });
    this.#finished.markDeleted(taskIdOf(key, incarnation));
    if (order !== undefined) this.owed.add(order, this.#options.clock.now());
  }

  /**
   * Ends the incarnation of a task that is to be cancelled, and owes the delete of its job where that is known. With a create
   * under way (`creating`) it is known later: `cancelled` follows.
   */
  orderDelete(task: TaskRecord, reason: string, creating: boolean): void {
    const entry = task as Entry;
    const { id } = entry;
    // What was told as over has nothing to cancel, also while it is read again.
    const order = entry.stage === 'over' || entry.endedBefore ? undefined : deleteOrder(entry, reason);
    if (order !== undefined) this.owed.add(order, this.#options.clock.now());
    else if (creating) this.#cancelling.set(id, { task, reason });
    this.remove(task);
    if (order === undefined && !creating) this.#free(task);
  }

  /** The create of a task that was deleted meanwhile has ended; a job that it found or made is to be cancelled. */
  cancelled({ id, identity }: TaskRecord, order: DeleteOrder | undefined): void {
    this.#cancelling.delete(id);
    this.#feed.changed('task', id);
    this.#feed.changed('payload', id);
    if (order !== undefined) this.owed.add(order, this.#options.clock.now());
    else this.#free({ id, identity });
  }

  /** The job of a create of unclear outcome was found: it is to be cancelled, or is over. */
  cleared(id: TaskId, order: DeleteOrder | undefined): void {
    const entry = this.unclear.get(id);
    this.unclear.delete(id);
    if (order !== undefined) this.owed.add(order, this.#options.clock.now());
    else if (entry !== undefined) this.#free(entry);
  }

  /** Nobody looks for the job of a create of unclear outcome any more: it stays listed, and holds up nobody. */
  leftUnclear(id: TaskId, because: string): void {
    this.unclear.leave(id, because);
    const entry = this.unclear.get(id);
    if (entry !== undefined) this.#free(entry);
  }

  /** The job of an owed delete may run all the same, and stays owed, but starves no quota. */
  deleteFreed(id: TaskId): void {
    const order = this.owed.freed(id);
    if (order !== undefined) this.#free(order);
  }

  /** Nothing is left to cancel. */
  deleteDone(id: TaskId): void {
    const order = this.owed.get(id);
    if (order === undefined) return;
    this.owed.delete(id);
    this.#free(order);
  }

  /**
   * Ends the incarnation of a task that was deleted. One that was over forgets nothing: its handle goes on answering how
   * it ended, while its key is free for the next incarnation (rule 8). Every other is forgotten.
   */
  remove(task: TaskRecord): void {
    const entry = task as Entry;
    const { key, incarnation } = entry;
    this.marks.set(key, incarnation, { deleted: true, ended: entry.stage === 'over' });
    if (entry.stage === 'over') {
      if (entry.deleted) return;
      entry.deleted = true;
      this.#dropCurrent(entry);
      if (entry.hasHandle) this.#append(entry, true);
      this.#changed(entry);
      return;
    }
    if (entry.hasHandle) this.#append(entry, true);
    entry.revision += 1;
    if (entry.meta !== undefined) this.letGo(entry);
    this.#drop(entry);
  }

  /** Lets go of an adopted task: nothing is lost that its handle does not say. */
  forget(task: TaskRecord): void {
    const entry = task as Entry;
    this.#ring.evict(entry);
    this.#drop(entry);
    this.#free(entry);
  }

  /**
   * A create came to know its job, which an engine has asked about by the handle of an earlier daemon: that one's record
   * gives way. The engine keeps its handle where it was not answered another, and its phase does not go back (rule 7).
   */
  takeOver(task: TaskRecord, adopted: TaskRecord): void {
    const entry = task as Entry;
    this.#ring.replace(adopted);
    this.#drop(adopted as Entry, task.id);
    this.#free(adopted);
    entry.confirmed = true;
    entry.lastAskedAtMs = Math.max(entry.lastAskedAtMs, adopted.lastAskedAtMs);
    entry.phaseVersion = Math.max(entry.phaseVersion, adopted.phaseVersion);
    if (!entry.hasHandle && adopted.answeredHandle !== undefined) {
      entry.identity = { ...entry.identity, createdAtMs: adopted.identity.createdAtMs };
      this.answered(entry, adopted.answeredHandle);
    }
    this.#write(entry, (adopted as Entry).known, true);
  }

  /**
   * Drops inputs and secrets of a task that was removed or is about to be. Its create may go on after the removal and
   * needs them; whoever ran it calls this at its end.
   */
  letGo(task: TaskRecord): void {
    const entry = task as Entry;
    entry.payload = undefined;
    this.#secrets.drop(entry);
  }

  #dropOldConnection(entry: Entry): void {
    if (entry.connection === undefined || entry.connectionUntilMs > this.#options.clock.now()) return;
    this.#secrets.drop(entry);
  }

  #write(entry: Entry, read: PhaseState, forceVersion = false, owe?: OwedWithEnd): void {
    const { state, changed } = this.#next(entry, read);
    if (!changed && !forceVersion) {
      // What was read is the same but for the pace, which no caller sees.
      if (state.nextPollAfterMs !== entry.known.nextPollAfterMs) {
        entry.known = compactState(state);
        if (!entry.telling) entry.state = entry.known;
      }
      return;
    }
    entry.known = compactState(state);
    if (isTerminal(state.phase)) this.#finish(entry, owe);
    this.#changed(entry, state.outputs.kind === 'inline' ? 'outputs' : undefined);
    if (!entry.telling) this.#show(entry);
  }

  /** What a read makes of the task's state, within what the details of live tasks may take. */
  #next(entry: Entry, read: PhaseState): Transition {
    const next = nextState(entry.known, read);
    if (!next.changed || isTerminal(next.state.phase)) return next;
    const fits = this.#liveStates.fit(entry, next.state);
    if (fits === next.state) return next;
    this.#options.events?.stateCut?.(entry);
    return nextState(entry.known, fits);
  }

  /** A rise of the phase is safe before anybody is told; so are versions beyond those that a start leaps over. */
  #show(entry: Entry): void {
    const { known } = entry;
    const rises = phaseRank(known.phase) > phaseRank(entry.state.phase);
    if (!this.#feed.durable || (!rises && entry.unsafeVersions < MAX_UNSAFE_VERSIONS)) {
      entry.unsafeVersions += 1;
      this.#tell(entry, known);
      return;
    }
    entry.telling = true;
    const told = () => {
      entry.telling = false;
      entry.unsafeVersions = 0;
      this.#tell(entry, known);
      // What came meanwhile may rise again, and may not be in that commit.
      if (entry.known !== known) this.#show(entry);
    };
    this.#feed.safe().then(told, told);
  }

  #tell(entry: Entry, state: PhaseState): void {
    if (!entry.unfinished && this.#finished.peek(entry.id) !== entry) return;
    entry.state = state;
    entry.phaseVersion += 1;
    entry.revision += 1;
    this.#append(entry, entry.deleted);
  }

  #append(entry: Entry, deleted: boolean): void {
    if (mayTell(entry)) this.#ring.append(entry, deleted);
  }

  #finish(entry: Entry, owe: OwedWithEnd | undefined): void {
    // The end drops what the order needs.
    const order = owe && deleteOrder(entry, owe.reason, owe);
    // What a handle alone says of a key must not become the end of the attempt that a create made. How its task ended is told on from its
    // record and then its trace; a create of its key that finds the job over takes it for its own, and nothing cancels what is over.
    if (!entry.adopted) this.marks.set(entry.key, entry.incarnation, endOf(entry.known));
    this.#adopted.delete(entry);
    this.#moveTo(entry, 'over');
    this.letGo(entry);
    this.#leave(entry);
    this.#liveStates.delete(entry);
    this.#finished.set(entry.id, entry);
    this.#feed.changed('payload', entry.id);
    this.#listeners.get(entry.plugin)?.left(entry.id);
    if (order === undefined) this.#free(entry);
    else this.owed.add(order, this.#options.clock.now());
  }

  #moveTo(entry: Entry, stage: TaskStage): void {
    if (STAGE_ORDER.indexOf(stage) < STAGE_ORDER.indexOf(entry.stage)) {
      throw new HostError('INTERNAL', `task ${entry.id} cannot go from stage ${entry.stage} back to ${stage}`);
    }
    this.#counts.add(entry.plugin, entry.stage, -1);
    entry.stage = stage;
    this.#counts.add(entry.plugin, entry.stage, 1);
  }

  #drop(entry: Entry, becomes?: TaskId): void {
    this.#adopted.delete(entry);
    if (!this.#leave(entry)) return;
    this.#unlink(entry);
    this.#changed(entry, 'payload');
    this.#listeners.get(entry.plugin)?.left(entry.id, becomes);
  }

  #keep(entry: Entry): void {
    this.#unfinished.set(entry.id, entry);
    entry.unfinished = true;
  }

  /** False for one that has left: its late news are told to nobody, or Watch would be shown a task that is gone. */
  #leave(entry: Entry): boolean {
    if (!entry.unfinished) return false;
    entry.unfinished = false;
    return this.#unfinished.delete(entry.id);
  }

  #unlink(entry: Entry): void {
    this.#liveStates.delete(entry);
    this.#roll.delete(entry);
    this.#secrets.delete(entry);
    this.#counts.add(entry.plugin, entry.stage, -1);
    this.#dropCurrent(entry);
    this.#handles.remove(entry);
  }

  /** Release on the store's transition, and nowhere else (rule 10). */
  #free({ id, identity }: Pick<TaskRecord, 'id' | 'identity'>): void {
    this.#listeners.get(identity.plugin)?.freed(id);
    this.#earlier.freed(identity.key);
  }

  #changed({ id }: Entry, also?: 'payload' | 'outputs'): void {
    this.#feed.changed('task', id);
    if (also !== undefined) this.#feed.changed(also, id);
  }
}

/** Those of which there is something to tell: not what was told as over and has to be read again. */
function* toTell(entries: Iterable<Entry>): Iterable<Entry> {
  for (const entry of entries) if (mayTell(entry)) yield entry;
}

function mayTell({ endedBefore, state }: Entry): boolean {
  return !endedBefore || isTerminal(state.phase);
}
