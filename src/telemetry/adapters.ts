import { HostError, messageOf, stackOf } from '../errors/index.js';
import { Rarely } from '../lib/rarely.js';
import type { FailureKind, PluginFailure, PluginMethod } from '../model/plugin-call.js';
import { methodTraits } from '../model/plugin-methods.js';
import type { TaskRecord } from '../model/task-record.js';
import type { CustomMeasurement, CustomMetrics } from './custom-metrics.js';
import type { Log } from './logger.js';
import type { MetricSet } from './metric-set.js';

/**
 * The functions that other rooms call when something happens, turned into metrics and log lines. Their shapes are those
 * of the events interfaces of calls/, refresh/, host/, tasks/ and rpc/, which telemetry/ cannot import.
 */
export interface AdapterParts {
  readonly set: MetricSet;
  readonly log: Log;
  readonly custom: CustomMetrics;
  /** The label of a plugin: its id, or `unregistered`, since ids also arrive in handles that others send. */
  readonly label: (plugin: string) => string;
  /** Monotonic, in milliseconds. */
  readonly now: () => number;
}

/** Between two warnings of one plugin about its metas. */
const META_PAUSE_MS = 3_600_000;

/** For `GateEvents` of calls/. */
export function gateAdapter({ set, log, label }: AdapterParts) {
  const calls = set.counter('pluginhost_plugin_calls_total');
  const seconds = set.histogram('pluginhost_plugin_call_seconds');
  const items = set.histogram('pluginhost_plugin_batch_items');
  const wait = set.histogram('pluginhost_limit_wait_seconds');
  const throttles = set.counter('pluginhost_throttles_total');
  const pauses = set.counter('pluginhost_throttle_pause_seconds_total');
  const rejections = set.counter('pluginhost_limit_rejections_total');
  return {
    callFinished(event: {
      readonly plugin: string;
      readonly method: PluginMethod;
      readonly outcome: 'ok' | FailureKind;
      readonly waitMs: number;
      readonly durationMs: number;
      readonly batchSize: number;
    }): void {
      const plugin = label(event.plugin);
      const { method, outcome } = event;
      const { lane, items: batches } = methodTraits(method);
      calls.inc({ plugin, method, outcome });
      seconds.observe({ plugin, method }, event.durationMs / 1000);
      if (lane !== undefined) wait.observe({ plugin, lane }, event.waitMs / 1000);
      if (batches !== undefined) items.observe({ plugin }, event.batchSize);
      if (outcome !== 'ok') log.emit('call.failed', { plugin, method, outcome, tookMs: Math.round(event.durationMs) });
    },
    throttled(event: { readonly plugin: string; readonly lane: 'read' | 'write'; readonly pauseMs: number }): void {
      const labels = { plugin: label(event.plugin), lane: event.lane };
      throttles.inc(labels);
      pauses.inc(labels, Math.max(0, event.pauseMs) / 1000);
      log.emit('call.throttled', { ...labels, pauseMs: Math.round(event.pauseMs) });
    },
    rejected(event: { readonly plugin: string; readonly method: PluginMethod; readonly code: string }): void {
      const labels = { plugin: label(event.plugin), method: event.method, code: event.code };
      rejections.inc(labels);
      log.emit('call.rejected', labels);
    },
  };
}

/** For `RefreshEvents` of refresh/ and `CreateLaneEvents` of tasks/, which are per plugin. */
export function refreshAdapter({ set, log, label }: AdapterParts, pluginId: string) {
  const plugin = label(pluginId);
  const reads = set.counter('pluginhost_reads_started_total');
  const lag = set.histogram('pluginhost_schedule_lag_seconds').labels(plugin);
  const outages = set.counter('pluginhost_remote_outages_total').labels(plugin);
  const createOutages = set.counter('pluginhost_creates_outages_total').labels(plugin);
  return {
    readStarted(event: { readonly purpose: 'poll' | 'probe' | 'get'; readonly lagMs: number }): void {
      reads.inc({ plugin, purpose: event.purpose });
      lag.observe(Math.max(0, event.lagMs) / 1000);
    },
    remoteDown(event: { readonly failure: PluginFailure }): void {
      outages.inc();
      log.emit('remote.down', { plugin, code: event.failure.code, error: event.failure.message });
    },
    notFoundWave(event: { readonly batchKey: string; readonly tasks: number; readonly of: number }): void {
      log.emit('remote.wave', { plugin, batchKey: event.batchKey, tasks: event.tasks, of: event.of });
    },
    notFoundWaveOver(event: { readonly lastedMs: number; readonly found: number; readonly lost: number }): void {
      log.emit('remote.wave_over', {
        plugin,
        lastedMs: Math.round(event.lastedMs),
        found: event.found,
        lost: event.lost,
      });
    },
    remoteUp(event: { readonly downMs: number }): void {
      log.emit('remote.up', { plugin, downMs: Math.round(event.downMs) });
    },
    createsDown({
      failure,
    }: {
      readonly failure: { readonly code: string; readonly message: string } | undefined;
    }): void {
      createOutages.inc();
      log.emit('creates.down', { plugin, code: failure?.code ?? '', error: failure?.message ?? '' });
    },
    createsUp(event: { readonly downMs: number }): void {
      log.emit('creates.up', { plugin, downMs: Math.round(event.downMs) });
    },
  };
}

/** For `QuotaEvents` of limits/, which are per plugin. */
export function quotaAdapter({ set, label }: AdapterParts, pluginId: string) {
  const wait = set.histogram('pluginhost_quota_wait_seconds').labels(label(pluginId));
  return {
    granted(event: { readonly waitMs: number; readonly forced: boolean }): void {
      if (!event.forced) wait.observe(event.waitMs / 1000);
    },
  };
}

const TROUBLE = new Set(['restarting', 'quarantined', 'failed']);

/** For `HostEvents` of host/. */
export function hostAdapter({ log, custom, label }: AdapterParts) {
  return {
    log(event: {
      readonly pluginId: string;
      readonly level: 'debug' | 'info' | 'warn' | 'error';
      readonly message: string;
      readonly fields: Readonly<Record<string, unknown>>;
      readonly source: string;
    }): void {
      const { pluginId: plugin, message: line, source, fields } = event;
      const data = Object.keys(fields).length > 0 ? fields : undefined;
      log.emit(`plugin.log.${event.level}`, { plugin, line, source, data });
    },
    metric(event: CustomMeasurement & { readonly pluginId: string }): void {
      custom.add(label(event.pluginId), event);
    },
    lifecycle(event: {
      readonly pluginId: string;
      readonly state: string;
      readonly previous: string;
      readonly reason: string;
      readonly code: string | undefined;
      readonly pid: number | undefined;
      readonly restarts: number;
    }): void {
      // Each line has the daemon's own pid already.
      const { pluginId: plugin, pid: processId, ...rest } = event;
      log.emit(TROUBLE.has(event.state) ? 'plugin.trouble' : 'plugin.state', { plugin, processId, ...rest });
    },
    changed(event: {
      readonly pluginId: string;
      readonly version: string;
      readonly previousVersion: string;
      readonly digest: string;
      readonly previousDigest: string;
    }): void {
      const { pluginId: plugin, ...rest } = event;
      log.emit('plugin.changed', { plugin, ...rest });
    },
  };
}

/** For the load report of host/: one line an entry. */
export function logLoadReport(
  log: Log,
  results: readonly {
    readonly label: string;
    readonly source: string;
    readonly required: boolean;
    readonly outcome: 'loaded' | 'skipped' | 'failed';
    readonly error: HostError | undefined;
  }[],
): void {
  for (const { label: plugin, source, required, outcome, error } of results) {
    if (outcome === 'loaded') log.emit('plugin.loaded', { plugin, source });
    else if (outcome === 'skipped') log.emit('plugin.skipped', { plugin, error: error?.message });
    else log.emit('plugin.load_failed', { plugin, source, required, code: error?.code, error: error?.message });
  }
}

/** For `TaskEvents` of tasks/. */
export function taskAdapter({ set, log, label, now }: AdapterParts) {
  const counters = {
    accepted: set.counter('pluginhost_tasks_accepted_total'),
    created: set.counter('pluginhost_tasks_created_total'),
    adopted: set.counter('pluginhost_tasks_adopted_total'),
    ended: set.counter('pluginhost_tasks_ended_total'),
    retried: set.counter('pluginhost_create_retries_total'),
    unclear: set.counter('pluginhost_creates_unclear_total'),
    cleared: set.counter('pluginhost_creates_cleared_total'),
    orphans: set.counter('pluginhost_orphans_deleted_total'),
    dropped: set.counter('pluginhost_outputs_dropped_total'),
    deletesDone: set.counter('pluginhost_deletes_done_total'),
    deletesFailed: set.counter('pluginhost_delete_failures_total'),
  };
  const metas = new Rarely({ now, pauseMs: META_PAUSE_MS, maxKeys: 1_000 });
  const of = (task: TaskRecord) => ({ plugin: label(task.identity.plugin) });
  const fields = (task: TaskRecord) => ({
    task: task.id,
    plugin: task.identity.plugin,
    taskType: task.identity.taskType,
  });
  return {
    accepted(task: TaskRecord): void {
      counters.accepted.inc(of(task));
      if (log.enabled('task.accepted')) log.emit('task.accepted', fields(task));
    },
    created(task: TaskRecord): void {
      counters.created.inc(of(task));
      if (log.enabled('task.created')) log.emit('task.created', fields(task));
    },
    adopted(task: TaskRecord): void {
      counters.adopted.inc(of(task));
      if (log.enabled('task.adopted')) log.emit('task.adopted', fields(task));
    },
    ended(task: TaskRecord): void {
      counters.ended.inc({ ...of(task), phase: task.state.phase });
      log.emit('task.ended', { ...fields(task), phase: task.state.phase, code: task.state.error?.code });
    },
    metaLarge(task: TaskRecord, bytes: number): void {
      if (metas.allows(of(task).plugin)) log.emit('task.meta_large', { ...fields(task), bytes });
    },
    createRetried(task: TaskRecord, code: string, error: string, delayMs: number): void {
      counters.retried.inc(of(task));
      log.emit('task.create_retried', { ...fields(task), code, error, delayMs: Math.round(delayMs) });
    },
    createUnclear(task: string, plugin: string, code: string, error: string): void {
      counters.unclear.inc({ plugin: label(plugin) });
      log.emit('create.unclear', { task, plugin, code, error });
    },
    createCleared(task: string, plugin: string, job: 'cancelled' | 'over'): void {
      counters.cleared.inc({ plugin: label(plugin) });
      log.emit('create.cleared', { task, plugin, job });
    },
    createLeft: (task: string, plugin: string, reason: string, error: string) =>
      log.emit('create.left', { task, plugin, reason, error }),
    orphanDeleted(task: TaskRecord): void {
      counters.orphans.inc(of(task));
      log.emit('task.orphan_deleted', fields(task));
    },
    outputsDelayed: (task: TaskRecord, code: string, error: string, delayMs: number) =>
      log.emit('task.outputs_delayed', { ...fields(task), code, error, delayMs: Math.round(delayMs) }),
    outputsDropped(task: TaskRecord, names: readonly string[]): void {
      counters.dropped.inc(of(task));
      log.emit('task.outputs_dropped', { ...fields(task), names });
    },
    deleteOwed: (task: string, plugin: string, reason: string) => log.emit('delete.owed', { task, plugin, reason }),
    deleteFailed(task: string, plugin: string, code: string, error: string, attempts: number): void {
      counters.deletesFailed.inc({ plugin: label(plugin) });
      // A remote that refuses for days is told of ever more rarely; the metric counts every try.
      if (Number.isInteger(Math.log2(attempts))) log.emit('delete.failed', { task, plugin, code, error, attempts });
    },
    deleteDone(task: string, plugin: string, attempts: number): void {
      counters.deletesDone.inc({ plugin: label(plugin) });
      log.emit('delete.done', { task, plugin, attempts });
    },
    fault: (where: string, thrown: unknown) => log.emit('daemon.fault', { where, ...faultFields(thrown) }),
  };
}

/** For `RpcLog` of rpc/. */
export function rpcLogAdapter({ log }: AdapterParts) {
  return {
    fault: (event: { readonly method: string; readonly error: unknown }) =>
      log.emit('rpc.fault', { method: event.method, ...faultFields(event.error) }),
  };
}

function codeOf(error: HostError): string {
  try {
    return String(error.code);
  } catch {
    return 'INTERNAL';
  }
}

/** Message and stack of whatever was thrown; the code goes before the message where there is one. */
export function faultFields(thrown: unknown): { error: string; stack: string | undefined } {
  const message = messageOf(thrown);
  const error = HostError.is(thrown) ? `${codeOf(thrown)}: ${message}` : message;
  const stack = stackOf(thrown);
  return { error, stack: stack === message ? undefined : stack };
}
