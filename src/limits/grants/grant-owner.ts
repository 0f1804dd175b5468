import { BOOT_GRAIN_MS } from '../../lib/boot-clock.js';
import type { Clock, Timer } from '../../lib/clock.js';
import { getOrMake } from '../../lib/get-or-make.js';
import type { RateLimiterConfig } from '../../plugin-api/config.js';
import { TokenBucket } from '../token-bucket.js';
import { type Draw, GAPS_A_LIFE, type Grant } from './messages.js';

export interface LaneBounds {
  readonly rate: RateLimiterConfig;
  /** Calls under way at a time, over all replicas. */
  readonly concurrency: number;
  /** None of them is under way for longer. Milliseconds. */
  readonly callMs: number;
}

export interface GrantOwnerOptions {
  /** Names this tenancy: another one each time that anybody comes to own the limits. */
  readonly epoch: string;
  readonly bounds: LaneBounds;
  /** The life of a grant, the same for all replicas. Milliseconds. */
  readonly grantMs: number;
  /** Nobody has granted anything before: there is nothing to wait for. */
  readonly first?: boolean | undefined;
  readonly clock: Clock;
  /** Whether this replica's lease holds, asked before anything is granted. */
  readonly mayGrant: () => boolean;
  /** May lose it; must not call back before it returns. */
  readonly send: (grant: Grant) => void;
  /** Told until when its lane rests, milliseconds since the epoch, as it comes to be longer. */
  readonly rests?: ((untilMs: number) => void) | undefined;
}

/** What is known of one that draws, for the load report. */
export interface DrawerView {
  readonly drawer: string;
  /** Calls granted to it that it may still begin, as far as it is known here. */
  readonly outstanding: number;
  readonly busy: number;
  readonly wanted: number;
}

interface Drawer {
  draw: number;
  seen: number;
  busy: number;
  wanted: number;
  heardAtMs: number;
  /** Whether it was told anything since its last draw. */
  told: boolean;
  /** Those that may still be used, in the order of their numbers. */
  grants: { readonly number: number; readonly endsAtMs: number; calls: number }[];
}

/**
 * The owner's side of the limits of a lane (rule 1, design 7): one bucket and one bound of calls under way for all replicas, of which each
 * is granted what it is about to send. This replica draws like the others.
 *
 * Invariants. What the bucket holds and what is outstanding (granted, and maybe not used yet) are together never more than the burst, so that
 * in any window of W seconds the remote sees at most `burst + qps·W` calls, however late grants are used. What is outstanding and what is under
 * way are together never more than `concurrency`, of all whose calls are known. A grant is outstanding until its drawer says that it used
 * it, or its life is over on this clock, counted from the grant, while its drawer counts from its asking. What was not used is not given back to
 * the bucket: nobody here knows what was used of it.
 *
 * An owner that is new begins with nothing, and grants nothing for a grant's life: until then grants of the one before may be used, and by
 * then everybody who makes calls has said how many. One that was not heard for a grant's life wants nothing; its calls under way count for as
 * long as a call may take.
 *
 * States: waiting, for a grant's life; open; closed, for good. While the lease is over, or the remote has asked for calm, an open one grants
 * nothing either.
 *
 * Shares: what there is is divided evenly among all that want something, none gets more than it wants, and what cannot be divided goes
 * round: a line of drawers of which the first are served, and go to its end.
 */
export class GrantOwner {
  readonly #options: GrantOwnerOptions;
  readonly #lifeMs: number;
  readonly #gapMs: number;
  readonly #bucket: TokenBucket;
  /** In the order of the line. */
  readonly #drawers = new Map<string, Drawer>();
  #bounds: LaneBounds;
  #number = 0;
  /** The remote asked for calm until then. */
  #restUntilMs = 0;
  #timer: Timer | undefined;

  constructor(options: GrantOwnerOptions) {
    const { bounds, clock, grantMs } = options;
    this.#options = options;
    this.#bounds = bounds;
    this.#lifeMs = grantMs + BOOT_GRAIN_MS;
    this.#gapMs = grantMs / GAPS_A_LIFE;
    this.#bucket = new TokenBucket({ config: bounds.rate, clock });
    // In a pause nothing refills: so it begins empty when the wait is over.
    if (options.first !== true) this.#bucket.pause(clock.now() + this.#lifeMs);
  }

  /** A message of a drawer. It is answered by one grant at least, unless it is of another epoch, or older than one that came before. */
  onDraw({ epoch, drawer, draw, seen, left, busy, wanted, throttledMs }: Draw): void {
    if (epoch !== this.#options.epoch) return;
    const now = this.#options.clock.now();
    const known = getOrMake(this.#drawers, drawer, () => newDrawer(now));
    if (draw <= known.draw) return;
    Object.assign(known, { draw, seen, busy, wanted, heardAtMs: now, told: false });
    trim(known, left);
    if (throttledMs !== undefined) this.pause(now + throttledMs);
    this.#pump();
    if (!known.told) this.#send(drawer, known, 0);
  }

  /** The remote asked for calm: nobody calls it until then, and all are told. */
  pause(untilMs: number): void {
    if (!Number.isFinite(untilMs)) return;
    const news = untilMs > this.#restUntilMs + this.#gapMs;
    this.#restUntilMs = Math.max(this.#restUntilMs, untilMs);
    this.#bucket.pause(untilMs);
    if (!news) return;
    this.#options.rests?.(untilMs);
    for (const [name, drawer] of this.#drawers) this.#send(name, drawer, 0);
  }

  /** Takes new bounds from now on. What is granted stays. */
  reconfigure(bounds: LaneBounds): void {
    this.#bounds = bounds;
    this.#pump();
  }

  /** What kept grants back may have passed. */
  look(): void {
    this.#pump();
  }

  /** Grants nothing more. */
  close(): void {
    this.#timer?.cancel();
    this.#drawers.clear();
  }

  /** Of those that were heard lately. */
  drawers(): readonly DrawerView[] {
    this.#expire();
    return [...this.#drawers].map(([drawer, each]) => {
      return { drawer, outstanding: outstandingOf(each), busy: each.busy, wanted: unmetOf(each) };
    });
  }

  /** Grants what there is. */
  #pump(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#expire();
    const shares = this.#options.mayGrant() ? this.#shares() : new Map<string, number>();
    for (const [name, calls] of shares) this.#grant(this.#drawers.get(name) as Drawer, calls);
    this.#fitBurst();
    for (const [name] of shares) this.#tell(name);
    this.#lookLater();
  }

  /** Who gets how much of what there is now. */
  #shares(): ReadonlyMap<string, number> {
    let free = Math.min(this.#bucket.available(), this.#room());
    const shares = new Map<string, number>();
    const lacks = (name: string, drawer: Drawer) => this.#grantable(drawer) - (shares.get(name) ?? 0);
    for (let round = [...this.#drawers]; free > 0; ) {
      round = round.filter(([name, drawer]) => lacks(name, drawer) > 0);
      if (round.length === 0) break;
      const each = Math.max(1, Math.floor(free / round.length));
      const served = round.slice(0, free);
      for (const [name, drawer] of served) {
        const calls = Math.min(each, lacks(name, drawer));
        shares.set(name, (shares.get(name) ?? 0) + calls);
        free -= calls;
      }
      if (free === 0) this.#toTheEnd(served);
    }
    return shares;
  }

  /** Those that were served by the last of it stand behind those that were not. */
  #toTheEnd(served: readonly (readonly [string, Drawer])[]): void {
    for (const [name, drawer] of served) {
      this.#drawers.delete(name);
      this.#drawers.set(name, drawer);
    }
  }

  #grant(drawer: Drawer, calls: number): void {
    for (let taken = 0; taken < calls; taken++) this.#bucket.tryTake();
    const endsAtMs = this.#options.clock.now() + this.#lifeMs;
    drawer.grants.push({ number: ++this.#number, calls, endsAtMs });
  }

  /** Tells a drawer its newest grant. */
  #tell(name: string): void {
    const drawer = this.#drawers.get(name) as Drawer;
    const { number, calls } = drawer.grants.at(-1) as Drawer['grants'][number];
    this.#sendNumbered(name, drawer, number, calls);
  }

  #send(name: string, drawer: Drawer, calls: number): void {
    this.#sendNumbered(name, drawer, ++this.#number, calls);
  }

  #sendNumbered(name: string, drawer: Drawer, number: number, calls: number): void {
    const { clock, epoch, send } = this.#options;
    const restMs = this.#restUntilMs - clock.now();
    drawer.told = true;
    send({
      epoch,
      drawer: name,
      draw: drawer.draw,
      number,
      calls,
      pausedMs: restMs > 0 ? restMs : undefined,
      waitMs: this.#bucket.msUntil(this.#sum(unmetOf)),
      reportAfter: this.#reportAfter(),
    });
  }

  /** Where little is left for others, each call that begins or ends matters. */
  #reportAfter(): number {
    const free = Math.min(this.#bounds.rate.burst - this.#sum(outstandingOf), this.#room());
    return Math.max(1, Math.floor(free / (2 * this.#drawers.size)));
  }

  /** Calls that may be granted, for the sake of those under way. */
  #room(): number {
    return Math.max(0, this.#bounds.concurrency - this.#sum(outstandingOf) - this.#sum(({ busy }) => busy));
  }

  /** What is outstanding is no burst any more. */
  #fitBurst(): void {
    const { qps, burst } = this.#bounds.rate;
    this.#bucket.reconfigure({ qps, burst: Math.max(0, burst - this.#sum(outstandingOf)) });
  }

  #sum(of: (drawer: Drawer) => number): number {
    let sum = 0;
    for (const drawer of this.#drawers.values()) sum += of(drawer);
    return sum;
  }

  /** One that was not heard for half a life would get little of a grant. */
  #grantable(drawer: Drawer): number {
    return this.#options.clock.now() - drawer.heardAtMs < this.#lifeMs / 2 ? unmetOf(drawer) : 0;
  }

  #expire(): void {
    const now = this.#options.clock.now();
    for (const [name, drawer] of this.#drawers) {
      // What of a grant was not told of when it ended may have been used in its last moment. Its drawer says when that is over.
      for (const { calls, endsAtMs } of drawer.grants) if (endsAtMs <= now) drawer.busy += calls;
      drawer.grants = drawer.grants.filter(({ calls, endsAtMs }) => calls > 0 && endsAtMs > now);
      const silentMs = now - drawer.heardAtMs;
      if (silentMs < this.#lifeMs) continue;
      drawer.wanted = 0;
      if (silentMs >= this.#overMs) drawer.busy = 0;
      if (drawer.grants.length + drawer.busy === 0) this.#drawers.delete(name);
    }
    this.#fitBurst();
  }

  /** One that was not heard for so long has no call under way, nor one of a grant. */
  get #overMs(): number {
    return this.#lifeMs + this.#bounds.callMs;
  }

  /** While somebody wants something: when there is a token, or something outstanding ends. */
  #lookLater(): void {
    const { clock, mayGrant } = this.#options;
    // Whoever renews the lease calls `look`.
    if (!mayGrant() || this.#sum((drawer) => this.#grantable(drawer)) === 0) return;
    const now = clock.now();
    let atMs = now + this.#lifeMs;
    for (const { grants, busy, heardAtMs } of this.#drawers.values()) {
      const [first] = grants;
      if (first !== undefined) atMs = Math.min(atMs, first.endsAtMs);
      if (busy > 0) atMs = Math.min(atMs, heardAtMs + this.#overMs);
    }
    const open = this.#room() > 0 && this.#bounds.rate.burst - this.#sum(outstandingOf) >= 1;
    if (open) atMs = Math.min(atMs, now + this.#bucket.msUntil(1));
    this.#timer = clock.setTimer(Math.max(this.#gapMs, atMs - now), () => this.#pump());
  }
}

function newDrawer(heardAtMs: number): Drawer {
  return { draw: 0, seen: 0, busy: 0, wanted: 0, heardAtMs, told: false, grants: [] };
}

/**
 * Of all grants that came there no more than `left` is still to be used: those that end first were used first, so what counts on is what ends
 * last.
 */
function trim({ grants, seen }: Drawer, left: number): void {
  const came = grants.filter(({ number }) => number <= seen);
  let over = came.reduce((sum, { calls }) => sum + calls, 0) - left;
  for (const grant of came) {
    const used = Math.min(Math.max(0, over), grant.calls);
    grant.calls -= used;
    over -= used;
  }
}

function outstandingOf({ grants }: Drawer): number {
  return grants.reduce((sum, { calls }) => sum + calls, 0);
}

/** What it wants beyond grants that are on their way to it. */
function unmetOf({ grants, seen, wanted }: Drawer): number {
  return Math.max(0, wanted - grants.reduce((sum, { number, calls }) => (number > seen ? sum + calls : sum), 0));
}
