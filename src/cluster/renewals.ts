import type { Clock, Timer } from '../lib/clock.js';
import { HeldLease } from './lease.js';

export interface RenewalsOptions {
  readonly leaseMs: number;
  readonly clock: Clock;
  readonly bootMs: () => number;
  /** A sign of life. False where others took its member for dead; rejects where that is not known. */
  readonly renew: () => Promise<boolean>;
  /** Whether the lease has anything to hold. */
  readonly holds: () => boolean;
  /** Until when it is held now, by the boot clock. */
  readonly renewed: (endsAtMs: number) => void;
  /** Others took its member for dead. What it rejects with is a renewal that failed. */
  readonly gone: () => Promise<void>;
  readonly failed: (error: unknown) => void;
  /** It is over while it has something to hold; and held again. */
  readonly lapsed: () => void;
  readonly restored: () => void;
}

/** Within a lease. */
const RENEWALS_A_LEASE = 3;
const TRIES_A_LEASE = 6;
/** At most, until what failed is tried again. Milliseconds. */
const AGAIN_MS = 500;

export function renewMs(leaseMs: number): number {
  return leaseMs / RENEWALS_A_LEASE;
}

export function againMs(leaseMs: number): number {
  return Math.min(AGAIN_MS, leaseMs / TRIES_A_LEASE);
}

/**
 * The lease of one member, kept up by signs of life.
 *
 * States: none → `begin` → held, and renewed three times a lease → over, where that failed for too long → held again … → `end` → none, for
 * good.
 */
export class Renewals {
  readonly #options: RenewalsOptions;
  readonly #lease: HeldLease;
  #renewTimer: Timer | undefined;
  #lapseTimer: Timer | undefined;
  #lapsed = false;
  #ended = false;

  constructor(options: RenewalsOptions) {
    this.#options = options;
    this.#lease = new HeldLease(options.leaseMs, options.bootMs);
  }

  /** 0 once it is over. */
  get leftMs(): number {
    return this.#lease.leftMs;
  }

  get endsAtMs(): number {
    return this.#lease.endsAtMs;
  }

  /** It is held by a statement that was asked for at this time of the boot clock. */
  begin(askedAtMs: number): void {
    this.#lease.renewed(askedAtMs);
    this.#later(renewMs(this.#options.leaseMs));
  }

  /** Tells when it is over. Only for the one who looks at the log: what is sent asks the lease itself. To be called when there is more to hold. */
  watch(): void {
    const { clock, holds } = this.#options;
    this.#lapseTimer?.cancel();
    if (this.#ended || !holds()) return;
    this.#lapseTimer = clock.setTimer(this.#lease.leftMs, () => {
      if (!holds() || this.#lapsed) return;
      if (this.#lease.leftMs > 0) this.watch();
      else {
        this.#lapsed = true;
        this.#options.lapsed();
      }
    });
  }

  /** May be called twice. */
  end(): void {
    this.#ended = true;
    this.#renewTimer?.cancel();
    this.#lapseTimer?.cancel();
    this.#lease.end();
  }

  #later(delayMs: number): void {
    if (this.#ended) return;
    const { clock, leaseMs } = this.#options;
    this.#renewTimer = clock.setTimer(delayMs, () => {
      // One that failed is made again soon: the others begin to count once they see anything.
      void this.#renew().then((answered) => this.#later(answered ? renewMs(leaseMs) : againMs(leaseMs)));
    });
  }

  /** Answers whether the database did. */
  async #renew(): Promise<boolean> {
    const { bootMs, renew, renewed, gone, failed, restored } = this.#options;
    const askedAtMs = bootMs();
    try {
      if (!(await renew())) {
        await gone();
        return true;
      }
    } catch (error) {
      failed(error);
      return false;
    }
    if (this.#ended) return true;
    this.#lease.renewed(askedAtMs);
    renewed(this.#lease.endsAtMs);
    this.watch();
    if (!this.#lapsed || this.#lease.leftMs === 0) return true;
    this.#lapsed = false;
    restored();
    return true;
  }
}
