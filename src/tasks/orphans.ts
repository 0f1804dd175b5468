import type { Timer } from '../lib/clock.js';
import type { TaskRecord } from '../model/task-record.js';
import type { TasksDeps } from './deps.js';

/**
 * Creates whose answer visibly never reached the engine (rule 9). An engine that goes on to the next attempt of the node
 * never deletes the one before, since it has no handle for it; so the daemon does.
 */
export class Orphans {
  readonly #deps: TasksDeps;
  readonly #candidates = new Map<TaskRecord, Timer>();
  /** Create calls that were answered, less those whose answer is known to be lost. */
  readonly #arrived = new WeakMap<TaskRecord, number>();
  #stopped = false;

  constructor(deps: TasksDeps) {
    this.#deps = deps;
  }

  /** Called when the grace of a candidate is over and nobody confirmed it. */
  onExpired: (task: TaskRecord) => void = () => {};

  /** Candidates now; also what was answered and never asked for, for the operator's list. */
  *list(): Iterable<TaskRecord> {
    for (const task of this.#deps.store.unfinishedTasks()) {
      if (!task.confirmed) yield task;
    }
  }

  get size(): number {
    return this.#candidates.size;
  }

  /** A create call about this task was answered. */
  answered(task: TaskRecord): void {
    this.#arrived.set(task, (this.#arrived.get(task) ?? 0) + 1);
  }

  /**
   * One of these answers was lost. A repeated create is no sign that the engine holds the handle: its answer may be lost
   * as well, and then nobody ever deletes the job.
   */
  lost(task: TaskRecord): void {
    const arrived = (this.#arrived.get(task) ?? 0) - 1;
    this.#arrived.set(task, arrived);
    if (arrived > 0) return;
    this.#deps.store.undelivered(task);
    this.#add(task);
  }

  #isOrphan(task: TaskRecord): boolean {
    return !task.confirmed && (this.#arrived.get(task) ?? 0) <= 0;
  }

  #add(task: TaskRecord): void {
    if (this.#stopped || task.confirmed || task.undeliveredAtMs === undefined || this.#candidates.has(task)) return;
    const { clock, options } = this.#deps;
    const timer = clock.setTimer(options.orphanGraceMs, () => this.#expire(task));
    this.#candidates.set(task, timer);
  }

  /** A later attempt of the same node was created: earlier candidates are deleted first. */
  supersede(task: TaskRecord, remove: (orphan: TaskRecord) => Promise<void>): void {
    const { node } = task;
    if (node === undefined) return;
    for (const [candidate, timer] of this.#candidates) {
      if (candidate.node?.nodeKey !== node.nodeKey || candidate.node.attempt >= node.attempt) continue;
      timer.cancel();
      this.#candidates.delete(candidate);
      if (!this.#isOrphan(candidate)) continue;
      this.#predecessors.set(task.id, [...(this.#predecessors.get(task.id) ?? []), remove(candidate)]);
    }
  }

  readonly #predecessors = new Map<string, readonly Promise<void>[]>();

  /** Resolves when the orphaned attempts before this one are cancelled at the remote. */
  async predecessorsGone(task: TaskRecord): Promise<void> {
    const gone = this.#predecessors.get(task.id) ?? [];
    this.#predecessors.delete(task.id);
    await Promise.allSettled(gone);
  }

  stop(): void {
    this.#stopped = true;
    for (const timer of this.#candidates.values()) timer.cancel();
    this.#candidates.clear();
  }

  #expire(task: TaskRecord): void {
    this.#candidates.delete(task);
    const held = this.#deps.store.byId(task.id) === task;
    if (held && this.#isOrphan(task)) this.onExpired(task);
  }
}
