import { BOOT_GRAIN_MS, HELD_SHARE } from '../lib/boot-clock.js';

/**
 * Who saw nothing for longer than this share of a lease begins to count anew: where the database was away from all, the one that works could
 * not renew its lease either, and is to go on with what it has.
 */
const BLIND_SHARE = 0.5;
/** Of a lease, without a sign of life: one that lives gives several in it. */
const SILENT_SHARE = 0.5;
/** From one look to the next no more than this many of their intervals count as looked at: one failed, or came late. */
const CLOSE_LOOKS = 2;

/**
 * A lease as its holder counts it: from before it asked for the renewal that was then acknowledged, on a clock that goes on while the machine
 * is suspended. Whoever watches counts from later, and for longer, so that it ends here first.
 */
export class HeldLease {
  readonly #heldMs: number;
  readonly #bootMs: () => number;
  #untilMs = Number.NEGATIVE_INFINITY;

  constructor(leaseMs: number, bootMs: () => number) {
    this.#heldMs = leaseMs * HELD_SHARE;
    this.#bootMs = bootMs;
  }

  /** A renewal was acknowledged that was asked for at this time of the boot clock. */
  renewed(askedAtMs: number): void {
    this.#untilMs = Math.max(this.#untilMs, askedAtMs + this.#heldMs);
  }

  /** By the boot clock; the past where there is none. */
  get endsAtMs(): number {
    return Math.max(0, this.#untilMs);
  }

  /** 0 once it is over. */
  get leftMs(): number {
    return Math.max(0, this.#untilMs - this.#bootMs());
  }

  /** Others have it, or it was given back. */
  end(): void {
    this.#untilMs = Number.NEGATIVE_INFINITY;
  }
}

/** One look at the signs of life of all, with when it was asked for and answered, by the watcher's boot clock. */
export interface Look {
  readonly askedAtMs: number;
  readonly answeredAtMs: number;
  /** Undefined for one that has no row. */
  readonly counters: ReadonlyMap<string, string | undefined>;
}

interface Watched {
  readonly counter: string | undefined;
  /** When it was first seen. */
  readonly sinceMs: number;
  /** From when on it was looked at without a break. */
  readonly lookedAtMs: number;
  /** How much of the time since it was first seen was looked at closely, up to the last look. */
  readonly closelyMs: number;
  /** There was another one before. */
  readonly moved: boolean;
}

/**
 * Who lives, as a watcher sees it: a member is dead once its counter stood still for a lease on the watcher's own clock, from the answer that
 * first showed it to the asking of one that still does, and it was looked at all the while. Nobody's wall clock is asked, and no two clocks
 * are compared.
 */
export class LeaseWatch {
  readonly #leaseMs: number;
  readonly #blindMs: number;
  readonly #silentMs: number;
  readonly #closeMs: number;
  #watched = new Map<string, Watched>();
  #askedAtMs = Number.NEGATIVE_INFINITY;
  #answeredAtMs = Number.NEGATIVE_INFINITY;

  /** `lookMs`: how often it is to look. */
  constructor(leaseMs: number, lookMs: number) {
    this.#blindMs = leaseMs * BLIND_SHARE;
    this.#silentMs = leaseMs * SILENT_SHARE;
    this.#closeMs = lookMs * CLOSE_LOOKS;
    // Between two readings of a clock that is rounded down there may be this much less than they say.
    this.#leaseMs = leaseMs + BOOT_GRAIN_MS;
  }

  /** Looks must be taken in in the order in which they were asked for. */
  saw({ askedAtMs, answeredAtMs, counters }: Look): void {
    const watched = new Map<string, Watched>();
    const fresh = { sinceMs: answeredAtMs, lookedAtMs: answeredAtMs, closelyMs: 0 };
    const blind = askedAtMs - this.#answeredAtMs > this.#blindMs && { lookedAtMs: answeredAtMs };
    for (const [epoch, counter] of counters) {
      const before = this.#watched.get(epoch);
      // A row that is gone is no sign of life: others took its member for dead.
      if (before === undefined || (counter !== undefined && before.counter !== counter)) {
        watched.set(epoch, { counter, ...fresh, moved: before !== undefined });
      } else {
        // From asking to asking: a look that takes long has waited for the database, as the signs of life did.
        const gapMs = Math.max(0, askedAtMs - Math.max(before.sinceMs, this.#askedAtMs));
        const closelyMs = before.closelyMs + Math.min(this.#closeMs, gapMs);
        watched.set(epoch, { ...before, counter, closelyMs, ...blind });
      }
    }
    this.#watched = watched;
    this.#askedAtMs = askedAtMs;
    this.#answeredAtMs = answeredAtMs;
  }

  /** By the last look. False for one that it did not see. */
  isDead(epoch: string): boolean {
    return (this.silentMs(epoch) ?? 0) >= this.#leaseMs;
  }

  /** Whether it gave a sign of life since it was first seen, and not too long ago. */
  isAlive(epoch: string): boolean {
    return this.#watched.get(epoch)?.moved === true && !this.isDead(epoch);
  }

  /** For how long it was looked at without a break, and nothing was seen of it, up to the last look. */
  silentMs(epoch: string): number | undefined {
    const watched = this.#watched.get(epoch);
    return watched && Math.max(0, this.#askedAtMs - watched.lookedAtMs);
  }

  /**
   * Whether it gave no sign of life for half a lease of time that was looked at closely: between two looks that are far apart the database may
   * have been away from all. With a lease of 9 s or more one that lives has given some, however short such a time was.
   */
  isSilent(epoch: string): boolean {
    return (this.#watched.get(epoch)?.closelyMs ?? 0) >= this.#silentMs;
  }
}
