import type { Gate } from '../calls/types.js';
import { HostError } from '../errors/index.js';
import type { HostedPlugin } from '../host/types.js';
import type { QuotaLedger } from '../limits/quota-ledger.js';
import { idempotencyKeyOf } from '../model/attempt-key.js';
import type { CreateArgs, ResourceArgs } from '../model/plugin-call.js';
import type { TaskRecord } from '../model/task-record.js';
import type { ConnectionInfo } from '../plugin-api/contexts.js';
import type { Refresher } from '../refresh/types.js';
import type { CreateLane } from './create-lane.js';

/** Everything that runs for one plugin. */
export interface PluginRuntime {
  readonly plugin: HostedPlugin;
  readonly gate: Gate;
  readonly refresher: Refresher;
  readonly quotas: QuotaLedger;
  /** The way of its creates to the gate. */
  readonly creates: CreateLane;
}

/** The runtimes by plugin id. */
export interface Runtimes {
  get(pluginId: string): PluginRuntime | undefined;
  all(): Iterable<PluginRuntime>;
}

/** The runtime that a handle's plugin has. Throws PLUGIN_NOT_SERVING if that plugin is not configured here. */
export function runtimeOf(runtimes: Runtimes, pluginId: string): PluginRuntime {
  const runtime = runtimes.get(pluginId);
  if (runtime !== undefined) return runtime;
  throw new HostError(
    'PLUGIN_NOT_SERVING',
    `the handle belongs to plugin "${pluginId}", which this daemon does not host; configure it, or call the daemon that made the handle`,
    { details: { plugin: pluginId } },
  );
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

/** The arguments of the call that starts the task. Throws once its payload was let go. */
export function createArgs(task: TaskRecord, nowMs: number): CreateArgs {
  const { id, identity, payload, outputPrefix } = task;
  if (payload === undefined) throw new HostError('INTERNAL', `task ${id} has no payload`);
  return { ...payload, outputPrefix, idempotencyKey: keyOf(identity), connection: freshConnection(task, nowMs) };
}

/** The arguments of a call about an existing resource. */
export function resourceArgs(task: TaskRecord, nowMs: number): ResourceArgs {
  return {
    meta: task.meta ?? Buffer.alloc(0),
    outputPrefix: task.outputPrefix,
    idempotencyKey: keyOf(task.identity),
    connection: freshConnection(task, nowMs),
  };
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
