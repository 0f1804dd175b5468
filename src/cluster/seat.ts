import { HostError, messageOf } from '../errors/index.js';
import type { Clock, Timer } from '../lib/clock.js';
import { createDeferred } from '../lib/deferred.js';
import type {
  Joining,
  LastOwner,
  MemberRow,
  MemberSays,
  MembersView,
  MemberTable,
  PartNeeds,
  PartRow,
} from '../state/index.js';
import type { Move } from './assignment.js';
import { HeldParts, type HeldState, type PartHooks } from './held-parts.js';
import { LeaseWatch } from './lease.js';
import { RefusedParts } from './refused-parts.js';
import { againMs, Renewals, renewMs } from './renewals.js';
import { type RestingLimits, restingLimits } from './resting-limits.js';
import { wantedMoves } from './wanted.js';

/**
 * - `joining`: not known to the others yet.
 * - `standby`: other replicas have all parts of the state, or none has.
 * - `taking`: a part of the state is this one's, and is loaded.
 * - `owner`: works on one at least.
 * - `lost`: it was taken for dead while it had some; for good.
 * - `left`: it gave back what it had.
 *
 * joining → standby → taking → owner, and back to standby as it gives up its parts; from taking and owner to lost; from each but lost to
 * left.
 */
export const SEAT_ROLES = ['joining', 'standby', 'taking', 'owner', 'lost', 'left'] as const;
export type SeatRole = (typeof SEAT_ROLES)[number];

/** Who works on a part. */
export interface Holder {
  readonly epoch: string;
  readonly tenure: string;
}

/** All optional; none may throw. */
export interface SeatEvents {
  joined?(address: string): void;
  /** A part is this replica's. `from`: who had it, where that one did not give it back. */
  taken?(from: string | undefined, tookMs: number, part: number): void;
  /** A part of several is given up in good order, for a reason of `Move`. */
  gives?(part: number, why: Move['why']): void;
  /** Another owner of a part is seen, or none. */
  owner?(owner: MemberRow | undefined, part: number): void;
  /** A part of several could not be loaded here, and is given back; another one is to try. */
  refused?(part: number, error: string): void;
  /** Those that are there, at each look. */
  seen?(members: readonly MemberRow[]): void;
  /** Another replica that lives says that it is reached where this one is; told once of each. */
  sharesAddress?(other: MemberRow): void;
  /** The lease of an owner is over; it sends nothing until it is renewed. */
  lapsed?(): void;
  renewed?(): void;
  lost?(why: HostError): void;
  /** A look or a renewal failed; told once until one succeeds. Or a part was not given up as it should. */
  trouble?(error: string): void;
}

/** What a member says of plugins and their remotes. */
export type RemotesSaid = Pick<MemberSays, 'plugins' | 'versions' | 'unreachable' | 'doubted'>;

export interface SeatOptions extends PartHooks {
  readonly table: MemberTable;
  /** Into how many parts the state is divided. Where it is one, it stays with whoever has it, and is taken by whoever sees first that nobody does. */
  readonly parts: number;
  readonly self: Omit<Joining, 'address' | 'says'>;
  /** Whether it puts into the inbox for owners that are away. */
  readonly standsIn?: boolean;
  readonly leaseMs: number;
  readonly clock: Clock;
  readonly bootMs: () => number;
  readonly events: SeatEvents;
}

/** Parts that are loaded, or given up one after the other, at a time. */
const MAX_TAKING = 4;
const MAX_GIVING = 4;

/**
 * One replica's place among those that share a state: each part of it has one that works on it, and the others pass calls on to that one. It
 * gives a sign of life three times a lease, looks at the others', takes parts that nobody has, or whose owner is dead, and gives up those
 * that should lie elsewhere (`nextMoves`).
 *
 * Its states are those of `SeatRole`, those of each of its parts `HeldState`. What is sent to a remote is sent while `mayWork`; that what
 * is written is the owner's, the state's own fence sees to. All statements about parts are made one after the other with the looks, so that
 * what a look shows is not older than what was done.
 */
export class Seat {
  readonly #options: SeatOptions;
  readonly #lease: Renewals;
  readonly #watch: LeaseWatch;
  readonly #settled = createDeferred<void>();
  readonly #listeners = new Set<() => void>();
  readonly #renewed = new Set<(endsAtMs: number) => void>();
  readonly #parts: HeldParts;
  readonly #refused: RefusedParts;
  #life: 'joining' | 'in' | 'lost' | 'left' = 'joining';
  #address = '';
  #view: MembersView = { parts: [], members: [] };
  #lookTimer: Timer | undefined;
  #troubled = false;
  #retired = false;
  #leaving = false;
  /** It looks, and takes what it is given. */
  #taking = false;
  /** It has the state, and could not load it. */
  #unloaded = false;
  #remotes: RemotesSaid = { plugins: [], unreachable: [] };
  /** What the others know. */
  #said = '';
  readonly #toldOwners = new Map<number, Holder | undefined>();
  /** Replicas that were told of for having this one's address. */
  readonly #namesakes = new Set<string>();
  /** A look with what comes before it, and follows from it. */
  #turn: Promise<void> = Promise.resolve();
  #turning = false;
  /** Something came up meanwhile that the next one is not to wait for. */
  #hurried = false;

  constructor(options: SeatOptions) {
    this.#options = options;
    this.#lease = this.#renewals(options);
    this.#refused = new RefusedParts(options.clock, options.leaseMs);
    this.#watch = new LeaseWatch(options.leaseMs, againMs(options.leaseMs));
    this.#parts = new HeldParts({
      epoch: options.self.epoch,
      clock: options.clock,
      take: options.take,
      give: options.give,
      changed: () => this.#changed(),
      ended: () => this.#hurry(),
      taken: (...args) => this.#taken(...args),
      refused: (...args) => this.#notLoaded(...args),
      troubled: (part, error) =>
        options.events.trouble?.(`part ${part} was given up, not in good order: ${messageOf(error)}`),
    });
  }

  get role(): SeatRole {
    if (this.#life !== 'in') return this.#life;
    if (this.#parts.count('owned', 'giving') > 0) return 'owner';
    return this.#parts.count('taking') > 0 ? 'taking' : 'standby';
  }

  /** Into how many the state is divided. */
  get parts(): number {
    return this.#options.parts;
  }

  get epoch(): string {
    return this.#options.self.epoch;
  }

  get address(): string {
    return this.#address;
  }

  /** Whether calls to remotes may leave, of this part or of any: it is this one's, and nobody may have taken it for dead. */
  mayWork(part?: number): boolean {
    return this.#has(part) && this.#lease.leftMs > 0;
  }

  /** Until when it may send what it sends now, by the boot clock; 0 where it may not. */
  endsAtMs(part?: number): number {
    return this.#has(part) ? this.#lease.endsAtMs : 0;
  }

  /** Calls back with `endsAtMs` at each renewal while it works; answers how to end that. */
  onRenewed(listener: (endsAtMs: number) => void): () => void {
    this.#renewed.add(listener);
    return () => this.#renewed.delete(listener);
  }

  get leaseLeftMs(): number {
    return this.#lease.leftMs;
  }

  get members(): readonly MemberRow[] {
    return this.#view.members;
  }

  /** For how long a member was looked at, and nothing was seen of it. Milliseconds. */
  silentMs(epoch: string): number | undefined {
    return this.#watch.silentMs(epoch);
  }

  /** Whether a member gave no sign of life for half a lease of time that was looked at closely. */
  isSilent(epoch: string): boolean {
    return this.#watch.isSilent(epoch);
  }

  /** What becomes of a part here; undefined where it is none of this one's. */
  stateOf(part: number): HeldState | undefined {
    return this.#parts.stateOf(part);
  }

  /** Under which it may write a part. Throws STATE_LOCKED where it may not. */
  tenureOf(part: number): string {
    const tenure = this.#isGone() ? undefined : this.#parts.tenureOf(part);
    if (tenure === undefined) throw this.replaced();
    return tenure;
  }

  /** The tenure of a part that is this member's, in whatever state; 0 of one that is not. */
  turnOf(part: number): number {
    return Number(this.#parts.tenureOf(part) ?? 0);
  }

  /** Who works on a part and lives, as far as it was seen; undefined while nobody does, or it is on its way. */
  ownerOf(part: number): MemberRow | 'here' | undefined {
    const state = this.#life === 'in' ? this.#parts.stateOf(part) : undefined;
    if (state === 'owned') return 'here';
    return state === undefined ? this.#otherOf(part) : undefined;
  }

  /** Of a state of one part, who has it and lives, as far as it was seen; undefined while nobody does, and for this replica itself. */
  get owner(): MemberRow | undefined {
    return this.#otherOf(0);
  }

  /** Who has a part, and since which tenure, for what goes by a part beside its tasks; undefined while nobody that lives is seen to work on it. */
  holderOf(part: number): Holder | undefined {
    const state = this.#life === 'in' ? this.#parts.stateOf(part) : undefined;
    const mine = state === 'owned' || state === 'giving' ? this.#parts.tenureOf(part) : undefined;
    if (mine !== undefined) return { epoch: this.epoch, tenure: mine };
    const other = state === undefined ? this.#otherOf(part) : undefined;
    return other && { epoch: other.epoch, tenure: (this.#view.parts[part] as PartRow).tenure };
  }

  /**
   * Whether this one is to put into the inbox of a part, and what it puts now is taken in by whoever has it: all members say so. What is
   * loaded, or ended, here is this one's to answer soon.
   */
  mayPut(part: number): boolean {
    const { members } = this.#view;
    const may = this.#options.standsIn === true && members.every(({ says }) => says?.inbox === true);
    return may && this.#life === 'in' && this.#parts.stateOf(part) === undefined;
  }

  /** Whether any member puts into the inbox, as far as it was seen. */
  get anyStandsIn(): boolean {
    return this.#view.members.some(({ says }) => says?.standsIn === true);
  }

  /** Under which a part was held as it was seen last. */
  tenureSeen(part: number): string | undefined {
    return this.#view.parts[part]?.tenure;
  }

  /** Who had a part as it was seen last, alive or not. */
  ownerSeen(part: number): string | undefined {
    return this.#view.parts[part]?.owner;
  }

  /** Whether a member has given no sign of life for a lease; false for one that has no row, and no part. */
  isDead(epoch: string): boolean {
    return this.#watch.isDead(epoch);
  }

  /** Whether a member is gone for good: it has no row, and no part. Who finds its row gone where there are several parts does not come back. */
  isGone(epoch: string): boolean {
    const { parts, members } = this.#view;
    return !members.some((member) => member.epoch === epoch) && !parts.some(({ owner }) => owner === epoch);
  }

  /** Of several parts, plugins that rest since who owns their limits does not serve them. */
  get resting(): readonly RestingLimits[] {
    return restingLimits(this.#view, (epoch) => this.#watch.isDead(epoch));
  }

  #otherOf(part: number): MemberRow | undefined {
    const { parts, members } = this.#view;
    const owner = parts[part]?.owner;
    if (owner === undefined || owner === this.epoch || this.#watch.isDead(owner)) return undefined;
    return members.find(({ epoch }) => epoch === owner);
  }

  /** Calls back whenever `ownerOf` or `role` may have changed; answers how to end that. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Tells the others where it is. Throws what the state says. */
  async join(address: string): Promise<void> {
    this.#address = address;
    const askedAtMs = this.#options.bootMs();
    await this.#options.table.join(this.#joining());
    this.#lease.begin(askedAtMs);
    this.#to('in');
    this.#options.events.joined?.(address);
  }

  /** Begins to look, and is given parts from then on. Resolves once it works, or another owner was seen to live, or the seat is lost or given back. */
  settle(): Promise<void> {
    this.#taking = true;
    this.#lookAgain(0);
    return this.#settled.promise;
  }

  /** Lets the others know which plugins serve here, and whose remotes cannot be reached from here; parts move by it. */
  say(said: RemotesSaid): void {
    this.#remotes = said;
    if (this.#life === 'in' && JSON.stringify(this.#says()) !== this.#said) this.#hurry();
  }

  /** What working on a part takes, as it was seen last. */
  needsOf(part: number): PartNeeds | undefined {
    return this.#view.parts[part]?.needs;
  }

  /** Lets the others know what a part of this one's takes to be worked on. Throws what the state says. */
  async describe(part: number, needs: PartNeeds): Promise<void> {
    const tenure = this.tenureOf(part);
    if (!(await this.#options.table.describe({ epoch: this.epoch, part, tenure }, needs)))
      throw this.lostPart(part, tenure);
  }

  /** Takes nothing from here on. Resolves once what it was taking is loaded, or is not. */
  async retire(): Promise<void> {
    this.#retired = true;
    this.#leaving = this.#options.parts > 1;
    this.#settled.resolve();
    this.#hurry();
    await this.#turn;
    await this.#parts.idle();
  }

  /** Ends the work on all parts, of several, each in good order; others take them as soon as that is written. Takes nothing from here on. */
  async handOver(): Promise<void> {
    await this.retire();
    for (let part = 0; part < this.parts; part++) this.#give(part, 'leaving');
    await this.#parts.idle();
  }

  /** Gives back what it has: of several parts each in good order; of one once all is written. Callable in any state. */
  async leave(): Promise<void> {
    await this.handOver();
    const was = this.#life;
    this.#lookTimer?.cancel();
    this.#lease.end();
    if (was === 'left' || (was === 'lost' && !this.#unloaded)) return;
    this.#to('left');
    await this.#turn;
    if (was !== 'joining') await this.#options.table.leave(this.epoch);
  }

  /** Somebody else has what this one had: the state says so, or its row is gone. */
  lose(why: HostError): void {
    if (this.#isGone()) return;
    this.#lookTimer?.cancel();
    this.#lease.end();
    this.#to('lost');
    this.#settled.resolve();
    this.#options.events.lost?.(why);
  }

  /** A commit found that a part is not this one's under that tenure: what it is to reject with. */
  lostPart(part: number, tenure: string): HostError {
    const why = this.replaced();
    // What is late of a tenure that was given up ends nothing else.
    if (this.#parts.tenureOf(part) === tenure) this.lose(why);
    return why;
  }

  #lookAgain(delayMs: number): void {
    if (this.#isGone()) return;
    this.#lookTimer?.cancel();
    this.#lookTimer = this.#options.clock.setTimer(delayMs, () => {
      this.#hurried = false;
      this.#turning = true;
      this.#turn = this.#takeTurn().finally(() => {
        this.#turning = false;
        this.#lookAgain(this.#hurried ? 0 : this.#lookMs());
      });
    });
  }

  /** Of several parts, what is to follow is not put off to the next look. */
  #hurry(): void {
    if (this.#options.parts === 1) return;
    this.#hurried = true;
    if (!this.#turning && this.#lookTimer !== undefined) this.#lookAgain(0);
  }

  #lookMs(): number {
    const { parts, leaseMs } = this.#options;
    // Who has all there is learns from its renewals that it has it no more.
    return parts === 1 && this.role === 'owner' ? renewMs(leaseMs) : againMs(leaseMs);
  }

  async #takeTurn(): Promise<void> {
    try {
      await this.#saySo();
      await this.#giveBack();
      await this.#look();
    } catch (error) {
      this.#trouble(error);
    }
  }

  async #saySo(): Promise<void> {
    const { table } = this.#options;
    const says = this.#says();
    const text = JSON.stringify(says);
    // Where the row is gone, the next renewal says it.
    if (text !== this.#said && (await table.say(this.epoch, says))) this.#said = text;
  }

  #says(): MemberSays {
    return {
      ...this.#remotes,
      // What is given to one that does not look yet would wait for it.
      leaving: this.#leaving || (!this.#taking && this.#options.parts > 1),
      refused: this.#refused.all,
      inbox: true,
      ...(this.#options.standsIn === true && { standsIn: true as const }),
    };
  }

  #joining(): Joining {
    const says = this.#says();
    this.#said = JSON.stringify(says);
    return { ...this.#options.self, address: this.#address, says };
  }

  async #giveBack(): Promise<void> {
    for (const held of this.#parts.given()) {
      if (this.#isGone()) return;
      await this.#options.table.give(held);
      this.#parts.forget(held);
    }
  }

  async #look(): Promise<void> {
    const { table, bootMs } = this.#options;
    if (this.#isGone()) return;
    const askedAtMs = bootMs();
    const view = await table.look();
    if (this.#isGone()) return;
    this.#troubled = false;
    const counters = new Map(view.members.map(({ epoch, counter }) => [epoch, counter as string | undefined]));
    for (const { owner } of view.parts) if (owner !== undefined && !counters.has(owner)) counters.set(owner, undefined);
    this.#watch.saw({ askedAtMs, answeredAtMs: bootMs(), counters });
    this.#view = view;
    this.#tellOwners(view);
    this.#tellNamesakes(view.members);
    this.#options.events.seen?.(view.members);
    await this.#judge(view);
  }

  /** What follows from what was seen. */
  async #judge(view: MembersView): Promise<void> {
    for (const { part, owner, tenure } of view.parts) {
      const mine = owner === this.epoch;
      const held = this.#parts.tenureOf(part);
      if (held !== undefined && !(mine && held === tenure)) return this.lose(this.replaced());
      // A take whose answer was lost is seen here.
      if (mine && this.#parts.stateOf(part) === undefined && !this.#retired) this.#parts.begin(part, tenure, undefined);
    }
    if (this.role === 'owner') await this.#forgetDead(view.members);
    this.#settleBy(view);
    if (this.#options.parts === 1) await this.#takeOnly(view);
    else await this.#move(view);
  }

  #settleBy({ parts }: MembersView): void {
    const isSeen = ({ part }: PartRow): boolean => {
      const owner = this.ownerOf(part);
      // One that is no replica, whose end is waited for, takes no calls.
      if (owner === 'here' || this.#refused.has(part)) return true;
      return owner?.address !== undefined && this.#watch.isAlive(owner.epoch);
    };
    if (parts.length > 0 && parts.every(isSeen)) this.#settled.resolve();
  }

  /** Who finds the state without an owner takes it: there is nothing to divide. */
  async #takeOnly({ parts, members }: MembersView): Promise<void> {
    const [only] = parts;
    if (only !== undefined) await this.#takeFree(only, members);
  }

  /** Makes those of the next moves that are this one's to make. */
  async #move(view: MembersView): Promise<void> {
    const { leaseMs } = this.#options;
    const moves = wantedMoves(view, { epoch: this.epoch, says: this.#says(), leaseMs, watch: this.#watch });
    for (const { part, from, why } of moves) {
      if (from === this.epoch && this.#parts.count('giving') < MAX_GIVING) this.#give(part, why);
    }
    for (const { part, from, to } of moves) {
      if (from !== undefined || to !== this.epoch || this.#parts.count('taking') >= MAX_TAKING) continue;
      await this.#takeFree(view.parts[part] as PartRow, view.members);
    }
  }

  #give(part: number, why: Move['why']): void {
    const { give, events } = this.#options;
    if (give === undefined || this.#parts.stateOf(part) !== 'owned') return;
    events.gives?.(part, why);
    this.#parts.give(part);
  }

  /** Takes a part that nobody has, or whose owner is dead. */
  async #takeFree({ part, owner, tenure }: PartRow, members: readonly MemberRow[]): Promise<void> {
    if (this.#retired || this.#isGone() || this.#parts.stateOf(part) !== undefined) return;
    if (owner !== undefined && !this.#watch.isDead(owner)) return;
    const last = members.find(({ epoch }) => epoch === owner);
    const from: LastOwner = { owner, tenure, counter: last?.counter };
    const taken = await this.#options.table.take(this.epoch, part, from);
    if (taken !== undefined && !this.#isGone()) this.#parts.begin(part, taken, owner && (last?.name ?? owner));
  }

  #taken(part: number, from: string | undefined, tookMs: number): void {
    if (this.#isGone()) return;
    this.#refused.loaded(part);
    this.#lease.watch();
    this.#options.events.taken?.(from, tookMs, part);
    if (this.#options.parts === 1) this.#settled.resolve();
  }

  /** Of several parts the others go on: another replica is to try this one. */
  #notLoaded(part: number, error: unknown): void {
    if (this.#isGone()) return;
    const { parts, events } = this.#options;
    if (parts === 1) {
      this.#unloaded = true;
      this.lose(HostError.is(error) ? error : new HostError('INTERNAL', messageOf(error), { cause: error }));
      return;
    }
    this.#refused.failed(part);
    events.refused?.(part, messageOf(error));
  }

  /** Rows of replicas that were killed while they stood by; one that lives after all comes back. */
  async #forgetDead(members: readonly MemberRow[]): Promise<void> {
    for (const { epoch, counter } of members) {
      if (epoch === this.epoch || !this.#watch.isDead(epoch)) continue;
      await this.#options.table.forget(epoch, counter).catch((error: unknown) => this.#trouble(error));
    }
  }

  #renewals({ table, leaseMs, clock, bootMs, events }: SeatOptions): Renewals {
    return new Renewals({
      leaseMs,
      clock,
      bootMs,
      renew: () => table.renew(this.epoch),
      holds: () => this.role === 'owner',
      renewed: (endsAtMs) => {
        if (this.#has()) for (const listener of this.#renewed) listener(endsAtMs);
      },
      gone: async () => {
        // What others forgot of it, as the limits that it draws, it would not know of.
        if (this.#has() || this.#options.parts > 1) this.lose(this.replaced());
        // Who stood by has lost nothing.
        else if (this.#life === 'in') await table.join(this.#joining());
      },
      failed: (error) => this.#trouble(error),
      lapsed: () => events.lapsed?.(),
      restored: () => events.renewed?.(),
    });
  }

  #tellOwners({ parts }: MembersView): void {
    let changed = false;
    for (const { part, tenure } of parts) {
      const owner = this.#otherOf(part);
      const told = this.#toldOwners.get(part);
      const now = owner && { epoch: owner.epoch, tenure };
      if (now?.epoch === told?.epoch && now?.tenure === told?.tenure) continue;
      this.#toldOwners.set(part, now);
      if (now?.epoch !== told?.epoch) this.#options.events.owner?.(owner, part);
      changed = true;
    }
    if (changed) this.#changed();
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

  #to(life: 'in' | 'lost' | 'left'): void {
    this.#life = life;
    this.#changed();
  }

  #changed(): void {
    for (const listener of this.#listeners) listener();
  }

  /** Whether a part, or any, is this one's to work on. */
  #has(part?: number): boolean {
    if (this.#life !== 'in') return false;
    if (part !== undefined) return this.#parts.tenureOf(part) !== undefined;
    return this.#parts.count('taking', 'owned', 'giving') > 0;
  }

  #isGone(): boolean {
    return this.#life === 'lost' || this.#life === 'left';
  }
}
