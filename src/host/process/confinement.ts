import { spawnSync } from 'node:child_process';
import { statSync } from 'node:fs';
import module from 'node:module';
import { HostError } from '../../errors/index.js';
import { ShortageError, tellsShortage } from '../../lib/shortage.js';
import type { SandboxOptions } from '../../model/options/sandbox.js';
import { VARIABLE } from '../../model/plugin-facts.js';
import type { Reach } from '../load/reach.js';
import { diesWithParent } from './parent-death.js';

/** How a plugin process is started so that it can do less. */
export interface Confinement {
  /** Programs of util-linux, each of which becomes the next, before the Node binary. */
  readonly command: readonly string[];
  /** Options of the Node binary. */
  readonly flags: readonly string[];
  /** Where the process finds its channel. */
  readonly channelFd: ChannelFd;
  /** Added to the daemon's own nice value. */
  readonly niceness: number;
}

/** Its standard input, or the first descriptor after the three that every program has. */
export type ChannelFd = 0 | 3;

/** The extra pipe that a child process is given. */
export const PIPE_FD: ChannelFd = 3;

const SETPRIV = '/usr/bin/setpriv';
const PRLIMIT = '/usr/bin/prlimit';
/**
 * Without the network Node (from 26.12 on) opens no descriptor but the three standard ones as a pipe or socket: the channel,
 * which goes both ways, becomes standard input, where a child's own goes one way.
 */
const CHANNEL_TO_STDIN = ['/bin/sh', '-c', `unset PWD; exec "$@" <&${PIPE_FD} ${PIPE_FD}<&-`, 'sh'];
const TRIAL_MS = 30_000;
/** Of what a program said, for an error. */
const SAID_CHARS = 300;

/** What a Node offers of its permission model; handed in so that a test can ask for another one. */
export interface NodeOffers {
  readonly version: string;
  readonly flags: { has(flag: string): boolean };
  /** Whether modules can be resolved without a thread, which the permission model would refuse. */
  readonly syncHooks: boolean;
}

const THIS_NODE: NodeOffers = {
  version: process.versions.node,
  flags: process.allowedNodeEnvironmentFlags,
  syncHooks: typeof (module as { readonly registerHooks?: unknown }).registerHooks === 'function',
};

/** Throws PLUGIN_SANDBOX_UNAVAILABLE for variables that would not reach a process which is started so. */
export function assertPassedOn({ channelFd }: Confinement, env: Readonly<Record<string, string>>): void {
  if (channelFd !== 0) return;
  // A shell passes on what it could itself set.
  const lost = Object.keys(env).find((name) => !VARIABLE.pattern.test(name));
  if (lost === undefined) return;
  throw unavailable(
    `sandbox.network is false, and the shell that the process is started by passes on no variable ${JSON.stringify(lost)}; expected names of letters, digits and _ in environment, or sandbox.network to be true`,
  );
}

export const unavailable = (why: string) => new HostError('PLUGIN_SANDBOX_UNAVAILABLE', why);

/** Whether anything is asked for that a thread of the daemon cannot give. */
export function isHeld(sandbox: SandboxOptions): boolean {
  return sandbox.permissions || [...changesOf(sandbox), ...limitsOf(sandbox)].length > 0;
}

/**
 * How to start a process with these options, once it was tried. Throws HostError PLUGIN_SANDBOX_UNAVAILABLE where Node or the
 * system does not offer one of them, ShortageError where that could not be found out.
 */
export function confine(sandbox: SandboxOptions, reach: Reach): Confinement {
  const flags = permissionFlags(sandbox, reach);
  const atStdin = sandbox.permissions && !sandbox.network;
  const command = [
    ...privileges(changesOf(sandbox)),
    ...prlimit(limitsOf(sandbox)),
    ...(atStdin ? CHANNEL_TO_STDIN : []),
  ];
  if (isHeld(sandbox)) assertStarts(command);
  return { command, flags, channelFd: atStdin ? 0 : PIPE_FD, niceness: sandbox.niceness };
}

/** Node's permission model as its command line takes it. Throws PLUGIN_SANDBOX_UNAVAILABLE. */
export function permissionFlags(sandbox: SandboxOptions, reach: Reach, node: NodeOffers = THIS_NODE): string[] {
  if (!sandbox.permissions) {
    if (!sandbox.network) throw unavailable('sandbox.network is false; expected sandbox.permissions to be true then');
    return [];
  }
  if (!node.flags.has('--permission') || !node.syncHooks) {
    throw unavailable(
      `sandbox.permissions is true, and this is Node ${node.version}; expected Node 22.15 or newer, or sandbox.permissions to be false`,
    );
  }
  if (!sandbox.network && !node.flags.has('--allow-net')) {
    throw unavailable(
      `sandbox.network is false, and this is Node ${node.version}, which keeps nobody from the network; expected Node 25 or newer, or sandbox.network to be true`,
    );
  }
  const allow = (flag: string, wanted: boolean) => (wanted && node.flags.has(flag) ? [flag] : []);
  return [
    '--permission',
    ...reach.read.flatMap((one) => grant('--allow-fs-read', one)),
    ...reach.write.flatMap((one) => grant('--allow-fs-write', one)),
    ...allow('--allow-child-process', sandbox.childProcesses),
    ...allow('--allow-worker', sandbox.workers),
    ...allow('--allow-addons', sandbox.addons),
    ...allow('--allow-wasi', sandbox.wasi),
    ...allow('--allow-net', sandbox.network),
    // It opens files without asking the permission model.
    ...['--no-experimental-sqlite'].filter(() => node.flags.has('--experimental-sqlite')),
    // What is allowed here is the operator's word; Node warns of some of it.
    '--disable-warning=SecurityWarning',
  ];
}

/** A file, or a folder and what is or comes to be below it. Node takes an asterisk for a wildcard wherever it stands. */
function grant(flag: string, path: string): string[] {
  if (path.includes('*')) {
    throw unavailable(`sandbox.permissions is true, and Node takes the asterisk in ${path} for a wildcard; rename it`);
  }
  const isFile = statSync(path, { throwIfNoEntry: false })?.isDirectory() === false;
  return isFile ? [`${flag}=${path}`] : [`${flag}=${path}`, `${flag}=${path.endsWith('/') ? path : `${path}/`}*`];
}

/** Options of setpriv. */
function changesOf({ user, group, dropPrivileges }: SandboxOptions): string[] {
  const other = user !== undefined && group !== undefined;
  return [
    ...(other ? ['--reuid', user, '--regid', group, '--clear-groups'] : []),
    // Who becomes another user has lost them; who stays root would have them again at the next program, but for the bound.
    ...(dropPrivileges && !other ? ['--bounding-set=-all'] : []),
    ...(dropPrivileges ? ['--no-new-privs', '--inh-caps=-all', '--ambient-caps=-all'] : []),
  ];
}

/** Options of prlimit, each soft and hard. */
function limitsOf({ coreDumps, openFiles, processes, fileSizeBytes, dataSizeBytes }: SandboxOptions): string[] {
  const limits = { nofile: openFiles, nproc: processes, fsize: fileSizeBytes, data: dataSizeBytes };
  return [
    ...(coreDumps ? [] : ['--core=0:0']),
    ...Object.entries(limits).flatMap(([name, limit]) => (limit === undefined ? [] : [`--${name}=${limit}:${limit}`])),
  ];
}

/** What asks the kernel for the process's end with the daemon's is setpriv, too, where there is one. */
function privileges(changes: readonly string[]): readonly string[] {
  if (changes.length === 0) return diesWithParent();
  const [program = SETPRIV, ...before] = diesWithParent();
  return [program, ...before, ...changes];
}

const prlimit = (limits: readonly string[]) => (limits.length === 0 ? [] : [PRLIMIT, ...limits]);

const known = new Set<string>();

/** What was found to work is not tried again; what did not may have been installed since. */
function assertStarts(command: readonly string[]): void {
  const key = JSON.stringify(command);
  if (known.has(key)) return;
  const [program = process.execPath, ...args] = [...command, process.execPath, '--eval', ''];
  const { status, signal, error, stderr } = spawnSync(program, args, {
    stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
    env: {},
    encoding: 'utf8',
    timeout: TRIAL_MS,
  });
  if (status === 0) {
    known.add(key);
    return;
  }
  const said =
    error?.message ?? stderr.split('\n').find((line) => /\w/.test(line)) ?? `it ended with ${signal ?? status}`;
  if (tellsShortage(said)) throw new ShortageError(said);
  throw unavailable(
    `a process with its sandbox options does not start: ${said.trim().slice(0, SAID_CHARS)} (tried: ${[program, ...command.slice(1)].join(' ')}); expected util-linux’s setpriv and prlimit, a shell where the network is refused, the right to do this, and limits that Node can start in`,
  );
}
