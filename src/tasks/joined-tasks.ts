import type { PluginHost } from '../host/types.js';
import { PARTITIONS, partitionOfHandle, partOf } from '../model/handle.js';
import { partitionOfAttempt } from '../model/partition.js';
import type { WatchReader } from '../model/watch.js';
import type { Runtimes } from '../runtime/runtime.js';
import type { TaskStores } from '../store/joined-stores.js';
import { JoinedWatch, positionsOf } from './joined-watch.js';
import { TaskLists } from './list/lists.js';
import { LoadReports } from './report.js';
import type { TasksControl } from './tasks.js';
import type { TaskSpec, Tasks } from './types.js';

/** The use cases over all parts, with what is shown of them. */
export type ShownTasks = Tasks &
  Pick<TasksControl, 'owedDeletes' | 'unclearCreates' | 'lists' | 'starting' | 'loaded' | 'recovered'>;

export interface JoinedTasksParts {
  readonly host: PluginHost;
  readonly runtimes: Runtimes;
  readonly store: TaskStores;
}

/**
 * The use cases of several parts as those of one: a call about a task goes to the part that its partition lies in, and what is
 * about all of them is put together. Those of the part itself where there is but one.
 */
export function joinTasks(all: readonly TasksControl[], shown: JoinedTasksParts): ShownTasks {
  const [only] = all;
  return only !== undefined && all.length === 1 ? only : joined(all, shown);
}

function joined(all: readonly TasksControl[], { host, runtimes, store }: JoinedTasksParts): ShownTasks {
  const reports = new LoadReports({ host, runtimes, store });
  const lying = Array.from(
    { length: PARTITIONS },
    (_, partition) => all[partOf(partition, all.length)] as TasksControl,
  );
  const at = (partition: number) => lying[partition] as TasksControl;
  const of = (handle: Buffer) => at(partitionOfHandle(handle));
  const forSpec = ({ node, attempt }: TaskSpec) => at(partitionOfAttempt(attempt, node));
  return {
    create: (spec, scope) => forSpec(spec).create(spec, scope),
    do: (spec, scope) => forSpec(spec).do(spec, scope),
    peek: (handle, maxStalenessMs) => of(handle).peek(handle, maxStalenessMs),
    status: (handle, ...rest) => of(handle).status(handle, ...rest),
    get: (handle, ...rest) => of(handle).get(handle, ...rest),
    delete: (handle, ...rest) => of(handle).delete(handle, ...rest),
    getLogs: (handle, ...rest) => of(handle).getLogs(handle, ...rest),
    getMetrics: (handle, ...rest) => of(handle).getMetrics(handle, ...rest),
    adoptForeign: (handle, ...rest) => of(handle).adoptForeign(handle, ...rest),
    watch: (filter) => {
      const { handles, resumeToken } = filter;
      const asked = handles.length === 0 ? all : all.filter((tasks) => handles.some((handle) => of(handle) === tasks));
      const positions = positionsOf(resumeToken, asked.length);
      const readers: WatchReader[] = [];
      try {
        for (const [at, tasks] of asked.entries()) {
          const own = handles.filter((handle) => of(handle) === tasks);
          readers.push(tasks.watch({ ...filter, handles: own, resumeToken: positions[at] as string }));
        }
      } catch (error) {
        for (const reader of readers) reader.close();
        throw error;
      }
      return new JoinedWatch(readers);
    },
    listPlugins: () => reports.list(),
    // Of a plugin there is one runtime for all parts.
    remoteDown: (plugin) => runtimes.get(plugin)?.refresher.remoteDown === true,
    owedDeletes: store.owed,
    unclearCreates: store.unclear,
    lists: new TaskLists({ store, runtimes }),
    starting(last) {
      reports.lastRun = last;
    },
    loaded(report) {
      reports.loaded = report;
    },
    recovered() {
      reports.lastRun = undefined;
    },
  };
}
