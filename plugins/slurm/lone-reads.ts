import { isPluginError, NotFoundError, TransientError } from 'webapi-plugin-host';
import type { SlurmJob } from './jobs.js';
import { type RestClient, UNREADABLE } from './rest-client.js';

/** Jobs of one batch that are asked for alone; a list that lacks them all must not become a flood of requests. */
export const MOST_LONE_READS = 100;
const PARALLEL = 4;
/** After so many that were not answered the rest is left for the next batch: the cluster has no ear now. */
const MOST_FAILURES = 3;
/** What a batch may spend on them, in milliseconds; what the list does show must not wait for longer. */
const TIMEOUT_MS = 8_000;
const MOST_REMEMBERED = 10_000;

/** What asking for one job alone gave. */
export type LoneRead = { readonly jobs: readonly SlurmJob[] } | { readonly error: unknown };

/**
 * Asks for jobs that a list does not show, one by one: that a list lacks a job proves nothing (a controller that just
 * started, a list cut short), Slurm's word about the very job does. Bounded for each batch; who was not asked this time comes
 * first the next.
 */
export class LoneReads {
  readonly #asked = new Set<string>();

  constructor(
    private readonly client: Pick<RestClient, 'getJob'>,
    private readonly timeoutMs = TIMEOUT_MS,
  ) {}

  /** One outcome for each key of `missing`, which gives its job's id. */
  async read(
    missing: ReadonlyMap<string, number>,
    listFault: TransientError | undefined,
    signal: AbortSignal,
  ): Promise<ReadonlyMap<string, LoneRead>> {
    const rest = new TransientError('the list of jobs does not show the job, and it was not its turn to be asked for', {
      code: 'SlurmListIncomplete',
    });
    const outcomes = new Map<string, LoneRead>();
    for (const key of missing.keys()) outcomes.set(key, { error: listFault ?? rest });
    const soon = AbortSignal.any([signal, AbortSignal.timeout(this.timeoutMs)]);
    const queue = this.#inTurn(missing);
    let failures = 0;
    const work = async () => {
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
        if (failures >= MOST_FAILURES || soon.aborted) return;
        const outcome = await this.#ask(next.jobId, soon);
        if ('error' in outcome && isNoAnswer(outcome.error)) failures++;
        outcomes.set(next.key, outcome);
        this.#remember(next.key);
      }
    };
    await Promise.all(Array.from({ length: PARALLEL }, work));
    return outcomes;
  }

  /** Those that were not asked for lately come first. */
  #inTurn(missing: ReadonlyMap<string, number>): { key: string; jobId: number }[] {
    const all = [...missing].map(([key, jobId]) => ({ key, jobId }));
    const fresh = all.filter(({ key }) => !this.#asked.has(key));
    const order = new Map([...this.#asked].map((key, at) => [key, at]));
    const known = all.filter(({ key }) => this.#asked.has(key));
    known.sort((a, b) => (order.get(a.key) ?? 0) - (order.get(b.key) ?? 0));
    return [...fresh, ...known].slice(0, MOST_LONE_READS);
  }

  #remember(key: string): void {
    this.#asked.delete(key);
    this.#asked.add(key);
    const [oldest] = this.#asked;
    if (this.#asked.size > MOST_REMEMBERED && oldest !== undefined) this.#asked.delete(oldest);
  }

  async #ask(jobId: number, signal: AbortSignal): Promise<LoneRead> {
    try {
      return { jobs: (await this.client.getJob(jobId, signal)).jobs };
    } catch (error) {
      if (isPluginError(error)) return { error };
      return { error: new TransientError(`read job ${jobId}: no answer in time`, { cause: error }) };
    }
  }
}

/** Whether nothing was heard of the cluster; a record that cannot be read says nothing about the others. */
function isNoAnswer(error: unknown): boolean {
  return !(error instanceof NotFoundError) && (error as { code?: unknown }).code !== UNREADABLE;
}
