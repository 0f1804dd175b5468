import { createDeferred, type Deferred } from '../lib/deferred.js';
import { getOrMake } from '../lib/get-or-make.js';
import { type AttemptKey, taskIdOf } from '../model/attempt-key.js';
import type { TaskRecord } from '../model/task-record.js';
import type { OwedDeletes } from './owed-deletes.js';
import type { UnclearCreates } from './unclear-creates.js';

/** Where a job of a run that is over may still stand. */
export interface Leftovers {
  readonly cancelling: { has(id: TaskRecord['id']): boolean };
  readonly owed: OwedDeletes;
  readonly unclear: UnclearCreates;
}

/**
 * What the earlier incarnations of a key have left at the remote. All of them write to one output prefix, so the next one starts
 * when their jobs are cancelled, over or not found (rule 8).
 */
export class EarlierLives {
  readonly #of: Leftovers;
  /** By key and incarnation; whoever waits for the same shares one. */
  readonly #waits = new Map<AttemptKey, Map<number, Deferred<void>>>();

  constructor(of: Leftovers) {
    this.#of = of;
  }

  /** Resolves when nothing that may run is left of the incarnations before this one, as far as is known; undefined where nothing is. */
  gone(key: AttemptKey, incarnation: number): Promise<void> | undefined {
    if (!this.#mayRun(key, incarnation)) return undefined;
    const waits = getOrMake(this.#waits, key, () => new Map<number, Deferred<void>>());
    return getOrMake(waits, incarnation, () => createDeferred<void>()).promise;
  }

  /** Something of the key was cancelled, or holds up nobody any more. */
  freed(key: AttemptKey): void {
    const waits = this.#waits.get(key);
    if (waits === undefined) return;
    for (const [incarnation, gone] of waits) {
      if (this.#mayRun(key, incarnation)) continue;
      waits.delete(incarnation);
      gone.resolve();
    }
    if (waits.size === 0) this.#waits.delete(key);
  }

  #mayRun(key: AttemptKey, incarnation: number): boolean {
    const { cancelling, owed, unclear } = this.#of;
    for (let earlier = incarnation - 1; earlier > 0; earlier--) {
      const id = taskIdOf(key, earlier);
      if (cancelling.has(id) || owed.holdsUp(id) || unclear.holdsUp(id)) return true;
    }
    return owed.fromHandlesHoldUp(key, incarnation);
  }
}
