import type { Gate } from '../calls/types.js';
import type { HostedPlugin, PluginHost } from '../host/types.js';
import { getOrMake } from '../lib/get-or-make.js';
import type { Lane } from '../model/plugin-methods.js';
import type { RateLimiterConfig } from '../plugin-api/config.js';
import type { PluginRuntime, Runtimes } from '../runtime/runtime.js';
import type { TaskStores } from '../store/joined-stores.js';
import type { ShownTasks } from '../tasks/joined-tasks.js';
import type { ClusterFigures, DaemonFigures, LaneFigures, PluginFigures } from '../telemetry/index.js';
import type { DaemonAccess } from './access.js';
import { DAEMON_STATES, type DaemonState } from './lifecycle.js';

export interface FigureSources {
  readonly state: () => DaemonState;
  readonly access: Pick<DaemonAccess, 'certificates'>;
  readonly host: PluginHost;
  readonly runtimes: Runtimes;
  readonly store: TaskStores;
  readonly tasks: ShownTasks;
  readonly kept: DaemonStateFigures;
  readonly cluster: ClusterSource | undefined;
}

/** A replica, and the limits that it shares with others, if it does. */
export interface ClusterSource {
  figures(): ClusterFigures;
  limitsOf(plugin: string): PluginFigures['shared'];
}

/** What is measured of the state. */
export interface DaemonStateFigures {
  readonly sizeBytes: number;
  readonly lagMs: number;
  readonly trouble: { readonly code: string } | undefined;
  facts(): Readonly<Record<string, number>>;
}

/** What is measured at a scrape. */
export function figuresOf({
  state,
  access,
  host,
  runtimes,
  store,
  tasks,
  kept,
  cluster,
}: FigureSources): DaemonFigures {
  const unclear = unclearByPlugin(tasks);
  return {
    state: state(),
    states: DAEMON_STATES,
    finishedTasks: store.finished,
    evictions: store.evictions,
    watchers: store.watchers,
    lagged: store.watchersLagged,
    deletesOwed: tasks.owedDeletes.size,
    certificates: access.certificates,
    unservedTasks: unservedTasks(runtimes, store),
    cluster: cluster?.figures(),
    stateStore: { bytes: kept.sizeBytes, lagMs: kept.lagMs, trouble: kept.trouble?.code, facts: kept.facts() },
    plugins: host.plugins().map((plugin) => ({
      ...pluginFigures(plugin, runtimes.get(plugin.id), store),
      shared: cluster?.limitsOf(plugin.id),
      unclearCreates: unclear.get(plugin.id) ?? { looking: 0, left: 0 },
    })),
  };
}

/** All but those of the plugins that run. */
function unservedTasks(runtimes: Runtimes, store: TaskStores): number {
  let left = store.unfinished;
  for (const { plugin } of runtimes.all()) {
    const { accepted, creating, live } = store.counts(plugin.id);
    left -= accepted + creating + live;
  }
  return left;
}

function unclearByPlugin(tasks: ShownTasks): Map<string, { looking: number; left: number }> {
  const counts = new Map<string, { looking: number; left: number }>();
  for (const { identity, leftBecause } of tasks.unclearCreates.listed()) {
    const count = getOrMake(counts, identity.plugin, () => ({ looking: 0, left: 0 }));
    count[leftBecause === undefined ? 'looking' : 'left'] += 1;
  }
  return counts;
}

function pluginFigures(plugin: HostedPlugin, runtime: PluginRuntime | undefined, store: TaskStores): PluginFigures {
  const { id, state, restarts, rssBytes } = plugin;
  const base = { id, state, restarts, rssBytes, paused: runtime?.gate.paused ?? false };
  if (runtime === undefined) return base;
  const { accepted, creating, live } = store.counts(id);
  return {
    ...base,
    stages: { accepted, creating, live },
    lanes: {
      read: laneFigures(runtime.gate, 'read', plugin.config.readRateLimiter),
      write: laneFigures(runtime.gate, 'write', plugin.config.writeRateLimiter),
    },
    schedule: { ...runtime.refresher.stats(), due: runtime.refresher.countDue() },
    creates: { down: runtime.creates.downSinceMs !== undefined, held: runtime.creates.waiting },
    quotas: runtime.quotas.snapshot(),
  };
}

function laneFigures(gate: Gate, lane: Lane, { qps, burst }: RateLimiterConfig): LaneFigures {
  const { tokensNow, queued, inFlight } = gate.capacity(lane);
  return { tokensNow, queued, inFlight, qps, burst };
}
