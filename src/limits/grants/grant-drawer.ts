import { HELD_SHARE } from '../../lib/boot-clock.js';
import type { Clock, Timer } from '../../lib/clock.js';
import type { RateLimiterConfig } from '../../plugin-api/config.js';
import type { BucketSnapshot, RateLimiter, Taken } from '../types.js';
import { DRAWS_A_LIFE, type Draw, GAPS_A_LIFE, type Grant } from './messages.js';

export interface GrantDrawerOptions {
  /** The epoch of this member. */
  readonly drawer: string;
  /** The life of a grant, the same for all replicas. Milliseconds. */
  readonly grantMs: number;
  readonly clock: Clock;
  /** A clock that goes on while the machine is suspended, on which grants end. Milliseconds. */
  readonly bootMs: () => number;
  /** Sends to whoever owns the limits now, this replica itself included. May lose it; must not call back before it returns. */
  readonly send: (draw: Draw) => void;
  /** More calls than before may be possible: a grant came, or a pause is over. */
  readonly changed: () => void;
  /** The limits are others; the owner goes by its own. */
  readonly reconfigured?: () => void;
}

interface Held extends Taken {
  calls: number;
}

/**
 * One replica's side of the limits of a lane that another one owns (rule 1, design 7): it says how many calls it would make now, and makes
 * those that it is granted. In the place of a `TokenBucket` it is asked in the same way, and told two things more: how many calls wait
 * (`want`), and when one that was taken has ended (`ended`), since a grant is token and place among the calls under way in one.
 *
 * Invariants: a grant is used within `grantMs`, counted on this replica's clock from when it asked, so before its owner takes it for ended;
 * each grant counts once, whatever comes twice or late; grants are used in the order in which they end. What is not used in time lapses.
 *
 * States: without an owner (`follow(undefined)`: what was granted is used up to its end, nothing is asked for); following one. It tells how it
 * stands at each change that matters, some milliseconds apart, and several times in a grant's life while it has or wants anything.
 */
export class GrantDrawer implements RateLimiter {
  readonly #options: GrantDrawerOptions;
  readonly #gapMs: number;
  /** When which draw was made, by the boot clock; of those whose grants may still be used. */
  readonly #asked = new Map<number, number>();
  #grants: Held[] = [];
  #epoch: string | undefined;
  #draw = 0;
  #seen = 0;
  #underWay = 0;
  #wanted = 0;
  /** What the owner still means to grant, as far as it was told. */
  #told = 0;
  #unreported = 0;
  /** Calls, since the beginning: granted, and of these not taken before their grant ended. */
  #drawn = 0;
  #lapsed = 0;
  #reportAfter = 1;
  #waitUntilMs = 0;
  /** Of this replica's own calls, which the owner is to know of; and of anybody's. */
  #throttledUntilMs = 0;
  #pausedUntilMs = 0;
  #drawnAtMs = Number.NEGATIVE_INFINITY;
  #timer: Timer | undefined;
  #timerAtMs = 0;
  #pauseTimer: Timer | undefined;

  constructor(options: GrantDrawerOptions) {
    this.#options = options;
    this.#gapMs = options.grantMs / GAPS_A_LIFE;
  }

  /**
   * Draws from this tenancy of an owner from now on; undefined while nobody is known to own the limits. Each tenancy has a name of its own,
   * also where the same member owns the limits again.
   */
  follow(epoch: string | undefined): void {
    if (epoch === this.#epoch) return;
    this.#epoch = epoch;
    this.#seen = 0;
    this.#told = 0;
    this.#reportAfter = 1;
    this.#waitUntilMs = 0;
    if (this.#hasToTell()) this.#drawWithin(0);
  }

  /** Calls that wait now and would be made if they could, those included that could be. What is not about to be made is not to be wanted. */
  want(count: number): void {
    this.#wanted = count;
    if (this.#unmet() !== this.#told) this.#drawWithin(this.#gapMs);
  }

  /** To be called once for each call that was taken, when it has ended. */
  ended(): void {
    this.#underWay -= 1;
    this.#changedOne();
  }

  /** A message of an owner. */
  onGrant({ epoch, number, draw, calls, pausedMs, waitMs, reportAfter }: Grant): void {
    if (epoch !== this.#epoch || number <= this.#seen) return;
    this.#seen = number;
    this.#reportAfter = reportAfter;
    const now = this.#options.clock.now();
    this.#waitUntilMs = now + waitMs;
    if (pausedMs !== undefined) this.#rest(now + pausedMs / HELD_SHARE);
    const askedAtMs = this.#asked.get(draw);
    this.#forgetAsked(draw);
    this.#told = Math.max(0, this.#told - calls);
    if (calls === 0) return;
    if (askedAtMs !== undefined) this.#grants.push({ epoch, calls, endsAtMs: askedAtMs + this.#heldMs });
    this.#drawn += askedAtMs === undefined ? 0 : calls;
    this.#options.changed();
  }

  /** Takes the right to one call; undefined where there is none now. */
  take(): Taken | undefined {
    if (this.available() === 0) return undefined;
    const first = this.#grants[0] as Held;
    first.calls -= 1;
    this.#underWay += 1;
    this.#changedOne();
    return { epoch: first.epoch, endsAtMs: first.endsAtMs };
  }

  available(): number {
    return this.pausedUntilMs() === undefined ? this.#held() : 0;
  }

  msUntil(count: number): number {
    const now = this.#options.clock.now();
    const pauseMs = Math.max(0, this.#pausedUntilMs - now);
    if (this.#held() >= count) return Math.ceil(pauseMs);
    const waitMs = this.#epoch === undefined ? this.#options.grantMs : this.#waitUntilMs - now;
    return Math.ceil(Math.max(pauseMs, waitMs, this.#gapMs));
  }

  /** The remote of a call of this replica asked for calm: it rests at once, and so do all others when they are told. */
  pause(untilMs: number): void {
    if (!Number.isFinite(untilMs)) return;
    this.#throttledUntilMs = Math.max(this.#throttledUntilMs, untilMs);
    this.#rest(untilMs);
    this.#drawWithin(0);
  }

  pausedUntilMs(): number | undefined {
    return this.#pausedUntilMs > this.#options.clock.now() ? this.#pausedUntilMs : undefined;
  }

  /** The owner goes by its own configuration. */
  reconfigure(_config: RateLimiterConfig): void {
    this.#options.reconfigured?.();
  }

  /** Grants end, so that nothing of them is worth keeping over a restart. */
  snapshot(): BucketSnapshot {
    const pausedUntilMs = this.pausedUntilMs();
    const plain = { level: 0, atMs: this.#options.clock.now() };
    return pausedUntilMs === undefined ? plain : { ...plain, pausedUntilMs };
  }

  /** Calls that were granted, and those of them that were not taken in time, so far. */
  get totals(): { readonly drawn: number; readonly lapsed: number } {
    return { drawn: this.#drawn, lapsed: this.#lapsed };
  }

  /** Makes no more draws. */
  close(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#pauseTimer?.cancel();
    this.#epoch = undefined;
  }

  get #heldMs(): number {
    return this.#options.grantMs * HELD_SHARE;
  }

  /** Calls of grants that have not ended; of this owner's alone where it is given. */
  #held(epoch?: string): number {
    const now = this.#options.bootMs();
    this.#grants = this.#grants.filter(({ calls, endsAtMs }) => {
      if (endsAtMs > now) return calls > 0;
      this.#lapsed += calls;
      return false;
    });
    return this.#grants.reduce(
      (sum, each) => (epoch === undefined || each.epoch === epoch ? sum + each.calls : sum),
      0,
    );
  }

  #unmet(): number {
    return Math.max(0, this.#wanted - this.#held());
  }

  #hasToTell(): boolean {
    return (
      this.#wanted > 0 || this.#underWay > 0 || this.#told > 0 || this.#unreported > 0 || this.#throttledLeftMs() > 0
    );
  }

  #throttledLeftMs(): number {
    return Math.max(0, this.#throttledUntilMs - this.#options.clock.now());
  }

  #changedOne(): void {
    this.#unreported += 1;
    this.#drawWithin(this.#unreported >= this.#reportAfter ? this.#gapMs : this.#options.grantMs / DRAWS_A_LIFE);
  }

  #rest(untilMs: number): void {
    const { clock, changed } = this.#options;
    if (untilMs <= this.#pausedUntilMs) return;
    this.#pausedUntilMs = untilMs;
    this.#pauseTimer?.cancel();
    this.#pauseTimer = clock.setTimer(untilMs - clock.now(), changed);
  }

  /** Draws that long after the last one, or now. */
  #drawWithin(distanceMs: number): void {
    if (this.#epoch === undefined) return;
    const { clock } = this.#options;
    const atMs = Math.max(clock.now(), this.#drawnAtMs + distanceMs);
    if (this.#timer !== undefined && this.#timerAtMs <= atMs) return;
    this.#timer?.cancel();
    this.#timerAtMs = atMs;
    this.#timer = clock.setTimer(atMs - clock.now(), () => this.#drawNow());
  }

  #drawNow(): void {
    this.#timer = undefined;
    const { clock, bootMs, drawer, send, grantMs } = this.#options;
    const epoch = this.#epoch;
    if (epoch === undefined) return;
    const askedAtMs = bootMs();
    this.#drawnAtMs = clock.now();
    const left = this.#held(epoch);
    const wanted = this.#unmet();
    const busy = this.#underWay + this.#held() - left;
    const throttledMs = this.#throttledLeftMs();
    this.#told = wanted;
    this.#unreported = 0;
    this.#forgetAsked(0);
    const draw = ++this.#draw;
    this.#asked.set(draw, askedAtMs);
    const state = { seen: this.#seen, left, busy, wanted, throttledMs: throttledMs > 0 ? throttledMs : undefined };
    send({ epoch, drawer, draw, ...state });
    if (left + busy + wanted + throttledMs > 0) this.#drawWithin(grantMs / DRAWS_A_LIFE);
  }

  /** Draws before this one, and those whose grants have ended by now. */
  #forgetAsked(draw: number): void {
    const now = this.#options.bootMs();
    for (const [number, askedAtMs] of this.#asked) {
      if (number >= draw && askedAtMs + this.#heldMs > now) return;
      this.#asked.delete(number);
    }
  }
}
