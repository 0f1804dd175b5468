import { TransientError } from 'webapi-plugin-host';
import { noneIfNotFound } from './faults.js';
import { type RestClient, UNREADABLE } from './rest-client.js';
import { isLive, ruleFor } from './states.js';

const MOST = 32;
/** A job that was alive this long ago is worth asking for. */
const TRUSTED_MS = 120_000;
/** Witnesses asked for one list. */
const ASKED = 2;

/**
 * Some jobs that were alive a moment ago, by which a list is judged: one that shows none of a job that still lives is not
 * whole (slurmctld just started, a standby without its state), and to find no job of a key in it means nothing.
 */
export class Witnesses {
  readonly #seenAtMs = new Map<number, number>();

  /** @param now a monotonic clock, in milliseconds */
  constructor(
    private readonly client: Pick<RestClient, 'getJob'>,
    private readonly now: () => number,
  ) {}

  note(jobId: number): void {
    this.#seenAtMs.delete(jobId);
    this.#seenAtMs.set(jobId, this.now());
    const [oldest] = this.#seenAtMs.keys();
    if (this.#seenAtMs.size > MOST && oldest !== undefined) this.#seenAtMs.delete(oldest);
  }

  /** The jobs that a list asked for now has to show. */
  current(): number[] {
    for (const [jobId, atMs] of this.#seenAtMs) if (this.now() - atMs > TRUSTED_MS) this.#seenAtMs.delete(jobId);
    return [...this.#seenAtMs.keys()];
  }

  /**
   * Asks for the youngest of those that a list does not show.
   * @throws TransientError `SlurmListIncomplete` when one is alive all the same
   */
  async judge(missing: readonly number[], signal: AbortSignal): Promise<void> {
    for (const jobId of missing.slice(-ASKED)) {
      const { jobs } = await this.client.getJob(jobId, signal, 'create').catch(noneIfUnreadable);
      if (jobs.some((job) => isLive(ruleFor(job, [])))) {
        throw new TransientError(`list jobs: it lacks job ${jobId}, which is alive; the list is not whole`, {
          code: 'SlurmListIncomplete',
        });
      }
      this.#seenAtMs.delete(jobId);
    }
  }
}

/** A record that cannot be read is one that the list may well have shown, in the same way. */
function noneIfUnreadable(error: unknown): ReturnType<typeof noneIfNotFound> {
  return (error as { code?: unknown }).code === UNREADABLE ? { jobs: [], unread: [] } : noneIfNotFound(error);
}
