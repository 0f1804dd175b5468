import type { Config } from '../config/index.js';
import type { PluginHost } from '../host/types.js';
import type { Clock } from '../lib/clock.js';
import type { SecretMasks } from '../lib/secrets.js';
import type { Runtimes } from '../runtime/runtime.js';
import type { StateEngine } from '../state/index.js';
import { ReplayCache } from '../store/replay-cache.js';
import { TaskStore } from '../store/task-store.js';
import type { TasksDeps } from '../tasks/deps.js';
import { HandleTrust } from '../tasks/read/handle-trust.js';
import { createTasks, type TasksControl } from '../tasks/tasks.js';
import type { Log, Telemetry } from '../telemetry/index.js';
import { HandleKeyWatch } from './handle-keys.js';
import type { Releasers } from './lifecycle.js';
import { storeBounds, tasksOptions } from './options.js';
import { KeptState } from './state.js';

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
}

/** Answers of a Do that are kept for repeats. */
const REPLAY_BOUNDS = { max: 10_000, maxBytes: 64 * 1024 * 1024 } as const;

/**
 * Everything that has one state: tasks in memory, what is kept of them, by which keys their handles are trusted, and the use cases over
 * them. What it has in common with others (plugins, their runtimes, ports) is handed in. The daemon makes one.
 *
 * States: made, and empty → `load` → `trust` → `serve`, once the runtimes are made → `drain` → `finish` → `keepLevels`, once no call is
 * in flight → what `pushClose` pushed, which may also follow each of the first three.
 */
export class Part {
  readonly store: TaskStore;
  readonly state: KeptState;
  readonly tasks: TasksControl;
  readonly #options: PartOptions;
  readonly #replays: ReplayCache;
  readonly #handleKeys: HandleKeyWatch;

  constructor(options: PartOptions) {
    const { config, clock, masks, log, telemetry } = options;
    const { stateEvents, taskEvents: events } = telemetry;
    this.#options = options;
    this.state = new KeptState({ ...options, events: stateEvents });
    const { feed } = this.state;
    this.store = new TaskStore({ clock, feed, ...storeBounds(config), events });
    this.#replays = new ReplayCache({ clock, feed, ttlMs: config.tasks.doReplayTtlMs, ...REPLAY_BOUNDS });
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
      options: tasksOptions(config),
      events,
      handles: trust,
      writeOutputs,
    });
  }

  /**
   * Takes in what the last run left, and accepts by what that served. Throws one of the STATE_ codes, and what `stop` says; nothing is held
   * then.
   */
  async load(stop?: AbortSignal): Promise<void> {
    const { clock, log } = this.#options;
    this.tasks.starting({
      route: (taskType, version) => this.state.lastRoute(taskType, version),
      served: () => this.state.lastServed(),
    });
    const startMs = clock.now();
    const { tasks, at, because } = await this.state.open(this.store, this.#replays, stop);
    if (because !== undefined) log.emit('state.not_kept', { because });
    if (at === undefined) return;
    const tookMs = Math.round(clock.now() - startMs);
    log.emit('state.loaded', { at, tasks, deletesOwed: this.store.owed.size, tookMs });
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

  /** The runtimes go on with what it has: from here on new tasks go by what is loaded, which the next start is to know. */
  serve(): void {
    this.tasks.recovered();
    this.keepRoutes();
  }

  keepRoutes(): void {
    this.state.keepRoutes(this.#options.host);
  }

  /** Streams end with a resume token, and nothing new is accepted unless the state is durable. */
  drain(): void {
    this.tasks.drain();
  }

  /** Starts nothing new; resolves when nothing of the use cases is in flight. */
  finish(): Promise<void> {
    return this.tasks.stop();
  }

  /** Nothing takes from the plugins' buckets any more. */
  keepLevels(): void {
    this.state.keepLevels(this.#options.runtimes);
  }
}
