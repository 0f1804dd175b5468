/** Exponential back-off with full range kept in one place; every retry loop of the daemon takes its delays from here. */
export interface BackoffOptions {
  /** First delay, in milliseconds. */
  readonly initialMs: number;
  /** Upper bound of a delay, in milliseconds. */
  readonly maxMs: number;
  /** Growth per attempt; 2 unless given. */
  readonly factor?: number;
  /** Share of the delay that is random, 0 to 1; 0.5 unless given (a delay of 1,000 ms lies in 750–1,250 ms). */
  readonly jitter?: number;
}

/** The delay before retry number `attempt` (1 is the first retry), in milliseconds. `random` answers in [0, 1). */
export function backoffMs(attempt: number, options: BackoffOptions, random: () => number): number {
  const { initialMs, maxMs, factor = 2, jitter = 0.5 } = options;
  const exponent = Math.min(Math.max(1, attempt) - 1, 64);
  const plain = Math.min(maxMs, initialMs * factor ** exponent);
  return plain * (1 - jitter / 2 + jitter * random());
}
