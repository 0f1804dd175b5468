import type { AnyLeaf, Leaf } from './leaf.js';
import { asPath, bool, type Compiled, int, list, optional, section, size, text, withDefault } from './spec.js';

const ACCOUNT = /^(?:[a-z_][a-z0-9_-]{0,31}|\d{1,10})$/;
const account = (doc: string) => optional(text(doc, 'a name or a number', ACCOUNT));
const allowed = (what: string) => withDefault(bool(`Under permissions: whether the plugin may ${what}.`), false);

const FIELDS = {
  permissions: withDefault(
    bool(
      'Whether Node’s permission model holds the process: files that are not named here, child processes, worker threads, native addons and WASI are refused. Needs Node 22.15 or newer, and a process, not a thread.',
    ),
    false,
  ),
  read: withDefault(
    asPath(
      list(
        'Under permissions: files and folders that the plugin may read, besides its own folder, the node_modules above it, this package, secrets.dir and dataStore.localRoots.',
        'paths',
      ),
    ),
    [],
  ),
  write: withDefault(
    asPath(
      list(
        'Under permissions: files and folders that the plugin may write, and read, besides dataStore.localRoots.',
        'paths',
      ),
    ),
    [],
  ),
  childProcesses: allowed('start programs, which nothing here holds but limits and user'),
  workers: allowed('start worker threads'),
  addons: allowed('load native addons, which can do all that the user of the process may'),
  wasi: allowed('use WASI'),
  network: withDefault(
    bool('Under permissions: whether the plugin may reach the network. Only Node 25 and newer can keep it from that.'),
    true,
  ),
  user: account(
    'User that the process runs as; goes with group. The daemon must be root, or have the capabilities to change users and to end processes of others.',
  ),
  group: account('Group that the process runs as, without any other; goes with user.'),
  dropPrivileges: withDefault(
    bool('Whether the process gives up all capabilities, and can gain no rights by programs that it starts.'),
    false,
  ),
  coreDumps: withDefault(bool('Whether the kernel may write the memory of a process that crashed to a file.'), true),
  openFiles: optional(int('Files, sockets and pipes that the process may have open.', 64, 1_048_576)),
  processes: optional(
    int(
      'Processes and threads that the user of the process may have on the whole machine, those of the daemon and of other containers included; of no effect on root. A plugin’s process has about 11.',
      16,
      4_194_304,
    ),
  ),
  fileSize: optional(size('Largest file that the process may write.', { min: '0B', max: '1024GiB' })),
  niceness: withDefault(
    int(
      'How far the process gives way to the daemon where both want a core, once its plugins are loaded: what is added to the daemon’s own nice value. 0 is none.',
      0,
      19,
    ),
    10,
  ),
  dataSize: optional(
    size(
      'Private memory that the process may ask for, whether it uses it or not; Node 24 asks for 0.6 GiB at its start.',
      { min: '256MiB', max: '1024GiB' },
    ),
  ),
};

type Fields = typeof FIELDS;
type Overrides = {
  readonly [K in keyof Fields]: Fields[K] extends Leaf<infer T, infer S> ? Leaf<T | undefined, S> : never;
};

/** What is in force for all plugins. */
export const SANDBOX_SCHEMA = section(
  'What plugin processes may do, where a plugin’s entry says nothing else. docs/security.md tells what each stops, and what it does not.',
  FIELDS,
);

/** The same for one plugin: a key that is set goes before, and lists come together. */
export const PLUGIN_SANDBOX_SCHEMA = section(
  'What this plugin’s process may do: each key that is set goes before that of sandbox, but lists of files are added to it.',
  Object.fromEntries(
    Object.entries<AnyLeaf>(FIELDS).map(([key, leaf]) => [
      key,
      { ...optional(leaf), doc: `sandbox.${key} for this plugin.`, written: undefined },
    ]),
  ) as unknown as Overrides,
);

/** What holds a plugin process. */
export type SandboxOptions = Compiled<typeof SANDBOX_SCHEMA>;
/** What a plugin's entry says of it. */
export type SandboxLayer = Compiled<typeof PLUGIN_SANDBOX_SCHEMA>;

/** What is in force for a plugin. */
export function sandboxOf(all: SandboxOptions, own: SandboxLayer): SandboxOptions {
  const set = Object.entries(own).filter(([, value]) => value !== undefined);
  return Object.freeze({
    ...all,
    ...Object.fromEntries(set),
    read: Object.freeze([...all.read, ...(own.read ?? [])]),
    write: Object.freeze([...all.write, ...(own.write ?? [])]),
  });
}
