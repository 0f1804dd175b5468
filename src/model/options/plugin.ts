import type { JsonValue } from '../../lib/json.js';
import type { PluginConfig } from '../../plugin-api/config.js';
import { QUOTA_NAMESPACE } from '../identity-check.js';
import { VARIABLE, VARIABLES } from '../plugin-facts.js';
import type { AnyLeaf, Leaf } from './leaf.js';
import { PLUGIN_SANDBOX_SCHEMA } from './sandbox.js';
import {
  asPath,
  bool,
  type Compiled,
  compiledName,
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
  type Written,
  withDefault,
} from './spec.js';
import { defaultOf } from './values.js';

/** Where a plugin's module comes from. A path is relative to the host's `baseDir`. */
export type PluginSource =
  | { readonly file: string }
  /** A folder with a package.json (`exports` or `main`) or an index file. */
  | { readonly folder: string }
  /** A package (subpaths allowed), resolved as from a file in `baseDir`. */
  | { readonly package: string };

/**
 * `process`: a child process of its own (the default). `shared:<group>`: one child process for all entries of the
 * group; a crash of one costs the others their calls in flight too. `worker`: a thread of the daemon; weaker still,
 * docs/plugin-processes.md says how.
 */
export type PluginIsolation = 'process' | 'worker' | `shared:${string}`;

/** An option that the operator sets over the plugin; `written` is in force where neither says anything. */
const inherited = <T, S extends string>(base: Leaf<T, S>, written: JsonValue): Leaf<T | undefined, S> =>
  optional(withDefault(base, written));

const concurrency = (doc: string) => int(doc, 1, 10_000);

const rateLimiter = (what: string, qps: number, burst: number) =>
  section(`Limit of ${what} calls to the remote; what is left out comes from the plugin.`, {
    qps: inherited(real('Calls a second on average; may be fractional.', 0.001, 100_000), qps),
    burst: inherited(int('Calls that may come at once after a pause.', 1, 10_000), burst),
  });

/**
 * PluginConfig of the plugin contract, every key optional: what the operator sets overrides what the plugin brings. Names,
 * defaults and ranges are those of the original framework.
 */
export const PLUGIN_CONFIG_SCHEMA = section('Limits of this plugin; each key that is set overrides the plugin’s own.', {
  resourceQuotas: mapOf(
    'Tokens of each quota namespace; replaces the plugin’s value of that namespace.',
    { name: 'namespace', ...QUOTA_NAMESPACE },
    int('Tokens, that is tasks which may hold one at a time.', 0, 1_000_000_000),
  ),
  readRateLimiter: rateLimiter('read', 30, 300),
  writeRateLimiter: rateLimiter('write', 20, 200),
  caching: section('Polling and what is held.', {
    size: inherited(int('Live tasks this plugin may hold; further creates wait.', 1, 500_000), 100_000),
    resyncInterval: inherited(
      duration('No live task waits longer for its next read while the read limit can bear it.', {
        min: '5s',
        max: '1h',
      }),
      '30s',
    ),
    workers: inherited(concurrency('Concurrent calls, reads and writes each.'), 10),
    maxSystemFailures: inherited(
      int(
        'Consecutive failed reads after which, and after tasks.minFailingTime, the task ends in a system failure.',
        0,
        100,
      ),
      5,
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
        VARIABLES.pattern,
      ),
      [],
    ),
    plain: withDefault(
      list(
        'Of these variables, those whose values are no secrets and may be shown in logs and messages; a trailing * takes a prefix. Values of all others are masked, but for the usual ones (PATH, HOME, TZ, …).',
        'names of variables, each optionally ending in *',
        VARIABLES.pattern,
      ),
      [],
    ),
    set: mapOf(
      'Variables set for this plugin. The values are never printed.',
      { name: 'variable', ...VARIABLE },
      sensitive(text('Value of the variable.', 'a text of at most 32768 characters', /^[^\0]{0,32768}$/)),
    ),
  }),
  isolation: withDefault(
    text<PluginIsolation>(
      'Where the plugin’s code runs: a process of its own, a process shared by the plugins of one group, or a thread of the daemon. docs/plugin-processes.md says what each contains.',
      'process, worker, or shared:<group> with a group of 1 to 40 letters, digits, dashes and _',
      /^(process|worker|shared:[A-Za-z0-9_-]{1,40})$/,
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
  sandbox: PLUGIN_SANDBOX_SCHEMA,
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
  readConcurrency: optional(concurrency('Concurrent reads; config.caching.workers unless set.')),
  writeConcurrency: optional(concurrency('Concurrent writes; config.caching.workers unless set.')),
});

/** One plugin to be hosted: an entry of the configuration, complete and checked, with its id. */
export type PluginEntry = Omit<Compiled<typeof PLUGIN_ENTRY_SCHEMA>, 'source'> & {
  /** Hosts the plugin under this id instead of its own, so that one module may serve twice with other settings. */
  readonly id: string | undefined;
  /** A path (starting with `.`, `/` or a drive, or ending in a known suffix) or a package name, or told apart. */
  readonly source: PluginSource | string;
};

/** An entry as one writes it in code: the keys and units of the configuration, everything but `source` left out at will. */
export type WrittenPluginEntry = Omit<Written<typeof PLUGIN_ENTRY_SCHEMA>, 'source'> & {
  readonly id?: string;
  readonly source: PluginSource | string;
};

/** The keys of a PluginConfig that one layer sets. */
export type PluginConfigLayer = Compiled<typeof PLUGIN_CONFIG_SCHEMA>;

/** What is in force over no layers: each option's default. */
export const DEFAULT_PLUGIN_CONFIG: PluginConfig = layered([]);

/** What is in force: each key from the last layer that sets it, from its default where none does. */
export function layered(layers: readonly PluginConfigLayer[], schema = PLUGIN_CONFIG_SCHEMA): PluginConfig {
  const { resourceQuotas: _, ...sections } = schema.fields;
  const merged = Object.entries(sections).map(([name, { fields }]) => {
    const written = layers.map((layer) => layer[name as keyof typeof sections] as Record<string, unknown>);
    const values = Object.entries<AnyLeaf>(fields).map(([key, leaf]) => {
      const compiled = compiledName(key, leaf);
      const set = written.map((layer) => layer[compiled]).filter((value) => value !== undefined);
      return [compiled, set.length > 0 ? set.at(-1) : defaultOf(leaf)];
    });
    return [name, Object.freeze(Object.fromEntries(values))];
  });
  const resourceQuotas = Object.freeze(Object.assign({}, ...layers.map((layer) => layer.resourceQuotas)));
  return Object.freeze({ ...Object.fromEntries(merged), resourceQuotas }) as PluginConfig;
}
