import { HostError } from '../../errors/index.js';
import type { TaskRecord } from '../../model/task-record.js';
import type { LogLine, MetricSeries } from '../../plugin-api/plugin.js';
import { resourceArgs, runtimeOf } from '../../runtime/runtime.js';
import type { TasksDeps } from '../deps.js';
import { errorOf } from '../failures.js';
import type { CallScope, HandleHints, LogsRequest, MetricsRequest } from '../types.js';
import type { Handles } from './handles.js';

/** A page of the job's log, whatever phase the task is in. Throws PLUGIN_METHOD_MISSING where the plugin has none. */
export async function getLogs(
  deps: TasksDeps,
  handles: Handles,
  bytes: Buffer,
  request: LogsRequest,
  hints: HandleHints,
  scope: CallScope,
): Promise<{ lines: readonly LogLine[]; token: string }> {
  const task = withJob(handles, bytes, hints);
  const { gate, plugin } = runtimeOf(deps.runtimes, task.scope.plugin);
  if (!plugin.features.getLogs) throw missing(plugin.id, 'getLogs');
  const args = { ...resourceArgs(task, deps.clock.now()), ...request };
  const outcome = await gate.call('getLogs', args, { admission: 'fail-fast', ...scope });
  if (!outcome.ok) throw errorOf(outcome.failure, plugin.id, 'reading the logs', 'getLogs');
  return outcome.value;
}

/** Series of the job's metrics. Throws PLUGIN_METHOD_MISSING where the plugin has none. */
export async function getMetrics(
  deps: TasksDeps,
  handles: Handles,
  bytes: Buffer,
  request: MetricsRequest,
  hints: HandleHints,
  scope: CallScope,
): Promise<readonly MetricSeries[]> {
  const task = withJob(handles, bytes, hints);
  const { gate, plugin } = runtimeOf(deps.runtimes, task.scope.plugin);
  if (!plugin.features.getMetrics) throw missing(plugin.id, 'getMetrics');
  const args = { ...resourceArgs(task, deps.clock.now()), ...request };
  const outcome = await gate.call('getMetrics', args, { admission: 'fail-fast', ...scope });
  if (!outcome.ok) throw errorOf(outcome.failure, plugin.id, 'reading the metrics', 'getMetrics');
  return outcome.value.series;
}

/** The task of a handle, if it has a job at the remote. Throws TASK_UNKNOWN otherwise. */
function withJob(handles: Handles, bytes: Buffer, hints: HandleHints): TaskRecord {
  const found = handles.find(bytes, hints);
  if (found.kind === 'deleted') throw new HostError('TASK_UNKNOWN', 'the task was deleted');
  const task = found.kind === 'held' ? found.task : handles.adopt(bytes, found.handle, hints);
  if (task.meta !== undefined) return task;
  throw new HostError('TASK_UNKNOWN', `the task has no job at the remote: ${task.state.reason || task.state.phase}`);
}

function missing(plugin: string, method: string): HostError {
  return new HostError('PLUGIN_METHOD_MISSING', `plugin "${plugin}" does not offer ${method}`, { details: { plugin } });
}
