import { LOG_BYTES_PER_SECOND, MEASUREMENTS_PER_SECOND } from '../../channel/measurements.js';
import type { Clock } from '../../lib/clock.js';
import type { SecretMasks } from '../../lib/secrets.js';
import type { HostEvents } from '../../model/events/host.js';
import type { PluginEntry } from '../../model/options/plugin.js';
import { NETWORK_VARIABLES, pickVariables } from '../load/environment.js';
import type { HostLimits } from '../types.js';
import { PluginProcess } from './plugin-process.js';
import type { StartedProcesses } from './started.js';

const MIB = 1024 * 1024;

export interface ProcessParts {
  readonly clock: Clock;
  readonly events: HostEvents;
  readonly limits: HostLimits;
  readonly baseDir: string;
  readonly masks: SecretMasks;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly started: StartedProcesses;
}

/** Starts a process for plugins that share it, `name` for what it says as a whole; their order makes their numbers. */
export function startProcess(
  name: string,
  plugins: readonly { readonly id: string; readonly entry: PluginEntry }[],
  { clock, events, limits, baseDir, env: from, started, masks }: ProcessParts,
): PluginProcess {
  const entries = plugins.map(({ entry }) => entry);
  const env = pickVariables(NETWORK_VARIABLES, from);
  for (const { environment } of entries) Object.assign(env, pickVariables(environment.pass, from), environment.set);
  const { maxRequestBytes, maxAnswerBytes, highWaterBytes } = limits;
  const only = plugins.length === 1 ? plugins[0] : undefined;
  const nameOf = (p: number | undefined) => (p === undefined ? only : plugins[p])?.id ?? name;
  return new PluginProcess({
    launch: {
      isolation: entries.some(({ isolation }) => isolation === 'worker') ? 'worker' : 'process',
      env,
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
    // Each plugin has its own bound within the process; as much again is left for stack traces of what they throw.
    channelLinesPerSecond: 2 * plugins.length * limits.logLinesPerSecond,
    channelLineBytesPerSecond: 2 * plugins.length * LOG_BYTES_PER_SECOND,
    measurementsPerSecond: plugins.length * MEASUREMENTS_PER_SECOND,
    onLog: (p, event) => events.log({ pluginId: nameOf(p), ...event }),
    onMetric: (p, event) => events.metric({ pluginId: nameOf(p), ...event }),
  });
}
