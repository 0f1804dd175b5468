import type { LoadReport } from '../host/types.js';
import type { PluginRuntime } from '../runtime/runtime.js';
import { PartedEngine } from '../state/index.js';
import { joinStores, type TaskStores } from '../store/joined-stores.js';
import { listPlaces } from '../store/task-store.js';
import { joinTasks, type ShownTasks } from '../tasks/joined-tasks.js';
import type { DaemonStateFigures } from './figures.js';
import type { Releasers } from './lifecycle.js';
import { Part, type PartOptions } from './part.js';
import type { RuntimeTasks } from './runtimes.js';
import type { KeptState } from './state.js';
import { engineOf, placeName } from './state-engine.js';
import { statePlace } from './state-place.js';

export type PartsOptions = Omit<PartOptions, 'places' | 'count'>;

/**
 * All parts of a state as one: what each has by itself is routed, merged or summed, and its life is theirs (`Part` has the states).
 * Where there is one, callers have that one's own store and use cases.
 */
export class Parts implements RuntimeTasks {
  readonly #options: PartsOptions;
  readonly #all: readonly Part[];
  readonly store: TaskStores;
  readonly tasks: ShownTasks;
  /** What is kept of plugins and their limits, which are no single part's. */
  readonly state: KeptState;
  /** What is measured of what is kept. */
  readonly kept: DaemonStateFigures;

  /** `count`: how many; a power of two. */
  constructor(count: number, options: PartsOptions) {
    const { host, runtimes } = options;
    const places = listPlaces();
    this.#options = options;
    const whole = partedOf(count, options);
    this.#all = Array.from({ length: count }, (_, index) => {
      return new Part({ ...options, ...whole, ...(whole && { engine: whole.parted.part(index) }), places, count });
    });
    this.store = joinStores(this.#all.map(({ store }) => store));
    const all = this.#all.map(({ tasks }) => tasks);
    this.tasks = joinTasks(all, { host, runtimes, store: this.store });
    this.state = (this.#all[0] as Part).state;
    this.kept = this.#all.length === 1 ? this.state : keptOf(this.#all.map(({ state }) => state));
  }

  /**
   * Takes in what the last run left, and accepts by what that served. Throws one of the STATE_ codes, and what `stop` says; nothing is held
   * then.
   */
  async load(stop?: AbortSignal): Promise<void> {
    const { clock, log } = this.#options;
    const lastRun = {
      route: (taskType: string, version: number) => this.state.lastRoute(taskType, version),
      served: () => this.state.lastServed(),
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

  /** Before anybody can call: without keys any handle is taken. Throws HANDLE_KEYS_UNREADABLE. */
  async trust(): Promise<void> {
    await Promise.all(this.#all.map((part) => part.trust()));
  }

  /** How `load` and `trust` are undone. */
  pushClose(releasers: Releasers): void {
    for (const part of this.#all) part.pushClose(releasers);
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

  keepRoutes(): void {
    this.state.keepRoutes(this.#options.host);
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
    this.state.keepLevels(this.#options.runtimes);
  }

  /** Why the state cannot be written for now; undefined while it can. */
  get trouble(): KeptState['trouble'] {
    return troubleOf(this.#all.map(({ state }) => state));
  }

  /** The part that holds a task. */
  #of(id: string): Part {
    const [only] = this.#all;
    if (this.#all.length === 1) return only as Part;
    return this.#all.find(({ store }) => store.entry(id) !== undefined) ?? (only as Part);
  }
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
