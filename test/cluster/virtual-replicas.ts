import type { PartHooks } from '../../src/cluster/held-parts.js';
import { Seat, type SeatEvents } from '../../src/cluster/seat.js';
import { HostError } from '../../src/errors/index.js';
import type { Clock, ManualClock, Timer } from '../../src/lib/clock.js';
import { ToldLease } from '../../src/sandbox/lease.js';
import type {
  Joining,
  LastOwner,
  MemberRow,
  MemberSays,
  MembersView,
  MemberTable,
  PartNeeds,
  Tenure,
} from '../../src/state/index.js';

export const SAYS: MemberSays = { plugins: [], leaving: false, unreachable: [], refused: [] };

interface VirtualPart {
  owner: string | undefined;
  tenure: number;
  needs: PartNeeds;
}

/** The rows as a database keeps them: each statement at one instant. */
export class VirtualTable implements MemberTable {
  readonly parts: readonly VirtualPart[];
  readonly rows = new Map<string, MemberRow>();
  /** Every change of an owner of part 0, in order. */
  readonly owners: (string | undefined)[] = [];
  /** So often was a part taken. */
  takes = 0;

  constructor(parts = 1) {
    const needs = { plugins: [], leastVersion: undefined, hasLimits: false };
    this.parts = Array.from({ length: parts }, () => ({ owner: undefined, tenure: 0, needs }));
  }

  /** Of part 0. */
  get owner(): string | undefined {
    return this.parts[0]?.owner;
  }

  async join({ epoch, name, address, version, says }: Joining): Promise<void> {
    if (await this.renew(epoch)) return;
    const joinedAtMs = this.rows.size;
    this.rows.set(epoch, { epoch, name, address, version, counter: '0', joinedAtMs, ownsSinceMs: undefined, says });
  }

  async renew(epoch: string): Promise<boolean> {
    const row = this.rows.get(epoch);
    if (row === undefined) return false;
    this.rows.set(epoch, { ...row, counter: String(Number(row.counter) + 1) });
    return true;
  }

  async look(): Promise<MembersView> {
    const parts = this.parts.map(({ owner, tenure, needs }, part) => ({ part, owner, tenure: String(tenure), needs }));
    return { parts, members: [...this.rows.values()] };
  }

  async take(epoch: string, part: number, { owner, tenure, counter }: LastOwner): Promise<string | undefined> {
    const last = owner === undefined ? undefined : this.rows.get(owner);
    if (last !== undefined && last.counter !== counter) return undefined;
    if (owner !== undefined) this.rows.delete(owner);
    const row = this.parts[part] as VirtualPart;
    if (row.owner !== owner || String(row.tenure) !== tenure || !this.rows.has(epoch)) return undefined;
    this.takes += 1;
    row.tenure += 1;
    this.#own(part, epoch);
    return String(row.tenure);
  }

  async give(held: Tenure): Promise<boolean> {
    if (!this.#holds(held)) return false;
    this.#own(held.part, undefined);
    return true;
  }

  async describe(held: Tenure, needs: PartNeeds): Promise<boolean> {
    const holds = this.#holds(held);
    if (holds) (this.parts[held.part] as VirtualPart).needs = needs;
    return holds;
  }

  async say(epoch: string, says: MemberSays): Promise<boolean> {
    const row = this.rows.get(epoch);
    if (row !== undefined) this.rows.set(epoch, { ...row, says });
    return row !== undefined;
  }

  async configOf(_epoch: string): Promise<string | undefined> {
    return undefined;
  }

  async forget(epoch: string, counter: string): Promise<void> {
    const owns = this.parts.some(({ owner }) => owner === epoch);
    if (!owns && this.rows.get(epoch)?.counter === counter) this.rows.delete(epoch);
  }

  async leave(epoch: string): Promise<void> {
    for (const [part, { owner }] of this.parts.entries()) if (owner === epoch) this.#own(part, undefined);
    this.rows.delete(epoch);
  }

  #holds({ epoch, part, tenure }: Tenure): boolean {
    const row = this.parts[part];
    return row?.owner === epoch && String(row.tenure) === tenure;
  }

  #own(part: number, epoch: string | undefined): void {
    (this.parts[part] as VirtualPart).owner = epoch;
    if (part === 0) this.owners.push(epoch);
  }
}

/** What a network does with one statement. Milliseconds. `refused`: nobody listens there. */
export interface Fate {
  readonly there: number;
  readonly back: number;
  readonly lost: 'no' | 'request' | 'answer' | 'refused';
}

export interface ReplicaOptions {
  readonly name: string;
  readonly world: ManualClock;
  readonly table: VirtualTable;
  readonly leaseMs: number;
  /** How fast its clock runs; 1 is right. */
  readonly rate: number;
  readonly fate: (statement: keyof MemberTable) => Fate;
  readonly events?: SeatEvents;
  /** Comes before a part is loaded; where it rejects it is not. */
  readonly begin?: PartHooks['take'];
  /** How long a part of several takes to be loaded, or given up. */
  readonly hookMs?: () => number;
  /** Whether it puts into the inbox for owners that are away. */
  readonly standsIn?: boolean;
}

/** A replica on a clock of its own, whose every statement has a fate, and which can be frozen as a whole. */
export class VirtualReplica {
  readonly seat: Seat;
  readonly clock: Clock;
  readonly bootMs: () => number;
  readonly #plugin: ToldLease;
  readonly #working = new Set<number>();
  readonly #options: ReplicaOptions;
  /** What came while it was frozen. */
  #kept: (() => void)[] | undefined;
  #killed = false;

  constructor(options: ReplicaOptions) {
    this.#options = options;
    const { name, world, table, rate, leaseMs, events = {}, begin, standsIn = false } = options;
    const bootMs = () => Math.floor((world.now() * rate) / 10) * 10;
    this.bootMs = bootMs;
    this.clock = {
      now: () => world.now() * rate,
      setTimer: (delayMs, fn): Timer => world.setTimer(delayMs / rate, () => this.deliver(fn)),
    };
    const { clock } = this;
    const self = { epoch: name, name, version: '1' };
    this.seat = new Seat({
      table: this.#overNetwork(),
      self,
      leaseMs,
      clock,
      bootMs,
      events,
      parts: table.parts.length,
      standsIn,
      ...this.#hooks(begin),
    });
    this.#plugin = new ToldLease(bootMs);
    this.seat.onRenewed((endsAtMs) => this.#plugin.told(endsAtMs));
  }

  /** Whether it may work on a part, or still does what it has to end. */
  worksOn(part: number): boolean {
    if (this.#kept !== undefined || this.#killed) return false;
    return this.seat.mayWork(part) || (this.#working.has(part) && this.seat.leaseLeftMs > 0);
  }

  #hooks(begin: PartHooks['take'] = () => Promise.resolve()): PartHooks {
    const { table, hookMs = () => 0 } = this.#options;
    if (table.parts.length === 1) return { take: begin };
    const passed = () => new Promise<void>((resolve) => this.clock.setTimer(hookMs(), resolve));
    return {
      take: async (part, from) => {
        await begin(part, from);
        this.#working.add(part);
        await passed();
      },
      give: async (part) => {
        await passed();
        this.#working.delete(part);
      },
    };
  }

  get killed(): boolean {
    return this.#killed;
  }

  /** Whether it would send now. What is frozen sends nothing; it looks at its lease before it does. */
  get sends(): boolean {
    return this.#kept === undefined && !this.#killed && this.seat.mayWork();
  }

  /** Makes a call if it may, which its plugin's process is told the lease by. */
  call(): void {
    if (this.sends) this.#plugin.told(this.seat.endsAtMs());
  }

  /** Whether its plugin's process, which is another one and not frozen, would send what it has in hand. One that leaves has ended it before. */
  get pluginSends(): boolean {
    return !this.#killed && this.seat.role !== 'left' && !this.#plugin.over;
  }

  freeze(): void {
    this.#kept ??= [];
  }

  wake(): void {
    const kept = this.#kept ?? [];
    this.#kept = undefined;
    for (const fn of kept) fn();
  }

  kill(): void {
    this.#killed = true;
  }

  /** Does what came to it: now, or once it wakes. */
  deliver(fn: () => void): void {
    if (this.#killed) return;
    if (this.#kept === undefined) fn();
    else this.#kept.push(fn);
  }

  #overNetwork(): MemberTable {
    const { table } = this.#options;
    return {
      join: (self) => this.#statement('join', () => table.join(self)),
      renew: (epoch) => this.#statement('renew', () => table.renew(epoch)),
      look: () => this.#statement('look', () => table.look()),
      take: (epoch, part, from) => this.#statement('take', () => table.take(epoch, part, from)),
      give: (held) => this.#statement('give', () => table.give(held)),
      describe: (held, needs) => this.#statement('describe', () => table.describe(held, needs)),
      say: (epoch, says) => this.#statement('say', () => table.say(epoch, says)),
      configOf: (epoch) => this.#statement('configOf', () => table.configOf(epoch)),
      forget: (epoch, counter) => this.#statement('forget', () => table.forget(epoch, counter)),
      leave: (epoch) => this.#statement('leave', () => table.leave(epoch)),
    };
  }

  #statement<T>(name: keyof MemberTable, done: () => Promise<T>): Promise<T> {
    const { world, fate, leaseMs } = this.#options;
    const { there, back, lost } = fate(name);
    return new Promise((resolve, reject) => {
      const gaveUp = () => reject(new HostError('STATE_UNREACHABLE', 'no answer'));
      // What is given up here may be done there, and later.
      const timer = world.setTimer(lost === 'refused' ? there : leaseMs / 3, () => this.deliver(gaveUp));
      if (lost === 'refused') return;
      if (lost === 'request') return;
      world.setTimer(there, () => {
        void done().then((answer) => {
          if (lost === 'answer') return;
          world.setTimer(back, () => {
            timer.cancel();
            this.deliver(() => resolve(answer));
          });
        });
      });
    });
  }
}
