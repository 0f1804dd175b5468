import type { LoadReport } from '../host/types.js';
import type { SecretMasks } from '../lib/secrets.js';
import { partitionOf, partOf } from '../model/handle.js';
import type { PluginRuntime } from '../runtime/runtime.js';
import { PartedEngine, type StateEvents } from '../state/index.js';
import { joinStores, type TaskStores } from '../store/joined-stores.js';
import { listPlaces } from '../store/task-store.js';
import { joinTasks, type ShownTasks } from '../tasks/joined-tasks.js';
import type { Log } from '../telemetry/index.js';
import type { DaemonStateFigures } from './figures.js';
import { HandleKeyWatch } from './handle-keys.js';
import type { Releasers } from './lifecycle.js';
import { Part, type PartOptions } from './part.js';
import type { RuntimeTasks } from './runtimes.js';
import type { KeptState } from './state.js';
import { engineOf, placeName } from './state-engine.js';
import { statePlace } from './state-place.js';

export interface PartsOptions extends Omit<PartOptions, 'places' | 'count' | 'events'> {
  readonly masks: SecretMasks;
  readonly log: Log;
}

/**
 * All parts of a state as one: what each has by itself is routed, merged or summed, and its life is theirs (`Part` has the states).
 * Where there is one, callers have that one's own store and use cases.
 */
export class Parts implements RuntimeTasks {
  readonly #options: PartsOptions;
  readonly #all: readonly Part[];
  readonly store: TaskStores;
  readonly tasks: ShownTasks;
  /** What is kept of a plugin's limits lies in the part that its id hashes into. */
  readonly state: RuntimeTasks['state'];
  readonly #handleKeys: HandleKeyWatch;
  /** What is measured of what is kept. */
  readonly kept: DaemonStateFigures;

  /** `count`: how many; a power of two. */
  constructor(count: number, options: PartsOptions) {
    const { config, host, runtimes, masks, clock, log } = options;
    const places = listPlaces();
    this.#options = options;
    const whole = partedOf(count, options);
    const events = this.#eventsOf(options.telemetry.stateEvents);
    this.#all = Array.from({ length: count }, (_, index) => {
      const engine = whole?.parted.part(index) ?? options.engine;
      return new Part({ ...options, ...whole, engine, events, places, count });
    });
    this.store = joinStores(this.#all.map(({ store }) => store));
    const all = this.#all.map(({ tasks }) => tasks);
    this.tasks = joinTasks(all, { host, runtimes, store: this.store });
    this.state = {
      levels: (plugin) => this.#stateOf(plugin).levels(plugin),
      keepPause: (plugin, ...rest) => this.#stateOf(plugin).keepPause(plugin, ...rest),
      outage: (plugin, lane) => this.#stateOf(plugin).outage(plugin, lane),
    };
    this.#handleKeys = new HandleKeyWatch({ file: config.handles.keysFile, masks, clock, log });
    this.kept = keptOf(this.#all.map(({ state }) => state));
  }

  /**
   * Takes in what the last run left, and accepts by what that served. Throws one of the STATE_ codes, and what `stop` says; nothing is held
   * then.
   */
  async load(stop?: AbortSignal): Promise<void> {
    const { clock, log } = this.#options;
    const lastRun = {
      route: (taskType: string, version: number) => this.#first.lastRoute(taskType, version),
      served: () => this.#first.lastServed(),
    };
    for (const { tasks } of [...this.#all, this]) tasks.starting(lastRun);
    const startMs = clock.now();
    const loaded: Part[] = [];
    let tasks = 0;
    let where: string | undefined;
    for (const part of this.#all) {
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

  /** What the last run served, and what was a failed plugin's then. */
  lastClaims(): ReturnType<KeptState['lastClaims']> {
    return this.#first.lastClaims();
  }

  /** Before anybody can call: without keys any handle is taken. Throws HANDLE_KEYS_UNREADABLE. */
  trust(): Promise<void> {
    return this.#handleKeys.take(this.#all.map(({ signer }) => signer));
  }

  /** How `load` and `trust` are undone. */
  pushClose(releasers: Releasers): void {
    releasers.push('state', () => closeAll(this.#all));
    releasers.push('watch of handle keys', () => this.#handleKeys.stop());
  }

  /** The plugins are loaded, or failed to. */
  loaded(report: LoadReport): void {
    for (const { tasks } of [...this.#all, this]) tasks.loaded(report);
  }

  recover(runtime: PluginRuntime): void {
    const goOn = this.#all.map(({ tasks }) => tasks.recover(runtime));
    const creates = goOn.map((next) => next());
    if (!creates.includes(true)) runtime.creates.forgetBefore();
  }

  readonly report: RuntimeTasks['report'] = (runtime, report) =>
    this.#of(report.id).tasks.reads.report(runtime, report);

  /** The runtimes go on with what it has: from here on new tasks go by what is loaded, which the next start is to know. */
  serve(): void {
    for (const { tasks } of [...this.#all, this]) tasks.recovered();
    this.keepRoutes();
  }

  /** Each part has them: any may be the one that a next start has first. */
  keepRoutes(): void {
    for (const { state } of this.#all) state.keepRoutes(this.#options.host);
  }

  /** Streams end with a resume token, and nothing new is accepted unless the state is durable. */
  drain(): void {
    for (const { tasks } of this.#all) tasks.drain();
  }

  /** Starts nothing new; resolves when nothing of the use cases is in flight. */
  async finish(): Promise<void> {
    await Promise.all(this.#all.map(({ tasks }) => tasks.stop()));
  }

  /** Nothing takes from the plugins' buckets any more. */
  keepLevels(): void {
    for (const { plugin, gate } of this.#options.runtimes.all()) {
      this.#stateOf(plugin.id).keepLevels(plugin.id, gate.snapshot());
    }
  }

  /** Why the state cannot be written for now; undefined while it can. */
  get trouble(): KeptState['trouble'] {
    return troubleOf(this.#all.map(({ state }) => state));
  }

  get #first(): KeptState {
    return (this.#all[0] as Part).state;
  }

  #stateOf(plugin: string): KeptState {
    return (this.#all[partOf(partitionOf(plugin), this.#all.length)] as Part).state;
  }

  /** They lie in one place, whose trouble is told once. */
  #eventsOf(events: StateEvents): StateEvents {
    return {
      ...events,
      degraded: (trouble) => {
        const same = this.#all.filter(({ state }) => state.trouble?.code === trouble.code);
        if (same.length === 1) events.degraded?.(trouble);
      },
      mended: (downMs) => {
        if (this.trouble === undefined) events.mended?.(downMs);
      },
    };
  }

  /** The part that holds a task. */
  #of(id: string): Part {
    const [only] = this.#all;
    if (this.#all.length === 1) return only as Part;
    return this.#all.find(({ store }) => store.entry(id) !== undefined) ?? (only as Part);
  }
}

/** Each closes, whatever becomes of the others. Throws what the first that failed throws. */
async function closeAll(parts: readonly Part[]): Promise<void> {
  const closed = await Promise.allSettled(parts.map(({ state }) => state.close()));
  for (const one of closed) if (one.status === 'rejected') throw one.reason;
}

/** What keeps the state of several parts, and where; undefined where it is for each of them to say. */
function partedOf(count: number, { config, env, clock, random, onSecret, engine, at }: PartsOptions) {
  if (count === 1) return undefined;
  if (engine !== undefined) return { parted: new PartedEngine(engine, count), at };
  try {
    const place = statePlace(config, env);
    const whole = engineOf(place, { clock, random, maxBytes: config.state.maxBytes, onSecret });
    return whole && { parted: new PartedEngine(whole, count), at: placeName(place) };
  } catch {
    // Their start says so.
    return undefined;
  }
}

/** They lie in one place, whose size each of them tells. */
function keptOf(states: readonly KeptState[]): DaemonStateFigures {
  return {
    get sizeBytes() {
      return Math.max(...states.map(({ sizeBytes }) => sizeBytes));
    },
    get lagMs() {
      return Math.max(...states.map(({ lagMs }) => lagMs));
    },
    get trouble() {
      return troubleOf(states);
    },
    facts: () => summed(states.map((state) => state.facts())),
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
