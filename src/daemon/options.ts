import { type Config, effectiveTree, type LoadedConfig } from '../config/index.js';
import type { DataOptions } from '../data/options.js';
import { S3_BOUNDS } from '../data/stores/s3-store.js';
import { DEFAULT_HOST_LIMITS } from '../host/limits.js';
import type { HostLimits } from '../host/types.js';
import type { JsonObject } from '../lib/json.js';
import type { PluginEntry } from '../model/options/plugin.js';
import { UNFINISHED_SHARE } from '../model/options/schema.js';
import { FIELD_BOUNDS, type FieldLimits } from '../rpc/fields.js';
import { RPC_BOUNDS, type RpcLimits } from '../rpc/options.js';
import type { RuntimeOptions } from '../runtime/build-runtime.js';
import type { TaskStoreOptions } from '../store/task-store.js';
import { TASKS_BOUNDS, type TasksOptions } from '../tasks/deps.js';

/** The enabled entries of the config, as the plugin host takes them. */
export function pluginEntries(config: Config): PluginEntry[] {
  return Object.entries(config.plugins)
    .filter(([, entry]) => entry.enabled)
    .map(([id, entry]) => ({ ...entry, id }));
}

/** Options that replicas should have alike: whichever of them works goes by its own. Secrets are masked. */
export function sharedOptions({ effective }: LoadedConfig): JsonObject {
  const { plugins = {}, defaultForTaskTypes = {}, tasks = {}, store = {}, refresh = {} } = effectiveTree(effective);
  return { plugins, defaultForTaskTypes, tasks, store, refresh };
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
        ...S3_BOUNDS,
        ...(s3.endpoint === undefined ? {} : { endpoint: s3.endpoint }),
        ...(s3.accessKeyId === undefined ? {} : { accessKeyId: s3.accessKeyId }),
        ...(s3.secretAccessKey === undefined ? {} : { secretAccessKey: s3.secretAccessKey }),
      },
    },
    secrets: { envPrefixes: config.secrets.envPrefixes, dir: config.secrets.dir },
    maxOutputBytes: maxObjectBytes,
  };
}

/** What is added on the way from a request to the message to a plugin: names, numbers, a frame; secrets are in the request. */
const MESSAGE_ROOM_BYTES = 16 * 1024 * 1024;

/** Bounds of plugin processes: what the gRPC port takes fits into a message to one. */
export function hostLimits({ grpc }: Config): Pick<HostLimits, 'maxRequestBytes' | 'maxQueuedBytes'> {
  const { maxRequestBytes, maxQueuedBytes } = DEFAULT_HOST_LIMITS;
  const needed = grpc.maxReceiveMessageBytes + MESSAGE_ROOM_BYTES;
  return { maxRequestBytes: Math.max(maxRequestBytes, needed), maxQueuedBytes: Math.max(maxQueuedBytes, 2 * needed) };
}

/** Times and bounds of the use cases. */
export function tasksOptions(config: Config): TasksOptions {
  return {
    ...TASKS_BOUNDS,
    acceptShare: config.tasks.acceptShare,
    createBudgetMs: config.tasks.createBudgetMs,
    outputsBudgetMs: config.tasks.outputsBudgetMs,
    maxInlineOutputBytes: config.tasks.maxInlineOutputBytes,
    replayWindowMs: config.tasks.replayWindowMs,
    orphanGraceMs: config.tasks.orphanGraceMs,
    deleteGraceMs: config.tasks.deleteGraceMs,
    visibilityGraceMs: config.tasks.visibilityGraceMs,
    notFoundMinMs: config.tasks.notFoundTimeMs,
    unclearLooks: config.tasks.unclearCreateLooks,
    connectionTtlMs: config.tasks.connectionTtlMs,
    adoptForeign: config.handles.adoptForeign,
    maxAdopted: config.store.maxTasks,
    maxWaiting: config.store.waitingLine.max,
    maxWaitingBytes: config.store.waitingLine.maxBytes,
  };
}

/** Ends are remembered for so many attempts; see `EndMarks`. */
const MAX_END_MARKS = 1_000_000;

/** Bounds of what is held of tasks. */
export function storeBounds({
  store,
  tasks,
}: Config): Pick<TaskStoreOptions, 'maxTasks' | 'finished' | 'endMarks' | 'watchRing'> {
  const { finished, maxTasks, watchRing } = store;
  return {
    finished,
    maxTasks,
    endMarks: { max: MAX_END_MARKS, ttlMs: tasks.replayWindowMs },
    watchRing: watchRing.size,
  };
}

/** Settings of the poll schedules. */
export function refreshTuning({ refresh, tasks }: Config): RuntimeOptions['refresh'] {
  return {
    pollShare: refresh.pollShare,
    minIntervalMs: refresh.minIntervalMs,
    idleAfterMs: refresh.idleAfterMs,
    maxIntervalMs: refresh.idleMaxIntervalMs,
    minFailingMs: tasks.minFailingTimeMs,
    visibilityGraceMs: tasks.visibilityGraceMs,
    notFoundMinMs: tasks.notFoundTimeMs,
    outageGraceMs: tasks.outageGraceMs,
  };
}

/** Bounds of single fields of a request. */
export const fieldLimits = (config: Config): FieldLimits => ({
  ...FIELD_BOUNDS,
  customBytes: config.grpc.maxCustomBytes,
});

/** Bounds of the gRPC port. */
export function rpcLimits({ grpc }: Config): RpcLimits {
  return {
    ...RPC_BOUNDS,
    maxReceiveBytes: grpc.maxReceiveMessageBytes,
    maxSendBytes: grpc.maxSendMessageBytes,
    maxConcurrentStreams: grpc.maxConcurrentStreams,
    maxUnfinishedBytes: grpc.maxUnfinishedRequestBytes ?? grpc.maxReceiveMessageBytes * UNFINISHED_SHARE,
    maxConnections: grpc.maxConnections,
    maxStreams: grpc.maxWatchStreams,
    keepaliveTimeMs: grpc.keepalive.timeMs,
    keepaliveTimeoutMs: grpc.keepalive.timeoutMs,
    maxConnectionIdleMs: grpc.keepalive.maxConnectionIdleMs,
    defaultDeadlineMs: grpc.defaultDeadlineMs,
    maxDeadlineMs: grpc.maxDeadlineMs,
  };
}
