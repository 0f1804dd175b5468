import { isPluginError } from 'webapi-plugin-host';

/** How long a submission that was given up may still turn into a job: a busy controller answers after minutes. */
const MAY_ARRIVE_MS = 15 * 60_000;
const MAX_KEYS = 10_000;
/** What a read may spend on cancelling other jobs of its tasks, in milliseconds; a slow cancel must not fail the read. */
export const STRAYS_TIMEOUT_MS = 5_000;

/**
 * Keys whose submission ended without an answer, so that a job of it may still show up. Bounded: the oldest are forgotten
 * first. In memory alone: reads of whole batches see every job and need no such hint.
 */
export class LateSubmissions {
  readonly #untilMs = new Map<string, number>();

  /** @param now a monotonic clock, in milliseconds */
  constructor(private readonly now: () => number) {}

  note(key: string): void {
    this.#untilMs.delete(key);
    this.#untilMs.set(key, this.now() + MAY_ARRIVE_MS);
    const [oldest] = this.#untilMs.keys();
    if (this.#untilMs.size > MAX_KEYS && oldest !== undefined) this.#untilMs.delete(oldest);
  }

  expects(key: string): boolean {
    const untilMs = this.#untilMs.get(key);
    if (untilMs === undefined) return false;
    if (this.now() < untilMs) return true;
    this.#untilMs.delete(key);
    return false;
  }
}

/** Whether Slurm said that it made no job, so that none can arrive late. */
export function isRefusal(error: unknown): boolean {
  return isPluginError(error) && (error.kind === 'permanent' || error.kind === 'throttled');
}
