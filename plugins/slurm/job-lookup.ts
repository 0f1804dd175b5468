import { isPluginError, TransientError } from 'webapi-plugin-host';
import { groupBy, leaderOf, type SlurmJob } from './jobs.js';
import type { RestClient } from './rest-client.js';

interface Round {
  readonly keys: Set<string>;
  readonly answer: Promise<ReadonlyMap<string, SlurmJob[]>>;
}

/** One list serves many creates and must not end with the first one that gives up; this bounds it instead. */
const LOOKUP_TIMEOUT_MS = 60_000;

/**
 * Finds the job that an earlier create of a key made, by its comment. Slurm has no search, so the whole job list is
 * read; creates that arrive together share one list, but never one that was asked for before they arrived: it might not
 * show the job of a create that was cut off a moment ago. So at most one list runs and one is waiting, however many
 * creates there are.
 */
export class JobLookup {
  #running: Promise<unknown> | undefined;
  #next: Round | undefined;

  constructor(
    private readonly client: Pick<RestClient, 'listJobs'>,
    private readonly timeoutMs = LOOKUP_TIMEOUT_MS,
  ) {}

  /**
   * The records of all jobs of the key, elements of arrays one by one; empty when there is none. There are several jobs
   * when a submission whose answer was lost arrived late; those of the first one submitted come first.
   */
  async find(key: string, signal: AbortSignal): Promise<readonly SlurmJob[]> {
    signal.throwIfAborted();
    this.#next ??= this.#plan();
    const round = this.#next;
    round.keys.add(key);
    const byKey = await raceSignal(round.answer, signal);
    return [...(byKey.get(key) ?? [])].sort((a, b) => leaderOf(a) - leaderOf(b));
  }

  #plan(): Round {
    const keys = new Set<string>();
    const answer = (async () => {
      await this.#running?.catch(() => undefined);
      // from here on a new create belongs to the round after this one
      this.#next = undefined;
      const list = this.#list(keys);
      this.#running = list;
      return await list;
    })();
    // whoever waits sees the failure; a round whose creates all gave up has nobody left to tell
    answer.catch(() => undefined);
    return { keys, answer };
  }

  async #list(keys: ReadonlySet<string>): Promise<ReadonlyMap<string, SlurmJob[]>> {
    const signal = AbortSignal.timeout(this.timeoutMs);
    const jobs = await this.client
      .listJobs((raw) => keys.has(raw.comment), signal, 'create')
      .catch((error: unknown) => {
        if (isPluginError(error)) throw error;
        throw new TransientError(`list jobs: no answer within ${this.timeoutMs} ms`, { cause: error });
      });
    return groupBy(jobs, (job) => job.comment);
  }
}

function raceSignal<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason as Error);
    signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
