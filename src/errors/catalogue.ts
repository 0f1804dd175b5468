/**
 * The error catalogue: every error that leaves a room carries one of these codes. A code is never reused for another
 * meaning; a retired one moves to RETIRED_CODES. `docs/errors.md` is generated from this table.
 */

/** What an error is to its receiver; `rpc/` maps each kind to one gRPC status, in one place. */
export type ErrorKind =
  | 'invalid' // the caller's input is wrong; the same call fails again
  | 'not_found'
  | 'conflict' // contradicts what the daemon already holds
  | 'exhausted' // a limit is reached; later it may pass
  | 'unavailable' // not now; another replica or a later call may serve it
  | 'deadline'
  | 'cancelled'
  | 'precondition' // the state forbids it until somebody changes it
  | 'unimplemented'
  | 'denied'
  | 'unauthenticated' // who calls is not known
  | 'internal';

export interface ErrorEntry {
  readonly kind: ErrorKind;
  /** Whether the same call may succeed later without anybody changing it. */
  readonly retryable: boolean;
  /** One line for the reference: when it happens and what to do. */
  readonly summary: string;
}

const entry = (kind: ErrorKind, retryable: boolean, summary: string): ErrorEntry => ({ kind, retryable, summary });

export const ERROR_CATALOGUE = {
  // What a caller sent.
  REQUEST_UNDECODABLE: entry('invalid', false, 'The bytes are not the message the method takes.'),
  REQUEST_FIELD_INVALID: entry('invalid', false, 'A field is missing or has a value outside its range.'),
  REQUEST_TOO_LARGE: entry('invalid', false, 'A field, or the whole request, is larger than the configured bound.'),
  HANDLE_MALFORMED: entry('invalid', false, 'The handle is truncated, altered, or was made by something else.'),
  HANDLE_VERSION_UNKNOWN: entry('invalid', false, 'The handle was made by a newer daemon than this one.'),
  HANDLE_UNSIGNED: entry('invalid', false, 'The handle is not signed, and the daemon takes signed ones only.'),
  HANDLE_FOREIGN: entry('invalid', false, 'The handle is signed with a key that this daemon does not have.'),
  HANDLE_KEYS_UNREADABLE: entry(
    'precondition',
    false,
    'The file of handles.keysFile cannot be read, or holds no keys.',
  ),
  TASK_TYPE_UNKNOWN: entry('not_found', false, 'No plugin serves the task type (and none is the default).'),
  TASK_TYPE_VERSION_UNKNOWN: entry('not_found', false, 'The task type is served, but not in this version.'),
  TASK_UNKNOWN: entry('not_found', false, 'The daemon holds no such task.'),
  PLUGIN_UNKNOWN: entry('not_found', false, 'No plugin (agent, connector) of this name is configured and loaded.'),
  PLUGIN_KIND_MISMATCH: entry(
    'invalid',
    false,
    'Do was called for an async plugin, or Create for a plugin that cannot create.',
  ),
  PLUGIN_METHOD_MISSING: entry('unimplemented', false, 'The plugin does not offer this optional method.'),
  RESUME_TOKEN_INVALID: entry('invalid', false, 'A Watch resume token is malformed or from another daemon run.'),

  // Capacity and state of the daemon.
  STORE_FULL: entry('exhausted', true, 'The store and its waiting line are full; try later.'),
  ADMISSION_DEADLINE: entry(
    'exhausted',
    true,
    'The rate or concurrency limit cannot admit the call before its deadline.',
  ),
  RATE_LIMIT_THROTTLED: entry('exhausted', true, 'The remote asked for a pause that outlasts the deadline.'),
  DAEMON_DRAINING: entry('unavailable', true, 'The daemon is stopping; call another replica or retry.'),
  DAEMON_STATE: entry('internal', false, 'An operation is illegal in the state the daemon is in.'),
  OWNER_AWAY: entry(
    'unavailable',
    true,
    'No replica has the state at the moment, or the one that has it cannot be reached; retry.',
  ),
  LEASE_LAPSED: entry(
    'unavailable',
    true,
    'This replica could not renew its lease, and calls no remote until it has; look at its database.',
  ),
  NOT_A_REPLICA: entry(
    'denied',
    true,
    'The stream by which replicas talk to each other was opened by somebody who is none, or is not known to be one yet.',
  ),
  GRANT_LAPSED: entry(
    'unavailable',
    true,
    'A call was not begun while its share of the limits was good, which replicas grant each other; it is made again.',
  ),
  CLUSTER_ADDRESS_UNUSABLE: entry(
    'precondition',
    false,
    'The other replicas could not reach this one: set cluster.advertise, or POD_IP.',
  ),
  DEADLINE_EXCEEDED: entry('deadline', true, 'The deadline passed before an answer was there.'),
  CALL_CANCELLED: entry('cancelled', true, 'The caller cancelled.'),
  REQUESTS_UNFINISHED: entry(
    'exhausted',
    true,
    'Requests that are not complete hold as many bytes as are allowed; this one came more slowly than others, and made room.',
  ),
  TOO_MANY_STREAMS: entry('exhausted', true, 'The bound of open Watch streams is reached.'),

  // Plugin calls.
  PLUGIN_PAUSED: entry('unavailable', true, 'An operator paused the plugin.'),
  PLUGIN_QUARANTINED: entry('unavailable', true, 'The plugin process crashed repeatedly and is held back for a while.'),
  PLUGIN_NOT_SERVING: entry('unavailable', true, 'The plugin failed to load or is not up yet.'),
  PLUGIN_PROCESS_DIED: entry('unavailable', true, 'The plugin process ended during the call.'),
  PLUGIN_CHANNEL_OVERLOADED: entry('unavailable', true, 'The channel to the plugin process is full.'),
  PLUGIN_THREW_THROTTLED: entry('exhausted', true, 'The remote throttled the call.'),
  PLUGIN_THREW_TRANSIENT: entry('unavailable', true, 'The plugin reported a transient fault of its remote.'),
  PLUGIN_THREW_PERMANENT: entry('precondition', false, 'The plugin refused permanently.'),
  PLUGIN_THREW_NOT_FOUND: entry('not_found', false, 'The remote does not know the resource.'),
  PLUGIN_THREW_UNKNOWN: entry(
    'unavailable',
    true,
    'The plugin threw something outside its contract; taken as transient.',
  ),
  PLUGIN_ANSWER_INVALID: entry('internal', false, 'The plugin answered something outside its contract.'),
  PLUGIN_DEADLINE: entry('deadline', true, 'The plugin did not answer within the deadline of its call.'),
  RESOURCE_META_INVALID: entry(
    'internal',
    false,
    'The resource meta does not survive its round trip as JSON or through the codec.',
  ),
  RESOURCE_META_TOO_LARGE: entry('internal', false, 'The resource meta is larger than 16 KiB.'),

  // How a task can end by the daemon's own decision. These codes appear in ExecutionError.code.
  RESOURCE_LOST: entry(
    'not_found',
    true,
    'The remote no longer knows the job; the attempt ends as retryable system failure.',
  ),
  CREATE_LOST: entry(
    'not_found',
    true,
    'The accepted create is not known any more (a restart without a state); retryable failure.',
  ),
  CREATE_UNCLEAR: entry(
    'unavailable',
    true,
    'Whether a create made its job is not known, and its plugin cannot find out; retryable failure, listed for the operator.',
  ),
  CREATE_BUDGET_SPENT: entry('unavailable', true, 'Creating failed transiently until the create budget was spent.'),
  READS_FAILING: entry(
    'unavailable',
    true,
    'Reads failed consecutively beyond maxSystemFailures and the minimum failing time.',
  ),
  SECRETS_GONE: entry(
    'precondition',
    true,
    'The secrets that came with the calls of the task are no longer kept; send them with the next call about it.',
  ),
  REMOTE_OUTAGE: entry('unavailable', true, 'The remote was down for longer than the outage grace.'),
  OUTPUTS_UNREAD: entry(
    'unavailable',
    true,
    'The task was over and its outputs gave way in memory; they are being read again, and its remote has not answered yet.',
  ),
  OUTPUTS_LOST: entry(
    'not_found',
    false,
    'The task succeeded and was told so; its outputs gave way in memory, and its remote does not have them any more. Its phase stays SUCCESS.',
  ),
  OUTPUTS_UNUSABLE: entry(
    'precondition',
    false,
    'The task succeeded but its outputs are missing, undeclared or too large.',
  ),
  TASK_DELETED: entry('cancelled', false, 'The task was deleted.'),
  TASK_ABORTED: entry('cancelled', false, 'The remote reports that the job was aborted.'),

  // Loading plugins.
  PLUGIN_SOURCE_NOT_FOUND: entry('invalid', false, 'The configured file, folder or package does not exist.'),
  PLUGIN_SOURCE_UNSUPPORTED: entry('invalid', false, 'The file type cannot be loaded by this Node version.'),
  PLUGIN_START_STARVED: entry(
    'unavailable',
    true,
    'The machine has no file handles, memory, processes or disk space left to find or start the plugin, or cannot read it for now; it is tried again.',
  ),
  PLUGIN_SANDBOX_UNAVAILABLE: entry(
    'precondition',
    false,
    'This Node or this system does not offer what the plugin’s sandbox options ask for; the message says which, and why.',
  ),
  PLUGIN_SANDBOX_LEAKS: entry(
    'precondition',
    false,
    'What the plugin may read or write by its sandbox options holds files that are the daemon’s own; move one of the two.',
  ),
  PLUGIN_IMPORT_FAILED: entry('invalid', false, 'Importing the plugin module threw.'),
  PLUGIN_IMPORT_TIMEOUT: entry('deadline', false, 'Importing or loading the plugin took longer than its deadline.'),
  PLUGIN_SHAPE_INVALID: entry('invalid', false, 'The default export is not a plugin definition.'),
  PLUGIN_API_VERSION_UNKNOWN: entry('invalid', false, 'The plugin was written for another version of the plugin API.'),
  PLUGIN_ID_TAKEN: entry('conflict', false, 'Two configured plugins have one id.'),
  PLUGIN_SETTINGS_INVALID: entry('invalid', false, 'The settings do not satisfy the schema of the plugin.'),
  PLUGIN_CONFIG_INVALID: entry('invalid', false, 'The plugin config is outside its allowed ranges.'),
  PLUGIN_LOAD_FAILED: entry('invalid', false, 'load() threw.'),
  PLUGIN_SKIPPED: entry('precondition', false, 'The plugin decided not to serve here.'),
  ROUTE_CONFLICT: entry('conflict', false, 'Two plugins claim one task type, version or default, and no rule decides.'),
  ROUTE_TARGET_UNKNOWN: entry('invalid', false, 'defaultForTaskTypes names a plugin that does not serve the type.'),

  // Config and process.
  CONFIG_FILE_UNREADABLE: entry('invalid', false, 'A config file is missing, unreadable or not JSON/YAML.'),
  CONFIG_KEY_UNKNOWN: entry('invalid', false, 'A config key does not exist.'),
  CONFIG_VALUE_INVALID: entry('invalid', false, 'A config value has the wrong type, unit or range.'),
  CONFIG_CONFLICT: entry('invalid', false, 'Two config values contradict each other.'),
  ADMIN_TOKEN_UNSET: entry(
    'denied',
    false,
    'The operator’s view is closed until admin.token or admin.tokenFile is set.',
  ),
  ADMIN_TOKEN_WRONG: entry('denied', false, 'The request carries no bearer token, or not the configured one.'),
  TLS_FILES_UNUSABLE: entry(
    'precondition',
    false,
    'A certificate, its key or the authorities of a port (grpc.tls, admin.tls) cannot be read, do not fit, or are not valid now.',
  ),
  PLAINTEXT_REFUSED: entry(
    'denied',
    false,
    'The call came in plain text from another machine: use TLS, or set grpc.plaintext or admin.plaintext to anywhere.',
  ),
  CERTIFICATE_REFUSED: entry(
    'denied',
    false,
    'The client showed no certificate that verifies, or one that is for none of tls.clientNames.',
  ),
  TOKENS_UNREADABLE: entry('precondition', false, 'A file of tokens cannot be read, or a line of it is no token.'),
  TOKEN_WRONG: entry('unauthenticated', false, 'The call carries no bearer token, or none of the configured ones.'),
  TOKEN_REVOKED: entry(
    'unauthenticated',
    false,
    'The token that the call came with was taken out of its file meanwhile; open the stream again with another one.',
  ),
  TOKEN_MAY_NOT: entry('denied', false, 'The token is right, and not good for this call: see tokens.<name>.may.'),
  TOKEN_GUESSES: entry(
    'exhausted',
    true,
    'Too many wrong tokens came from the caller’s address; wait for the retry delay.',
  ),
  ADMIN_ROUTE_UNKNOWN: entry('not_found', false, 'The admin server has no such path, or not for this method.'),
  LISTEN_FAILED: entry('unavailable', false, 'An address could not be bound.'),
  SHUTDOWN_FORCED: entry('internal', false, 'The stop was forced while something was still running.'),

  // Data.
  LITERAL_UNCONVERTIBLE: entry('invalid', false, 'A value cannot become a literal of the wanted type, or the reverse.'),
  DATA_LOCATION_UNSUPPORTED: entry(
    'invalid',
    false,
    'No data store serves this URI, or it lies outside the allowed roots.',
  ),
  DATA_NOT_FOUND: entry('not_found', false, 'The object does not exist.'),
  DATA_ACCESS_DENIED: entry('denied', false, 'The data store refused access.'),
  DATA_TOO_LARGE: entry('exhausted', false, 'The object is larger than the bound.'),
  DATA_UNAVAILABLE: entry('unavailable', true, 'The data store failed transiently.'),
  SECRET_NOT_FOUND: entry('not_found', false, 'The secret is in none of the places that were searched.'),

  // State: what survives the process.
  STATE_LOCKED: entry(
    'conflict',
    false,
    'Another process has the state; stop it, or give this one a state of its own.',
  ),
  STATE_FOREIGN: entry('precondition', false, 'What lies where the state is to be kept is no state of this daemon.'),
  STATE_UNSAFE: entry(
    'precondition',
    false,
    'The database acknowledges what a crash may take back, or is too old to keep a state.',
  ),
  STATE_PROMISED: entry(
    'precondition',
    false,
    'Replicas have promised what waits in the inbox, and only replicas take it in: start with cluster.enabled first.',
  ),
  STATE_FORMAT_NEWER: entry('precondition', false, 'The state was written by a later release than this one.'),
  STATE_DAMAGED: entry(
    'internal',
    false,
    'Part of the state is altered, cut off or missing; `plugin-host state check` says what.',
  ),
  STATE_UNREACHABLE: entry(
    'unavailable',
    true,
    'The database of the state cannot be reached; what waits is written once it can.',
  ),
  STATE_UNTRUSTED: entry(
    'unavailable',
    true,
    'The certificate of the state’s database, or the one shown to it, is not accepted.',
  ),
  STATE_DISK_FULL: entry(
    'unavailable',
    true,
    'The file system of the state has no room; what waits is written once it has.',
  ),
  STATE_READ_ONLY: entry('unavailable', true, 'The file system of the state, or its database, cannot be written.'),
  STATE_UNWRITABLE: entry(
    'unavailable',
    true,
    'The state cannot be written: no permission, an I/O error, or nothing open; writing is tried on.',
  ),
  STATE_SLOW: entry('unavailable', true, 'Writing the state takes seconds; what waits for it waits as long.'),
  STATE_LOST: entry(
    'unavailable',
    true,
    'The folder of the state was removed under the daemon; a new state is begun with all that memory knows.',
  ),
  STATE_FULL: entry('exhausted', true, 'The state takes more than state.maxBytes; nothing new is accepted.'),
  STATE_DIR_UNSET: entry('precondition', false, 'Nothing says where the state is to be kept: set state.dir.'),

  // Encoding.
  ENCODE_INVALID: entry(
    'internal',
    false,
    'A message to be sent has an unknown enum name, an unknown field or lacks a required one.',
  ),
  DESCRIPTOR_UNKNOWN: entry('internal', false, 'A message or service is not in the loaded descriptors.'),
  INTERNAL: entry('internal', false, 'A fault of the daemon itself.'),
} as const satisfies Record<string, ErrorEntry>;

export type ErrorCode = keyof typeof ERROR_CATALOGUE;

/** Whether this text, from wherever it comes, is a code of the catalogue; `constructor` is none. */
export function isErrorCode(text: unknown): text is ErrorCode {
  return typeof text === 'string' && Object.hasOwn(ERROR_CATALOGUE, text);
}

/**
 * Codes that were released once and must never mean anything else.
 * @public for the generator of docs/errors.md
 */
export const RETIRED_CODES: readonly string[] = [];
