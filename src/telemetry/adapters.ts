import { HostError, messageOf, stackOf } from '../errors/index.js';
import { getOrMake } from '../lib/get-or-make.js';
import { Rarely } from '../lib/rarely.js';
import type { CreateLaneEvents } from '../model/events/creates.js';
import type { GateEvents } from '../model/events/gate.js';
import type { HostEvents, LoadResult } from '../model/events/host.js';
import type { QuotaEvents } from '../model/events/quotas.js';
import type { RefreshEvents } from '../model/events/refresh.js';
import type { RpcLog } from '../model/events/rpc.js';
import type { TaskEvents } from '../model/events/tasks.js';
import type { PluginMethod } from '../model/plugin-call.js';
import { methodTraits } from '../model/plugin-methods.js';
import type { TaskRecord } from '../model/task-record.js';
import type { CustomMetrics } from './custom-metrics.js';
import type { Log } from './logger.js';
import type { MetricSet } from './metric-set.js';
import { counterTallies, histogramTallies, type Tally } from './tallies.js';

/**
 * What other rooms tell when something happens (model/events), turned into metrics and log lines. `Required`, so that no
 * event is told to nobody.
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

/** Between two warnings about what one plugin answers for its tasks. */
const PLUGIN_PAUSE_MS = 3_600_000;
const UNVERIFIED_PAUSE_MS = 60_000;

export function gateAdapter({ set, log, label }: AdapterParts) {
  const calls = counterTallies(set, 'pluginhost_plugin_calls_total');
  const seconds = histogramTallies(set, 'pluginhost_plugin_call_seconds');
  const items = histogramTallies(set, 'pluginhost_plugin_batch_items');
  const wait = histogramTallies(set, 'pluginhost_limit_wait_seconds');
  const throttles = set.counter('pluginhost_throttles_total');
  const pauses = set.counter('pluginhost_throttle_pause_seconds_total');
  const rejections = set.counter('pluginhost_limit_rejections_total');
  const series = new Map<string, Map<PluginMethod, ReturnType<typeof makeSeries>>>();
  const makeSeries = (plugin: string, method: PluginMethod) => {
    const { lane, items: batches } = methodTraits(method);
    return {
      ok: calls({ plugin, method, outcome: 'ok' }),
      seconds: seconds({ plugin, method }),
      wait: lane === undefined ? undefined : wait({ plugin, lane }),
      items: batches === undefined ? undefined : items({ plugin }),
    };
  };
  const seriesOf = (plugin: string, method: PluginMethod) =>
    getOrMake(
      getOrMake(series, plugin, () => new Map()),
      method,
      () => makeSeries(plugin, method),
    );
  return {
    callEnded(event) {
      const plugin = label(event.plugin);
      const { method, outcome } = event;
      const { seconds, wait, items, ok } = seriesOf(plugin, method);
      if (outcome === 'ok') ok.add();
      else calls({ plugin, method, outcome }).add();
      seconds.observe(event.durationMs / 1000);
      wait?.observe(event.waitMs / 1000);
      items?.observe(event.batchSize);
      if (outcome !== 'ok') log.emit('call.failed', { plugin, method, outcome, tookMs: Math.round(event.durationMs) });
    },
    throttled(event) {
      const labels = { plugin: label(event.plugin), lane: event.lane };
      throttles.inc(labels);
      pauses.inc(labels, Math.max(0, event.pauseMs) / 1000);
      log.emit('call.throttled', { ...labels, pauseMs: Math.round(event.pauseMs) });
    },
    rejected(event) {
      const labels = { plugin: label(event.plugin), method: event.method, code: event.code };
      rejections.inc(labels);
      log.emit('call.rejected', labels);
    },
  } satisfies Required<GateEvents>;
}

/** Of all plugins. */
export function readTallies(set: MetricSet) {
  return {
    reads: counterTallies(set, 'pluginhost_reads_started_total'),
    lag: histogramTallies(set, 'pluginhost_schedule_lag_seconds'),
    late: counterTallies(set, 'pluginhost_schedule_late_reads_total'),
  };
}

/** One a plugin. */
export function refreshAdapter(
  { set, log, label }: AdapterParts,
  tallies: ReturnType<typeof readTallies>,
  pluginId: string,
) {
  const plugin = label(pluginId);
  const { reads } = tallies;
  const polls = reads({ plugin, purpose: 'poll' });
  const lag = tallies.lag({ plugin });
  const late = tallies.late({ plugin });
  const outages = set.counter('pluginhost_remote_outages_total').labels(plugin);
  const createOutages = set.counter('pluginhost_creates_outages_total').labels(plugin);
  return {
    readStarted(event) {
      if (event.purpose === 'poll') polls.add();
      else reads({ plugin, purpose: event.purpose }).add();
      lag.observe(Math.max(0, event.lagMs) / 1000);
      if (event.late > 0) late.add(event.late);
    },
    remoteDown(event) {
      outages.inc();
      log.emit('remote.down', { plugin, code: event.failure.code, error: event.failure.message });
    },
    notFoundWave(event) {
      log.emit('remote.wave', { plugin, batchKey: event.batchKey, tasks: event.tasks, of: event.of });
    },
    notFoundWaveOver(event) {
      log.emit('remote.wave_over', {
        plugin,
        lastedMs: Math.round(event.lastedMs),
        found: event.found,
        lost: event.lost,
      });
    },
    remoteUp(event) {
      log.emit('remote.up', { plugin, downMs: Math.round(event.downMs) });
    },
    createsDown({ failure }) {
      createOutages.inc();
      log.emit('creates.down', { plugin, code: failure?.code ?? '', error: failure?.message ?? '' });
    },
    createsUp(event) {
      log.emit('creates.up', { plugin, downMs: Math.round(event.downMs) });
    },
    fault: (thrown) => log.emit('daemon.fault', { where: `reads of plugin ${pluginId}`, ...faultFields(thrown) }),
  } satisfies Required<RefreshEvents & CreateLaneEvents>;
}

/** One a plugin. */
export function quotaAdapter({ set, label }: AdapterParts, pluginId: string) {
  const wait = set.histogram('pluginhost_quota_wait_seconds').labels(label(pluginId));
  return {
    granted(event) {
      if (!event.forced) wait.observe(event.waitMs / 1000);
    },
  } satisfies Required<QuotaEvents>;
}

const TROUBLE = new Set(['restarting', 'quarantined', 'failed']);

export function hostAdapter({ log, custom, label }: AdapterParts) {
  return {
    log(event) {
      const { pluginId: plugin, message: line, source, fields } = event;
      const data = Object.keys(fields).length > 0 ? fields : undefined;
      log.emit(`plugin.log.${event.level}`, { plugin, line, source, data });
    },
    metric(event) {
      custom.add(label(event.pluginId), event);
    },
    lifecycle(event) {
      // Each line has the daemon's own pid already.
      const { pluginId: plugin, pid: processId, ...rest } = event;
      log.emit(TROUBLE.has(event.state) ? 'plugin.trouble' : 'plugin.state', { plugin, processId, ...rest });
    },
    changed(event) {
      const { pluginId: plugin, ...rest } = event;
      log.emit('plugin.changed', { plugin, ...rest });
    },
  } satisfies HostEvents;
}

/** One line an entry. */
export function logLoadReport(log: Log, results: readonly LoadResult[]): void {
  for (const { label: plugin, source, required, outcome, error } of results) {
    if (outcome === 'loaded') log.emit('plugin.loaded', { plugin, source });
    else if (outcome === 'skipped') log.emit('plugin.skipped', { plugin, error: error?.message });
    else if (outcome === 'starved') log.emit('plugin.starved', { plugin, source, required, error: error?.message });
    else log.emit('plugin.load_failed', { plugin, source, required, code: error?.code, error: error?.message });
  }
}

function unverifiedHandles(
  set: AdapterParts['set'],
  log: Log,
  now: () => number,
): Required<TaskEvents>['handleUnverified'] {
  const counter = set.counter('pluginhost_handles_unverified_total');
  const rarely = new Rarely({ now, pauseMs: UNVERIFIED_PAUSE_MS, maxKeys: 10 });
  return (reason, taken) => {
    const outcome = taken ? 'taken' : 'refused';
    counter.inc({ reason, outcome });
    if (rarely.allows(`${reason} ${outcome}`)) log.emit('handle.unverified', { reason, outcome });
  };
}

function fields({ id, identity: { plugin, taskType } }: TaskRecord) {
  return { task: id, plugin, taskType };
}

/** What one plugin answers too much of, told rarely. */
function largeAnswers(log: Log, label: AdapterParts['label'], now: () => number) {
  const perPlugin = { now, pauseMs: PLUGIN_PAUSE_MS, maxKeys: 1_000 };
  const [metas, cuts] = [new Rarely(perPlugin), new Rarely(perPlugin)];
  return {
    metaLarge(task, bytes) {
      if (metas.allows(label(task.scope.plugin))) log.emit('task.meta_large', { ...fields(task), bytes });
    },
    stateCut(task) {
      if (cuts.allows(label(task.scope.plugin))) log.emit('task.state_cut', fields(task));
    },
  } satisfies TaskEvents;
}

/** The series of a counter that has the plugin alone as its label, by that label. */
function pluginTallies(set: MetricSet, name: PluginCounter): (plugin: string) => Tally {
  const series = counterTallies(set, name);
  const known = new Map<string, Tally>();
  return (plugin) => getOrMake(known, plugin, () => series({ plugin }));
}

type PluginCounter =
  | 'pluginhost_tasks_accepted_total'
  | 'pluginhost_tasks_created_total'
  | 'pluginhost_deletes_done_total';

function lapsedTokens(set: MetricSet, log: Log, label: (plugin: string) => string) {
  const lapsed = set.counter('pluginhost_quota_lapsed_tokens_total');
  return (task: TaskRecord) => {
    lapsed.inc({ plugin: label(task.scope.plugin) });
    log.emit('task.token_lapsed', fields(task));
  };
}

/** Calls that were answered for owners that are away, and what owners make of it. */
function standingIn(set: MetricSet, log: Log) {
  const stoodIn = set.counter('pluginhost_inbox_stood_in_total');
  const tookIn = set.counter('pluginhost_inbox_taken_in_total');
  const left = set.counter('pluginhost_inbox_left_total');
  return {
    stoodIn: (call, outcome) => stoodIn.inc({ call, outcome }),
    tookIn: (kind) => tookIn.inc({ kind }),
    leftInInbox(kind, id, code, error) {
      left.inc({ kind });
      log.emit('inbox.left', { kind, id, code, error });
    },
  } satisfies Partial<TaskEvents>;
}

export function taskAdapter({ set, log, label, now }: AdapterParts) {
  const counters = {
    adopted: set.counter('pluginhost_tasks_adopted_total'),
    ended: set.counter('pluginhost_tasks_ended_total'),
    retried: set.counter('pluginhost_create_retries_total'),
    unclear: set.counter('pluginhost_creates_unclear_total'),
    cleared: set.counter('pluginhost_creates_cleared_total'),
    orphans: set.counter('pluginhost_orphans_deleted_total'),
    dropped: set.counter('pluginhost_outputs_dropped_total'),
    deletesFailed: set.counter('pluginhost_delete_failures_total'),
  };
  // Each task is counted by these.
  const accepted = pluginTallies(set, 'pluginhost_tasks_accepted_total');
  const created = pluginTallies(set, 'pluginhost_tasks_created_total');
  const deletesDone = pluginTallies(set, 'pluginhost_deletes_done_total');
  const of = (task: TaskRecord) => ({ plugin: label(task.scope.plugin) });
  return {
    accepted(task) {
      accepted(label(task.scope.plugin)).add();
      if (log.enabled('task.accepted')) log.emit('task.accepted', fields(task));
    },
    created(task) {
      created(label(task.scope.plugin)).add();
      if (log.enabled('task.created')) log.emit('task.created', fields(task));
    },
    adopted(task) {
      counters.adopted.inc(of(task));
      if (log.enabled('task.adopted')) log.emit('task.adopted', fields(task));
    },
    ended(task) {
      counters.ended.inc({ ...of(task), phase: task.state.phase });
      log.emit('task.ended', { ...fields(task), phase: task.state.phase, code: task.state.error?.code });
    },
    handleUnverified: unverifiedHandles(set, log, now),
    ...largeAnswers(log, label, now),
    tokenLapsed: lapsedTokens(set, log, label),
    createRetried(task, code, error, delayMs) {
      counters.retried.inc(of(task));
      log.emit('task.create_retried', { ...fields(task), code, error, delayMs: Math.round(delayMs) });
    },
    createUnclear(task, plugin, code, error) {
      counters.unclear.inc({ plugin: label(plugin) });
      log.emit('create.unclear', { task, plugin, code, error });
    },
    createCleared(task, plugin, job) {
      counters.cleared.inc({ plugin: label(plugin) });
      log.emit('create.cleared', { task, plugin, job });
    },
    createLeft: (task, plugin, reason, error) => log.emit('create.left', { task, plugin, reason, error }),
    unserved: (plugin, tasks, deletes) => log.emit('state.unserved', { plugin, tasks, deletes }),
    orphanDeleted(task) {
      counters.orphans.inc(of(task));
      log.emit('task.orphan_deleted', fields(task));
    },
    ...standingIn(set, log),
    outputsDelayed: (task, code, error, delayMs) =>
      log.emit('task.outputs_delayed', { ...fields(task), code, error, delayMs: Math.round(delayMs) }),
    outputsDropped(task, names) {
      counters.dropped.inc(of(task));
      log.emit('task.outputs_dropped', { ...fields(task), names });
    },
    deleteOwed: (task, plugin, reason) => log.emit('delete.owed', { task, plugin, reason }),
    deleteFailed(task, plugin, code, error, attempts) {
      counters.deletesFailed.inc({ plugin: label(plugin) });
      // A remote that refuses for days is told of ever more rarely; the metric counts every try.
      if (Number.isInteger(Math.log2(attempts))) log.emit('delete.failed', { task, plugin, code, error, attempts });
    },
    deleteFreed: (task, plugin, failingForMs) =>
      log.emit('delete.freed', { task, plugin, minutes: Math.round(failingForMs / 60_000) }),
    deleteDone(task, plugin, attempts) {
      deletesDone(label(plugin)).add();
      log.emit('delete.done', { task, plugin, attempts });
    },
    fault: (where, thrown) => log.emit('daemon.fault', { where, ...faultFields(thrown) }),
  } satisfies Required<TaskEvents>;
}

export function rpcLogAdapter({ log }: AdapterParts) {
  return {
    fault: (event) => log.emit('rpc.fault', { method: event.method, ...faultFields(event.error) }),
    acted: (event) => log.emit('audit.action', event),
    library: (message) => log.emit('rpc.library', { said: message }),
  } satisfies RpcLog;
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
