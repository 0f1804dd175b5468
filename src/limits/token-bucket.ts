import type { Clock } from '../lib/clock.js';
import type { RateLimiterConfig } from '../plugin-api/config.js';
import type { BucketSnapshot, RateLimiter, Taken } from './types.js';

/** Additions of fractions of a token may end a hair below a whole one; the hair is owed, not given away. */
const EPSILON = 1e-9;

/** No pause lasts longer than this, in milliseconds, whatever a remote asks for or a damaged snapshot says. */
export const MAX_PAUSE_MS = 3_600_000;

/** What is taken from a bucket is for good. */
const TAKEN: Taken = { epoch: undefined, endsAtMs: Number.POSITIVE_INFINITY };

export interface TokenBucketOptions {
  readonly config: RateLimiterConfig;
  readonly clock: Clock;
  /** Where this is absent, damaged or from the future, the bucket starts empty (rule 1). */
  readonly snapshot?: BucketSnapshot | undefined;
}

/**
 * A token bucket: in any window of W seconds at most `burst + qps·W` tokens are taken, over restarts (snapshot) and
 * reconfigurations too; where a window spans a change, the larger burst and each rate for its own time.
 *
 * During a pause nothing can be taken and nothing refills: a remote that asked for calm does not get what was saved up
 * meanwhile as a burst at its end. What was in the bucket before stays.
 */
export class TokenBucket implements RateLimiter {
  readonly #clock: Clock;
  #qps: number;
  #burst: number;
  #level: number;
  /** The time up to which `#level` counts the refill. */
  #atMs: number;
  #pausedUntilMs = 0;

  constructor(options: TokenBucketOptions) {
    this.#clock = options.clock;
    this.#qps = options.config.qps;
    this.#burst = options.config.burst;
    this.#atMs = options.clock.now();
    this.#level = 0;
    if (options.snapshot !== undefined) this.#restore(options.snapshot);
  }

  /** Takes a token if one is there now and no pause is in force. */
  tryTake(): boolean {
    if (this.available() === 0) return false;
    this.#level -= 1;
    return true;
  }

  take(): Taken | undefined {
    return this.tryTake() ? TAKEN : undefined;
  }

  /** Whole tokens that could be taken now; 0 during a pause. */
  available(): number {
    this.#refill();
    return this.pausedUntilMs() === undefined ? Math.max(0, Math.floor(this.#level + EPSILON)) : 0;
  }

  /** Tokens in the bucket, fractions included, whether or not a pause is in force. */
  level(): number {
    this.#refill();
    return this.#level;
  }

  /**
   * Whole milliseconds until the last of `count` takes, each made as soon as it can be, is possible; 0 when all are
   * possible now. `count` may exceed the burst.
   */
  msUntil(count: number): number {
    this.#refill();
    const now = this.#clock.now();
    const pause = Math.max(0, this.#pausedUntilMs - now);
    const missing = Math.max(0, count - EPSILON - this.#level);
    return Math.ceil(pause + (missing / this.#qps) * 1000);
  }

  /** Stops takes and refill until `untilMs`. Extends a pause in force and never shortens it. */
  pause(untilMs: number): void {
    if (!Number.isFinite(untilMs)) return;
    this.#refill();
    this.#pausedUntilMs = Math.max(this.#pausedUntilMs, untilMs);
  }

  /** End of the pause in force, in milliseconds since the epoch; undefined when there is none. */
  pausedUntilMs(): number | undefined {
    return this.#pausedUntilMs > this.#clock.now() ? this.#pausedUntilMs : undefined;
  }

  /** Takes a new rate and burst from now on. The level stays, cut to the new burst by the next look; a larger burst fills with time. */
  reconfigure(config: RateLimiterConfig): void {
    this.#refill();
    this.#qps = config.qps;
    this.#burst = config.burst;
  }

  snapshot(): BucketSnapshot {
    this.#refill();
    const pausedUntilMs = this.pausedUntilMs();
    const plain = { level: this.#level, atMs: this.#atMs };
    return pausedUntilMs === undefined ? plain : { ...plain, pausedUntilMs };
  }

  #restore({ level, atMs, pausedUntilMs }: BucketSnapshot): void {
    const now = this.#atMs;
    if (!Number.isFinite(level) || !Number.isFinite(atMs) || atMs > now || atMs < 0) return;
    this.#level = Math.max(0, Math.min(level, this.#burst));
    this.#atMs = atMs;
    if (pausedUntilMs !== undefined && Number.isFinite(pausedUntilMs)) {
      this.#pausedUntilMs = Math.min(pausedUntilMs, now + MAX_PAUSE_MS);
    }
  }

  /** Adds what the time since the last look refilled, without the part of it that lay in a pause. */
  #refill(): void {
    const now = this.#clock.now();
    const from = Math.max(this.#atMs, this.#pausedUntilMs);
    this.#level = Math.min(this.#burst, this.#level + (Math.max(0, now - from) / 1000) * this.#qps);
    this.#atMs = Math.max(this.#atMs, now);
  }
}
