import { isPluginError, TransientError } from 'webapi-plugin-host';
import { type JobList, leaderOf, type SlurmJob } from './jobs.js';
import { isOurs, stemsOf } from './jobs-of-key.js';
import { type RestClient, UNREADABLE } from './rest-client.js';
import type { Witnesses } from './witnesses.js';

interface Round {
  /** The stem (see SlurmMeta.stem) of each key. */
  readonly stems: Map<string, string>;
  readonly answer: Promise<JobList>;
}

/** One list serves many creates and must not end with the first one that gives up; this bounds it instead. */
const LOOKUP_TIMEOUT_MS = 60_000;

/**
 * Finds the jobs that an earlier create of a key made, by their comment or by the path of their log, since sites rewrite
 * comments. Slurm has no search, so the whole job list is read; creates that arrive together share one list, but never one
 * that was asked for before they arrived: it might not show the job of a create that was cut off a moment ago. So at most
 * one list runs and one is waiting, however many creates there are.
 */
export class JobLookup {
  #running: Promise<unknown> | undefined;
  #next: Round | undefined;

  constructor(
    private readonly client: Pick<RestClient, 'listJobs'>,
    private readonly witnesses: Pick<Witnesses, 'current' | 'judge'>,
    private readonly timeoutMs = LOOKUP_TIMEOUT_MS,
  ) {}

  /**
   * The records of all jobs of the key, elements of arrays one by one; empty when there is none. There are several jobs
   * when a submission whose answer was lost arrived late; those of the first one submitted come first.
   * @throws TransientError when the list is not whole, or may hold a job of the key that cannot be read
   */
  async find(key: string, stem: string, signal: AbortSignal): Promise<readonly SlurmJob[]> {
    signal.throwIfAborted();
    this.#next ??= this.#plan();
    const round = this.#next;
    round.stems.set(key, stem);
    const { jobs, unread } = await raceSignal(round.answer, signal);
    if (unread.some((text) => text.includes(key))) {
      throw new TransientError(`list jobs: the record of a job of key ${key} cannot be read`, { code: UNREADABLE });
    }
    return jobs.filter((job) => isOurs(job, key, stem)).sort((a, b) => leaderOf(a) - leaderOf(b));
  }

  #plan(): Round {
    const stems = new Map<string, string>();
    const answer = (async () => {
      await this.#running?.catch(() => undefined);
      // from here on a new create belongs to the round after this one
      this.#next = undefined;
      const list = this.#list(stems);
      this.#running = list;
      return await list;
    })();
    // whoever waits sees the failure; a round whose creates all gave up has nobody left to tell
    answer.catch(() => undefined);
    return { stems, answer };
  }

  async #list(stems: ReadonlyMap<string, string>): Promise<JobList> {
    const signal = AbortSignal.timeout(this.timeoutMs);
    const paths = new Set(stems.values());
    const missing = new Set(this.witnesses.current());
    try {
      const list = await this.client.listJobs(
        ({ leader, comment, standardOutput }) => {
          missing.delete(leader);
          return stems.has(comment) || stemsOf(standardOutput).some((stem) => paths.has(stem));
        },
        signal,
        'create',
      );
      await this.witnesses.judge([...missing], signal);
      return list;
    } catch (error) {
      if (isPluginError(error)) throw error;
      throw new TransientError(`list jobs: no answer within ${this.timeoutMs} ms`, { cause: error });
    }
  }
}

function raceSignal<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason as Error);
    signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
