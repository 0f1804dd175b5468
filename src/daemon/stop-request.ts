import { HostError } from '../errors/index.js';

/**
 * Whether the daemon was asked to stop: a start looks at it between its steps, and what may take long ends with it.
 *
 * States: wanted → `ask` → asked for, for good.
 */
export class StopRequest {
  readonly #asked = new AbortController();
  /** What a start throws that `ask` ended. */
  readonly endedEarly = new HostError('DAEMON_STATE', 'the daemon was asked to stop while it started');

  get signal(): AbortSignal {
    return this.#asked.signal;
  }

  ask(): void {
    this.#asked.abort();
  }

  /** Throws `endedEarly` once it was asked for. */
  assertWanted(): void {
    if (this.signal.aborted) throw this.endedEarly;
  }

  /** Loading may take long; a stop does not wait for it, since what was loaded is unwound anyway. Throws `endedEarly` then. */
  async unlessStopped<T>(work: Promise<T>): Promise<T> {
    const stopped = new Promise<never>((_, reject) => {
      this.signal.addEventListener('abort', () => reject(this.endedEarly), { once: true });
    });
    stopped.catch(() => undefined);
    work.catch(() => undefined);
    this.assertWanted();
    return Promise.race([work, stopped]);
  }
}
