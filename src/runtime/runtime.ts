import type { Gate } from '../calls/types.js';
import { HostError } from '../errors/index.js';
import type { HostedPlugin } from '../host/types.js';
import type { Quotas } from '../limits/types.js';
import { idempotencyKeyOf } from '../model/attempt-key.js';
import type { CreateArgs, ResourceArgs } from '../model/plugin-call.js';
import type { TaskRecord } from '../model/task-record.js';
import type { ConnectionInfo } from '../plugin-api/contexts.js';
import type { Refresher } from '../refresh/types.js';
import type { CreateLane } from './create-lane.js';
import type { SecretsWait } from './secrets-wait.js';

/** Everything that runs for one plugin. */
export interface PluginRuntime {
  readonly plugin: HostedPlugin;
  readonly gate: Gate;
  readonly refresher: Refresher;
  readonly quotas: Quotas;
  /** The way of its creates to the gate. */
  readonly creates: CreateLane;
  /** Where creates wait for secrets. */
  readonly secrets: SecretsWait;
  /** Since when this run of the daemon serves it, epoch milliseconds. */
  readonly servesSinceMs: number;
}

/** The runtimes by plugin id. */
export interface Runtimes {
  get(pluginId: string): PluginRuntime | undefined;
  /** The daemon starts, and the runtime of this plugin, which is configured here, is still to be made. */
  comes(pluginId: string): boolean;
  all(): Iterable<PluginRuntime>;
}

/** The runtime that a handle's plugin has. Throws PLUGIN_NOT_SERVING if that plugin is not configured here, or not loaded yet. */
export function runtimeOf(runtimes: Runtimes, pluginId: string): PluginRuntime {
  const runtime = runtimes.get(pluginId);
  if (runtime !== undefined) return runtime;
  if (runtimes.comes(pluginId)) {
    throw new HostError(
      'PLUGIN_NOT_SERVING',
      `the daemon starts, and plugin "${pluginId}" is not loaded yet; try again in a moment`,
      { details: { plugin: pluginId }, retryAfterMs: 2_000 },
    );
  }
  throw new HostError(
    'PLUGIN_NOT_SERVING',
    `the handle belongs to plugin "${pluginId}", which this daemon does not host; configure it, or call the daemon that made the handle`,
    { details: { plugin: pluginId } },
  );
}

/** Throws PLUGIN_NOT_SERVING where nothing can be owed to a plugin: it does not run here, and is not about to. */
export function assertHosted(runtimes: Runtimes, pluginId: string): void {
  if (!runtimes.comes(pluginId)) runtimeOf(runtimes, pluginId);
}

/**
 * Throws PLUGIN_NOT_SERVING for a plugin that failed. Only a reload brings it back, so a task for it is refused at once and
 * not queued; what crashed or is quarantined comes back by itself and is waited for.
 */
export function assertNotFailed({ id, state, stateReason }: HostedPlugin): void {
  if (state !== 'failed') return;
  throw new HostError(
    'PLUGIN_NOT_SERVING',
    `plugin ${id} serves this task type and has failed: ${stateReason}; mend and reload it`,
    { details: { plugin: id } },
  );
}

/** Throws PLUGIN_NOT_SERVING for a plugin that has never come up here: nobody knows of what kind it is. */
export function assertKnown(plugin: HostedPlugin): void {
  const { id, kind, state, stateReason } = plugin;
  if (kind !== undefined) return;
  assertNotFailed(plugin);
  throw new HostError(
    'PLUGIN_NOT_SERVING',
    `plugin ${id} serves this task type and is ${state}: ${stateReason}; try again in a moment`,
    { details: { plugin: id }, retryAfterMs: 5_000 },
  );
}

/** The arguments of the call that starts the task. Throws once its payload was let go. */
export function createArgs(task: TaskRecord, nowMs: number): CreateArgs {
  const { id, payload, outputPrefix } = task;
  if (payload === undefined) throw new HostError('INTERNAL', `task ${id} has no payload`);
  // Field by field, which costs a fiftieth of a spread with more fields behind it.
  return {
    template: payload.template,
    inputs: payload.inputs,
    inputPrefix: payload.inputPrefix,
    metadata: payload.metadata,
    maxDatasetSizeBytes: payload.maxDatasetSizeBytes,
    outputPrefix,
    idempotencyKey: idempotencyKeyOfTask(task),
    connection: freshConnection(task, nowMs),
  };
}

const NO_BYTES = Buffer.alloc(0);

/** The arguments of a call about an existing resource. */
export function resourceArgs(task: TaskRecord, nowMs: number): ResourceArgs {
  return {
    meta: task.meta ?? NO_BYTES,
    outputPrefix: task.outputPrefix,
    outputNames: task.scope.outputNames,
    idempotencyKey: idempotencyKeyOfTask(task),
    connection: freshConnection(task, nowMs),
  };
}

/** The same as `keyOf`: of a task that was created here the id says it, and is a text already. */
export function idempotencyKeyOfTask(task: TaskRecord): string {
  return task.adopted ? keyOf(task.identity) : task.id;
}

/** What the plugin knows the task by. */
export function keyOf({ key, incarnation }: TaskRecord['identity']): string {
  return idempotencyKeyOf(key, incarnation);
}

/** Until when what came with a call may be kept, in epoch milliseconds; 0 where nothing did. */
export function keptUntil(connection: ConnectionInfo | undefined, nowMs: number, ttlMs: number): number {
  return connection === undefined ? 0 : nowMs + ttlMs;
}

/** Whether secrets came with a call once and may not be used any more. */
export function lacksCredentials(of: Pick<TaskRecord, 'connectionUntilMs'>, nowMs: number): boolean {
  return of.connectionUntilMs > 0 && of.connectionUntilMs <= nowMs;
}

/** What came with a call and may still be used. */
export function freshConnection(
  of: Pick<TaskRecord, 'connection' | 'connectionUntilMs'>,
  nowMs: number,
): ConnectionInfo | undefined {
  return of.connectionUntilMs > nowMs ? of.connection : undefined;
}
