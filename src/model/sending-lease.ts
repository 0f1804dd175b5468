/** What lets one of several replicas call remotes, until it ends or is renewed. Times are of the boot clock, in milliseconds. */
export interface SendingLease {
  /** When it ends; a time that is past where this replica does not work. */
  endsAtMs(): number;
  /** Calls back with the new end at each renewal; answers how to end that. */
  onRenewed(listener: (endsAtMs: number) => void): () => void;
}
