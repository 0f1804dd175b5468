/**
 * How long a remote has failed, over restarts: a daemon that is started again and again comes to the end of an outage grace as one that
 * runs. Time in which no daemon ran is none of it.
 */
export interface KeptOutage {
  /** For how long it had failed when the last run of the daemon ended; 0 where it had not. Milliseconds. */
  readonly beforeMs: number;
  /** It has failed for so long by now; undefined once it answers, or nobody is left whom it concerns. */
  keep(forMs: number | undefined): void;
}

/** Of a remote of which nothing is kept. */
export const NO_OUTAGE: KeptOutage = Object.freeze({ beforeMs: 0, keep: () => {} });
