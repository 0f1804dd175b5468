import { LOG_BYTES_PER_SECOND, MEASUREMENTS_PER_SECOND } from '../../channel/measurements.js';
import type { DataOptions } from '../../data/options.js';
import { HostError } from '../../errors/index.js';
import type { Clock } from '../../lib/clock.js';
import type { SecretMasks } from '../../lib/secrets.js';
import type { HostEvents } from '../../model/events/host.js';
import type { PluginEntry } from '../../model/options/plugin.js';
import { type SandboxOptions, sandboxOf } from '../../model/options/sandbox.js';
import type { SendingLease } from '../../model/sending-lease.js';
import { NETWORK_VARIABLES, pickVariables } from '../load/environment.js';
import { reachedOf, reachOf } from '../load/reach.js';
import type { HostLimits } from '../types.js';
import { assertPassedOn, type Confinement, confine, isHeld, PIPE_FD, unavailable } from './confinement.js';
import { PluginProcess } from './plugin-process.js';
import type { StartedProcesses } from './started.js';

const MIB = 1024 * 1024;

export interface ProcessParts {
  readonly clock: Clock;
  readonly events: HostEvents;
  readonly limits: HostLimits;
  readonly baseDir: string;
  readonly lease: SendingLease | undefined;
  readonly masks: SecretMasks;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly started: StartedProcesses;
  /** What holds a process where its plugin's entry says nothing else. */
  readonly sandbox: SandboxOptions;
  readonly data: DataOptions;
  /** Files and folders that are the daemon's alone. */
  readonly guarded: readonly string[];
}

/**
 * Starts a process for plugins that share it, `name` for what it says as a whole; their order makes their numbers. `folders`
 * are the plugins' own. Throws HostError where it cannot be held as its options ask, and what isShortage tells.
 */
export function startProcess(
  name: string,
  plugins: readonly { readonly id: string; readonly entry: PluginEntry }[],
  parts: ProcessParts,
  folders: readonly string[],
): PluginProcess {
  const { clock, lease, events, limits, baseDir, env: from, started, masks } = parts;
  const entries = plugins.map(({ entry }) => entry);
  const isolation = entries.some((entry) => entry.isolation === 'worker') ? 'worker' : 'process';
  const env = pickVariables(NETWORK_VARIABLES, from);
  for (const { environment } of entries) Object.assign(env, pickVariables(environment.pass, from), environment.set);
  const { maxRequestBytes, maxAnswerBytes, highWaterBytes } = limits;
  const confinement = confinementOf(isolation, entries, parts, folders);
  assertPassedOn(confinement, env);
  const only = plugins.length === 1 ? plugins[0] : undefined;
  const nameOf = (p: number | undefined) => (p === undefined ? only : plugins[p])?.id ?? name;
  return new PluginProcess({
    launch: {
      isolation,
      env,
      confinement,
      memoryLimitMb: Math.max(...entries.map((entry) => entry.memoryLimitBytes)) / MIB,
      nodeOptions: [...new Set(entries.flatMap((entry) => entry.nodeOptions))],
      bounds: { maxInBytes: maxRequestBytes, maxOutBytes: maxAnswerBytes, highWaterBytes },
      plain: [...new Set(entries.flatMap(({ environment }) => environment.plain))],
      cwd: baseDir,
      started,
    },
    masks,
    limits,
    clock,
    lease,
    // Each plugin has its own bound within the process; as much again is left for stack traces of what they throw.
    channelLinesPerSecond: 2 * plugins.length * limits.logLinesPerSecond,
    channelLineBytesPerSecond: 2 * plugins.length * LOG_BYTES_PER_SECOND,
    measurementsPerSecond: plugins.length * MEASUREMENTS_PER_SECOND,
    onLog: (p, event) => events.log({ pluginId: nameOf(p), ...event }),
    onMetric: (p, event) => events.metric({ pluginId: nameOf(p), ...event }),
  });
}

/** How the process is held: as all of its plugins say, which have to say the same. */
function confinementOf(
  isolation: 'worker' | 'process',
  entries: readonly PluginEntry[],
  { sandbox: all, data, guarded }: ProcessParts,
  folders: readonly string[],
): Confinement {
  const [first = all, ...others] = entries.map((entry) => sandboxOf(all, entry.sandbox));
  for (const other of others) {
    const key = (Object.keys(first) as (keyof SandboxOptions)[]).find(
      (one) => !Array.isArray(first[one]) && first[one] !== other[one],
    );
    if (key !== undefined)
      throw unavailable(`plugins that share a process differ in sandbox.${key}; expected the same`);
  }
  const sandbox = {
    ...first,
    read: [first, ...others].flatMap(({ read }) => read),
    write: [first, ...others].flatMap(({ write }) => write),
  };
  if (isolation === 'worker') {
    if (isHeld(sandbox))
      throw unavailable(
        'its isolation is worker, and a thread of the daemon may do what the daemon may; expected a process, or no sandbox options',
      );
    return { command: [], flags: [], channelFd: PIPE_FD, niceness: 0 };
  }
  const reach = reachOf(folders, sandbox, data);
  const reached = sandbox.permissions ? reachedOf(reach, guarded) : undefined;
  if (reached !== undefined) {
    const why = `it may read ${reached}, which is the daemon’s own, since that lies in a folder of the plugin, or one that sandbox or dataStore names; expected folders of their own`;
    throw new HostError('PLUGIN_SANDBOX_LEAKS', why);
  }
  return confine(sandbox, reach);
}
