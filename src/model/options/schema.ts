import { CALLER_NAME, CERTIFICATE_NAME, PLUGIN_ID, TASK_TYPE } from '../identity-check.js';
import { PLUGIN_ENTRY_SCHEMA } from './plugin.js';
import { SANDBOX_SCHEMA } from './sandbox.js';
import {
  asPath,
  bool,
  type Compiled,
  choice,
  duration,
  int,
  list,
  mapOf,
  optional,
  real,
  section,
  sensitive,
  size,
  text,
  withDefault,
} from './spec.js';

const SHORT = { min: '0ms', max: '1h' };
const LONG = { min: '0ms', max: '30d' };

const host = (doc: string, fallback: string) =>
  withDefault(text(doc, 'an IP address or host name', /^[A-Za-z0-9._:%-]{1,255}$/), fallback);
const port = (doc: string, fallback: number) => withDefault(int(`${doc} 0 takes a free one.`, 0, 65_535), fallback);
const span = (doc: string, fallback: string, range: { min: string; max: string } = LONG) =>
  withDefault(duration(doc, range), fallback);
const count = (doc: string, fallback: number, max = 10_000_000, min = 1) => withDefault(int(doc, min, max), fallback);
const share = (doc: string, fallback: number) => withDefault(real(doc, 0, 1), fallback);

/** A secret and the option that reads it from a file; at most one of the two may be set. */
const secret = (doc: string, min: number) =>
  sensitive(optional(text(doc, `${min} to 4096 visible ASCII characters`, new RegExp(`^[\\x21-\\x7e]{${min},4096}$`))));
const secretFile = (of: string) =>
  optional(asPath(text(`File that holds ${of}; blanks and line ends around it are dropped.`)));

/** A name in PostgreSQL, which cuts longer ones off. */
const pgName = (doc: string) => text(doc, '1 to 63 printable ASCII characters', /^[\x20-\x7e]{1,63}$/);

/**
 * What maxUnfinishedRequestBytes is of maxReceiveMessageBytes unless it is set: the largest request has room beside the small
 * ones, and beside half of another.
 */
export const UNFINISHED_SHARE = 1.5;

const tls = (port: string, clients: string) =>
  section(`TLS on this port: spoken, and nothing else, where ${port}.tls.certFile is set. See docs/security.md.`, {
    certFile: optional(
      asPath(
        text(
          'File with the certificate of the server, PEM, those between it and its authority behind it. All files are read again every 10 seconds; ones that cannot be used leave those from before in use.',
        ),
      ),
    ),
    keyFile: optional(asPath(text('File with the key of the certificate, PEM, without a passphrase.'))),
    clientCaFile: optional(
      asPath(text(`File with the certificates of the authorities that ${clients} must have a certificate of.`)),
    ),
    clientNames: withDefault(
      list(
        'Names of which a client’s certificate must have one; all certificates of those authorities are taken where it is empty.',
        'names such as CN=engine, DNS:engine.flyte.svc, URI:spiffe://cluster/engine, email:… or IP:…',
        CERTIFICATE_NAME,
      ),
      [],
    ),
  });

const plaintext = (what: string) =>
  withDefault(
    choice(
      `From where plain text is taken for ${what}, on a port without TLS: from this machine’s loopback, or from anywhere, so that who is on the way can read and change what passes.`,
      ['loopback', 'anywhere'],
    ),
    'loopback',
  );

const grpc = section('The gRPC server that engines call.', {
  host: host('Address to listen on. The default serves a sidecar, which shares loopback with its engine.', '127.0.0.1'),
  port: port('Port to listen on.', 8000),
  maxReceiveMessageBytes: withDefault(
    size('Largest request; inputs come inline.', { min: '64KiB', max: '1GiB' }),
    '64MiB',
  ),
  maxSendMessageBytes: withDefault(
    size('Largest answer. Flyte’s own client accepts 4 MiB.', { min: '64KiB', max: '1GiB' }),
    '64MiB',
  ),
  maxCustomBytes: withDefault(
    size('Largest custom field of a task template, which every plugin has to parse.', { min: '1KiB', max: '64MiB' }),
    '256KiB',
  ),
  maxConcurrentStreams: count('Calls in flight on one connection.', 1000, 1_000_000),
  maxUnfinishedRequestBytes: optional(
    size(
      `Memory of all requests together that have not come as a whole; past it those are ended that come most slowly. More than maxReceiveMessageBytes; ${UNFINISHED_SHARE} times as much unless set.`,
      { min: '1MiB', max: '64GiB' },
    ),
  ),
  maxConnections: count(
    'Open connections. At the bound the longest idle one without a call gives way to a newcomer; when all have calls, it is refused.',
    1000,
    1_000_000,
  ),
  maxWatchStreams: count(
    'Open Watch streams, as many of health, and as many of reflection; further ones are refused.',
    100,
    100_000,
  ),
  reflection: withDefault(bool('Whether server reflection is offered.'), true),
  defaultDeadline: span('Deadline of a call whose caller set none.', '10s', { min: '100ms', max: '1h' }),
  maxDeadline: span('Longest deadline that is honoured; a longer one is taken for this.', '10m', {
    min: '100ms',
    max: '24h',
  }),
  keepalive: section('Keeping connections alive, and ending old ones.', {
    time: span('Ping a silent connection after this time.', '30s', { min: '1s', max: '24h' }),
    timeout: span('Close a connection whose ping is not answered within this time.', '10s', { min: '1s', max: '1h' }),
    maxConnectionIdle: span('Close a connection without calls after this time.', '30m', { min: '1s', max: '30d' }),
  }),
  tls: tls('grpc', 'clients'),
  plaintext: plaintext('anything but health'),
});

const admin = section('HTTP server for metrics, health and the operator’s view.', {
  host: host('Address to listen on.', '0.0.0.0'),
  port: port('Port to listen on.', 9090),
  maxConnections: count(
    'Open connections. At the bound the one that waited longest without a request gives way to a newcomer.',
    100,
    10_000,
  ),
  token: secret('Bearer token of the operator’s view (/v1/…); without one that view is closed.', 16),
  tokenFile: secretFile('the token'),
  tls: tls('admin', 'callers of the operator’s view (/v1/…)'),
  plaintext: plaintext('the operator’s view (/v1/…)'),
});

const log = section('The daemon’s log, on standard output.', {
  level: withDefault(
    choice('Least severe level that is written.', ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']),
    'info',
  ),
  format: withDefault(choice('One JSON object a line, or one plain line for people.', ['json', 'text']), 'json'),
  redact: withDefault(
    list('Further field names whose values are never logged, at any depth.', 'field names', /^[A-Za-z0-9_.-]{1,100}$/),
    [],
  ),
});

const store = section('What is held in memory.', {
  maxTasks: count(
    'Tasks of all plugins together that are not over, waiting ones and owed deletes included; further creates are refused with STORE_FULL. Tasks known from their handles alone, after a restart, have as much room to themselves. What one plugin may hold live is its caching.size.',
    200_000,
    5_000_000,
  ),
  waitingLine: section('Creates that wait for quota, capacity, limits or a recovering remote.', {
    max: count('Tasks in line; further creates are refused with STORE_FULL.', 20_000, 5_000_000, 0),
    maxBytes: withDefault(size('Memory of the requests in line.', { min: '1MiB', max: '64GiB' }), '256MiB'),
  }),
  finished: section('Finished tasks, kept so that engines can still ask.', {
    maxCount: count('Finished tasks kept.', 50_000),
    maxBytes: withDefault(
      size('Memory for finished tasks, outputs included.', { min: '1MiB', max: '64GiB' }),
      '256MiB',
    ),
    ttl: span('How long a finished task is kept.', '24h', { min: '1s', max: '30d' }),
  }),
  watchRing: section('Changes kept for Watch streams that resume.', {
    size: count('Changes kept.', 10_000, 1_000_000),
  }),
});

const postgres = section('The PostgreSQL server that state.engine postgres keeps the state in: 15 or later.', {
  host: withDefault(
    text(
      'Name or address of the primary, or the folder of its Unix socket.',
      'an IP address, a host name or an absolute path',
      /^([A-Za-z0-9._:%-]{1,255}|\/[^\p{Cc}]{1,1000})$/u,
    ),
    'localhost',
  ),
  port: withDefault(int('Port of the server.', 1, 65_535), 5432),
  database: withDefault(pgName('Database that holds the schema.'), 'plugin_host'),
  user: withDefault(pgName('Role to log in as.'), 'plugin_host'),
  passwordFile: optional(
    asPath(
      text(
        'File that holds the password; read again for every new connection, none of which lives for longer than 10 minutes.',
      ),
    ),
  ),
  schema: withDefault(
    pgName(
      'Schema of this daemon’s own, made if need be. A second daemon with the same schema does not start, unless both have cluster.enabled.',
    ),
    'plugin_host',
  ),
  tls: optional(
    choice(
      'Whether the server is spoken to in plain text, or by TLS with its certificate and name verified. Unless set: off for a socket and for loopback, verify for everything else.',
      ['off', 'verify'],
    ),
  ),
  caFile: optional(
    asPath(
      text('File with the certificates of the authorities that the server’s may come from, instead of Node’s own.'),
    ),
  ),
  certFile: optional(
    asPath(text('File with the client’s certificate; read again for every new connection, as its key is.')),
  ),
  keyFile: optional(asPath(text('File with the key of the client’s certificate.'))),
  pooled: withDefault(
    bool(
      'Whether a pooler stands between, such as PgBouncer. Then the server is told no time-outs; give the role some (ALTER ROLE … SET statement_timeout, lock_timeout).',
    ),
    false,
  ),
  connections: count('Connections that are open at most. One writes, one renews, one measures.', 4, 100, 2),
  connectTimeout: span('Time within which a connection must stand.', '5s', { min: '100ms', max: '5m' }),
  statementTimeout: span('Time within which a statement must be answered; then its connection is closed.', '10s', {
    min: '100ms',
    max: '10m',
  }),
  lockTimeout: span('Time that a statement waits for a lock.', '5s', { min: '100ms', max: '10m' }),
  startTimeout: span('Time that a start waits for a server that cannot be reached.', '30s', { min: '0ms', max: '1h' }),
  lease: span(
    'A daemon that gave no sign of life for so long is taken for dead by another one that starts, which waits for so long after a kill. With cluster.enabled another replica goes on after so long.',
    '10s',
    { min: '1s', max: '10m' },
  ),
});

const state = section(
  'What survives the daemon. See docs/operations.md for what lies on disk and what goes wrong with it.',
  {
    engine: optional(
      choice(
        'Where it is kept: in files of this daemon, in a PostgreSQL database, or nowhere; then only created tasks are taken up, from their handles. Unless set, it is embedded; with grpc.port 0 and no folder it is none, with a warning.',
        ['embedded', 'postgres', 'none'],
      ),
    ),
    dir: optional(
      asPath(
        text(
          'Folder of this daemon’s own, made if need be. Unless set, it is STATE_DIRECTORY, or $XDG_STATE_HOME/webapi-plugin-host/<grpc.port> (~/.local/state where that is not set); with port 0 there is none.',
        ),
      ),
    ),
    maxBytes: withDefault(
      size('Room that the state may take; past it nothing new is accepted.', { min: '128MiB', max: '1024GiB' }),
      '8GiB',
    ),
    parts: count(
      'Parts that a state is divided into, by the nodes of its tasks: a power of two. With cluster.enabled and more than one, replicas share the tasks, which is experimental (docs/scaling.md). Not to be changed for a state that has been begun.',
      1,
      32,
    ),
    postgres,
  },
);

const cluster = section(
  'Several replicas with one state, of which one works while the others stand by and pass calls on to it; with state.parts above 1 each works on some of the tasks. See docs/scaling.md.',
  {
    enabled: withDefault(
      bool('Whether this daemon is one of several replicas; state.engine must be postgres, with one schema for all.'),
      false,
    ),
    advertise: optional(
      text(
        'Where the other replicas reach the gRPC port of this one. Unless set, it is the address in the variable POD_IP; the port is the one that is listened on, unless another one is given.',
        'an IP address or host name, with or without a port',
        /^(\[[0-9A-Fa-f:.%a-z]{2,60}\](:\d{1,5})?|[A-Za-z0-9._-]{1,255}(:\d{1,5})?|[0-9A-Fa-f:.]{2,60})$/,
      ),
    ),
    serverName: optional(
      text(
        'Name that the certificates of all replicas are for, where grpc.tls is set; unless set, each one’s must be for the address that it advertises.',
        'a host name',
        /^[A-Za-z0-9._-]{1,255}$/,
      ),
    ),
    loopback: withDefault(
      choice(
        'Whether an address of loopback may be advertised, which replicas on other machines would take for their own.',
        ['refused', 'for-tests-on-one-machine'],
      ),
      'refused',
    ),
    inbox: withDefault(
      bool(
        'Whether a replica that sees no owner of a task answers Create, Delete, Status and Do in its place, while all replicas are of a release that knows of it. What it promises waits in the database for the next owner.',
      ),
      true,
    ),
  },
);

const tasks = section('Rules of a task’s life.', {
  createBudget: span(
    'For how long the tries of a create may fail in a row before its task ends. Throttles and waits for limits, pauses and outages are none of it. A create that waits for the delete of an earlier run waits for as long.',
    '10m',
    { min: '1s', max: '7d' },
  ),
  maxInlineOutputBytes: withDefault(
    size(
      'Outputs above this are written to the output prefix. The default fits the 4 MiB that an engine’s client takes; raise it with the engine’s maxResponseMessageBytes, of which it must leave 64 KiB.',
      { min: '64KiB', max: '256MiB' },
    ),
    '4032KiB',
  ),
  outputsBudget: span(
    'Time within which a success is read again while the data store does not take its large outputs.',
    '10m',
    { min: '1s', max: '7d' },
  ),
  unclearCreateLooks: count(
    'How often a create whose outcome never became clear is repeated after its task ended, to find and cancel a job that it may have left. 0 only lists such creates.',
    6,
    100,
    0,
  ),
  acceptShare: share('Share of the caller’s deadline that Create may spend on starting the task itself.', 0.33),
  visibilityGrace: span('Time after creation in which “not found” may mean “not visible yet”.', '60s', SHORT),
  notFoundTime: span(
    'A task is lost only after “not found” was all that its reads answered for this long, three reads at least.',
    '2m',
    { min: '0ms', max: '1d' },
  ),
  orphanGrace: span('Time after which a create whose answer visibly never arrived is deleted remotely.', '10m'),
  deleteGrace: span(
    'For how long the tries of an owed delete may fail before its task gives back its quota token; it stays listed and is repeated.',
    '1h',
    { min: '1s', max: '7d' },
  ),
  minFailingTime: span('Reads must fail for this long before maxSystemFailures may end a task.', '2m'),
  outageGrace: span('How long a remote may be down before failed reads count again.', '1h'),
  replayWindow: span(
    'How long the end of an attempt is remembered, deleted or not: a repeat within it is told from a new task.',
    '24h',
    { min: '1m', max: '30d' },
  ),
  doReplayTtl: span('How long a Do answers its first result again.', '10m', { min: '0ms', max: '24h' }),
  connectionTtl: span('How long secrets that came with a call stay in memory.', '1h', { min: '1m', max: '7d' }),
});

const handles = section('The handles that Create answers and engines keep. See docs/operations.md.', {
  keysFile: optional(
    asPath(
      text(
        'File with the keys that handles are signed with: one a line, the one that signs first; the others verify. It is read again every 10 seconds.',
      ),
    ),
  ),
  grace: span(
    'For so long after its start, or after the birth of its state where it has one, a daemon that signs takes up handles that are not signed, or with a key that it does not have.',
    '24h',
  ),
  adoptForeign: withDefault(
    bool('Whether plugins may take over resource metas that another service has made (adoptMeta).'),
    false,
  ),
});

const refresh = section('The poll schedule.', {
  pollShare: share(
    'Share of the read limit that polling beyond what resyncInterval asks for may spend; less of it while the daemon’s event loop is busy.',
    0.5,
  ),
  minInterval: span('Shortest time between two reads of one task.', '1s', { min: '10ms', max: '1h' }),
  idleAfter: span('A task that no engine asked about for this long is polled ever less.', '10m', {
    min: '1s',
    max: '30d',
  }),
  idleMaxInterval: span('Longest interval of a task that nobody asks about.', '30m', { min: '1s', max: '7d' }),
});

const flyte = section('The services that engines of Flyte 1 and Flyte 2 call. See docs/flyte.md.', {
  enabled: withDefault(bool('Whether they are served, on the port of the native API.'), true),
  requireToken: withDefault(
    bool('Whether these services need a token, too, where there are tokens; Flyte’s own engines send none.'),
    false,
  ),
  maxStaleness: span(
    'A GetTask for a live task that was not read for longer awaits one read, where the limit has room; 0 never.',
    '60s',
    { min: '0ms', max: '1h' },
  ),
});

const dataStore = section('Where inputs and outputs may be read and written.', {
  localRoots: withDefault(
    asPath(list('Folders that file:// and plain paths may reach; none by default.', 'paths of folders')),
    [],
  ),
  maxObjectBytes: withDefault(size('Largest object read or written.', { min: '1KiB', max: '16GiB' }), '256MiB'),
  s3: section('S3 or a store that speaks its protocol. Without keys the usual AWS sources are used.', {
    enabled: withDefault(bool('Whether s3:// is served.'), false),
    endpoint: optional(text('URL of a store other than AWS.', 'an http or https URL', /^https?:\/\/\S{1,2000}$/)),
    region: withDefault(text('Region.', 'a region name', /^[a-z0-9-]{1,64}$/), 'us-east-1'),
    accessKeyId: optional(text('Access key; goes with secretAccessKey.')),
    secretAccessKey: secret('Secret of the access key.', 1),
    secretAccessKeyFile: secretFile('the secret access key'),
    forcePathStyle: withDefault(
      bool('Bucket in the path instead of the host name; most stores other than AWS need it.'),
      false,
    ),
  }),
});

const secrets = section('Where plugins’ secrets are looked up: first the environment, then files.', {
  envPrefixes: withDefault(
    list('Prefixes of <prefix><GROUP>_<KEY>, tried in order.', 'prefixes', /^[A-Za-z_][A-Za-z0-9_]*$/),
    ['_FSEC_', 'FLYTE_SECRET_'],
  ),
  dir: withDefault(asPath(text('Folder with <group>/<key> files.')), '/etc/secrets'),
});

const shutdown = section('How the daemon stops. See docs/operations.md for the sequence.', {
  drainDelay: span('Time between becoming unready and turning calls away, so that endpoints update.', '5s', SHORT),
  grace: span('Time for plugin calls and answers in flight to end.', '20s', SHORT),
  forceAfter: span('Whole time after which the stop is forced.', '60s', { min: '1s', max: '2h' }),
});

const tokens = mapOf(
  'Who may call, by a bearer token. Without any, the native API needs none, and the operator’s view has admin.token alone; with one, every call of the native API and of the operator’s view needs a token with the right to it. See docs/security.md.',
  { name: 'name', ...CALLER_NAME },
  section('One caller.', {
    file: asPath(
      text(
        'File with its tokens, one a line, each good; read again every 10 seconds. 16 to 4096 visible ASCII characters.',
      ),
    ),
    may: list(
      'What it may do: read (Status, Get, Watch, listings), run (Create, Delete, Do), operate (pause, resume, reload, profile).',
      'some of read, run, operate',
      /^(read|run|operate)$/,
    ),
  }),
);

/** Every option of the daemon. docs/config.md and config.default.json are generated from it. */
export const CONFIG_SCHEMA = section('Configuration of plugin-host.', {
  grpc,
  admin,
  tokens,
  log,
  plugins: mapOf(
    'The plugins, by id. Instead of a map a list may be given, each element with its id.',
    {
      name: 'id',
      ...PLUGIN_ID,
      listKey: 'id',
    },
    PLUGIN_ENTRY_SCHEMA,
  ),
  sandbox: SANDBOX_SCHEMA,
  defaultForTaskTypes: mapOf(
    'Which plugin serves a task type that several of them serve.',
    { name: 'task type', ...TASK_TYPE },
    text('Id of the plugin.', PLUGIN_ID.expected, PLUGIN_ID.pattern),
  ),
  store,
  state,
  cluster,
  tasks,
  handles,
  flyte,
  refresh,
  dataStore,
  secrets,
  shutdown,
});

export type Config = Compiled<typeof CONFIG_SCHEMA>;
