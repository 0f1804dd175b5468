import type { Clock } from '../lib/clock.js';
import { createDeferred, type Deferred } from '../lib/deferred.js';
import type { Abortable } from '../lib/stop.js';
import { settledBefore } from '../lib/wait.js';
import type { TaskId } from '../model/attempt-key.js';

/**
 * Creates of one plugin whose secrets are no longer kept, while they wait for a call of their engine that brings them again
 * (rule 14). A create waits here from `wait` until `came`, its time or its signal, whichever is first.
 */
export class SecretsWait {
  readonly #clock: Clock;
  readonly #waiting = new Map<TaskId, Deferred<void>>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Resolves when secrets of the task came, after so long, or when the signal is aborted. Not to be called twice for one task. */
  async wait(id: TaskId, maxMs: number, signal: Abortable): Promise<void> {
    const came = createDeferred<void>();
    this.#waiting.set(id, came);
    await settledBefore(this.#clock, came.promise, this.#clock.now() + maxMs, signal);
    this.#waiting.delete(id);
  }

  came(id: TaskId): void {
    this.#waiting.get(id)?.resolve();
  }
}
