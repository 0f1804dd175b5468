import type { TaskRecord } from '../model/task-record.js';
import type { TasksDeps } from './deps.js';
import type { PluginRuntime } from './runtime.js';

/**
 * Hands a live task to the poll schedule. The batch key, where the plugin has one, is asked for first; until it is known
 * the task is read by itself, so that a batch never mixes keys.
 */
export function startPolling(deps: TasksDeps, runtime: PluginRuntime, task: TaskRecord, lastReadAtMs?: number): void {
  const { refresher, plugin, gate } = runtime;
  const facts = {
    id: task.id,
    // The job exists since then; what the task waited before is neither its age nor part of the visibility grace.
    createdAtMs: task.liveSinceMs,
    lastReadAtMs,
    lastAskedAtMs: task.lastAskedAtMs,
    nextPollAfterMs: task.state.nextPollAfterMs,
    quotaNamespace: task.identity.quotaNamespace,
  };
  const { meta } = task;
  if (plugin.features.getMany?.batchKeys !== true || meta === undefined) {
    refresher.track(facts);
    return;
  }
  refresher.track({ ...facts, batchKey: `single:${task.id}` });
  gate
    .call('batchKeys', { metas: [meta] }, { admission: 'wait' })
    .then((outcome) => {
      const key = outcome.ok ? outcome.value.keys[0] : undefined;
      if (key === undefined || deps.store.byId(task.id)?.stage !== 'live') return;
      refresher.track({ ...facts, lastReadAtMs: task.observedAtMs ?? lastReadAtMs, batchKey: `key:${key}` });
    })
    .catch((error: unknown) => deps.events.fault?.('batchKeys', error));
}

/** Takes the token of a task that exists already, over quota if need be (rule 10). */
export function forceToken(runtime: PluginRuntime, task: TaskRecord): void {
  const { project, namespace, quotaNamespace } = task.identity;
  if (quotaNamespace === '') return;
  runtime.quotas.force({ taskId: task.id, quotaNamespace, project, namespace });
}
