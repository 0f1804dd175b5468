import type { Config } from '../config/index.js';
import type { PluginHost } from '../host/types.js';
import type { Clock } from '../lib/clock.js';
import type { Runtimes } from '../runtime/runtime.js';
import type { StateEngine, StateEvents } from '../state/index.js';
import { ReplayCache } from '../store/replay-cache.js';
import { type ListPlaces, TaskStore } from '../store/task-store.js';
import type { TasksDeps } from '../tasks/deps.js';
import { HandleTrust } from '../tasks/read/handle-trust.js';
import { createTasks, type TasksControl } from '../tasks/tasks.js';
import type { Telemetry } from '../telemetry/index.js';
import type { KeyTaker } from './handle-keys.js';
import { shareOf, storeBounds, tasksOptions } from './options.js';
import { KeptState, type OpenedState } from './state.js';

export interface PartOptions {
  readonly config: Config;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly random: () => number;
  readonly telemetry: Telemetry;
  readonly events: StateEvents;
  readonly host: PluginHost;
  readonly runtimes: Runtimes;
  readonly writeOutputs: TasksDeps['writeOutputs'];
  /** Whether the state is this daemon's for sure; absent where there are no replicas. */
  readonly mayWork: (() => boolean) | undefined;
  /** Told of each secret by which the state is reached, before it is used. */
  readonly onSecret: (secret: string) => void;
  /** Instead of what the config says keeps the state, and where that keeps it, in words. */
  readonly engine: StateEngine | undefined;
  readonly at: string | undefined;
  /** How many there are: bounds are divided among them. */
  readonly count: number;
  readonly places: ListPlaces;
}

/** Answers of a Do that are kept for repeats. */
const REPLAY_BOUNDS = { max: 10_000, maxBytes: 64 * 1024 * 1024 } as const;

/**
 * Everything that has one state: tasks in memory, what is kept of them, by which keys their handles are trusted, and the use cases over
 * them. What it has in common with others (plugins, their runtimes, ports) is handed in. `Parts` has all of a state.
 *
 * States: made, and empty → `load` → loaded, and to be given the keys of its handles → serving, once the runtimes go on with what it has
 * → draining and finished, by its use cases → `state.close`, which may also follow each of the first three.
 */
export class Part {
  readonly store: TaskStore;
  readonly state: KeptState;
  readonly tasks: TasksControl;
  readonly #replays: ReplayCache;
  readonly #trust: HandleTrust;

  constructor(options: PartOptions) {
    const { config, clock, telemetry, count, places } = options;
    const { taskEvents: events } = telemetry;
    this.state = new KeptState(options);
    const { feed } = this.state;
    this.store = new TaskStore({ clock, feed, ...storeBounds(config, count), places, events });
    const { max, maxBytes } = REPLAY_BOUNDS;
    const replays = { max: shareOf(max, count), maxBytes: shareOf(maxBytes, count) };
    this.#replays = new ReplayCache({ clock, feed, ttlMs: config.tasks.doReplayTtlMs, ...replays });
    this.#trust = new HandleTrust({ clock, graceMs: config.handles.graceMs, events });
    const { random, host, runtimes, mayWork, writeOutputs } = options;
    this.tasks = createTasks({
      clock,
      random,
      host,
      runtimes,
      mayWork,
      store: this.store,
      replays: this.#replays,
      options: tasksOptions(config, count),
      events,
      handles: this.#trust,
      writeOutputs,
    });
  }

  /** Takes in what the last run left. Throws one of the STATE_ codes, and what `stop` says; nothing is held then. */
  load(stop?: AbortSignal): Promise<OpenedState> {
    return this.state.open(this.store, this.#replays, stop);
  }

  /** By whom its handles are trusted, and by the key of its state, once that is loaded. */
  get signer(): KeyTaker {
    return { trust: this.#trust, kept: this.state.handleKey };
  }
}
