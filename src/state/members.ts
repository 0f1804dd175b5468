/** One replica as all see it. */
export interface MemberRow {
  /** Random, of one start of a daemon. */
  readonly epoch: string;
  /** For people: host and process. */
  readonly name: string;
  /** `host:port` at which the others reach its gRPC port; undefined for a daemon that forms no cluster. */
  readonly address: string | undefined;
  readonly version: string | undefined;
  /** Raised by every sign of life; compared for being another one, and for nothing else. */
  readonly counter: string;
  /** By the database's clock, to be shown; epoch milliseconds. */
  readonly joinedAtMs: number | undefined;
  readonly ownsSinceMs: number | undefined;
}

/** What stands in the tables at one instant. */
export interface MembersView {
  /** The epoch that may write the state; undefined where none may. */
  readonly owner: string | undefined;
  readonly members: readonly MemberRow[];
}

/** Who had the state, as it was seen last. */
export interface LastOwner {
  readonly epoch: string;
  /** Undefined where it has no row. */
  readonly counter: string | undefined;
}

/** What a replica says of itself when it comes. */
export interface Joining extends Pick<MemberRow, 'epoch' | 'name' | 'address' | 'version'> {
  /** The options that all should have alike, as JSON, secrets masked. */
  readonly config?: string | undefined;
}

/**
 * The rows by which replicas know each other and the one of them that has the state. Each method is one statement. What they reject
 * with is a HostError with one of the STATE_ codes; whether it was done all the same is then unknown.
 */
export interface MemberTable {
  /** Begins, or goes on after the row was taken away; a sign of life where there is one. */
  join(self: Joining): Promise<void>;
  /** A sign of life. False where the row is gone: others took its member for dead. */
  renew(epoch: string): Promise<boolean>;
  look(): Promise<MembersView>;
  /**
   * Makes `epoch` the owner, if the last one is still who it was and gave no sign of life since: a renewal that comes in between wins.
   * False where it did not.
   */
  take(epoch: string, from: LastOwner | undefined): Promise<boolean>;
  /** What it said when it came; undefined where it did not, or is gone. */
  configOf(epoch: string): Promise<string | undefined>;
  /** Takes away the row of one that owns nothing and gave no sign of life since. */
  forget(epoch: string, counter: string): Promise<void>;
  /** Gives back what it has: who comes next need not wait a lease. */
  leave(epoch: string): Promise<void>;
}
