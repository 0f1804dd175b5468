import type { Config } from '../config/index.js';
import type { HostedPlugin, PluginHost } from '../host/types.js';
import type { Clock } from '../lib/clock.js';
import { loopShares } from '../lib/loop-share.js';
import type { PluginLimits, SharedPlugin } from '../limits/shared-limits.js';
import { boundsOf, buildRuntime, type RuntimeOptions } from '../runtime/build-runtime.js';
import type { PluginRuntime, Runtimes } from '../runtime/runtime.js';
import type { Telemetry } from '../telemetry/index.js';
import { refreshTuning } from './options.js';
import type { KeptState } from './state.js';

type OwnedRuntime = PluginRuntime & { stop(): Promise<void> };

/** Whose tasks the runtimes work for. */
export interface RuntimeTasks {
  readonly store: RuntimeOptions['store'];
  /** Where a plugin's limits go on from. */
  readonly state: Pick<KeptState, 'levels' | 'keepPause' | 'outage'>;
  readonly report: RuntimeOptions['report'];
  /** As much of all tasks as is here, by their parts: above 0, up to 1. */
  readonly share: number;
  /** Goes on with what is there of its plugin. */
  recover(runtime: PluginRuntime): void;
}

export interface RuntimeParts {
  readonly config: Config;
  readonly clock: Clock;
  readonly random: () => number;
  readonly telemetry: Telemetry;
  /** Whether this replica may call remotes; it always may unless given. */
  readonly mayWork?: (() => boolean) | undefined;
  /** The limits of a plugin where replicas share them. */
  readonly limits?: ((plugin: string, of: SharedPlugin) => PluginLimits) | undefined;
}

/**
 * The runtimes of all plugins, made once the plugins are loaded. States: none yet, and those of configured plugins are to
 * come → `build` → built.
 */
export class RuntimeRegistry implements Runtimes {
  readonly #parts: RuntimeParts;
  readonly #runtimes = new Map<string, OwnedRuntime>();
  #built = false;

  constructor(parts: RuntimeParts) {
    this.#parts = parts;
  }

  get(pluginId: string): PluginRuntime | undefined {
    return this.#runtimes.get(pluginId);
  }

  comes(pluginId: string): boolean {
    return !this.#built && Object.hasOwn(this.#parts.config.plugins, pluginId);
  }

  all(): Iterable<PluginRuntime> {
    return this.#runtimes.values();
  }

  /**
   * A plugin that failed to load gets one as well: a reload may bring it to life. One that skipped itself gets its own
   * when a reload does; until then its handles belong to another daemon. Each goes on with what the parts of the state have of its plugin.
   */
  build(host: PluginHost, tasks: RuntimeTasks): void {
    this.#built = true;
    for (const plugin of host.plugins()) {
      if (plugin.state !== 'skipped') this.#add(plugin, tasks);
      else {
        const unlisten = plugin.onStateChange(({ state }) => {
          if (state !== 'serving') return;
          unlisten();
          this.#add(plugin, tasks);
        });
      }
    }
  }

  /** Calls may leave again. */
  look(): void {
    for (const { gate } of this.#runtimes.values()) gate.look();
  }

  /** Starts no further poll; resolves when no read is in flight. */
  async stopPolling(): Promise<void> {
    await Promise.all([...this.#runtimes.values()].map(({ refresher }) => refresher.stop()));
  }

  /** Starts no further call; resolves when none is in flight. */
  async close(): Promise<void> {
    await Promise.all([...this.#runtimes.values()].map((runtime) => runtime.stop()));
  }

  #add(plugin: HostedPlugin, tasks: RuntimeTasks): void {
    const runtime = this.#make(plugin, tasks);
    this.#runtimes.set(plugin.id, runtime);
    tasks.recover(runtime);
  }

  #make(plugin: HostedPlugin, tasks: RuntimeTasks): OwnedRuntime {
    const { config, clock, random, telemetry, mayWork, limits } = this.#parts;
    const { store, state, report } = tasks;
    // Every plugin has its id from the configuration.
    const gate = config.plugins[plugin.id]!;
    const maxWaiting = config.store.waitingLine.max;
    const events = telemetry.quotaEvents(plugin.id);
    const shared = limits?.(plugin.id, { maxWaiting, events, bounds: () => boundsOf(plugin, gate) });
    return buildRuntime({
      plugin,
      clock,
      random,
      store,
      gate,
      shared,
      refresh: refreshTuning(config),
      snapshot: state.levels(plugin.id),
      keepPause: (lane, untilMs) => state.keepPause(plugin.id, lane, untilMs),
      outages: { reads: state.outage(plugin.id, 'read'), creates: state.outage(plugin.id, 'write') },
      mayWork,
      maxWaiting,
      events: { ...telemetry.gateEvents, ...telemetry.refreshEvents(plugin.id), ...events },
      loopShare: loopShares(),
      limitShare: shared && (() => tasks.share),
      report,
    });
  }
}
