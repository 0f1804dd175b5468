import type { Config } from '../config/index.js';
import type { DataOptions } from '../data/options.js';
import type { PluginEntry } from '../model/options/plugin.js';
import { DEFAULT_TASKS_OPTIONS, type TasksOptions } from '../tasks/deps.js';

/** The enabled entries of the config, as the plugin host takes them. */
export function pluginEntries(config: Config): PluginEntry[] {
  return Object.entries(config.plugins)
    .filter(([, entry]) => entry.enabled)
    .map(([id, entry]) => ({ ...entry, id }));
}

/** Data store and secrets, for the plugin processes and for outputs that the daemon writes itself. */
export function dataOptions(config: Config): DataOptions {
  const { localRoots, maxObjectBytes, s3 } = config.dataStore;
  return {
    dataStore: {
      localRoots,
      maxObjectBytes,
      s3: {
        enabled: s3.enabled,
        region: s3.region,
        forcePathStyle: s3.forcePathStyle,
        ...(s3.endpoint === undefined ? {} : { endpoint: s3.endpoint }),
        ...(s3.accessKeyId === undefined ? {} : { accessKeyId: s3.accessKeyId }),
        ...(s3.secretAccessKey === undefined ? {} : { secretAccessKey: s3.secretAccessKey }),
      },
    },
    secrets: { envPrefixes: config.secrets.envPrefixes, dir: config.secrets.dir },
    maxOutputBytes: maxObjectBytes,
  };
}

export function tasksOptions(config: Config): TasksOptions {
  return {
    ...DEFAULT_TASKS_OPTIONS,
    acceptShare: config.tasks.acceptShare,
    createBudgetMs: config.tasks.createBudgetMs,
    outputsBudgetMs: config.tasks.outputsBudgetMs,
    replayWindowMs: config.tasks.tombstoneTtlMs,
    orphanGraceMs: config.tasks.orphanGraceMs,
    visibilityGraceMs: config.tasks.visibilityGraceMs,
    notFoundMinMs: config.tasks.notFoundTimeMs,
    unclearLooks: config.tasks.unclearCreateLooks,
    connectionTtlMs: config.tasks.connectionTtlMs,
    maxAdopted: config.store.maxTasks,
    maxWaiting: config.store.waitingLine.max,
    maxWaitingBytes: config.store.waitingLine.maxBytes,
  };
}
