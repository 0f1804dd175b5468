import { completeEntry } from '../host/load/entry.js';
import { createPluginHost } from '../host/plugin-host.js';
import type { HostedPlugin } from '../host/types.js';
import { systemClock } from '../lib/clock.js';
import type { PluginLogEvent, PluginMetricEvent } from '../model/events/host.js';
import type { WrittenPluginEntry } from '../model/options/plugin.js';

export interface StartPluginFileOptions {
  /** Where the entry's relative source starts from. Default: the working directory. */
  readonly baseDir?: string;
  /** What the plugin's process may be given of, as the entry and definition declare. Default: process.env. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Folders that the data store may reach. Default: none. */
  readonly localRoots?: readonly string[];
}

export interface StartedPlugin {
  readonly plugin: HostedPlugin;
  readonly logs: readonly PluginLogEvent[];
  readonly metrics: readonly PluginMetricEvent[];
  /** Ends the plugin's process. */
  stop(): Promise<void>;
}

const MAX_BYTES = 16 * 1024 * 1024;
const GRACE_MS = 1_000;

/** Runs one plugin from its file, folder or package in a process of its own, as the daemon does. Throws its load error. */
export async function startPluginFile(
  entry: WrittenPluginEntry,
  options: StartPluginFileOptions = {},
): Promise<StartedPlugin> {
  const logs: PluginLogEvent[] = [];
  const metrics: PluginMetricEvent[] = [];
  const host = createPluginHost({
    entries: [completeEntry(entry)],
    clock: systemClock,
    random: Math.random,
    data: {
      dataStore: { localRoots: options.localRoots ?? [], maxObjectBytes: MAX_BYTES },
      secrets: { envPrefixes: ['FLYTE_SECRET_', '_FSEC_'] },
      maxOutputBytes: MAX_BYTES,
    },
    events: {
      log: (event) => logs.push(event),
      metric: (event) => metrics.push(event),
      lifecycle: () => undefined,
      changed: () => undefined,
    },
    ...(options.baseDir === undefined ? {} : { baseDir: options.baseDir }),
    ...(options.env === undefined ? {} : { env: options.env }),
  });
  const { results } = await host.start();
  const [plugin] = host.plugins();
  const error = results[0]?.error;
  if (error !== undefined || plugin === undefined) {
    await host.stop(0);
    throw error;
  }
  return { plugin, logs, metrics, stop: () => host.stop(GRACE_MS) };
}
