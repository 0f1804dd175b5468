import type { AccessPort } from '../model/events/access.js';
import type { Lane } from '../model/plugin-methods.js';
import type { MetricSet } from './metric-set.js';
import { setAll } from './metric-set.js';

/** What the daemon measures when somebody asks, by value; handed in as a function and called at each scrape. */
export interface DaemonFigures {
  /** The state the daemon is in, and all there are. */
  readonly state: string;
  readonly states: readonly string[];
  readonly finishedTasks: number;
  /** Finished tasks dropped for room since the start. */
  readonly evictions: number;
  readonly watchers: number;
  /** Times a Watch stream was told that it lagged, since the start. */
  readonly lagged: number;
  readonly deletesOwed: number;
  /** Tasks that are not over and that no plugin here takes care of. */
  readonly unservedTasks: number;
  readonly stateStore: StateFigures;
  /** Where it is one of several replicas. */
  readonly cluster?: ClusterFigures | undefined;
  /** Of the ports that speak TLS. */
  readonly certificates?: readonly { readonly port: AccessPort; readonly daysLeft: number }[];
  readonly plugins: readonly PluginFigures[];
}

/** Of a replica among others. */
export interface ClusterFigures {
  readonly role: string;
  readonly roles: readonly string[];
  readonly members: number;
  readonly leaseLeftMs: number;
  /** Those of this replica, by what it does with them; where tasks are spread. */
  readonly parts?: Readonly<Record<string, number>> | undefined;
  /** Other replicas, by whether limits can be shared with them now. */
  readonly links?: { readonly up: number; readonly down: number } | undefined;
  /** Of the parts that are this replica's. */
  readonly inbox: InboxFigures;
}

/** Rows of the inbox. */
export interface InboxFigures {
  /** They may be taken in. */
  readonly waiting: number;
  /** Runs of Do that go on elsewhere. */
  readonly running: number;
  /** How long the oldest one of those that wait does; 0 where none does. */
  readonly oldestMs: number;
}

/** Of the state that survives the daemon. */
export interface StateFigures {
  readonly bytes: number;
  readonly lagMs: number;
  /** Code of what keeps it from being written; undefined while nothing does. */
  readonly trouble: string | undefined;
  readonly facts: Readonly<Record<string, number>>;
}

export interface LaneFigures {
  readonly tokensNow: number;
  readonly queued: number;
  readonly inFlight: number;
  readonly qps: number;
  readonly burst: number;
}

/** Calls, since the start, of a lane whose limits replicas share. */
export interface SharedLaneFigures {
  /** Granted to this replica; of these, not begun in time. */
  readonly drawn: number;
  readonly lapsed: number;
  /** Granted by this replica, to itself and others. */
  readonly granted: number;
}

/** Of limits that replicas share. */
export interface SharedFigures extends Readonly<Record<Lane, SharedLaneFigures>> {
  /** `unserved`: a replica at which the plugin does not serve, so that it rests. */
  readonly owner: 'here' | 'other' | 'unserved' | 'none';
}

/** Of one registered plugin; what it does not have (a plugin that failed to load has no lanes) is left out. */
export interface PluginFigures {
  readonly id: string;
  readonly state: string;
  readonly paused: boolean;
  readonly restarts: number;
  readonly rssBytes: number;
  /** Creates of unclear outcome, by whether the daemon looks for their jobs. */
  readonly unclearCreates?: { readonly looking: number; readonly left: number };
  /** Tasks that are not over, by stage. */
  readonly stages?: Readonly<Record<string, number>>;
  readonly lanes?: { readonly read: LaneFigures; readonly write: LaneFigures };
  readonly shared?: SharedFigures | undefined;
  readonly schedule?: {
    readonly tracked: number;
    readonly inFlight: number;
    readonly due: number;
    readonly oldestOverdueMs: number;
    readonly longestIntervalMs: number;
    readonly remote: 'up' | 'down';
    readonly notFound: number;
    readonly notFoundFrozen: number;
  };
  /** Whether creates are taken to be down, and how many stand in line for it, or because reads are. */
  readonly creates?: { readonly down: boolean; readonly held: number };
  readonly quotas?: readonly {
    readonly quotaNamespace: string;
    /** undefined: unlimited. */
    readonly total: number | undefined;
    readonly used: number;
    readonly waiting: number;
  }[];
}

/** States that a plugin can be in, for the one-of gauge. */
const PLUGIN_STATES = ['starting', 'serving', 'restarting', 'quarantined', 'failed', 'skipped', 'stopped'] as const;

const LIMITS_OWNERS = ['here', 'other', 'unserved', 'none'] as const;

const SECONDS_A_DAY = 86_400;

/** Sets every gauge that is measured at scrape. */
export function writeFigures(set: MetricSet, figures: DaemonFigures): void {
  const { plugins } = figures;
  setAll<'pluginhost_daemon_state'>(
    set.gauge('pluginhost_daemon_state'),
    figures.states.map((state) => [{ state }, state === figures.state ? 1 : 0]),
  );
  set.gauge('pluginhost_finished_tasks').set(figures.finishedTasks);
  set.gauge('pluginhost_watch_subscribers').set(figures.watchers);
  set.gauge('pluginhost_deletes_owed').set(figures.deletesOwed);
  set.gauge('pluginhost_tasks_unserved').set(figures.unservedTasks);
  writeState(set, figures.stateStore);
  if (figures.cluster !== undefined) writeCluster(set, figures.cluster);
  setAll<'pluginhost_certificate_expires_in_seconds'>(
    set.gauge('pluginhost_certificate_expires_in_seconds'),
    (figures.certificates ?? []).map(({ port, daysLeft }) => [{ port }, daysLeft * SECONDS_A_DAY]),
  );
  setAll<'pluginhost_tasks'>(
    set.gauge('pluginhost_tasks'),
    plugins.flatMap(({ id, stages = {} }) =>
      Object.entries(stages).map(([stage, count]) => [{ plugin: id, stage }, count] as const),
    ),
  );
  setAll<'pluginhost_creates_unclear'>(
    set.gauge('pluginhost_creates_unclear'),
    plugins.flatMap(({ id, unclearCreates = {} }) =>
      Object.entries(unclearCreates).map(([state, count]) => [{ plugin: id, state }, count] as const),
    ),
  );
  writeProcesses(set, plugins);
  writeSchedules(set, plugins);
  writeCreates(set, plugins);
  writeLanes(set, plugins);
  writeQuotas(set, plugins);
}

function writeState(set: MetricSet, { bytes, lagMs, trouble, facts }: StateFigures): void {
  set.gauge('pluginhost_state_bytes').set(bytes);
  set.gauge('pluginhost_state_lag_seconds').set(lagMs / 1000);
  setAll<'pluginhost_state_degraded'>(
    set.gauge('pluginhost_state_degraded'),
    trouble === undefined ? [] : [[{ code: trouble }, 1]],
  );
  setAll<'pluginhost_state_facts'>(
    set.gauge('pluginhost_state_facts'),
    Object.entries(facts).map(([kind, count]) => [{ kind }, count] as const),
  );
}

function writeCluster(
  set: MetricSet,
  { role, roles, members, leaseLeftMs, parts, links, inbox }: ClusterFigures,
): void {
  setAll<'pluginhost_cluster_role'>(
    set.gauge('pluginhost_cluster_role'),
    roles.map((name) => [{ role: name }, name === role ? 1 : 0] as const),
  );
  set.gauge('pluginhost_cluster_members').set(members);
  set.gauge('pluginhost_cluster_lease_left_seconds').set(leaseLeftMs / 1000);
  setAll<'pluginhost_cluster_parts'>(set.gauge('pluginhost_cluster_parts'), byState(parts));
  setAll<'pluginhost_cluster_limits_links'>(set.gauge('pluginhost_cluster_limits_links'), byState(links));
  const { waiting, running, oldestMs } = inbox;
  setAll<'pluginhost_inbox_rows'>(set.gauge('pluginhost_inbox_rows'), byState({ waiting, running }));
  set.gauge('pluginhost_inbox_oldest_seconds').set(oldestMs / 1000);
}

function byState(counts: Readonly<Record<string, number>> = {}): (readonly [{ readonly state: string }, number])[] {
  return Object.entries(counts).map(([state, count]) => [{ state }, count] as const);
}

function writeProcesses(set: MetricSet, plugins: readonly PluginFigures[]): void {
  setAll<'pluginhost_plugin_state'>(
    set.gauge('pluginhost_plugin_state'),
    plugins.flatMap(({ id, state }) =>
      PLUGIN_STATES.map((name) => [{ plugin: id, state: name }, name === state ? 1 : 0] as const),
    ),
  );
  setAll<'pluginhost_plugin_paused'>(
    set.gauge('pluginhost_plugin_paused'),
    plugins.map(({ id, paused }) => [{ plugin: id }, paused ? 1 : 0]),
  );
  setAll<'pluginhost_plugin_resident_memory_bytes'>(
    set.gauge('pluginhost_plugin_resident_memory_bytes'),
    plugins.map(({ id, rssBytes }) => [{ plugin: id }, rssBytes]),
  );
}

function writeSchedules(set: MetricSet, plugins: readonly PluginFigures[]): void {
  const values = <T>(value: (schedule: NonNullable<PluginFigures['schedule']>) => T) =>
    plugins.flatMap(({ id, schedule }) => (schedule === undefined ? [] : [[{ plugin: id }, value(schedule)] as const]));
  setAll<'pluginhost_schedule_tracked'>(
    set.gauge('pluginhost_schedule_tracked'),
    values((s) => s.tracked),
  );
  setAll<'pluginhost_schedule_in_flight'>(
    set.gauge('pluginhost_schedule_in_flight'),
    values((s) => s.inFlight),
  );
  setAll<'pluginhost_schedule_due'>(
    set.gauge('pluginhost_schedule_due'),
    values((s) => s.due),
  );
  setAll<'pluginhost_schedule_oldest_overdue_seconds'>(
    set.gauge('pluginhost_schedule_oldest_overdue_seconds'),
    values((s) => Math.max(0, s.oldestOverdueMs) / 1000),
  );
  setAll<'pluginhost_schedule_longest_interval_seconds'>(
    set.gauge('pluginhost_schedule_longest_interval_seconds'),
    values((s) => s.longestIntervalMs / 1000),
  );
  setAll<'pluginhost_remote_down'>(
    set.gauge('pluginhost_remote_down'),
    values((s) => (s.remote === 'down' ? 1 : 0)),
  );
  setAll<'pluginhost_not_found_tasks'>(
    set.gauge('pluginhost_not_found_tasks'),
    values((s) => s.notFound),
  );
  setAll<'pluginhost_not_found_frozen_tasks'>(
    set.gauge('pluginhost_not_found_frozen_tasks'),
    values((s) => s.notFoundFrozen),
  );
}

function writeCreates(set: MetricSet, plugins: readonly PluginFigures[]): void {
  const values = (value: (creates: NonNullable<PluginFigures['creates']>) => number) =>
    plugins.flatMap(({ id, creates }) => (creates === undefined ? [] : [[{ plugin: id }, value(creates)] as const]));
  setAll<'pluginhost_creates_down'>(
    set.gauge('pluginhost_creates_down'),
    values(({ down }) => (down ? 1 : 0)),
  );
  setAll<'pluginhost_creates_held'>(
    set.gauge('pluginhost_creates_held'),
    values(({ held }) => held),
  );
}

function writeLanes(set: MetricSet, plugins: readonly PluginFigures[]): void {
  const values = (value: (lane: LaneFigures) => number) =>
    plugins.flatMap(({ id, lanes }) =>
      lanes === undefined
        ? []
        : (['read', 'write'] as const).map((lane) => [{ plugin: id, lane }, value(lanes[lane])] as const),
    );
  setAll<'pluginhost_limit_tokens'>(
    set.gauge('pluginhost_limit_tokens'),
    values((lane) => lane.tokensNow),
  );
  setAll<'pluginhost_limit_queued'>(
    set.gauge('pluginhost_limit_queued'),
    values((lane) => lane.queued),
  );
  setAll<'pluginhost_limit_in_flight'>(
    set.gauge('pluginhost_limit_in_flight'),
    values((lane) => lane.inFlight),
  );
  setAll<'pluginhost_limit_qps'>(
    set.gauge('pluginhost_limit_qps'),
    values((lane) => lane.qps),
  );
  setAll<'pluginhost_limit_burst'>(
    set.gauge('pluginhost_limit_burst'),
    values((lane) => lane.burst),
  );
  setAll<'pluginhost_limit_owner'>(
    set.gauge('pluginhost_limit_owner'),
    plugins.flatMap(({ id, shared }) =>
      shared === undefined
        ? []
        : LIMITS_OWNERS.map((owner) => [{ plugin: id, owner }, shared.owner === owner ? 1 : 0] as const),
    ),
  );
}

/**
 * A plugin derives quota namespaces from the task, so only those of its config are labels of their own; the unlimited
 * ones are summed as `other`.
 */
function writeQuotas(set: MetricSet, plugins: readonly PluginFigures[]): void {
  const rows = plugins.flatMap(({ id, quotas = [] }) => {
    const limited = quotas.filter(({ total }) => total !== undefined);
    const rest = quotas.filter(({ total }) => total === undefined);
    const sum = (key: 'used' | 'waiting') => rest.reduce((total, row) => total + row[key], 0);
    const other = { quotaNamespace: 'other', total: undefined, used: sum('used'), waiting: sum('waiting') };
    return [...limited, ...(rest.length > 0 ? [other] : [])].map((row) => ({
      labels: { plugin: id, quota_namespace: row.quotaNamespace },
      ...row,
    }));
  });
  setAll<'pluginhost_quota_tokens'>(
    set.gauge('pluginhost_quota_tokens'),
    rows.flatMap(({ labels, total }) => (total === undefined ? [] : [[labels, total] as const])),
  );
  setAll<'pluginhost_quota_tokens_used'>(
    set.gauge('pluginhost_quota_tokens_used'),
    rows.map(({ labels, used }) => [labels, used]),
  );
  setAll<'pluginhost_quota_waiting'>(
    set.gauge('pluginhost_quota_waiting'),
    rows.map(({ labels, waiting }) => [labels, waiting]),
  );
}
