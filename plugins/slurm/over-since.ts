const MOST = 10_000;

/**
 * How long it is known that a task's job is over. Measured here and not from the job's end time, which is by the cluster's
 * clock: one that goes behind would leave no time for outputs to show up. Bounded: the oldest are forgotten first.
 */
export class OverSince {
  readonly #atMs = new Map<string, number>();

  /** @param now a monotonic clock, in milliseconds */
  constructor(private readonly now: () => number) {}

  /** 0 the first time. */
  elapsedMs(key: string): number {
    const known = this.#atMs.get(key);
    if (known !== undefined) return this.now() - known;
    this.#atMs.set(key, this.now());
    const [oldest] = this.#atMs.keys();
    if (this.#atMs.size > MOST && oldest !== undefined) this.#atMs.delete(oldest);
    return 0;
  }

  forget(key: string): void {
    this.#atMs.delete(key);
  }
}
