import { type Config, effectiveTree, type LoadedConfig } from '../config/index.js';
import type { JsonObject } from '../lib/json.js';
import { UNFINISHED_SHARE } from '../model/options/schema.js';
import { FIELD_BOUNDS, type FieldLimits } from '../rpc/fields.js';
import { RPC_BOUNDS, type RpcLimits } from '../rpc/options.js';
import type { RuntimeOptions } from '../runtime/build-runtime.js';
import type { TaskStoreOptions } from '../store/task-store.js';
import { TASKS_BOUNDS, type TasksOptions } from '../tasks/deps.js';

/** Options that replicas should have alike: whichever of them works goes by its own. Secrets are masked. */
export function sharedOptions({ effective }: LoadedConfig): JsonObject {
  const { plugins = {}, defaultForTaskTypes = {}, tasks = {}, store = {}, refresh = {} } = effectiveTree(effective);
  return { plugins, defaultForTaskTypes, tasks, store, refresh };
}

/** What one of so many parts may take of a bound of all of them. */
export function shareOf(bound: number, parts: number): number {
  return Math.ceil(bound / parts);
}

/** Times and bounds of the use cases of one of so many parts. */
export function tasksOptions(config: Config, parts = 1): TasksOptions {
  const { maxAdoptedBytes, maxUnclear, maxUnclearBytes } = TASKS_BOUNDS;
  return {
    ...TASKS_BOUNDS,
    maxAdoptedBytes: shareOf(maxAdoptedBytes, parts),
    maxUnclear: shareOf(maxUnclear, parts),
    maxUnclearBytes: shareOf(maxUnclearBytes, parts),
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
    maxAdopted: shareOf(config.store.maxTasks, parts),
    maxWaiting: shareOf(config.store.waitingLine.max, parts),
    maxWaitingBytes: shareOf(config.store.waitingLine.maxBytes, parts),
  };
}

/** Ends are remembered for so many attempts; see `EndMarks`. */
const MAX_END_MARKS = 1_000_000;

/** Bounds of what is held of the tasks of one of so many parts. */
export function storeBounds(
  { store, tasks }: Config,
  parts = 1,
): Pick<TaskStoreOptions, 'maxTasks' | 'finished' | 'endMarks' | 'watchRing'> {
  const { finished, maxTasks, watchRing } = store;
  return {
    finished: {
      ...finished,
      maxCount: shareOf(finished.maxCount, parts),
      maxBytes: shareOf(finished.maxBytes, parts),
    },
    maxTasks: shareOf(maxTasks, parts),
    endMarks: { max: shareOf(MAX_END_MARKS, parts), ttlMs: tasks.replayWindowMs },
    watchRing: shareOf(watchRing.size, parts),
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
