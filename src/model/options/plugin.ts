import {
  asPath,
  bool,
  type Compiled,
  duration,
  free,
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

const VARIABLE = /^[A-Za-z_][A-Za-z0-9_]*$/;

const rateLimiter = (what: string) =>
  section(`Limit of ${what} calls to the remote; what is left out comes from the plugin.`, {
    qps: optional(real('Calls a second on average; may be fractional.', 0.001, 100_000)),
    burst: optional(int('Calls that may come at once after a pause.', 1, 10_000)),
  });

/** PluginConfig of the plugin contract, every key optional: what the operator sets overrides what the plugin brings. */
export const PLUGIN_CONFIG_SCHEMA = section('Limits of this plugin; each key that is set overrides the plugin’s own.', {
  resourceQuotas: mapOf(
    'Tokens of each quota namespace; replaces the plugin’s value of that namespace.',
    { name: 'namespace' },
    int('Tokens, that is tasks which may hold one at a time.', 0, 1_000_000_000),
  ),
  readRateLimiter: rateLimiter('read'),
  writeRateLimiter: rateLimiter('write'),
  caching: section('Polling and what is held.', {
    size: optional(int('Live tasks this plugin may hold; further creates wait.', 1, 500_000)),
    resyncInterval: optional(
      duration('No live task waits longer for its next read while the read limit can bear it.', {
        min: '5s',
        max: '1h',
      }),
    ),
    workers: optional(int('Concurrent calls, reads and writes each.', 1, 10_000)),
    maxSystemFailures: optional(
      int(
        'Consecutive failed reads after which, and after tasks.minFailingTime, the task ends in a system failure.',
        0,
        100,
      ),
    ),
  }),
});

/** One configured plugin. */
export const PLUGIN_ENTRY_SCHEMA = section('One plugin.', {
  source: asPath(
    text(
      'Where the plugin is: a file or folder (a relative path starts with ./ or ../ and counts from the file it is written in, elsewhere from the working directory) or the name of an installed package.',
    ),
    'dotted',
  ),
  enabled: withDefault(bool('Whether the plugin is loaded.'), true),
  required: withDefault(bool('Whether the daemon refuses to start when this plugin does not load.'), false),
  settings: free('The plugin’s own options, checked by the schema that the plugin brings.'),
  config: PLUGIN_CONFIG_SCHEMA,
  environment: section('What the plugin’s process sees of the environment, besides what the plugin itself declares.', {
    pass: withDefault(
      list(
        'Variables passed on from the daemon’s environment; a trailing * takes a prefix.',
        'names of variables, each optionally ending in *',
        /^[A-Za-z_][A-Za-z0-9_]*\*?$/,
      ),
      [],
    ),
    set: mapOf(
      'Variables set for this plugin. The values are never printed.',
      { name: 'variable', pattern: VARIABLE, expected: 'a name of letters, digits and _, not starting with a digit' },
      sensitive(text('Value of the variable.', 'a text of at most 32768 characters', /^[^\0]{0,32768}$/)),
    ),
  }),
  isolation: withDefault(
    text(
      'Where the plugin’s code runs: a process of its own, a process shared by the plugins of one group, or a thread of the daemon. docs/plugin-processes.md says what each contains.',
      'process, worker, or shared:<group> with a group of lower-case letters, digits and dashes',
      /^(process|worker|shared:[a-z0-9-]{1,40})$/,
    ),
    'process',
  ),
  memoryLimit: withDefault(
    size('Resident memory of the plugin’s process; above it the process is replaced.', {
      min: '64MiB',
      max: '1024GiB',
      multipleOf: '1MiB',
    }),
    '512MiB',
  ),
  loadTimeout: withDefault(duration('Time for import and load().', { min: '100ms', max: '1h' }), '30s'),
  callTimeout: withDefault(
    duration('Longest time a call of the plugin may take for which nobody set a deadline.', { min: '1ms', max: '1h' }),
    '30s',
  ),
  nodeOptions: withDefault(
    list(
      'Further options of the Node binary; not with isolation worker.',
      'options such as --enable-source-maps',
      /^--?[^\s]{1,500}$/,
    ),
    [],
  ),
  readConcurrency: optional(int('Concurrent reads; config.caching.workers unless set.', 1, 10_000)),
  writeConcurrency: optional(int('Concurrent writes; config.caching.workers unless set.', 1, 10_000)),
});

export type PluginEntryConfig = Compiled<typeof PLUGIN_ENTRY_SCHEMA>;
