import { HostError } from '../errors/index.js';
import type { LoadReport, PluginHost } from '../host/types.js';
import { createDeferred, type Deferred } from '../lib/deferred.js';
import { PassingSet } from '../lib/passing.js';
import { partitionOfHandle, partOf } from '../model/handle.js';
import { partitionOfAttempt } from '../model/partition.js';
import type { WatchFilter, WatchReader } from '../model/watch.js';
import { LOST_POSITION, positionsOf } from '../model/watch-token.js';
import type { Runtimes } from '../runtime/runtime.js';
import type { TaskStores } from '../store/joined-stores.js';
import { JoinedWatch } from './joined-watch.js';
import { TaskLists } from './list/lists.js';
import { type LastRun, LoadReports } from './report.js';
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

/** When a caller should ask again for a part that moves. Milliseconds. */
const MOVES_MS = 1_000;

interface Member {
  readonly tasks: TasksControl;
  /** Calls under way, each with how it is told that it is not answered here. */
  readonly calls: PassingSet<(error: HostError) => void>;
  /** Nothing new is taken; resolved once no call is under way. */
  leaving: Deferred<void> | undefined;
}

/**
 * The use cases of several parts as those of one: a call about a task goes to the part that its partition lies in, and what is
 * about all of them is put together. Calls about a part that is not here are OWNER_AWAY.
 *
 * States of a part: away → `put` → here → `leaves`, from which on nothing new is taken of it and streams over it have ended → leaving, while
 * calls under way are answered → `left`, which answers the others OWNER_AWAY → away.
 */
export class JoinedTasks implements ShownTasks {
  readonly #members: (Member | undefined)[];
  readonly #runtimes: Runtimes;
  readonly #reports: LoadReports;
  readonly #watches = new Map<JoinedWatch, WatchFilter>();
  readonly owedDeletes: ShownTasks['owedDeletes'];
  readonly unclearCreates: ShownTasks['unclearCreates'];
  readonly lists: TaskLists;

  /** `parts`: how many there are, here or elsewhere. */
  constructor(parts: number, { host, runtimes, store }: JoinedTasksParts) {
    this.#members = Array.from({ length: parts }, () => undefined);
    this.#runtimes = runtimes;
    this.#reports = new LoadReports({ host, runtimes, store });
    this.owedDeletes = store.owed;
    this.unclearCreates = store.unclear;
    this.lists = new TaskLists({ store, runtimes });
  }

  /** Open streams over all parts tell of its tasks as they stand. */
  put(part: number, tasks: TasksControl): void {
    this.#members[part] = { tasks, calls: new PassingSet(), leaving: undefined };
    for (const [watch, filter] of this.#watches) {
      if (filter.handles.length > 0 || watch.has(part)) continue;
      watch.add(part, tasks.watch({ ...filter, resumeToken: LOST_POSITION, includeCurrent: true }));
    }
  }

  /** Resolves once what was under way is answered. */
  leaves(part: number): Promise<void> {
    const member = this.#members[part];
    if (member === undefined) return Promise.resolve();
    member.leaving = createDeferred<void>();
    if (member.calls.size === 0) member.leaving.resolve();
    for (const watch of [...this.#watches.keys()]) if (watch.has(part)) watch.end();
    return member.leaving.promise;
  }

  left(part: number): void {
    const calls = this.#members[part]?.calls ?? [];
    this.#members[part] = undefined;
    for (const tell of calls) tell(away(part));
  }

  /** Of all parts together, for what is measured. */
  get callsUnderWay(): number {
    return this.#members.reduce((sum, member) => sum + (member?.calls.size ?? 0), 0);
  }

  get openWatches(): number {
    return this.#watches.size;
  }

  readonly create: Tasks['create'] = (spec, scope) =>
    this.#call(this.#ofSpec(spec), (tasks) => tasks.create(spec, scope));
  readonly do: Tasks['do'] = (spec, scope) => this.#call(this.#ofSpec(spec), (tasks) => tasks.do(spec, scope));

  peek(handle: Buffer, maxStalenessMs?: number): ReturnType<Tasks['peek']> {
    return this.#taking(this.#of(handle))?.peek(handle, maxStalenessMs);
  }

  readonly status: Tasks['status'] = (...args) => this.#call(this.#of(args[0]), (tasks) => tasks.status(...args));
  readonly get: Tasks['get'] = (...args) => this.#call(this.#of(args[0]), (tasks) => tasks.get(...args));
  readonly delete: Tasks['delete'] = (...args) => this.#call(this.#of(args[0]), (tasks) => tasks.delete(...args));
  readonly getLogs: Tasks['getLogs'] = (...args) => this.#call(this.#of(args[0]), (tasks) => tasks.getLogs(...args));
  readonly getMetrics: Tasks['getMetrics'] = (...args) =>
    this.#call(this.#of(args[0]), (tasks) => tasks.getMetrics(...args));
  readonly adoptForeign: Tasks['adoptForeign'] = (...args) =>
    this.#call(this.#of(args[0]), (tasks) => tasks.adoptForeign(...args));

  /** Over the parts that are here; one that is asked about handles of others throws OWNER_AWAY. */
  watch(filter: WatchFilter): WatchReader {
    const { handles, resumeToken } = filter;
    const asked = new Set(handles.map((handle) => this.#of(handle)));
    const positions = resumeToken === '' ? undefined : positionsOf(resumeToken, this.#members.length);
    // One that was elsewhere when the token was made has moved since.
    const positionIn = (part: number) => (positions === undefined ? '' : (positions.get(part) ?? LOST_POSITION));
    const readers = new Map<number, WatchReader>();
    try {
      for (const part of this.#members.keys()) {
        if (handles.length > 0 && !asked.has(part)) continue;
        const own = handles.filter((handle) => this.#of(handle) === part);
        const tasks = this.#taking(part);
        if (tasks === undefined && own.length > 0) throw away(part);
        if (tasks !== undefined)
          readers.set(part, tasks.watch({ ...filter, handles: own, resumeToken: positionIn(part) }));
      }
    } catch (error) {
      for (const reader of readers.values()) reader.close();
      throw error;
    }
    const watch: JoinedWatch = new JoinedWatch(readers, positions, () => this.#watches.delete(watch));
    this.#watches.set(watch, filter);
    return watch;
  }

  watchPart(part: number, filter: WatchFilter): WatchReader {
    const tasks = this.#taking(part);
    if (tasks === undefined) throw away(part);
    return tasks.watch(filter);
  }

  listPlugins(): ReturnType<Tasks['listPlugins']> {
    return this.#reports.list();
  }

  /** Of a plugin there is one runtime for all parts. */
  remoteDown(plugin: string): boolean {
    return this.#runtimes.get(plugin)?.refresher.remoteDown === true;
  }

  starting(last: LastRun): void {
    this.#reports.lastRun = last;
  }

  loaded(report: LoadReport): void {
    this.#reports.loaded = report;
  }

  recovered(): void {
    this.#reports.lastRun = undefined;
  }

  /** Of a part that takes new calls here. */
  #taking(part: number): TasksControl | undefined {
    const member = this.#members[part];
    return member?.leaving === undefined ? member?.tasks : undefined;
  }

  #of(handle: Buffer): number {
    return partOf(partitionOfHandle(handle), this.#members.length);
  }

  #ofSpec({ node, attempt }: TaskSpec): number {
    return partOf(partitionOfAttempt(attempt, node), this.#members.length);
  }

  /** What is not answered by the time that its part has left is not answered here at all: its next owner may say something else. */
  #call<T>(part: number, call: (tasks: TasksControl) => Promise<T>): Promise<T> {
    const member = this.#members[part];
    if (member === undefined || member.leaving !== undefined) return Promise.reject(away(part));
    const { tasks, calls } = member;
    return new Promise<T>((resolve, reject) => {
      calls.add(reject);
      // What it throws at once, it rejects with.
      const answered = (async () => call(tasks))();
      answered.then(resolve, reject).finally(() => {
        calls.delete(reject);
        if (calls.size === 0) member.leaving?.resolve();
      });
    });
  }
}

function away(part: number): HostError {
  const said = `part ${part} of the tasks is with another replica, or on its way there; try again`;
  return new HostError('OWNER_AWAY', said, { retryAfterMs: MOVES_MS });
}
