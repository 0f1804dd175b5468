export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal';

export interface LogEventEntry {
  readonly level: LogLevel;
  /** What has happened, in words; also the line's message. */
  readonly message: string;
  /** Field -> what it holds. */
  readonly fields: Readonly<Record<string, string>>;
}

const event = <const F extends Readonly<Record<string, string>>>(level: LogLevel, message: string, fields: F) => ({
  level,
  message,
  fields,
});

const PLUGIN = 'id of the plugin';
const TASK = 'id of the task: attempt key and incarnation';
const ERROR = 'what went wrong, in words';
const CODE = 'code of the error catalogue';

/**
 * Every line that the daemon logs, with its level, which is decided here and nowhere else. docs/log-events.md is
 * generated from this table.
 */
export const LOG_EVENTS = {
  'daemon.state': event('info', 'the daemon changed its state', { state: 'the new state', previous: 'the one before' }),
  'daemon.ready': event('info', 'the daemon serves', {
    grpc: 'address of the gRPC server',
    admin: 'address of the admin server',
    plugins: 'number of plugins that serve',
    startMs: 'time the start took, in milliseconds',
  }),
  'flyte.note': event('info', 'what an operator of a Flyte has to configure', { note: 'in plain words' }),
  'flyte.warning': event('warn', 'what an operator of a Flyte has to mind', { note: 'in plain words' }),
  'daemon.signal': event('info', 'a signal arrived', { signal: 'its name', action: 'what it leads to' }),
  'daemon.failed': event('fatal', 'the daemon could not start', { code: CODE, error: ERROR }),
  'daemon.stop_step': event('debug', 'a step of the stop is done', { step: 'the step', tookMs: 'milliseconds' }),
  'daemon.stop_failed': event('error', 'a step of the stop failed; the rest goes on', {
    step: 'the step',
    error: ERROR,
  }),
  'daemon.stop_forced': event('error', 'the stop was forced', { running: 'what was still running' }),
  'daemon.unfinished': event('warn', 'the stop leaves work behind that no state keeps', {
    waiting: 'accepted tasks that were not created; their handles answer CREATE_LOST',
    deletesOwed: 'deletes that were not carried out; these jobs go on at the remote',
  }),
  'daemon.fault': event('error', 'a fault of the daemon itself, in work that nobody awaits', {
    where: 'which work',
    error: ERROR,
    stack: 'stack trace',
  }),
  'daemon.reloaded': event('info', 'the plugins were loaded anew, as a signal asked', {
    reloaded: 'ids of the plugins that run anew',
    failed: 'of those that did not come up: id, code and error; where an old process serves it goes on',
    tookMs: 'milliseconds',
  }),
  'state.loaded': event('info', 'the state of the last run is loaded', {
    at: 'where it is kept: a folder, or a database without its password',
    tasks: 'tasks that are not over',
    deletesOwed: 'deletes that are still to be carried out',
    tookMs: 'milliseconds',
  }),
  'state.not_kept': event('warn', 'nothing survives this daemon but the handles; set state.dir or state.engine', {
    because: 'why no folder is its own',
  }),
  'state.unserved': event('warn', 'what the last run left of a plugin that does not run here waits for it', {
    plugin: 'id of the plugin, as the last run knew it',
    tasks: 'tasks that are not over',
    deletes: 'deletes and unclear creates that are still to be carried out',
  }),
  'state.degraded': event('error', 'the state cannot be written; creates and deletes wait, reads are served', {
    code: CODE,
    error: ERROR,
  }),
  'state.mended': event('info', 'the state can be written again, and nothing is lost', {
    downMs: 'how long it could not, in milliseconds',
  }),
  'cluster.joined': event('info', 'the daemon is known to the other replicas', {
    address: 'where they pass calls on to',
  }),
  'cluster.owner': event('info', 'this replica works from now on', {
    from: 'name of the replica that was dead; empty after a stop',
    tookMs: 'how long loading the state took, in milliseconds',
  }),
  'cluster.owner_seen': event('info', 'another replica works, or none that lives', {
    name: 'host and process; empty for none',
    address: 'where calls are passed on to',
  }),
  'cluster.address_shared': event(
    'error',
    'another replica that lives gives the same address as this one: calls that are passed on to it go astray; each needs its own',
    { name: 'host and process of the other one', address: 'what both give' },
  ),
  'cluster.lease_lapsed': event('error', 'the lease could not be renewed: no call leaves until it is', {}),
  'cluster.lease_renewed': event('info', 'the lease is renewed again, and nobody has taken the work over', {}),
  'cluster.replaced': event('error', 'another replica has the work of this one, which ends', {
    code: CODE,
    error: ERROR,
  }),
  'cluster.config_differs': event('warn', 'another replica has other options; the one that works goes by its own', {
    name: 'host and process of the other one',
    options: 'which, and what either has; secrets are not compared',
  }),
  'cluster.trouble': event('warn', 'the other replicas could not be looked at, or the lease renewed; tried on', {
    error: ERROR,
  }),
  'cluster.tokens_unread': event(
    'error',
    'which tasks hold allocation tokens could not be read; limits that came to be owned here grant none until it can',
    { error: ERROR },
  ),
  'state.ends_forgotten': event(
    'warn',
    'more attempts ended within tasks.replayWindow than are remembered; for as long, a finished job that a create finds is taken for its own',
    {},
  ),
  'log.dropped': event('warn', 'standard output did not take lines of the log, which were left out', {
    lines: 'how many',
  }),
  'config.loaded': event('info', 'the configuration is read', {
    files: 'config files, in order',
    set: 'number of options that are not at their default',
  }),
  'config.warning': event('warn', 'the configuration is allowed, but probably not meant', {
    warning: 'what is odd and what to do',
  }),
  'secrets.unmasked': event('error', 'there are more secrets than can be masked in logs and answers', {
    where: 'which secrets',
    reason: 'what is masked no more, or not at all',
  }),
  'rpc.fault': event('error', 'a call failed by a fault of the daemon itself', {
    method: 'the RPC',
    error: ERROR,
    stack: 'stack trace',
  }),
  'rpc.library': event('debug', 'the gRPC library has something to say; callers can make it speak', {
    said: 'its words',
  }),

  'plugin.loaded': event('info', 'a plugin is loaded', { plugin: PLUGIN, source: 'where it was loaded from' }),
  'plugin.skipped': event('info', 'a plugin decided not to serve here', { plugin: PLUGIN, error: 'its reason' }),
  'plugin.load_failed': event('error', 'a plugin could not be loaded', {
    plugin: PLUGIN,
    source: 'where it was to be loaded from',
    required: 'whether that ends the start of the daemon',
    code: CODE,
    error: ERROR,
  }),
  'plugin.starved': event('warn', 'the machine has nothing left to start a plugin with, which is tried again', {
    plugin: PLUGIN,
    source: 'where it is to be loaded from',
    required: 'whether the daemon is not ready until it serves',
    error: ERROR,
  }),
  'plugin.state': event('info', 'a plugin changed its state', {
    plugin: PLUGIN,
    state: 'the new state',
    previous: 'the one before',
    reason: 'why it did',
    code: CODE,
    processId: 'its process',
    restarts: 'starts after a crash so far',
  }),
  'plugin.trouble': event('warn', 'a plugin fell out of service', {
    plugin: PLUGIN,
    state: 'restarting, quarantined or failed',
    previous: 'the state before',
    reason: 'why it did',
    code: CODE,
    processId: 'its process',
    restarts: 'starts after a crash so far',
  }),
  'plugin.changed': event('warn', 'another version of a plugin runs: its file changed since it was loaded', {
    plugin: PLUGIN,
    version: 'the version that runs now',
    previousVersion: 'the one before',
    digest: 'start of the SHA-256 of the module that runs now',
    previousDigest: 'of the one before',
  }),
  'plugin.log.debug': event('debug', 'a plugin wrote a line', pluginLine()),
  'plugin.log.info': event('info', 'a plugin wrote a line', pluginLine()),
  'plugin.log.warn': event('warn', 'a plugin wrote a line', pluginLine()),
  'plugin.log.error': event('error', 'a plugin wrote a line', pluginLine()),

  'remote.down': event('warn', 'the reads of a remote are taken to be down; its tasks go on', {
    plugin: PLUGIN,
    code: CODE,
    error: ERROR,
  }),
  'remote.wave': event('warn', 'a remote does not find jobs that were alive a moment ago; their tasks are frozen', {
    plugin: PLUGIN,
    batchKey: 'the batch key of the task that showed it; empty without one',
    tasks: 'tasks that turned not found so far',
    of: 'tasks that are polled there',
  }),
  'remote.wave_over': event('info', 'the tasks that were frozen as not found are none any more', {
    plugin: PLUGIN,
    lastedMs: 'how long it lasted',
    found: 'tasks that go on, or that were deleted or ended otherwise meanwhile',
    lost: 'tasks that ended while they were not found',
  }),
  'remote.up': event('info', 'the reads of a remote are up again', {
    plugin: PLUGIN,
    downMs: 'how long they were down, in milliseconds',
  }),
  'creates.down': event('warn', 'the creates of a remote are taken to be down; they wait and are tried in turn', {
    plugin: PLUGIN,
    code: CODE,
    error: ERROR,
  }),
  'creates.up': event('info', 'the creates of a remote are up again', {
    plugin: PLUGIN,
    downMs: 'how long they were down, in milliseconds',
  }),
  'call.throttled': event('info', 'a remote throttled; its calls rest', {
    plugin: PLUGIN,
    lane: 'read or write',
    pauseMs: 'for how long, in milliseconds',
  }),
  'call.rejected': event('debug', 'a call failed without being sent', {
    plugin: PLUGIN,
    method: 'its method',
    code: CODE,
  }),
  'call.failed': event('debug', 'a call of a plugin failed', {
    plugin: PLUGIN,
    method: 'its method',
    outcome: 'how it failed',
    tookMs: 'milliseconds from the send to the outcome',
  }),

  'task.accepted': event('debug', 'a task was accepted', taskFields()),
  'task.created': event('debug', 'a task was created at its remote', taskFields()),
  'task.adopted': event('debug', 'a task was taken up from its handle', taskFields()),
  'part.taken': event('info', 'a part of the tasks is worked on here from now on', {
    part: 'which one',
    tasks: 'those of it that are not over',
    tookMs: 'milliseconds to take it',
  }),
  'part.given': event('info', 'a part of the tasks is free for another replica', {
    part: 'which one',
    tasks: 'those of it that are not over',
    finished: 'whether all calls under way were over in time',
    tookMs: 'milliseconds to give it',
  }),
  'part.gives': event('info', 'a part of the tasks is given up for another replica', {
    part: 'which one',
    why: 'leaving (this one stops), unfit (it lacks a plugin or the release), unreachable (it alone cannot reach a remote) or balance',
  }),
  'part.taken_over': event('warn', 'who had a part of the tasks gives no sign of life; it is this replica’s now', {
    part: 'which one',
    from: 'name of the replica that had it',
  }),
  'part.refused': event('error', 'a part of the tasks could not be loaded here; another replica is to try', {
    part: 'which one',
    error: ERROR,
  }),
  'part.owner_seen': event('info', 'another replica works on a part of the tasks, or none that lives', {
    part: 'which one',
    name: 'host and process; empty for none',
    address: 'where calls are passed on to',
  }),
  'limits.owner': event('info', 'the limits of a plugin have another owner from now on, or none that is seen', {
    plugin: PLUGIN,
    here: 'whether they are this one’s',
    name: 'host and process of another owner; empty for nobody and for this one',
  }),
  'limits.unserved': event(
    'warn',
    'a plugin rests on all replicas: who owns its limits does not serve it, and who serves it lacks another plugin of that part of the tasks',
    {
      plugin: PLUGIN,
      name: 'host and process of who owns its limits',
      servedBy: 'those that serve it, each with what it lacks',
    },
  ),
  'limits.link_opened': event('info', 'limits can be shared with another replica', {
    name: 'its host and process',
  }),
  'limits.link_broke': event('warn', 'limits cannot be shared with another replica until its stream is open again', {
    name: 'its host and process',
    code: CODE,
    error: ERROR,
  }),
  'handle.unverified': event(
    'warn',
    'a handle came that no key of this daemon has signed; told once a minute for each reason and outcome',
    {
      reason: 'none: it is not signed; unknown: with a key that is not here; wrong: it was altered',
      outcome: 'taken, within handles.grace, or refused',
    },
  ),
  'handle.keys': event('info', 'handles are signed', {
    file: 'where the keys are from',
    keys: 'ids of the keys, the one that signs first',
  }),
  'handle.key_kept_in_state': event(
    'info',
    'handles are signed with a key that the state keeps: whoever loses the state loses the key; handles.keysFile takes keys of your own',
    { keys: 'id of the key' },
  ),
  'handle.keys_unread': event(
    'error',
    'the file of keys for handles cannot be used; no part of the state can be taken, and nobody stood in for, until it can',
    { file: 'its path', error: ERROR },
  ),
  'handle.keys_kept': event('error', 'the file of keys for handles cannot be used; the keys from before go on', {
    file: 'its path',
    error: ERROR,
  }),

  'task.ended': event('info', 'a task is over', {
    ...taskFields(),
    phase: 'its terminal phase',
    code: 'code of its error',
  }),
  'task.meta_large': event(
    'warn',
    'a resource meta is larger than engines should store; told once an hour for each plugin',
    {
      ...taskFields(),
      bytes: 'its size',
    },
  ),
  'task.state_cut': event(
    'warn',
    'links and details of a live task are left out, since those of its plugin take 256 MiB; told once an hour for each plugin',
    taskFields(),
  ),
  'task.create_retried': event('debug', 'a create failed transiently and is repeated', {
    ...taskFields(),
    code: CODE,
    error: ERROR,
    delayMs: 'milliseconds until the next try',
  }),
  'task.token_lapsed': event(
    'info',
    'a token never counted, since another replica owned the limits when its use was to be written; it is asked for anew',
    taskFields(),
  ),
  'inbox.left': event(
    'error',
    'a row of the inbox cannot be taken in; it stays there, with those about the same task',
    {
      kind: 'create, delete or do',
      id: 'number of the row',
      code: CODE,
      error: ERROR,
    },
  ),
  'task.orphan_deleted': event('warn', 'a job whose engine never got the handle was deleted', taskFields()),
  'task.outputs_delayed': event('warn', 'the data store took no outputs; they are read again and written later', {
    ...taskFields(),
    code: CODE,
    error: ERROR,
    delayMs: 'milliseconds until the next read',
  }),
  'task.outputs_dropped': event('warn', 'outputs that the task does not declare were dropped', {
    ...taskFields(),
    names: 'their names',
  }),
  'create.unclear': event('warn', 'a task ended while its create may have left a job; the daemon looks for it', {
    task: TASK,
    plugin: PLUGIN,
    code: CODE,
    error: ERROR,
  }),
  'create.cleared': event('info', 'a create of unclear outcome is cleared up', {
    task: TASK,
    plugin: PLUGIN,
    job: 'cancelled, or over already',
  }),
  'create.left': event('error', 'nobody looks any more for the job that a create may have left', {
    task: 'attempt key and incarnation, which is also the idempotency key to find the job by',
    plugin: PLUGIN,
    reason: 'why not',
    error: 'the last error, in words',
  }),
  'delete.owed': event('debug', 'a delete was accepted and is to be carried out', {
    task: TASK,
    plugin: PLUGIN,
    reason: 'why the task is deleted',
  }),
  'delete.failed': event('warn', 'a try of an owed delete failed; it is repeated (told of tries 1, 2, 4, 8, …)', {
    task: TASK,
    plugin: PLUGIN,
    code: CODE,
    error: ERROR,
    attempts: 'tries so far',
  }),
  'delete.freed': event('error', 'an owed delete fails for too long: it is repeated, without its quota token', {
    task: TASK,
    plugin: PLUGIN,
    minutes: 'how long its tries have failed',
  }),
  'delete.done': event('info', 'an owed delete was carried out', {
    task: TASK,
    plugin: PLUGIN,
    attempts: 'tries it took',
  }),

  'tls.certificate': event('info', 'a port has a certificate, new or its first', {
    port: 'grpc or admin',
    names: 'whom it is for',
    expires: 'until when it is valid',
  }),
  'tls.kept': event('error', 'the files of a certificate cannot be used; the one from before goes on', {
    port: 'grpc or admin',
    error: ERROR,
    daysLeft: 'days until the one in use expires',
  }),
  'tls.expires': event('error', 'a certificate expires soon, or has expired; told once a day', {
    port: 'grpc or admin',
    daysLeft: 'days that are left',
  }),
  'tokens.used': event('info', 'tokens are in use, new ones or changed ones', { names: 'their names' }),
  'tokens.kept': event('error', 'files of tokens cannot be used; the tokens from before go on', { error: ERROR }),
  'audit.action': event('info', 'somebody acted on plugins or tasks', {
    action: 'pause, resume, reload, profile or delete',
    plugin: 'id of the plugin, of the first three',
    task: 'of delete: attempt key and incarnation',
    by: 'name of the token, else of the client certificate; empty without either',
    remote: 'address',
  }),
  'access.refused': event('warn', 'somebody was not let in; told once a minute for each port and reason', {
    port: 'grpc or admin',
    reason: 'why not: see pluginhost_access_refused_total',
    remote: 'address',
    detail: 'in words',
  }),

  'admin.action': event('info', 'an operator acted', {
    action: 'pause, resume or reload',
    plugin: PLUGIN,
    remote: 'address',
  }),
  'admin.denied': event('warn', 'a request for the operator’s view had a wrong token', {
    path: 'what was asked',
    remote: 'address',
  }),
  'admin.fault': event('error', 'a request to the admin server failed', {
    path: 'what was asked',
    code: CODE,
    error: ERROR,
  }),
} as const satisfies Record<string, LogEventEntry>;

function pluginLine() {
  return {
    plugin: PLUGIN,
    line: 'what it wrote',
    source: 'plugin (its logger), stdout, stderr, or host (the host about it)',
    data: 'its fields',
  } as const;
}

function taskFields() {
  return { task: TASK, plugin: PLUGIN, taskType: 'its task type' } as const;
}

export type LogEventName = keyof typeof LOG_EVENTS;
/** The fields an event may carry; those that are undefined are left out of the line. */
export type LogFields<E extends LogEventName> = { readonly [F in keyof (typeof LOG_EVENTS)[E]['fields']]?: unknown };
