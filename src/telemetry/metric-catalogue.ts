/**
 * Every metric of the daemon, besides those of the process that prom-client brings. docs/metrics.md is generated from
 * this table. Labels take their values from registered plugins and from fixed lists, never from a request.
 */
export interface MetricEntry {
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  readonly labels: readonly string[];
  readonly buckets?: readonly number[];
}

const counter = <const L extends readonly string[]>(help: string, labels: L) =>
  ({ type: 'counter', help, labels }) as const;
const gauge = <const L extends readonly string[]>(help: string, labels: L) =>
  ({ type: 'gauge', help, labels }) as const;
const histogram = <const L extends readonly string[]>(help: string, labels: L, buckets: readonly number[]) =>
  ({ type: 'histogram', help, labels, buckets }) as const;

/** Seconds: answers from memory. */
const FAST = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
/** Seconds: calls to a remote, and waits for them. */
const REMOTE = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];
/** Seconds: waits for a turn, which may take hours. */
const WAIT = [0.01, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600, 14_400, 86_400];

const RPC = ['grpc_type', 'grpc_service', 'grpc_method'] as const;

export const METRICS = {
  // The names that gRPC middlewares share.
  // Calls that no handler had count by their method; those of no method that is ours under `other`.
  grpc_server_started_total: counter('RPCs started on the server.', RPC),
  grpc_server_handled_total: counter('RPCs completed on the server, by status code.', [...RPC, 'grpc_code']),
  grpc_server_msg_received_total: counter('Messages received on the server.', RPC),
  grpc_server_msg_sent_total: counter('Messages sent by the server.', RPC),
  grpc_server_handling_seconds: histogram('Time from the start of an RPC to its end.', RPC, FAST),

  pluginhost_build_info: gauge('Always 1; the labels tell the version.', ['version', 'node_version']),
  pluginhost_daemon_state: gauge('1 for the state the daemon is in, 0 for the others.', ['state']),

  pluginhost_connections_cut_total: counter('Connections to the gRPC port that were closed or not taken for a bound.', [
    'reason',
  ]),

  pluginhost_access_refused_total: counter('Connections and calls that were not let in.', ['port', 'reason']),
  pluginhost_certificate_expires_in_seconds: gauge(
    'Time until the certificate of a port expires; negative once it has.',
    ['port'],
  ),

  pluginhost_log_lines_dropped_total: counter('Lines of the log that standard output did not take.', []),

  pluginhost_tasks: gauge('Tasks that are not over, by stage.', ['plugin', 'stage']),
  pluginhost_finished_tasks: gauge('Finished tasks that are still held in memory.', []),
  pluginhost_tasks_accepted_total: counter('Tasks accepted from engines.', ['plugin']),
  pluginhost_tasks_created_total: counter('Tasks created at their remote.', ['plugin']),
  pluginhost_tasks_unserved: gauge('Tasks that are not over and whose plugin does not run here, or not yet.', []),
  pluginhost_tasks_adopted_total: counter('Tasks taken up from a handle that this process did not make.', ['plugin']),
  pluginhost_handles_unverified_total: counter(
    'Handles that no key of this daemon has signed: not signed (none), with another key (unknown), altered (wrong).',
    ['reason', 'outcome'],
  ),
  pluginhost_tasks_ended_total: counter('Tasks that reached a terminal phase here.', ['plugin', 'phase']),
  pluginhost_create_retries_total: counter('Creates that failed transiently and were scheduled again.', ['plugin']),
  pluginhost_creates_unclear: gauge(
    'Ended tasks whose create may have left a job: looked for, or left to the operator.',
    ['plugin', 'state'],
  ),
  pluginhost_creates_unclear_total: counter('Tasks that ended while their create may have left a job.', ['plugin']),
  pluginhost_creates_cleared_total: counter('Creates of unclear outcome that were cleared up.', ['plugin']),
  pluginhost_orphans_deleted_total: counter('Jobs deleted because their engine visibly never got the handle.', [
    'plugin',
  ]),
  pluginhost_outputs_dropped_total: counter('Tasks whose undeclared outputs were dropped.', ['plugin']),
  pluginhost_deletes_owed: gauge('Deletes that are accepted and not carried out yet.', []),
  pluginhost_deletes_done_total: counter('Owed deletes carried out.', ['plugin']),
  pluginhost_delete_failures_total: counter('Tries of an owed delete that failed.', ['plugin']),
  pluginhost_watch_subscribers: gauge('Open Watch streams.', []),
  pluginhost_watch_lagged_total: counter('Times a Watch stream was told that it had missed changes.', []),
  pluginhost_store_evictions_total: counter('Finished tasks dropped before their time to live, for room.', []),

  pluginhost_state_bytes: gauge('What the state takes on disk.', []),
  pluginhost_state_facts: gauge('Facts of the state, by kind.', ['kind']),
  pluginhost_state_lag_seconds: gauge('How long the oldest change waits to be written.', []),
  pluginhost_state_degraded: gauge('1 while the state cannot be written; the label tells why.', ['code']),
  pluginhost_state_commit_seconds: histogram('Time a commit took until it was synced.', [], FAST),
  pluginhost_state_commit_failures_total: counter('Commits that failed and were tried again.', ['code']),

  pluginhost_cluster_role: gauge('1 for the role of this replica, 0 for the others; nothing where it is no replica.', [
    'role',
  ]),
  pluginhost_cluster_members: gauge('Replicas that this one sees, itself included.', []),
  pluginhost_cluster_lease_left_seconds: gauge('Time until the lease of this replica is over; 0 once it is.', []),
  pluginhost_cluster_takeovers_total: counter(
    'How often this replica became the one that works for all, after the stop of the last one or its crash.',
    ['after'],
  ),
  pluginhost_inbox_rows: gauge(
    'Rows of the inbox for this replica’s parts: promises that are to be taken in (waiting), and runs of Do that go on elsewhere (running).',
    ['state'],
  ),
  pluginhost_inbox_oldest_seconds: gauge(
    'How long the oldest promise for this replica’s parts waits to be taken in; 0 while none does.',
    [],
  ),
  pluginhost_inbox_stood_in_total: counter(
    'Calls that were to be answered for an owner that is away, by what became of them; those that are `away` went on waiting for one.',
    ['call', 'outcome'],
  ),
  pluginhost_inbox_taken_in_total: counter('Rows of the inbox that this owner took in, by what they are.', ['kind']),
  pluginhost_inbox_left_total: counter('Rows of the inbox that could not be taken in, and stay there.', ['kind']),
  pluginhost_cluster_forwarded_total: counter(
    'Calls passed on to the replica that has their tasks, by how they ended.',
    ['grpc_code'],
  ),

  // Of tasks that are spread over replicas; none of them where one replica works for all.
  pluginhost_cluster_parts: gauge('Parts of the tasks that are this replica’s, by what it does with them.', ['state']),
  pluginhost_cluster_parts_taken_total: counter(
    'Parts that this replica took and works on: nobody had them, or their owner gave them back (stop), or it crashed.',
    ['after'],
  ),
  pluginhost_cluster_part_take_seconds: histogram('Time from the take of a part until it was worked on.', [], REMOTE),
  pluginhost_cluster_parts_given_total: counter(
    'Parts that this replica gave up: it stops (leaving), lacks a plugin or the release (unfit), alone cannot reach a remote (unreachable), or has more than others (balance).',
    ['why'],
  ),
  pluginhost_cluster_parts_refused_total: counter('Parts that could not be loaded here.', []),
  pluginhost_cluster_limits_links: gauge('Other replicas, by whether limits can be shared with them now.', ['state']),

  pluginhost_schedule_tracked: gauge('Tasks in the poll schedule.', ['plugin']),
  pluginhost_schedule_in_flight: gauge('Reads in flight.', ['plugin']),
  pluginhost_schedule_due: gauge('Tasks whose next read is due and not in flight.', ['plugin']),
  pluginhost_schedule_oldest_overdue_seconds: gauge('How long the most overdue task has been due.', ['plugin']),
  pluginhost_schedule_longest_interval_seconds: gauge('Longest poll interval in force.', ['plugin']),
  pluginhost_schedule_lag_seconds: histogram('How late reads start after they were due.', ['plugin'], REMOTE),
  pluginhost_schedule_late_reads_total: counter('Tasks read more than a tenth of resyncInterval after they were due.', [
    'plugin',
  ]),
  pluginhost_reads_started_total: counter('Reads started, by what they are for.', ['plugin', 'purpose']),
  pluginhost_remote_down: gauge('1 while reads of the remote are taken to be down.', ['plugin']),
  pluginhost_creates_down: gauge('1 while creates at the remote are taken to be down.', ['plugin']),
  pluginhost_not_found_tasks: gauge('Tasks whose last read did not find the job.', ['plugin']),
  pluginhost_not_found_frozen_tasks: gauge('Those of them that turned not found together and are frozen.', ['plugin']),
  pluginhost_remote_outages_total: counter('Times reads of the remote went down.', ['plugin']),
  pluginhost_creates_outages_total: counter('Times creates at the remote went down.', ['plugin']),
  pluginhost_creates_held: gauge('Creates that stand in line while the remote takes none, or may take none.', [
    'plugin',
  ]),

  pluginhost_limit_wait_seconds: histogram('Time a call waited for its slot and token.', ['plugin', 'lane'], REMOTE),
  pluginhost_limit_rejections_total: counter('Calls that failed without being sent.', ['plugin', 'method', 'code']),
  pluginhost_throttles_total: counter('Times the remote throttled a call.', ['plugin', 'lane']),
  pluginhost_throttle_pause_seconds_total: counter('Pauses that throttles imposed, summed.', ['plugin', 'lane']),
  pluginhost_limit_tokens: gauge('Calls the limiter would admit now.', ['plugin', 'lane']),
  pluginhost_limit_queued: gauge('Calls that wait for admission.', ['plugin', 'lane']),
  pluginhost_limit_in_flight: gauge('Calls sent and not answered.', ['plugin', 'lane']),
  pluginhost_limit_qps: gauge('Calls a second that the limit allows.', ['plugin', 'lane']),
  pluginhost_limit_burst: gauge('Calls that may come at once after a pause.', ['plugin', 'lane']),
  // Where replicas share the limits.
  pluginhost_limit_owner: gauge(
    '1 for who owns the limits of a plugin that replicas share (unserved: one at which it does not serve), 0 for the others.',
    ['plugin', 'owner'],
  ),
  pluginhost_limit_drawn_calls_total: counter('Calls that this replica was granted of limits that replicas share.', [
    'plugin',
    'lane',
  ]),
  pluginhost_limit_lapsed_calls_total: counter('Calls that it was granted and did not begin in time.', [
    'plugin',
    'lane',
  ]),
  pluginhost_limit_granted_calls_total: counter('Calls that this replica, as the owner of limits, granted to all.', [
    'plugin',
    'lane',
  ]),

  pluginhost_quota_tokens: gauge('Tokens of a quota namespace.', ['plugin', 'quota_namespace']),
  pluginhost_quota_tokens_used: gauge('Tokens held by tasks.', ['plugin', 'quota_namespace']),
  pluginhost_quota_waiting: gauge('Tasks that wait for a token.', ['plugin', 'quota_namespace']),
  pluginhost_quota_lapsed_tokens_total: counter(
    'Tokens that never counted, since another replica owned the limits when their use was to be written.',
    ['plugin'],
  ),
  pluginhost_quota_wait_seconds: histogram('Time a task waited for its token.', ['plugin'], WAIT),

  pluginhost_plugin_calls_total: counter('Calls of plugin methods, by outcome.', ['plugin', 'method', 'outcome']),
  pluginhost_plugin_call_seconds: histogram(
    'Time from the send of a call to its outcome.',
    ['plugin', 'method'],
    REMOTE,
  ),
  pluginhost_plugin_batch_items: histogram(
    'Tasks read by one batch call.',
    ['plugin'],
    [1, 2, 5, 10, 25, 50, 100, 250, 1000],
  ),
  pluginhost_plugin_state: gauge('1 for the state the plugin is in, 0 for the others.', ['plugin', 'state']),
  pluginhost_plugin_paused: gauge('1 while an operator holds the plugin back.', ['plugin']),
  pluginhost_plugin_restarts_total: counter('Starts of the plugin’s process after a crash.', ['plugin']),
  pluginhost_plugin_resident_memory_bytes: gauge('Resident memory of the plugin’s process.', ['plugin']),
  pluginhost_plugin_custom_dropped_total: counter(
    'Measurements of plugins that were dropped: bad or too many names, or values that are no numbers.',
    ['plugin'],
  ),
} as const satisfies Record<string, MetricEntry>;

export type MetricName = keyof typeof METRICS;
export type NamesOf<T extends MetricEntry['type']> = {
  [N in MetricName]: (typeof METRICS)[N]['type'] extends T ? N : never;
}[MetricName];
export type LabelOf<N extends MetricName> = (typeof METRICS)[N]['labels'][number];
export type Labels<N extends MetricName> = { readonly [L in LabelOf<N>]: string };
