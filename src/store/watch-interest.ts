import type { TaskRecord } from '../model/task-record.js';
import type { WatchFilter } from '../model/watch.js';

/**
 * Whose tasks are followed by Watch streams: who follows a task does not ask for it, and wants it read as often as if it did (rule 5).
 * A stream counts from `add` until the answer is called.
 */
export class WatchInterest {
  #all = 0;
  readonly #plugins = new Map<string, number>();
  /** By the bytes of the handle. */
  readonly #handles = new Map<string, number>();

  /** Answers how to take the stream's interest away; only the first call counts. */
  add({ plugins, handles }: WatchFilter): () => void {
    const names = handles.map((handle) => handle.toString('latin1'));
    const change = (by: 1 | -1) => {
      // Where both are named, the handles are the narrower choice.
      if (names.length > 0) for (const name of names) count(this.#handles, name, by);
      else if (plugins.length > 0) for (const plugin of plugins) count(this.#plugins, plugin, by);
      else this.#all += by;
    };
    change(1);
    let counts = true;
    return () => {
      if (counts) change(-1);
      counts = false;
    };
  }

  /** Whether all tasks of a plugin are followed. */
  followsAll(plugin: string): boolean {
    return this.#all > 0 || (this.#plugins.size > 0 && this.#plugins.has(plugin));
  }

  follows(task: { readonly plugin: string } & Pick<TaskRecord, 'answeredHandle'>): boolean {
    if (this.followsAll(task.plugin)) return true;
    if (this.#handles.size === 0) return false;
    const handle = task.answeredHandle;
    return handle !== undefined && this.#handles.has(handle.toString('latin1'));
  }
}

function count(of: Map<string, number>, name: string, by: 1 | -1): void {
  const now = (of.get(name) ?? 0) + by;
  if (now === 0) of.delete(name);
  else of.set(name, now);
}
