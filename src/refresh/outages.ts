import type { TaskId } from '../model/attempt-key.js';
import type { KeptOutage } from '../model/kept-outage.js';
import { type Evidence, RemoteState, type RemoteStateOptions, type Scope } from './remote-state.js';

/** Batch keys whose state is kept; those that are well are let go first. */
const MAX_KEYS = 1_000;

/** Time during which counts stood still, when a task began to fail; milliseconds. */
export interface FrozenMarks {
  readonly plugin: number;
  readonly group: number;
}

/** What stands still for one task. */
export interface Outage {
  /** Whether its failures count for nothing now. */
  frozen(nowMs: number): boolean;
  /** Whether reads of the whole plugin are probes now; while a batch key alone is away, each of its tasks backs off. */
  probed(nowMs: number): boolean;
  readonly down: boolean;
  /** When the task's own remote last answered a read; -Infinity where that is not known. */
  readonly answeredAtMs: number;
  marks(nowMs: number): FrozenMarks;
  /** How long counts stood still since the marks were made. */
  frozenSince(marks: FrozenMarks, nowMs: number): number;
}

/**
 * Which remotes do not answer (rule 4). A plugin's batch keys are remotes of their own, such as clusters: while one is
 * away the others do answer, so the plugin's state stays up and its tasks are read as ever, but the tasks of that key
 * must not end for it. Tasks without a key know the plugin's state alone.
 */
export class Outages {
  readonly plugin: RemoteState;
  readonly #groups = new Map<string, RemoteState>();
  #options: RemoteStateOptions;

  /** `kept`: of the plugin's outage; that of a batch key alone begins its grace anew with each start. */
  constructor(options: RemoteStateOptions, kept?: KeptOutage) {
    this.#options = options;
    this.plugin = new RemoteState(options, kept);
  }

  reconfigure(options: RemoteStateOptions): void {
    this.#options = options;
    this.plugin.reconfigure(options);
    for (const group of this.#groups.values()) group.reconfigure(options);
  }

  /**
   * Takes one call that ended of tasks of one batch key as evidence about that key; `tracked` tells of the tasks that have it. Called after
   * the plugin's state has learnt of it: an outage of all is none of a key, whose grace would be added to that of all.
   */
  learnOfGroup(batchKey: string, call: readonly Evidence[], tracked: Omit<Scope, 'keys'>, nowMs: number): void {
    if (batchKey === '' || this.plugin.downSinceMs !== undefined) return;
    let group = this.#groups.get(batchKey);
    if (group === undefined) {
      if (call.some(({ outcome }) => outcome.ok)) return;
      this.#makeRoom();
      group = new RemoteState(this.#options);
      this.#groups.set(batchKey, group);
    }
    group.learn(call, { ...tracked, keys: 1 }, nowMs);
  }

  /** Whether a state of any batch key is kept. */
  get hasGroups(): boolean {
    return this.#groups.size > 0;
  }

  /** The same where the remote of this batch key answered the read of a task. */
  answeredOfGroup(batchKey: string, id: TaskId, nowMs: number): void {
    if (this.plugin.downSinceMs === undefined) this.#groups.get(batchKey)?.answered(id, nowMs);
  }

  /** The group's state is of no use without its last task. */
  forgetGroup(batchKey: string): void {
    this.#groups.delete(batchKey);
  }

  of(batchKey: string): Outage {
    const { plugin } = this;
    const group = this.#groups.get(batchKey);
    return {
      frozen: (nowMs) => plugin.frozen(nowMs) || group?.frozen(nowMs) === true,
      probed: (nowMs) => plugin.frozen(nowMs),
      down: plugin.downSinceMs !== undefined || group?.downSinceMs !== undefined,
      answeredAtMs: batchKey === '' ? plugin.answeredAtMs : (group?.answeredAtMs ?? Number.NEGATIVE_INFINITY),
      marks: (nowMs) => ({ plugin: plugin.frozenTotalMs(nowMs), group: group?.frozenTotalMs(nowMs) ?? 0 }),
      // Both may stand still at a time; the longer one is the least that is certain.
      frozenSince: (marks, nowMs) =>
        Math.max(plugin.frozenTotalMs(nowMs) - marks.plugin, (group?.frozenTotalMs(nowMs) ?? 0) - marks.group),
    };
  }

  #makeRoom(): void {
    if (this.#groups.size < MAX_KEYS) return;
    for (const [key, { downSinceMs }] of this.#groups) {
      if (downSinceMs !== undefined && this.#groups.size < 2 * MAX_KEYS) continue;
      this.#groups.delete(key);
      return;
    }
  }
}
