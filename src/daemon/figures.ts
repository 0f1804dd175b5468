import type { Gate, Lane } from '../calls/types.js';
import type { HostedPlugin, PluginHost } from '../host/types.js';
import type { RateLimiterConfig } from '../plugin-api/config.js';
import type { TaskStore } from '../store/task-store.js';
import type { PluginRuntime, Runtimes } from '../tasks/runtime.js';
import type { TasksControl } from '../tasks/tasks.js';
import type { DaemonFigures, LaneFigures, PluginFigures } from '../telemetry/index.js';
import { DAEMON_STATES, type DaemonState } from './lifecycle.js';

export interface FigureSources {
  readonly state: () => DaemonState;
  readonly host: PluginHost;
  readonly runtimes: Runtimes;
  readonly store: TaskStore;
  readonly tasks: TasksControl;
}

/** What is measured at a scrape. */
export function figuresOf({ state, host, runtimes, store, tasks }: FigureSources): DaemonFigures {
  return {
    state: state(),
    states: DAEMON_STATES,
    finishedTasks: store.finished,
    evictions: store.evictions,
    watchers: store.watchers,
    lagged: store.watchersLagged,
    deletesOwed: tasks.owedDeletes.size,
    plugins: host.plugins().map((plugin) => pluginFigures(plugin, runtimes.get(plugin.id), store)),
  };
}

function pluginFigures(plugin: HostedPlugin, runtime: PluginRuntime | undefined, store: TaskStore): PluginFigures {
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
    schedule: runtime.refresher.stats(),
    quotas: runtime.quotas.snapshot(),
  };
}

function laneFigures(gate: Gate, lane: Lane, { qps, burst }: RateLimiterConfig): LaneFigures {
  const { tokensNow, queued, inFlight } = gate.capacity(lane);
  return { tokensNow, queued, inFlight, qps, burst };
}
