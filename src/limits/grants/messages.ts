/**
 * What replicas say to each other about the limits of one lane of a plugin. Any message may be lost, come twice, late, or after a later one.
 * Which plugin and lane it is about stands on the envelope.
 */

/** What one replica, the drawer, says to the owner of the limits: how it stands, and what it wants. The latest one counts. */
export interface Draw {
  /** The tenancy of the owner that it is meant for; another one does not look at it. */
  readonly epoch: string;
  /** The epoch of the member that draws. */
  readonly drawer: string;
  /** Counts up with each draw of this drawer. */
  readonly draw: number;
  /** The highest number of a grant of this epoch that came. One with a lower number that comes later is not used. */
  readonly seen: number;
  /** Calls that grants up to `seen` still allow. */
  readonly left: number;
  /** Calls under way, and those that grants of earlier epochs still allow. */
  readonly busy: number;
  /** Calls that it would make now, beyond `left`. */
  readonly wanted: number;
  /** For so long from now its remote has asked it for calm. Milliseconds. */
  readonly throttledMs: number | undefined;
}

/** The right to make so many calls; also what the owner says beside that, with `calls` 0. */
export interface Grant {
  readonly epoch: string;
  readonly drawer: string;
  /** The latest draw of this drawer that the owner had: the grant's life is counted from when that was made. */
  readonly draw: number;
  /** Counts up over all grants of the epoch. */
  readonly number: number;
  readonly calls: number;
  /** For so long from now nobody calls the remote. Milliseconds. */
  readonly pausedMs: number | undefined;
  /** When all that is wanted will have been granted, as it looks now. Milliseconds from now. */
  readonly waitMs: number;
  /** After so many calls that began or ended the owner wants to know at once: others wait for what they give back. At least 1. */
  readonly reportAfter: number;
}

/**
 * How often a drawer tells how it stands while it has anything, in a grant's life: so that one that is lost or two cost nothing.
 */
export const DRAWS_A_LIFE = 4;
/** Draws, and grants out of turn, keep this part of a grant's life as their distance. */
export const GAPS_A_LIFE = 150;
