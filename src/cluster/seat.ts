import { HostError, messageOf } from '../errors/index.js';
import type { Clock, Timer } from '../lib/clock.js';
import { createDeferred } from '../lib/deferred.js';
import type { Joining, LastOwner, MemberRow, MembersView, MemberTable } from '../state/index.js';
import { HeldLease, LeaseWatch } from './lease.js';

/**
 * - `joining`: not known to the others yet.
 * - `standby`: another replica has the state, or none.
 * - `taking`: the state is this one's, and is loaded.
 * - `owner`: works.
 * - `lost`: it was taken for dead while it had the state; for good.
 * - `left`: it gave back what it had.
 *
 * joining → standby → taking → owner; from the last two to lost; from each but lost to left.
 */
export const SEAT_ROLES = ['joining', 'standby', 'taking', 'owner', 'lost', 'left'] as const;
export type SeatRole = (typeof SEAT_ROLES)[number];

/** All optional; none may throw. */
export interface SeatEvents {
  joined?(address: string): void;
  /** The state is this replica's. `from`: who had it, where that one did not give it back. */
  taken?(from: string | undefined, tookMs: number): void;
  /** Another owner is seen, or none. */
  owner?(owner: MemberRow | undefined): void;
  /** Those that are there, at each look. */
  seen?(members: readonly MemberRow[]): void;
  /** Another replica that lives says that it is reached where this one is; told once of each. */
  sharesAddress?(other: MemberRow): void;
  /** The lease of an owner is over; it sends nothing until it is renewed. */
  lapsed?(): void;
  renewed?(): void;
  lost?(why: HostError): void;
  /** A look or a renewal failed; told once until one succeeds. */
  trouble?(error: string): void;
}

export interface SeatOptions {
  readonly table: MemberTable;
  readonly self: Omit<Joining, 'address'>;
  readonly leaseMs: number;
  readonly clock: Clock;
  readonly bootMs: () => number;
  readonly events: SeatEvents;
  /** Loads the state and goes on with what is in it; where it throws, the seat is lost. */
  readonly begin: () => Promise<void>;
}

/** Between two looks, at most; a stop is seen within it. Milliseconds. */
const LOOK_MS = 500;
/** Looks and renewals within a lease. */
const LOOKS_A_LEASE = 6;
const RENEWALS_A_LEASE = 3;

/**
 * One replica's place among those that share a state: one of them has it and works, the others stand by, and pass calls on to it. It
 * gives a sign of life three times a lease, looks at the others', and takes the state when nobody has it, or who has it is dead.
 *
 * Its states are those of `SeatRole`. What is sent to a remote is sent while `mayWork`; that what is written is the owner's, the state's own
 * fence sees to.
 */
export class Seat {
  readonly #options: SeatOptions;
  readonly #lease: HeldLease;
  readonly #watch: LeaseWatch;
  readonly #settled = createDeferred<void>();
  readonly #listeners = new Set<() => void>();
  readonly #renewals = new Set<(endsAtMs: number) => void>();
  #role: SeatRole = 'joining';
  #address = '';
  #tenure = '';
  #view: MembersView = { parts: [], members: [] };
  #lookTimer: Timer | undefined;
  #renewTimer: Timer | undefined;
  #lapseTimer: Timer | undefined;
  #lapsed = false;
  #troubled = false;
  #retired = false;
  /** It has the state, and could not load it. */
  #unloaded = false;
  #toldOwner: string | undefined;
  /** Replicas that were told of for having this one's address. */
  readonly #namesakes = new Set<string>();
  /** A look with what follows from it. */
  #looking: Promise<void> = Promise.resolve();

  constructor(options: SeatOptions) {
    this.#options = options;
    this.#lease = new HeldLease(options.leaseMs, options.bootMs);
    this.#watch = new LeaseWatch(options.leaseMs);
  }

  get role(): SeatRole {
    return this.#role;
  }

  get epoch(): string {
    return this.#options.self.epoch;
  }

  /** Under which it has the state. */
  get tenure(): string {
    return this.#tenure;
  }

  get address(): string {
    return this.#address;
  }

  /** Whether calls to remotes may leave: it has the state, and nobody may have taken it for dead. */
  mayWork(): boolean {
    return this.#hasState() && this.#lease.leftMs > 0;
  }

  /** Until when it may send what it sends now, by the boot clock; 0 where it may not. */
  endsAtMs(): number {
    return this.#hasState() ? this.#lease.endsAtMs : 0;
  }

  /** Calls back with `endsAtMs` at each renewal while it works; answers how to end that. */
  onRenewed(listener: (endsAtMs: number) => void): () => void {
    this.#renewals.add(listener);
    return () => this.#renewals.delete(listener);
  }

  get leaseLeftMs(): number {
    return this.#lease.leftMs;
  }

  get members(): readonly MemberRow[] {
    return this.#view.members;
  }

  /** For how long nothing was seen of a member. Milliseconds. */
  silentMs(epoch: string): number | undefined {
    return this.#watch.silentMs(epoch);
  }

  /** Who has the state and lives, as far as it was seen; undefined while nobody does, and for this replica itself. */
  get owner(): MemberRow | undefined {
    const { members } = this.#view;
    const owner = this.#view.parts[0]?.owner;
    if (owner === undefined || owner === this.epoch || this.#watch.isDead(owner)) return undefined;
    return members.find(({ epoch }) => epoch === owner);
  }

  /** Calls back whenever `owner` or `role` may have changed; answers how to end that. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Tells the others where it is. Throws what the state says. */
  async join(address: string): Promise<void> {
    this.#address = address;
    const askedAtMs = this.#options.bootMs();
    await this.#options.table.join({ ...this.#options.self, address });
    this.#lease.renewed(askedAtMs);
    this.#to('standby');
    this.#options.events.joined?.(address);
    this.#renewLater(this.#renewMs());
  }

  /** Begins to look. Resolves once it works, or another owner was seen to live, or the seat is lost or given back. */
  settle(): Promise<void> {
    this.#lookAgain(0);
    return this.#settled.promise;
  }

  /** Takes nothing from here on. Resolves once what it was taking is loaded, or is not. */
  async retire(): Promise<void> {
    this.#retired = true;
    this.#settled.resolve();
    await this.#looking;
  }

  /** Gives back what it has, once all is written. Callable in any state. */
  async leave(): Promise<void> {
    await this.retire();
    const was = this.#role;
    this.#cancel();
    this.#lease.end();
    if (was === 'left' || (was === 'lost' && !this.#unloaded)) return;
    this.#to('left');
    if (was !== 'joining') await this.#options.table.leave(this.epoch);
  }

  /** Somebody else has what this one had: the state says so, or its row is gone. */
  lose(why: HostError): void {
    if (this.#role === 'lost' || this.#role === 'left') return;
    this.#cancel();
    this.#lease.end();
    this.#to('lost');
    this.#settled.resolve();
    this.#options.events.lost?.(why);
  }

  #lookAgain(delayMs: number): void {
    if (this.#isGone()) return;
    this.#lookTimer?.cancel();
    this.#lookTimer = this.#options.clock.setTimer(delayMs, () => {
      this.#looking = this.#look().finally(() => this.#lookAgain(this.#lookMs()));
    });
  }

  #lookMs(): number {
    // An owner learns from its renewals that it is none any more.
    return this.#role === 'owner' ? this.#renewMs() : this.#againMs();
  }

  #renewMs(): number {
    return this.#options.leaseMs / RENEWALS_A_LEASE;
  }

  #againMs(): number {
    return Math.min(LOOK_MS, this.#options.leaseMs / LOOKS_A_LEASE);
  }

  async #look(): Promise<void> {
    const { table, bootMs } = this.#options;
    const askedAtMs = bootMs();
    let view: MembersView;
    try {
      view = await table.look();
    } catch (error) {
      this.#trouble(error);
      return;
    }
    if (this.#isGone()) return;
    this.#troubled = false;
    const counters = new Map(view.members.map(({ epoch, counter }) => [epoch, counter as string | undefined]));
    for (const { owner } of view.parts) if (owner !== undefined && !counters.has(owner)) counters.set(owner, undefined);
    this.#watch.saw({ askedAtMs, answeredAtMs: bootMs(), counters });
    this.#view = view;
    this.#tellOwner();
    this.#tellNamesakes(view.members);
    this.#options.events.seen?.(view.members);
    await this.#judge(view);
  }

  /** What follows from what was seen. */
  async #judge({ parts, members }: MembersView): Promise<void> {
    const [part] = parts;
    if (part === undefined) return;
    const { owner, tenure } = part;
    const mine = owner === this.epoch;
    if (this.#role === 'owner') {
      if (!mine) this.lose(this.replaced());
      else await this.#forgetDead(members);
      return;
    }
    if (this.#role !== 'standby') return;
    const { owner: other } = this;
    // One that is no replica, whose end is waited for, takes no calls.
    if (other?.address !== undefined && this.#watch.isAlive(other.epoch)) this.#settled.resolve();
    if (this.#retired) return;
    // A take whose answer was lost is seen here.
    if (mine) await this.#begin(tenure, undefined);
    else if (owner === undefined) await this.#take({ owner, tenure, counter: undefined });
    else if (this.#watch.isDead(owner)) {
      const last = members.find(({ epoch }) => epoch === owner);
      await this.#take({ owner, tenure, counter: last?.counter }, last?.name ?? owner);
    }
  }

  async #take(from: LastOwner, name?: string): Promise<void> {
    let tenure: string | undefined;
    try {
      tenure = await this.#options.table.take(this.epoch, 0, from);
    } catch (error) {
      this.#trouble(error);
      return;
    }
    if (tenure !== undefined && !this.#isGone()) await this.#begin(tenure, name);
  }

  async #begin(tenure: string, from: string | undefined): Promise<void> {
    this.#tenure = tenure;
    const { clock, begin, events } = this.#options;
    const startedMs = clock.now();
    this.#to('taking');
    try {
      await begin();
    } catch (error) {
      this.#unloaded = this.#role === 'taking';
      this.lose(HostError.is(error) ? error : new HostError('INTERNAL', messageOf(error), { cause: error }));
      return;
    }
    if (this.#role !== 'taking') return;
    this.#to('owner');
    this.#lapsesLater();
    events.taken?.(from, clock.now() - startedMs);
    this.#settled.resolve();
  }

  /** Rows of replicas that were killed while they stood by; one that lives after all comes back. */
  async #forgetDead(members: readonly MemberRow[]): Promise<void> {
    for (const { epoch, counter } of members) {
      if (epoch === this.epoch || !this.#watch.isDead(epoch)) continue;
      await this.#options.table.forget(epoch, counter).catch((error: unknown) => this.#trouble(error));
    }
  }

  #renewLater(delayMs: number): void {
    if (this.#isGone()) return;
    this.#renewTimer = this.#options.clock.setTimer(delayMs, () => {
      // One that failed is made again soon: the others begin to count once they see anything.
      void this.#renew().then((answered) => this.#renewLater(answered ? this.#renewMs() : this.#againMs()));
    });
  }

  /** Answers whether the database did. */
  async #renew(): Promise<boolean> {
    const { table, bootMs, self, events } = this.#options;
    const askedAtMs = bootMs();
    try {
      if (!(await table.renew(this.epoch))) {
        if (this.#hasState()) this.lose(this.replaced());
        // Who stood by has lost nothing.
        else if (this.#role === 'standby') await table.join({ ...self, address: this.#address });
        return true;
      }
    } catch (error) {
      this.#trouble(error);
      return false;
    }
    if (this.#isGone()) return true;
    this.#lease.renewed(askedAtMs);
    if (this.#hasState()) for (const listener of this.#renewals) listener(this.#lease.endsAtMs);
    this.#lapsesLater();
    if (!this.#lapsed || this.#lease.leftMs === 0) return true;
    this.#lapsed = false;
    events.renewed?.();
    return true;
  }

  /** Only for the one who looks at the log: what is sent asks the lease itself. */
  #lapsesLater(): void {
    this.#lapseTimer?.cancel();
    if (this.#role !== 'owner') return;
    this.#lapseTimer = this.#options.clock.setTimer(this.#lease.leftMs, () => {
      if (this.#role !== 'owner' || this.#lapsed) return;
      if (this.#lease.leftMs > 0) this.#lapsesLater();
      else {
        this.#lapsed = true;
        this.#options.events.lapsed?.();
      }
    });
  }

  #tellOwner(): void {
    const { owner } = this;
    if (owner?.epoch === this.#toldOwner) return;
    this.#toldOwner = owner?.epoch;
    this.#options.events.owner?.(owner);
    this.#changed();
  }

  /** One that was killed and started anew at its address leaves a row that gives no sign of life. */
  #tellNamesakes(members: readonly MemberRow[]): void {
    for (const member of members) {
      const { epoch, address } = member;
      if (epoch === this.epoch || address !== this.#address || this.#namesakes.has(epoch)) continue;
      if (!this.#watch.isAlive(epoch)) continue;
      this.#namesakes.add(epoch);
      this.#options.events.sharesAddress?.(member);
    }
  }

  #trouble(error: unknown): void {
    if (this.#troubled) return;
    this.#troubled = true;
    this.#options.events.trouble?.(messageOf(error));
  }

  /** Why nothing of this one counts any more. */
  replaced(): HostError {
    return new HostError(
      'STATE_LOCKED',
      'the other replicas saw no sign of life of this one for a lease, and one of them took the state over; nothing of this one counts any more, and it has to be started again',
    );
  }

  #to(role: SeatRole): void {
    this.#role = role;
    this.#changed();
  }

  #changed(): void {
    for (const listener of this.#listeners) listener();
  }

  #hasState(): boolean {
    return this.#role === 'owner' || this.#role === 'taking';
  }

  #isGone(): boolean {
    return this.#role === 'lost' || this.#role === 'left';
  }

  #cancel(): void {
    this.#lookTimer?.cancel();
    this.#renewTimer?.cancel();
    this.#lapseTimer?.cancel();
  }
}
