import type { Config } from '../config/index.js';
import type { PluginHost } from '../host/types.js';
import type { Clock } from '../lib/clock.js';
import type { SecretMasks } from '../lib/secrets.js';
import type { Runtimes } from '../runtime/runtime.js';
import type { StateEngine } from '../state/index.js';
import { ReplayCache } from '../store/replay-cache.js';
import { type ListPlaces, TaskStore } from '../store/task-store.js';
import type { TasksDeps } from '../tasks/deps.js';
import { HandleTrust } from '../tasks/read/handle-trust.js';
import { createTasks, type TasksControl } from '../tasks/tasks.js';
import type { Log, Telemetry } from '../telemetry/index.js';
import { HandleKeyWatch } from './handle-keys.js';
import type { Releasers } from './lifecycle.js';
import { shareOf, storeBounds, tasksOptions } from './options.js';
import { KeptState, type OpenedState } from './state.js';

export interface PartOptions {
  readonly config: Config;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly random: () => number;
  readonly masks: SecretMasks;
  readonly log: Log;
  readonly telemetry: Telemetry;
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
 * States: made, and empty → `load` → `trust` → serving, once the runtimes go on with what it has → draining and finished, by its use cases
 * → what `pushClose` pushed, which may also follow each of the first three.
 */
export class Part {
  readonly store: TaskStore;
  readonly state: KeptState;
  readonly tasks: TasksControl;
  readonly #replays: ReplayCache;
  readonly #handleKeys: HandleKeyWatch;

  constructor(options: PartOptions) {
    const { config, clock, masks, log, telemetry, count, places } = options;
    const { stateEvents, taskEvents: events } = telemetry;
    this.state = new KeptState({ ...options, events: stateEvents });
    const { feed } = this.state;
    this.store = new TaskStore({ clock, feed, ...storeBounds(config, count), places, events });
    const { max, maxBytes } = REPLAY_BOUNDS;
    const replays = { max: shareOf(max, count), maxBytes: shareOf(maxBytes, count) };
    this.#replays = new ReplayCache({ clock, feed, ttlMs: config.tasks.doReplayTtlMs, ...replays });
    const trust = new HandleTrust({ clock, graceMs: config.handles.graceMs, events });
    this.#handleKeys = new HandleKeyWatch({ file: config.handles.keysFile, trust, masks, clock, log });
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
      handles: trust,
      writeOutputs,
    });
  }

  /** Takes in what the last run left. Throws one of the STATE_ codes, and what `stop` says; nothing is held then. */
  load(stop?: AbortSignal): Promise<OpenedState> {
    return this.state.open(this.store, this.#replays, stop);
  }

  /** Before anybody can call: without keys any handle is taken. Throws HANDLE_KEYS_UNREADABLE. */
  trust(): Promise<void> {
    return this.#handleKeys.start(this.state.handleKey);
  }

  /** How `load` and `trust` are undone. */
  pushClose(releasers: Releasers): void {
    releasers.push('state', () => this.state.close());
    releasers.push('watch of handle keys', () => this.#handleKeys.stop());
  }
}
