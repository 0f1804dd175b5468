import type { HostedPlugin, LoadReport } from '../host/types.js';
import type { QuotaNamespaceSnapshot } from '../limits/types.js';
import type { PluginReport, PluginReportState } from '../model/plugin-report.js';
import type { PluginRuntime, Runtimes } from '../runtime/runtime.js';
import type { TaskStores } from '../store/joined-stores.js';
import type { TasksDeps } from './deps.js';

/** What the last run served: told until the plugins are loaded. */
export interface ServedBefore {
  readonly id: string;
  readonly kind: 'async' | 'sync';
  readonly isDefault: boolean;
  readonly taskTypes: HostedPlugin['taskTypes'];
}

export interface LastRun {
  /** The id of the plugin that served a task type. Throws where nobody did. */
  route(taskType: string, version: number): string;
  served(): readonly ServedBefore[];
}

type CountedTasks = Pick<TaskStores, 'counts'>;

export type ReportParts = Pick<TasksDeps, 'host' | 'runtimes'> & { readonly store: CountedTasks };

/** The load report of a daemon, whatever it knows of its plugins yet. */
export class LoadReports {
  readonly #deps: ReportParts;
  /** Set until the plugins are loaded. */
  lastRun: LastRun | undefined;
  loaded: LoadReport | undefined;

  constructor(deps: ReportParts) {
    this.#deps = deps;
  }

  list(): PluginReport[] {
    const { host, runtimes, store } = this.#deps;
    const plugins = host.plugins();
    if (this.lastRun === undefined) return reportPlugins(plugins, this.loaded, runtimes, store);
    return reportStarting(plugins, this.lastRun.served(), runtimes, store);
  }
}

/**
 * The plugins while they are still to be loaded. An engine that asks now and finds its task types nowhere goes on without
 * them (FIELD 17), while a task of theirs is accepted: so they are told as the last run served them.
 */
function reportStarting(
  plugins: readonly HostedPlugin[],
  before: readonly ServedBefore[],
  runtimes: Runtimes,
  store: CountedTasks,
): PluginReport[] {
  const known = reportPlugins(plugins, undefined, runtimes, store);
  const told = new Set(known.filter(({ kind }) => kind !== undefined).map(({ id }) => id));
  const kept = before.filter(({ id }) => runtimes.comes(id) && !told.has(id));
  const replaced = new Set(kept.map(({ id }) => id));
  return [
    ...known.filter(({ id }) => !replaced.has(id)),
    ...kept.map(({ id, kind, isDefault, taskTypes }): PluginReport => {
      const counts = store.counts(id);
      return {
        ...EMPTY,
        id,
        kind,
        isDefault,
        taskTypes: taskTypes.map(({ name, versions }) => ({ name, versions: versions ?? [] })),
        state: 'STARTING',
        stateReason: 'the daemon starts; its task types are those of the last run',
        stateCode: '',
        source: plugins.find((plugin) => plugin.id === id)?.source ?? '',
        liveTasks: counts.live,
        waitingTasks: counts.accepted + counts.creating,
      };
    }),
  ];
}

/** The load report, from memory (design 1a, ListPlugins): every configured plugin, those that never got an id included. */
function reportPlugins(
  plugins: readonly HostedPlugin[],
  loaded: LoadReport | undefined,
  runtimes: Runtimes,
  store: CountedTasks,
): PluginReport[] {
  const known = new Set(plugins.map((plugin) => plugin.id));
  const nameless = (loaded?.results ?? []).filter(({ pluginId }) => pluginId === undefined || !known.has(pluginId));
  return [
    ...plugins.map((plugin) => reportOne(plugin, runtimes.get(plugin.id), store)),
    ...nameless.map(
      (result): PluginReport => ({
        ...EMPTY,
        id: result.label,
        state: NAMELESS[result.outcome],
        stateReason: result.error?.message ?? '',
        stateCode: result.error?.code ?? '',
        source: result.source,
      }),
    ),
  ];
}

/** By what became of their start. */
const NAMELESS = { loaded: 'FAILED', failed: 'FAILED', skipped: 'SKIPPED', starved: 'RESTARTING' } as const;

const EMPTY = {
  version: '',
  kind: undefined,
  taskTypes: [],
  isDefault: false,
  config: undefined,
  quotas: [],
  liveTasks: 0,
  waitingTasks: 0,
  pid: 0,
  restarts: 0,
  rssBytes: 0,
  environment: [],
} as const;

function reportOne(plugin: HostedPlugin, runtime: PluginRuntime | undefined, store: CountedTasks): PluginReport {
  const counts = store.counts(plugin.id);
  const { state, reason } = stateOf(plugin, runtime);
  // One that was never loaded, such as one that the machine has nothing left for, has neither a kind nor limits yet.
  const loaded = plugin.kind !== undefined && plugin.state !== 'failed' && plugin.state !== 'skipped';
  return {
    id: plugin.id,
    version: plugin.version,
    kind: loaded ? plugin.kind : undefined,
    taskTypes: plugin.taskTypes.map(({ name, versions }) => ({ name, versions: versions ?? [] })),
    isDefault: plugin.isDefault,
    state,
    stateReason: reason,
    stateCode: plugin.stateCode ?? '',
    source: plugin.source,
    config: loaded ? plugin.config : undefined,
    quotas: quotaRows(runtime?.quotas.snapshot() ?? []),
    liveTasks: counts.live,
    waitingTasks: counts.accepted + counts.creating,
    pid: plugin.pid ?? 0,
    restarts: plugin.restarts,
    rssBytes: plugin.rssBytes,
    environment: plugin.environment,
  };
}

const STATES: Readonly<Record<HostedPlugin['state'], PluginReportState>> = {
  starting: 'STARTING',
  serving: 'SERVING',
  restarting: 'RESTARTING',
  quarantined: 'QUARANTINED',
  failed: 'FAILED',
  skipped: 'SKIPPED',
  stopped: 'STOPPED',
};

function stateOf(
  plugin: HostedPlugin,
  runtime: PluginRuntime | undefined,
): { state: PluginReportState; reason: string } {
  const state = STATES[plugin.state];
  if (state !== 'SERVING' || runtime === undefined) return { state, reason: plugin.stateReason };
  if (runtime.gate.paused) return { state: 'PAUSED', reason: 'paused by an operator' };
  const down = [
    downLine('reads fail', runtime.refresher.stats().remoteDownSinceMs),
    downLine('creates fail', runtime.creates.downSinceMs),
  ].filter((line) => line !== undefined);
  if (down.length > 0) return { state: 'REMOTE_DOWN', reason: `the remote is taken to be down: ${down.join(', ')}` };
  return { state, reason: plugin.stateReason };
}

function downLine(what: string, sinceMs: number | undefined): string | undefined {
  return sinceMs === undefined ? undefined : `${what} since ${new Date(sinceMs).toISOString()}`;
}

/** A plugin derives quota namespaces from tasks, so there may be more than an engine's client takes in one answer. */
const MAX_QUOTA_ROWS = 1_000;

/** All rows with a total; of the others those that are used or waited for most. */
function quotaRows(snapshot: readonly QuotaNamespaceSnapshot[]): PluginReport['quotas'] {
  if (snapshot.length <= MAX_QUOTA_ROWS) return snapshot.map(quotaOf);
  const limited = snapshot.filter(({ total }) => total !== undefined);
  const rest = snapshot
    .filter(({ total }) => total === undefined)
    .sort((a, b) => b.used + b.waiting - (a.used + a.waiting));
  return [...limited, ...rest.slice(0, Math.max(0, MAX_QUOTA_ROWS - limited.length))].map(quotaOf);
}

function quotaOf(quota: QuotaNamespaceSnapshot): PluginReport['quotas'][number] {
  const { quotaNamespace, total, used, waiting } = quota;
  return { namespace: quotaNamespace, total: total ?? 0, used, waiting };
}
