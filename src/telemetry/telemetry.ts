import type { RpcMetrics } from '../model/events/rpc.js';
import {
  type AdapterParts,
  gateAdapter,
  hostAdapter,
  quotaAdapter,
  readTallies,
  refreshAdapter,
  rpcLogAdapter,
  taskAdapter,
} from './adapters.js';
import { CustomMetrics } from './custom-metrics.js';
import { type DaemonFigures, type PluginFigures, type SharedLaneFigures, writeFigures } from './figures.js';
import type { Log } from './logger.js';
import { MetricSet, type Sample } from './metric-set.js';
import { createRpcMetrics } from './rpc-metrics.js';

export interface TelemetryOptions {
  readonly log: Log;
  /** The daemon's version. */
  readonly version: string;
  /** Ids of the configured plugins; no other id becomes a label. */
  readonly plugins: readonly string[];
  /** Whether CPU, memory, event-loop delay and the like of the process are measured; once a process. Default true. */
  readonly processMetrics?: boolean;
  /** Monotonic, in milliseconds; the process's own clock unless given. */
  readonly now?: () => number;
}

import { accessAdapter } from './access.js';
import { clusterAdapter } from './cluster.js';
import { spreadAdapter } from './spread.js';
import { stateAdapter } from './state.js';

/** Counters of limits that replicas share, which are kept with those. */
const SHARED_TOTALS = [
  ['pluginhost_limit_drawn_calls_total', 'drawn'],
  ['pluginhost_limit_lapsed_calls_total', 'lapsed'],
  ['pluginhost_limit_granted_calls_total', 'granted'],
] as const;
const LANES = ['read', 'write'] as const;

/**
 * All that one daemon measures and logs. Nothing here is shared between daemons.
 *
 * It has no states: the figures of a scrape are kept until all metrics of it have read them.
 */
export class Telemetry {
  readonly log: Log;
  readonly metrics = new MetricSet();
  readonly rpcMetrics: RpcMetrics;
  /** Counts a connection that was closed for a bound. */
  readonly connectionCut: (reason: string) => void;
  readonly gateEvents: ReturnType<typeof gateAdapter>;
  readonly hostEvents: ReturnType<typeof hostAdapter>;
  readonly taskEvents: ReturnType<typeof taskAdapter>;
  readonly stateEvents: ReturnType<typeof stateAdapter>;
  readonly clusterEvents: ReturnType<typeof clusterAdapter>;
  readonly spreadEvents: ReturnType<typeof spreadAdapter>;
  readonly accessEvents: ReturnType<typeof accessAdapter>;
  readonly rpcLog: ReturnType<typeof rpcLogAdapter>;
  readonly #parts: AdapterParts;
  readonly #reads: ReturnType<typeof readTallies>;
  #source: (() => DaemonFigures) | undefined;
  #figures: DaemonFigures | undefined;

  constructor(options: TelemetryOptions) {
    this.log = options.log;
    const known = new Set(options.plugins);
    const label = (plugin: string) => (known.has(plugin) ? plugin : 'unregistered');
    const set = this.metrics;
    const dropped = set.counter('pluginhost_plugin_custom_dropped_total');
    const custom = new CustomMetrics(set, (plugin) => dropped.inc({ plugin }));
    this.#parts = { set, log: options.log, custom, label, now: options.now ?? (() => performance.now()) };
    if (options.processMetrics ?? true) set.addProcessMetrics();
    const version = options.version;
    set.gauge('pluginhost_build_info').set({ version, node_version: process.version }, 1);
    this.rpcMetrics = createRpcMetrics(set);
    const cut = set.counter('pluginhost_connections_cut_total');
    this.connectionCut = (reason) => cut.inc({ reason });
    this.#reads = readTallies(set);
    this.gateEvents = gateAdapter(this.#parts);
    this.hostEvents = hostAdapter(this.#parts);
    this.taskEvents = taskAdapter(this.#parts);
    this.stateEvents = stateAdapter(this.#parts);
    this.clusterEvents = clusterAdapter(this.#parts);
    this.spreadEvents = spreadAdapter(this.#parts);
    this.accessEvents = accessAdapter(this.#parts);
    this.rpcLog = rpcLogAdapter(this.#parts);
    this.#collectTotals();
  }

  refreshEvents(pluginId: string): ReturnType<typeof refreshAdapter> {
    return refreshAdapter(this.#parts, this.#reads, pluginId);
  }

  quotaEvents(pluginId: string): ReturnType<typeof quotaAdapter> {
    return quotaAdapter(this.#parts, pluginId);
  }

  /** Says where the figures come from; asked at each scrape, synchronously. */
  measure(source: () => DaemonFigures): void {
    this.#source = source;
  }

  /** The metrics as Prometheus text. */
  async scrape(): Promise<{ readonly text: string; readonly contentType: string }> {
    this.#figures = this.#source?.();
    if (this.#figures !== undefined) writeFigures(this.metrics, this.#figures);
    return { text: await this.metrics.text(), contentType: this.metrics.contentType };
  }

  /** Counters that others keep. */
  #collectTotals(): void {
    const total = (value: (figures: DaemonFigures) => number) => () =>
      this.#figures === undefined ? [] : [{ labels: {}, value: value(this.#figures) }];
    this.metrics.collected(
      'pluginhost_store_evictions_total',
      total((figures) => figures.evictions),
    );
    this.metrics.collected(
      'pluginhost_watch_lagged_total',
      total((figures) => figures.lagged),
    );
    for (const [name, key] of SHARED_TOTALS) {
      this.metrics.collected(name, () => sharedSamples(this.#figures?.plugins ?? [], key));
    }
    this.metrics.collected('pluginhost_log_lines_dropped_total', () => [{ labels: {}, value: this.log.dropped() }]);
    this.metrics.collected('pluginhost_plugin_restarts_total', () =>
      (this.#figures?.plugins ?? []).map(({ id, restarts }: PluginFigures) => ({
        labels: { plugin: id },
        value: restarts,
      })),
    );
  }
}

function sharedSamples(plugins: readonly PluginFigures[], key: keyof SharedLaneFigures): Sample[] {
  return plugins.flatMap(({ id, shared }) =>
    shared === undefined ? [] : LANES.map((lane) => ({ labels: { plugin: id, lane }, value: shared[lane][key] })),
  );
}
