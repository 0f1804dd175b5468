import type { TaskRecord, TaskStage } from '../model/task-record.js';

/** Tasks by the handle bytes that were answered for them. */
export class HandleIndex<T extends TaskRecord> {
  readonly #tasks = new Map<string, T>();

  get(handle: Buffer): T | undefined {
    return this.#tasks.get(handle.toString('latin1'));
  }

  add(handle: Buffer, task: T): void {
    this.#tasks.set(handle.toString('latin1'), task);
  }

  remove(task: T): void {
    const key = task.answeredHandle?.toString('latin1');
    if (key !== undefined && this.#tasks.get(key) === task) this.#tasks.delete(key);
  }
}

/** How many tasks of each plugin are in each stage, kept up at every move. */
export class StageCounts {
  readonly #byPlugin = new Map<string, Record<TaskStage, number>>();

  of(plugin: string): Readonly<Record<TaskStage, number>> {
    return this.#byPlugin.get(plugin) ?? { accepted: 0, creating: 0, live: 0, over: 0 };
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
