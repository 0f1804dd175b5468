import type { LoadReport } from '../host/types.js';
import { decodeHandle } from '../model/handle.js';
import type { TaskRecord } from '../model/task-record.js';
import type { PluginRuntime } from '../runtime/runtime.js';
import type { InboxRow } from '../state/index.js';
import type { UnclearCreates } from '../store/unclear-creates.js';
import { CreateTask } from './accept/create.js';
import { DoTask } from './accept/do.js';
import { Orphans } from './accept/orphans.js';
import { WaitingRoom } from './accept/waiting-room.js';
import type { TasksDeps } from './deps.js';
import { cancelInBackground } from './end/cancel.js';
import { deleteTask, keepEnd } from './end/delete.js';
import { DeleteList } from './end/delete-list.js';
import { tellLeftBehind } from './end/left-behind.js';
import { UnclearLooks } from './end/unclear-looks.js';
import { TaskLists } from './list/lists.js';
import { assertEndTold, assertToldAsOver, awaitsItsEnd } from './read/ended-before.js';
import { freshTask, isStale } from './read/fresh.js';
import { getTask } from './read/get.js';
import { awaitsFirstRead, Handles } from './read/handles.js';
import { getLogs, getMetrics } from './read/logs.js';
import { ReadSink } from './read/reads.js';
import { recover, tellUnserved } from './recovery.js';
import { type LastRun, LoadReports } from './report.js';
import { assertSafe, toldBefore } from './safe.js';
import { Sweep } from './sweep.js';
import { TakeIn } from './take-in.js';
import type { Tasks } from './types.js';

/** The use cases with what the daemon itself needs of them. */
export interface TasksControl extends Tasks {
  readonly reads: ReadSink;
  readonly owedDeletes: { readonly size: number };
  readonly orphans: { readonly size: number };
  readonly unclearCreates: Pick<UnclearCreates, 'size' | 'listed'>;
  /** For the operator. */
  readonly lists: TaskLists;
  /** The plugins are still to be loaded: until then new tasks go by what the last run served. */
  starting(lastRun: LastRun): void;
  /** What became of the configured plugins, for the load report. */
  loaded(report: LoadReport): void;
  /** Takes the tokens of what the last run left of a plugin, and answers what goes on with that; both once for each runtime. */
  recover(runtime: PluginRuntime): () => boolean;
  /** From here on new tasks go by what is loaded. */
  recovered(): void;
  /**
   * Takes a row of the inbox in, in one turn with what becomes of it; false where it stays. To be shown in order, and again as long as they
   * stay: once the runtimes go on with what is kept, before any call is answered, and then each second. `putterIsGone`: a row that a dead
   * replica put.
   */
  takeIn(row: InboxRow, putterIsGone?: boolean): boolean;
  /** Watch streams end with a resume token; nothing new is accepted unless the state is durable. */
  drain(): void;
  /**
   * Starts nothing new and resolves when no create, look, delete or write of outputs is in flight. `othersGoOn`: the plugins work on for
   * other parts.
   */
  stop(othersGoOn?: boolean): Promise<void>;
}

/** Puts the use cases together. */
// biome-ignore lint/complexity/noExcessiveLinesPerFunction: it only joins parts, one after the other
export function createTasks(deps: TasksDeps): TasksControl {
  const deletes = new DeleteList(deps);
  const reads = new ReadSink(deps, deletes);
  const orphans = new Orphans(deps);
  const unclear = new UnclearLooks(deps, deletes);
  const waiting = new WaitingRoom(deps.options);
  const creates = new CreateTask(deps, { deletes, orphans, reads, unclear, waiting });
  const handles = new Handles(deps, deletes);
  const doing = new DoTask(deps, waiting);
  const takeIn = new TakeIn(deps, { creates, deletes, doing, handles, unclear });
  const reports = new LoadReports(deps);
  const sweep = new Sweep(deps);

  deletes.onOver = (order, state) => keepEnd(deps, reads, order, state);
  orphans.onExpired = (task) => {
    deps.events.orphanDeleted?.(task);
    const why = 'its create was never answered and nobody has asked for it since';
    const { gone } = cancelInBackground(deps, { deletes, creates, unclear }, task, why);
    if (task.node !== undefined) orphans.leaves(task.node, gone);
  };

  const get: Tasks['get'] = (bytes, hints, scope) => getTask(deps, { handles, reads }, bytes, hints, scope);

  return {
    reads,
    owedDeletes: deps.store.owed,
    orphans,
    unclearCreates: deps.store.unclear,
    lists: new TaskLists(deps),

    create: (spec, scope) => creates.create(spec, scope),

    peek: (handle, maxStalenessMs) => {
      const task = peek(deps, handle);
      return task === undefined || isStale(deps, task, maxStalenessMs) ? undefined : task;
    },

    async status(bytes, hints, scope, maxStalenessMs) {
      const task = await handles.resolve(bytes, hints, scope);
      await assertEndTold(deps, task, scope);
      const fresh = await freshTask(deps, task, maxStalenessMs, scope, (short) => get(bytes, hints, short));
      return toldBefore(deps, fresh, scope);
    },

    async get(bytes, hints, scope) {
      const task = await toldBefore(deps, await get(bytes, hints, scope), scope);
      assertToldAsOver(task);
      return task;
    },

    async delete(bytes, reason, hints, scope) {
      const ordered = deleteTask(deps, { handles, creates, deletes, unclear }, bytes, reason, hints);
      return assertSafe(deps, ordered, scope, 'the delete');
    },

    do: (spec, scope) => doing.do(spec, scope),

    watch(filter) {
      for (const handle of filter.handles) {
        if (deps.store.byHandle(handle) === undefined) deps.handles.check(handle, decodeHandle(handle));
      }
      return deps.store.watch(filter);
    },

    listPlugins: () => reports.list(),

    getLogs: (bytes, request, hints, scope) => getLogs(deps, handles, bytes, request, hints, scope),
    getMetrics: (bytes, request, hints, scope) => getMetrics(deps, handles, bytes, request, hints, scope),

    remoteDown: (plugin) => deps.runtimes.get(plugin)?.refresher.remoteDown === true,
    adoptForeign: (bytes, taskType, version, hints, scope) =>
      handles.adoptForeign(bytes, taskType, version, hints, scope),

    starting(last) {
      reports.lastRun = creates.starting = last;
    },

    loaded(report) {
      reports.loaded = report;
    },

    recover: (runtime) => recover(deps, { creates, deletes, orphans, unclear }, runtime),

    recovered() {
      reports.lastRun = creates.starting = undefined;
      tellUnserved(deps);
    },

    takeIn: (row, putterIsGone) => takeIn.take(row, putterIsGone),

    drain() {
      deps.store.drainWatchers();
      creates.refuse();
    },

    async stop(othersGoOn = false) {
      sweep.stop();
      orphans.stop();
      await Promise.all([creates.stop(othersGoOn), unclear.stop(), deletes.stop(), reads.idle()]);
      deps.store.noteDelivered();
      unclear.tellLeft();
      tellLeftBehind(deps);
    },
  };
}

/** What memory has for these bytes, unless its first read is still to come. */
function peek({ store }: TasksDeps, handle: Buffer): TaskRecord | undefined {
  const task = store.byHandle(handle);
  if (task === undefined || awaitsFirstRead(task) || awaitsItsEnd(task)) return undefined;
  store.asked(task);
  return task;
}
