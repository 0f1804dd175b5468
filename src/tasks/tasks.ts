import { HostError } from '../errors/index.js';
import type { LoadReport } from '../host/types.js';
import { taskIdOf } from '../model/attempt-key.js';
import { decodeHandle } from '../model/handle.js';
import type { TaskRecord } from '../model/task-record.js';
import { CreateTask } from './create.js';
import { DeleteList, type OwedDelete } from './delete-list.js';
import type { TasksDeps } from './deps.js';
import { DoTask } from './do.js';
import { errorOf } from './failures.js';
import { awaitsFirstRead, Handles } from './handles.js';
import { Orphans } from './orphans.js';
import { ReadSink } from './reads.js';
import { reportPlugins } from './report.js';
import { resourceArgs, runtimeOf } from './runtime.js';
import type { CallScope, HandleHints, Tasks } from './types.js';

/** The use cases with what the daemon itself needs of them. */
export interface TasksControl extends Tasks {
  readonly reads: ReadSink;
  readonly owedDeletes: { readonly size: number; list(): Iterable<OwedDelete> };
  readonly orphans: { readonly size: number; list(): Iterable<TaskRecord> };
  /** What became of the configured plugins, for the load report. */
  loaded(report: LoadReport): void;
  /** Watch streams end with a resume token; nothing new is accepted unless the journal is durable. */
  drain(): void;
  /** Starts nothing new and resolves when no create, delete or write of outputs is in flight. */
  stop(): Promise<void>;
}

/** Puts the use cases together. */
export function createTasks(deps: TasksDeps): TasksControl {
  const deletes = new DeleteList(deps);
  const reads = new ReadSink(deps, deletes);
  const orphans = new Orphans(deps);
  const creates = new CreateTask(deps, deletes, orphans, reads);
  const handles = new Handles(deps, creates);
  const doing = new DoTask(deps);
  let loadReport: LoadReport | undefined;

  const background = (where: string, promise: Promise<unknown>) =>
    promise.catch((error: unknown) => deps.events.fault?.(where, error));

  orphans.onExpired = (task) => {
    deps.events.orphanDeleted?.(task);
    const { safe, gone } = creates.cancelTask(task, 'its create was never answered and nobody has asked for it since');
    void background('orphan', safe);
    void background('orphan', gone);
  };

  async function resolved(bytes: Buffer, hints: HandleHints, scope: CallScope): Promise<TaskRecord> {
    return handles.resolve(bytes, hints, scope);
  }

  /** The task of a handle with its meta, for calls that go to the plugin whatever the phase is. */
  function existing(bytes: Buffer, hints: HandleHints): TaskRecord {
    const found = handles.find(bytes, hints);
    const task =
      found.kind === 'held'
        ? found.task
        : found.kind === 'unknown'
          ? handles.adopt(bytes, found.handle, hints)
          : undefined;
    if (task === undefined) throw new HostError('TASK_UNKNOWN', 'the task was deleted');
    if (task.meta === undefined) {
      throw new HostError(
        'TASK_UNKNOWN',
        `the task has no job at the remote: ${task.state.reason || task.state.phase}`,
      );
    }
    return task;
  }

  return {
    reads,
    owedDeletes: deletes,
    orphans,

    create: (spec, scope) => creates.create(spec, scope),

    peek(handle) {
      const task = deps.store.byHandle(handle);
      if (task === undefined || awaitsFirstRead(task)) return undefined;
      deps.store.asked(task);
      if (task.stage === 'live') deps.runtimes.get(task.identity.plugin)?.refresher.asked(task.id);
      return task;
    },

    status: resolved,

    async get(bytes, hints, scope) {
      const task = await resolved(bytes, hints, scope);
      if (task.stage !== 'live') return task;
      const { refresher } = runtimeOf(deps.runtimes, task.identity.plugin);
      const outcome = await refresher.readNow(task.id, scope.deadlineMs, scope.signal);
      await reads.settled(task.id);
      if (outcome.ok || task.stage === ('over' as TaskRecord['stage'])) return task;
      throw errorOf(outcome.failure, task.identity.plugin, 'reading the task');
    },

    async delete(bytes, reason, hints) {
      const found = handles.find(bytes, hints);
      if (found.kind === 'deleted') return deletes.safe(found.id);
      if (found.kind === 'held') {
        const { safe, gone } = creates.cancelTask(found.task, reason);
        void background('delete', gone);
        await safe;
        return;
      }
      const { identity, meta } = found.handle;
      deps.store.tombstones.set(identity.key, identity.incarnation);
      if (meta === undefined) return;
      const { outputPrefix, connection } = hints;
      const id = taskIdOf(identity.key, identity.incarnation);
      const connectionUntilMs = deps.clock.now() + deps.options.connectionTtlMs;
      await deletes.owe({
        id,
        identity,
        meta,
        outputPrefix,
        connection,
        connectionUntilMs,
        reason,
        readFirst: true,
      });
    },

    do: (spec, scope) => doing.do(spec, scope),

    watch(filter) {
      for (const handle of filter.handles) if (deps.store.byHandle(handle) === undefined) decodeHandle(handle);
      return deps.store.watch(filter);
    },

    listPlugins: () => reportPlugins(deps.host.plugins(), loadReport, deps.runtimes, deps.store),

    async getLogs(bytes, request, hints, scope) {
      const task = existing(bytes, hints);
      const { gate, plugin } = runtimeOf(deps.runtimes, task.identity.plugin);
      if (!plugin.features.getLogs) throw missing(plugin.id, 'getLogs');
      const args = { ...resourceArgs(task, deps.clock.now()), ...request };
      const outcome = await gate.call('getLogs', args, { admission: 'fail-fast', ...scope });
      if (!outcome.ok) throw errorOf(outcome.failure, plugin.id, 'reading the logs');
      return outcome.value;
    },

    async getMetrics(bytes, request, hints, scope) {
      const task = existing(bytes, hints);
      const { gate, plugin } = runtimeOf(deps.runtimes, task.identity.plugin);
      if (!plugin.features.getMetrics) throw missing(plugin.id, 'getMetrics');
      const args = { ...resourceArgs(task, deps.clock.now()), ...request };
      const outcome = await gate.call('getMetrics', args, { admission: 'fail-fast', ...scope });
      if (!outcome.ok) throw errorOf(outcome.failure, plugin.id, 'reading the metrics');
      return outcome.value.series;
    },

    remoteDown: (plugin) => deps.runtimes.get(plugin)?.refresher.remoteDown === true,
    kindOf: (taskType, version) => deps.host.route(taskType, version).kind,
    adoptForeign: (bytes, taskType, version, hints, scope) =>
      handles.adoptForeign(bytes, taskType, version, hints, scope),

    loaded(report) {
      loadReport = report;
    },

    drain() {
      deps.store.drainWatchers();
      creates.refuse();
    },

    async stop() {
      orphans.stop();
      await Promise.all([creates.stop(), deletes.stop(), reads.idle()]);
    },
  };
}

function missing(plugin: string, method: string): HostError {
  return new HostError('PLUGIN_METHOD_MISSING', `plugin "${plugin}" does not offer ${method}`, { details: { plugin } });
}
