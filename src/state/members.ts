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
  /** Undefined for one of a release that says nothing. */
  readonly says?: MemberSays | undefined;
}

/** What a member lets the others know, and writes anew whenever it changes. */
export interface MemberSays {
  /** Ids of plugins that serve there. */
  readonly plugins: readonly string[];
  /** Their versions, by id, of those that state one. */
  readonly versions?: Readonly<Record<string, string>>;
  /** It stops, and gives away all it has. */
  readonly leaving: boolean;
  /** Ids of plugins whose remote it cannot reach. */
  readonly unreachable: readonly string[];
  /** Ids of plugins whose remote it could not reach when it last tried, and would try again. Undefined for one of a release that doubts nothing. */
  readonly doubted?: readonly string[];
  /** Parts that it could not load. */
  readonly refused: readonly number[];
  /** It takes in what the inbox has of its parts. Undefined for one of a release that knows none. */
  readonly inbox?: true;
  /** It puts into the inbox for owners that are away. Undefined for one that is not to. */
  readonly standsIn?: true;
}

/** A part of the state, and whose it is. */
export interface PartRow {
  /** From 0 on. */
  readonly part: number;
  /** The epoch that may write it; undefined where none may. */
  readonly owner: string | undefined;
  /** Goes up by one whenever it is taken; compared for being another one, and for nothing else. */
  readonly tenure: string;
  readonly needs: PartNeeds;
}

/** What a member must have to work on a part. */
export interface PartNeeds {
  /** Ids of plugins that its tasks need, each with `@` and the oldest version that may work on them, where there is one. */
  readonly plugins: readonly string[];
  /** The oldest release that can read its tasks; undefined where none is too old. */
  readonly leastVersion: string | undefined;
  /** Whether limits of plugins are owned with it. */
  readonly hasLimits: boolean;
}

/** What stands in the tables at one instant. */
export interface MembersView {
  /** In order, from 0 on. */
  readonly parts: readonly PartRow[];
  readonly members: readonly MemberRow[];
}

/** Whose a part was, as it was seen last. */
export interface LastOwner extends Pick<PartRow, 'owner' | 'tenure'> {
  /** The owner's; undefined where it has no row. */
  readonly counter: string | undefined;
}

/** A member's right to write a part. */
export interface Tenure {
  readonly epoch: string;
  readonly part: number;
  readonly tenure: string;
}

/** What a replica says of itself when it comes. */
export interface Joining extends Pick<MemberRow, 'epoch' | 'name' | 'address' | 'version'> {
  /** The options that all should have alike, as JSON, secrets masked. */
  readonly config?: string | undefined;
  readonly says: MemberSays;
}

/**
 * The rows by which replicas know each other, and who of them has which part of the state. Each method is one statement. What they reject
 * with is a HostError with one of the STATE_ codes; whether it was done all the same is then unknown.
 */
export interface MemberTable {
  /** Begins, or goes on after the row was taken away; a sign of life where there is one. */
  join(self: Joining): Promise<void>;
  /** A sign of life. False where the row is gone: others took its member for dead. */
  renew(epoch: string): Promise<boolean>;
  look(): Promise<MembersView>;
  /**
   * Makes `epoch` the owner of a part, if the last one is still who it was and gave no sign of life since: a renewal that comes in between
   * wins. Answers the new tenure; undefined where it did not. Commits that are under way are waited for.
   */
  take(epoch: string, part: number, from: LastOwner): Promise<string | undefined>;
  /** Makes a part nobody's. False where it is another's already, or of another tenure. */
  give(held: Tenure): Promise<boolean>;
  /** Writes what working on the part takes. False where it is not this one's. */
  describe(held: Tenure, needs: PartNeeds): Promise<boolean>;
  /** False where the row is gone. */
  say(epoch: string, says: MemberSays): Promise<boolean>;
  /** What it said when it came; undefined where it did not, or is gone. */
  configOf(epoch: string): Promise<string | undefined>;
  /** Takes away the row of one that owns nothing and gave no sign of life since. */
  forget(epoch: string, counter: string): Promise<void>;
  /** Gives back what it has: who comes next need not wait a lease. */
  leave(epoch: string): Promise<void>;
}
