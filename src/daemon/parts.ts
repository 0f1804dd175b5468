import { HostError } from '../errors/index.js';
import type { LoadReport } from '../host/types.js';
import type { SecretMasks } from '../lib/secrets.js';
import { settledBefore } from '../lib/wait.js';
import type { TaskId } from '../model/attempt-key.js';
import { partOfLimits } from '../model/limits-tenancy.js';
import type { Lane } from '../model/plugin-methods.js';
import type { PluginRuntime } from '../runtime/runtime.js';
import { PartedEngine, type StateEngine, type StateEvents } from '../state/index.js';
import { JoinedStores, type TaskStores } from '../store/joined-stores.js';
import { type ListPlaces, listPlaces } from '../store/task-store.js';
import { JoinedTasks, type ShownTasks } from '../tasks/joined-tasks.js';
import type { LastRun } from '../tasks/report.js';
import type { TasksControl } from '../tasks/tasks.js';
import type { Log } from '../telemetry/index.js';
import type { DaemonStateFigures } from './figures.js';
import { HandleKeyWatch } from './handle-keys.js';
import type { Releasers } from './lifecycle.js';
import { Part, type PartOptions } from './part.js';
import type { RuntimeTasks } from './runtimes.js';
import type { KeptState } from './state.js';
import { engineOf, placeName } from './state-engine.js';
import { statePlace } from './state-place.js';

export interface PartsOptions extends Omit<PartOptions, 'places' | 'count' | 'events' | 'engine'> {
  readonly masks: SecretMasks;
  readonly log: Log;
  /** Instead of what the config says keeps the state; one that is divided already is another's as well. */
  readonly engine: StateEngine | PartedEngine | undefined;
  /** The parts that it begins with; all unless given, and the one where there is but one. */
  readonly begins?: readonly number[] | undefined;
  /** A part is here, before anybody can call. What it throws ends the take. */
  readonly taken?: (() => void) | undefined;
  /** Takes in what others have promised of a part that is here, before anybody can call; rejects with what ends the take. */
  readonly takeIn?: ((part: number, tasks: TasksControl, safe: () => Promise<void>) => Promise<void>) | undefined;
}

/** What stands between callers and several parts. */
interface Joined {
  readonly store: JoinedStores;
  readonly tasks: JoinedTasks;
}

/** How giving up a part came out. */
export interface GivenPart {
  /** Calls under way were all over in time. */
  readonly finished: boolean;
}

/**
 * All parts of a state that are here as one: what each has by itself is routed, merged or summed, and its life is theirs (`Part` has the
 * states). Where there is one, callers have that one's own store and use cases.
 *
 * States of a part: away → `take` → taking (loaded, its handles trusted) → here, with all that the runtimes go on with → `give` → giving
 * (nothing new is taken; calls under way are finished, and all is written) → away. A part whose `take` fails is away again.
 */
export class Parts implements RuntimeTasks {
  readonly #options: PartsOptions;
  readonly #count: number;
  /** By index. */
  readonly #byIndex: (Part | undefined)[];
  /** Parts that are being taken or given. */
  readonly #moving = new Set<number>();
  readonly #joined: Joined | undefined;
  readonly #places: ListPlaces = listPlaces();
  readonly #parted: { readonly engine: PartedEngine; readonly at: string | undefined } | undefined;
  readonly #events: StateEvents;
  readonly store: TaskStores;
  readonly tasks: ShownTasks;
  /** What is kept of a plugin's limits lies in the part that its id hashes into. */
  readonly state: RuntimeTasks['state'];
  readonly #handleKeys: HandleKeyWatch;
  /** What is measured of what is kept. */
  readonly kept: DaemonStateFigures;
  #report: LoadReport | undefined;
  #serving = false;
  /** The part in which a task was found last; -1: in none. */
  #foundIn = -1;

  /** `count`: how many there are, here and elsewhere; a power of two. */
  constructor(count: number, options: PartsOptions) {
    const { config, host, runtimes, masks, clock, log } = options;
    this.#options = options;
    this.#count = count;
    this.#parted = partedOf(count, options);
    this.#events = this.#toldOnce(options.telemetry.stateEvents);
    const begins = new Set(options.begins ?? Array.from({ length: count }, (_, index) => index));
    this.#byIndex = Array.from({ length: count }, (_, index) => (begins.has(index) ? this.#make(index) : undefined));
    if (count === 1) {
      const [only] = this.#here as [Part];
      this.store = only.store;
      this.tasks = only.tasks;
    } else {
      const store = new JoinedStores(this.#here.map((part) => part.store));
      const tasks = new JoinedTasks(count, { host, runtimes, store });
      for (const [index, part] of this.#byIndex.entries()) if (part !== undefined) tasks.put(index, part.tasks);
      this.#joined = { store, tasks };
      this.store = store;
      this.tasks = tasks;
    }
    this.state = this.#limitsKept();
    this.#handleKeys = new HandleKeyWatch({ file: config.handles.keysFile, masks, clock, log });
    this.kept = keptOf(() => this.#here.map(({ state }) => state));
  }

  /**
   * Takes in what the last run left, and accepts by what that served. Throws one of the STATE_ codes, and what `stop` says; nothing is held
   * then.
   */
  async load(stop?: AbortSignal): Promise<void> {
    const { clock, log } = this.#options;
    for (const { tasks } of [...this.#here, this]) tasks.starting(this.#lastRun);
    const startMs = clock.now();
    const loaded: Part[] = [];
    let tasks = 0;
    let where: string | undefined;
    for (const part of this.#here) {
      try {
        const { at, because, tasks: found } = await part.load(stop);
        if (because !== undefined && loaded.length === 0) log.emit('state.not_kept', { because });
        where = at;
        tasks += found;
      } catch (error) {
        for (const { state } of loaded) await state.close().catch(() => undefined);
        throw error;
      }
      loaded.push(part);
    }
    if (where === undefined) return;
    const tookMs = Math.round(clock.now() - startMs);
    log.emit('state.loaded', { at: where, tasks, deletesOwed: this.store.owed.size, tookMs });
  }

  /**
   * Takes a part while the others go on: loads it, goes on with its tasks, and answers calls about it. Throws one of the STATE_ codes,
   * HANDLE_KEYS_UNREADABLE, and what `stop` says; nothing of it is held then. DAEMON_STATE for one that is here, or moves.
   */
  async take(index: number, stop?: AbortSignal): Promise<void> {
    const { store, tasks } = this.#movable(index, this.#byIndex[index] === undefined);
    const { clock, log, runtimes } = this.#options;
    const startMs = clock.now();
    this.#moving.add(index);
    try {
      const part = this.#make(index);
      await part.load(stop);
      try {
        await this.#handleKeys.take([part.signer]);
        // From here on in one turn: who listens hears of it before anything goes on, and callers come last.
        this.#byIndex[index] = part;
        store.add(part.store);
        if (this.#report !== undefined) part.tasks.loaded(this.#report);
        if (!this.#serving) part.tasks.starting(this.#lastRun);
        const goOn = [...runtimes.all()].map((runtime) => part.tasks.recover(runtime));
        for (const next of goOn) next();
        if (this.#serving) {
          part.tasks.recovered();
          part.state.keepRoutes(this.#options.host);
        }
        this.#options.taken?.();
        await this.takeIn(index);
        tasks.put(index, part.tasks);
      } catch (error) {
        // Another one is to have it: nothing of it goes on here.
        part.tasks.drain();
        void part.tasks.stop(true);
        await this.#takeOut(index, part).catch(() => undefined);
        throw error;
      }
      log.emit('part.taken', { part: index, tasks: part.store.unfinished, tookMs: Math.round(clock.now() - startMs) });
    } finally {
      this.#moving.delete(index);
    }
  }

  /**
   * Gives a part up while the others go on: nothing new is taken of it at once, and what is under way has `graceMs` milliseconds to end.
   * Creates that did not are of unclear outcome to the next owner, as after a crash. Resolves when all is written and nothing of it is left
   * here. Rejects when it could not be written: what was not safe was not told. DAEMON_STATE for one that is not here, or moves.
   */
  async give(index: number, graceMs: number): Promise<GivenPart> {
    const part = this.#byIndex[index] as Part;
    const { tasks } = this.#movable(index, part !== undefined);
    const { clock, log } = this.#options;
    const startMs = clock.now();
    this.#moving.add(index);
    try {
      const answered = tasks.leaves(index);
      part.tasks.drain();
      const over = Promise.all([part.tasks.stop(true), answered]);
      const finished = await settledBefore(clock, over, startMs + graceMs);
      const left = part.store.unfinished;
      await this.#takeOut(index, part);
      log.emit('part.given', { part: index, tasks: left, finished, tookMs: Math.round(clock.now() - startMs) });
      return { finished };
    } finally {
      this.#moving.delete(index);
    }
  }

  /** Takes in what others have promised of a part that is loaded, and gone on with. Throws what the state says. */
  async takeIn(index: number): Promise<void> {
    const part = this.#byIndex[index];
    if (part !== undefined) await this.#options.takeIn?.(index, part.tasks, () => part.state.feed.safe());
  }

  /** Undefined of a part that is not here. */
  tasksOf(index: number): TasksControl | undefined {
    return this.#byIndex[index]?.tasks;
  }

  /** Reads the keys of the operator's file, where no part is here yet; who cannot signs for nobody until it can. */
  readKeys(): Promise<void> {
    return this.#handleKeys.read();
  }

  /** With which keys a part signs that keeps this one. Throws OWNER_AWAY where they could not be read. */
  readonly keysWith = (kept: string): readonly string[] => this.#handleKeys.textsWith(kept);

  /** Nothing of a part is here once it resolves. Rejects where what was left of it could not be written. */
  async #takeOut(index: number, part: Part): Promise<void> {
    const { store, tasks } = this.#joined as Joined;
    store.remove(part.store);
    this.#byIndex[index] = undefined;
    const tasksHere = new Map(tasksIn(part));
    this.#untrack(tasksHere);
    let isWritten = false;
    try {
      await part.state.close();
      isWritten = true;
    } finally {
      // A create may have been answered while it was written, or a task have come to its end: from here on nothing is.
      for (const [id, plugin] of tasksIn(part)) tasksHere.set(id, plugin);
      this.#untrack(tasksHere);
      this.#handAway(tasksHere, isWritten);
      part.store.abandon();
      this.#handleKeys.letGo(part.signer.trust);
      tasks.left(index);
    }
  }

  /** The part that holds a task here, also one of which only a delete is owed, or looked for; undefined where none does. */
  partOfTask(id: TaskId): number | undefined {
    // Whoever asks about many tasks asks about those of one part after the other.
    if (!this.#holds(this.#foundIn, id)) this.#foundIn = this.#byIndex.findIndex((_, index) => this.#holds(index, id));
    return this.#foundIn === -1 ? undefined : this.#foundIn;
  }

  /** Until when a lane of a plugin rests, by the part that keeps it; undefined where that is not here. Milliseconds since the epoch. */
  restsUntilMs(plugin: string, lane: Lane): number | undefined {
    return this.#stateOf(plugin)?.restsUntilMs(plugin, lane);
  }

  keepPause(plugin: string, lane: Lane, untilMs: number): void {
    this.#stateOf(plugin)?.keepPause(plugin, lane, untilMs);
  }

  /** As of one part where none is here yet. */
  get share(): number {
    return Math.max(1, this.#here.length) / this.#count;
  }

  /** The parts that are here, by index. */
  get indices(): readonly number[] {
    return [...this.#byIndex.keys()].filter((index) => this.#byIndex[index] !== undefined);
  }

  /** The plugins that a part needs for what is left to do in it; undefined where it is not here. */
  workFor(index: number): ReadonlySet<string> | undefined {
    return this.#byIndex[index]?.store.workFor();
  }

  /** How many of them sign handles. */
  get signing(): number {
    return this.#handleKeys.size;
  }

  /** What the last run served, and what was a failed plugin's then. */
  lastClaims(): ReturnType<KeptState['lastClaims']> {
    return this.#first?.lastClaims() ?? [];
  }

  /** Before anybody can call: without keys any handle is taken. Throws HANDLE_KEYS_UNREADABLE. */
  trust(): Promise<void> {
    return this.#handleKeys.take(this.#here.map(({ signer }) => signer));
  }

  /** How `load` and `trust` are undone. */
  pushClose(releasers: Releasers): void {
    releasers.push('state', () => closeAll(this.#here));
    releasers.push('watch of handle keys', () => this.#handleKeys.stop());
  }

  /** The plugins are loaded, or failed to. */
  loaded(report: LoadReport): void {
    this.#report = report;
    for (const { tasks } of [...this.#here, this]) tasks.loaded(report);
  }

  recover(runtime: PluginRuntime): void {
    const goOn = this.#here.map(({ tasks }) => tasks.recover(runtime));
    const creates = goOn.map((next) => next());
    if (!creates.includes(true)) runtime.creates.forgetBefore();
  }

  /** What is read late of a part that was given up is nobody's. */
  readonly report: RuntimeTasks['report'] = (runtime, report) =>
    this.#of(report.id)?.tasks.reads.report(runtime, report);

  /** The runtimes go on with what it has: from here on new tasks go by what is loaded, which the next start is to know. */
  serve(): void {
    this.#serving = true;
    for (const { tasks } of [...this.#here, this]) tasks.recovered();
    this.keepRoutes();
  }

  /** Each part has them: any may be the one that a next start has first. */
  keepRoutes(): void {
    for (const { state } of this.#here) state.keepRoutes(this.#options.host);
  }

  /** Streams end with a resume token, and nothing new is accepted unless the state is durable. */
  drain(): void {
    for (const { tasks } of this.#here) tasks.drain();
  }

  /** Starts nothing new; resolves when nothing of the use cases is in flight. */
  async finish(): Promise<void> {
    await Promise.all(this.#here.map(({ tasks }) => tasks.stop()));
  }

  /** Nothing takes from the plugins' buckets any more. */
  keepLevels(): void {
    for (const { plugin, gate } of this.#options.runtimes.all()) {
      this.#stateOf(plugin.id)?.keepLevels(plugin.id, gate.snapshot());
    }
  }

  /** Why the state cannot be written for now; undefined while it can. */
  get trouble(): KeptState['trouble'] {
    return troubleOf(this.#here.map(({ state }) => state));
  }

  get #here(): readonly Part[] {
    return this.#byIndex.filter((part) => part !== undefined);
  }

  get #first(): KeptState | undefined {
    return this.#here[0]?.state;
  }

  readonly #lastRun: LastRun = {
    route: (taskType, version) => {
      const first = this.#first;
      if (first === undefined) throw new HostError('OWNER_AWAY', 'no part of the tasks is here yet; try again');
      return first.lastRoute(taskType, version);
    },
    served: () => this.#first?.lastServed() ?? [],
  };

  #make(index: number): Part {
    const { engine, at, ...options } = this.#options;
    const { count, places, events } = { count: this.#count, places: this.#places, events: this.#events };
    if (this.#parted !== undefined) {
      const parted = { engine: this.#parted.engine.part(index), at: this.#parted.at };
      return new Part({ ...options, ...parted, events, places, count });
    }
    return new Part({ ...options, engine: engine as StateEngine | undefined, at, events, places, count });
  }

  #stateOf(plugin: string): KeptState | undefined {
    return this.#byIndex[partOfLimits(plugin, this.#count)]?.state;
  }

  /** Of a plugin whose part is elsewhere nothing is known, and nothing kept. */
  #limitsKept(): RuntimeTasks['state'] {
    const empty = () => ({ level: 0, atMs: this.#options.clock.now(), pausedUntilMs: undefined });
    return {
      levels: (plugin) => this.#stateOf(plugin)?.levels(plugin) ?? { read: empty(), write: empty() },
      keepPause: (plugin, ...rest) => this.#stateOf(plugin)?.keepPause(plugin, ...rest),
      outage: (plugin, lane) => ({
        beforeMs: this.#stateOf(plugin)?.outage(plugin, lane).beforeMs ?? 0,
        keep: (failingForMs) => this.#stateOf(plugin)?.outage(plugin, lane).keep(failingForMs),
      }),
    };
  }

  /** Throws DAEMON_STATE unless parts may move, and this one may now. */
  #movable(index: number, mayMove: boolean): Joined {
    if (this.#joined === undefined || !mayMove || this.#moving.has(index)) {
      throw new HostError('DAEMON_STATE', `part ${index} of ${this.#count} cannot move now: here are ${this.indices}`);
    }
    return this.#joined;
  }

  #holds(index: number, id: TaskId): boolean {
    const store = this.#byIndex[index]?.store;
    return store !== undefined && (store.entry(id) ?? store.owed.get(id) ?? store.unclear.get(id)) !== undefined;
  }

  /** Plugins work no more for the tasks of a part. */
  #untrack(tasks: ReadonlyMap<TaskId, string>): void {
    const { runtimes } = this.#options;
    for (const [id, plugin] of tasks) runtimes.get(plugin)?.refresher.untrack(id);
  }

  /** Their tokens are held by its next owner, whose tasks they are of. `isWritten`: false where a commit may still come to be. */
  #handAway(tasks: ReadonlyMap<TaskId, string>, isWritten: boolean): void {
    const { runtimes } = this.#options;
    for (const [id, plugin] of tasks) runtimes.get(plugin)?.quotas.handAway(id, isWritten);
  }

  /** They lie in one place, whose trouble is told once. */
  #toldOnce(events: StateEvents): StateEvents {
    return {
      ...events,
      degraded: (trouble) => {
        const same = this.#here.filter(({ state }) => state.trouble?.code === trouble.code);
        if (same.length <= 1) events.degraded?.(trouble);
      },
      mended: (downMs) => {
        if (this.trouble === undefined) events.mended?.(downMs);
      },
    };
  }

  /** The part that holds a task. */
  #of(id: TaskId): Part | undefined {
    const [only] = this.#byIndex;
    if (this.#count === 1) return only;
    return this.#byIndex.find((part) => part?.store.entry(id) !== undefined);
  }
}

/** All that are worked for, also those of which only a delete is owed, or looked for, each with its plugin. */
function* tasksIn({ store }: Part): Iterable<readonly [TaskId, string]> {
  for (const id of store.entryIds()) yield [id, store.entry(id)?.identity.plugin ?? ''];
  for (const { id, identity } of store.owed.listed()) yield [id, identity.plugin];
  for (const { id, identity } of store.unclear.listed()) yield [id, identity.plugin];
}

/** Each closes, whatever becomes of the others. Throws what the first that failed throws. */
async function closeAll(parts: readonly Part[]): Promise<void> {
  const closed = await Promise.allSettled(parts.map(({ state }) => state.close()));
  for (const one of closed) if (one.status === 'rejected') throw one.reason;
}

/** What keeps the state of several parts, and where; undefined where it is for each of them to say. */
function partedOf(count: number, { config, env, clock, random, onSecret, engine, at }: PartsOptions) {
  if (count === 1) return undefined;
  if (engine !== undefined) {
    return { engine: engine instanceof PartedEngine ? engine : new PartedEngine(engine, count), at };
  }
  try {
    const place = statePlace(config, env);
    const whole = engineOf(place, { clock, random, maxBytes: config.state.maxBytes, onSecret });
    return whole && { engine: new PartedEngine(whole, count), at: placeName(place) };
  } catch {
    // Their start says so.
    return undefined;
  }
}

/** They lie in one place, whose size each of them tells. */
function keptOf(states: () => readonly KeptState[]): DaemonStateFigures {
  return {
    get sizeBytes() {
      return Math.max(0, ...states().map(({ sizeBytes }) => sizeBytes));
    },
    get lagMs() {
      return Math.max(0, ...states().map(({ lagMs }) => lagMs));
    },
    get trouble() {
      return troubleOf(states());
    },
    facts: () => summed(states().map((state) => state.facts())),
  };
}

function troubleOf(states: readonly KeptState[]): KeptState['trouble'] {
  return states.find(({ trouble }) => trouble !== undefined)?.trouble;
}

function summed(all: readonly Readonly<Record<string, number>>[]): Readonly<Record<string, number>> {
  const sums: Record<string, number> = {};
  for (const one of all) for (const [name, count] of Object.entries(one)) sums[name] = (sums[name] ?? 0) + count;
  return sums;
}
