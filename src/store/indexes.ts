import { getOrMake } from '../lib/get-or-make.js';
import { type AttemptKey, type TaskId, taskIdOf } from '../model/attempt-key.js';
import type { TaskRecord, TaskStage } from '../model/task-record.js';
import type { Entry } from './entry.js';

/** Tasks by the handle bytes that were answered for them. */
export class HandleIndex {
  readonly #tasks = new Map<string, Entry>();

  get(handle: Buffer): Entry | undefined {
    return this.#tasks.get(handle.toString('latin1'));
  }

  add(entry: Entry): void {
    if (entry.handleKey !== undefined) this.#tasks.set(entry.handleKey, entry);
  }

  remove(entry: Entry): void {
    const key = entry.handleKey;
    if (key !== undefined && this.#tasks.get(key) === entry) this.#tasks.delete(key);
  }
}

/** How many tasks of each plugin are in each stage, kept up at every move. */
export class StageCounts {
  readonly #byPlugin = new Map<string, Record<TaskStage, number>>();

  of(plugin: string): Readonly<Record<TaskStage, number>> {
    return this.#byPlugin.get(plugin) ?? { accepted: 0, creating: 0, live: 0, over: 0 };
  }

  plugins(): Iterable<string> {
    return this.#byPlugin.keys();
  }

  add(plugin: string, stage: TaskStage, by: 1 | -1): void {
    let counts = this.#byPlugin.get(plugin);
    if (counts === undefined) {
      counts = { accepted: 0, creating: 0, live: 0, over: 0 };
      this.#byPlugin.set(plugin, counts);
    }
    counts[stage] += by;
  }
}

/** Tasks that are not over and known from a handle alone, by the incarnation that they say they are, with what they take. */
export class AdoptedTasks<T extends TaskRecord> {
  /** With the bytes that each was counted for, since a task may come to hold more. */
  readonly #byAttempt = new Map<TaskId, Map<T, number>>();
  /** Those that no read has shown to exist, in the order they came in. */
  readonly #unread = new Set<T>();
  #size = 0;
  #bytes = 0;

  get size(): number {
    return this.#size;
  }

  /** About what they hold in memory. */
  get bytes(): number {
    return this.#bytes;
  }

  of(key: AttemptKey, incarnation: number): Iterable<T> {
    return this.#byAttempt.get(taskIdOf(key, incarnation))?.keys() ?? [];
  }

  add(task: T): void {
    const bytes = adoptedBytes(task);
    getOrMake(this.#byAttempt, attemptOf(task), () => new Map<T, number>()).set(task, bytes);
    this.#unread.add(task);
    this.#size += 1;
    this.#bytes += bytes;
  }

  /** A read has shown that the task exists. */
  read(task: T): void {
    this.#unread.delete(task);
  }

  get oldestUnread(): T | undefined {
    return this.#unread.values().next().value;
  }

  delete(task: T): void {
    this.#unread.delete(task);
    const id = attemptOf(task);
    const tasks = this.#byAttempt.get(id);
    const bytes = tasks?.get(task);
    if (tasks === undefined || bytes === undefined) return;
    tasks.delete(task);
    if (tasks.size === 0) this.#byAttempt.delete(id);
    this.#size -= 1;
    this.#bytes -= bytes;
  }
}

function attemptOf({ identity: { key, incarnation } }: TaskRecord): TaskId {
  return taskIdOf(key, incarnation);
}

/** The record, its meta, and its handle twice: as bytes and as the key of an index. */
function adoptedBytes({ meta, answeredHandle }: TaskRecord): number {
  return 1_024 + (meta?.length ?? 0) + 2 * (answeredHandle?.length ?? 0);
}
