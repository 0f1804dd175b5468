import { randomBytes } from 'node:crypto';
import os from 'node:os';
import {
  advertisedAddress,
  Comparison,
  coversOf,
  type Difference,
  Forwarder,
  ownersOf,
  type ReplicaTls,
  type RestingLimits,
  RestingSeen,
  SEAT_ROLES,
  Seat,
  type SeatEvents,
} from '../cluster/index.js';
import type { Config } from '../config/index.js';
import type { ErrorCode, HostError } from '../errors/index.js';
import { bootMs } from '../lib/boot-clock.js';
import type { Clock } from '../lib/clock.js';
import type { JsonObject } from '../lib/json.js';
import type { Elsewhere } from '../model/forwarding.js';
import type { SendingLease } from '../model/sending-lease.js';
import {
  type MemberRow,
  PartedEngine,
  PostgresEngine,
  PostgresInbox,
  PostgresMembers,
  placeText,
  type StateEngine,
} from '../state/index.js';
import type { StandInOptions } from '../tasks/stand-in.js';
import type { ClusterFigures, PluginFigures } from '../telemetry/index.js';
import { countedParts, OwnersSeen, shownCluster, unservedIf } from './cluster-shown.js';
import { HeldTokens, type HeldTokensEvents } from './held-tokens.js';
import { deadReplicas, InboxLooks, type InboxLooksOptions } from './inbox.js';
import { PartNeeds, type PartNeedsOptions } from './part-needs.js';
import { type LimitsParts, SpreadLimits, type SpreadLimitsOptions } from './spread-limits.js';

export interface ClusterOptions {
  readonly config: Config;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly random: () => number;
  readonly version: string;
  /** How another replica's gRPC port is spoken to. */
  readonly tls: () => ReplicaTls | undefined;
  /** What all replicas should have alike, secrets masked. */
  readonly options: JsonObject;
  /** What is told of other replicas names them. */
  readonly events: SeatEvents &
    HeldTokensEvents & {
      passedOn?(code: string): void;
      differs?(name: string, differences: readonly Difference[]): void;
      /** Of a plugin, whose limits are another's from now on, or nobody's that is seen. */
      limits?(plugin: string, owner: MemberRow | 'here' | undefined): void;
      /** A plugin rests, since who owns its limits does not serve it. `servedBy`: those that do, each with what it lacks of that part. */
      rests?(plugin: string, owner: string, servedBy: readonly string[]): void;
      linkOpened?(name: string): void;
      linkBroke?(name: string, why: HostError): void;
    };
  /** A part of the state is this replica's: loads it and goes on with what is in it. */
  readonly begin: (part: number) => Promise<void>;
  /** Ends the work on a part, of several; resolves once nothing of it is sent or written any more. */
  readonly end: (part: number) => Promise<void>;
  /** What the limits go by, where several parts are spread. */
  readonly limits: () => LimitsParts;
  readonly tasksOf: InboxLooksOptions['tasksOf'];
  /** Calls to remotes may leave again. */
  readonly renewed: () => void;
  /** Told of each secret by which the state is reached, before it is used. */
  readonly onSecret: (secret: string) => void;
  /** Another replica has the state: nothing of this one counts any more. */
  readonly lost: (why: HostError) => void;
}

/** The inbox, with what is seen of owners and replicas that a stand-in uses it by. */
export type ReplicaInbox = Pick<
  StandInOptions,
  'inbox' | 'parts' | 'epoch' | 'ownerSeen' | 'tenureOf' | 'isDead' | 'isClosed' | 'isGone'
>;

/** A dead owner is seen within a lease; what a caller waits for an owner is twice that. */
const PATIENCE_LEASES = 2;

/**
 * This daemon as one of several replicas (docs/scaling.md): its seat among them, its way to the one that works, and the state that it has once
 * it works itself.
 *
 * Its states are those of its seat: `join` → `settle` → … → `retire`, when the stop begins, → `leave`, once all is written.
 */
export class Cluster {
  readonly engine: StateEngine | PartedEngine;
  readonly at: string;
  /** Undefined where one replica has the whole state, and the limits with it. */
  readonly limits: SpreadLimits | undefined;
  readonly elsewhere: Elsewhere;
  /** What standing in for owners goes by; undefined where that is not to be. */
  readonly standIn: ReplicaInbox | undefined;
  /** What stand-ins have put is taken in whether this one stands in or not: they may have been others, or this one's last run. */
  readonly looks: InboxLooks;
  readonly #options: ClusterOptions;
  readonly #members: PostgresMembers;
  readonly #seat: Seat;
  readonly #seen: OwnersSeen;
  readonly #restingSeen = new RestingSeen();
  readonly #owners: ReturnType<typeof ownersOf>;
  readonly #forwarder: Forwarder;
  readonly #comparison: Comparison;
  readonly #inbox: PostgresInbox;
  #tokens: HeldTokens | undefined;
  #needs: PartNeeds | undefined;

  constructor(options: ClusterOptions) {
    const { config, clock, random, version, begin, end, onSecret } = options;
    const { parts, postgres: place } = config.state;
    this.#options = options;
    this.#members = new PostgresMembers({ place, clock, random, onSecret }, parts);
    const epoch = randomBytes(8).toString('hex');
    const name = `${os.hostname()}, process ${process.pid}`;
    const self = { epoch, name, version, config: JSON.stringify(options.options) };
    this.#comparison = new Comparison({
      own: options.options,
      epoch,
      configOf: (other) => this.#members.configOf(other),
      differs: (member, differences) => options.events.differs?.(member.name, differences),
    });
    const seat = new Seat({
      table: this.#members,
      self,
      leaseMs: place.leaseMs,
      clock,
      bootMs,
      events: this.#seatEvents(),
      parts,
      standsIn: config.cluster.inbox,
      take: begin,
      give: parts > 1 ? end : undefined,
    });
    this.#seat = seat;
    this.#inbox = new PostgresInbox({ place, onSecret, epoch, parts });
    const isDead = deadReplicas(seat, clock, place.leaseMs);
    this.looks = this.#looksBy(isDead);
    const used = {
      inbox: this.#inbox,
      parts,
      epoch,
      ownerSeen: (part: number) => seat.ownerSeen(part),
      tenureOf: (part: number) => seat.tenureSeen(part),
      isDead,
      isClosed: (owner: string) => this.#forwarder.isClosed(owner),
      isGone: (owner: string) => this.#forwarder.isClosed(owner) && seat.isSilent(owner),
    };
    this.standIn = config.cluster.inbox ? used : undefined;
    this.#seen = new OwnersSeen(seat, clock);
    this.at = `PostgreSQL at ${placeText(place)}`;
    const tenureOf = (part: number) => seat.tenureOf(part);
    const lostIt = (part: number, tenure: string) => seat.lostPart(part, tenure);
    const holder = { epoch, tenureOf, lostIt };
    const engine = new PostgresEngine({ place, clock, random, onSecret, parts, holder });
    this.engine = parts > 1 ? new PartedEngine(engine, parts) : engine;
    const { maxReceiveMessageBytes, maxSendMessageBytes } = config.grpc;
    this.#owners = ownersOf(seat);
    this.#forwarder = new Forwarder({
      owners: this.#owners,
      epoch,
      clock,
      patienceMs: PATIENCE_LEASES * place.leaseMs,
      maxReceiveBytes: maxReceiveMessageBytes,
      maxSendBytes: maxSendMessageBytes,
      tls: options.tls,
      mayStandIn: (part) => seat.mayPut(part),
      passed: (code) => options.events.passedOn?.(code),
    });
    this.elsewhere = this.#forwarder;
    this.limits = this.engine instanceof PartedEngine ? this.#limitsOver(this.engine) : undefined;
  }

  #limitsOver(parted: PartedEngine): SpreadLimits {
    const { config, clock, random, tls, limits, events } = this.#options;
    const seat = this.#seat;
    const { parts, postgres } = config.state;
    const tokens = new HeldTokens({
      parts,
      load: (part, kind) => parted.read(part, kind),
      holderOf: (part) => seat.holderOf(part),
      clock,
      events,
    });
    this.#tokens = tokens;
    return new SpreadLimits({
      seat,
      clock,
      random,
      leaseMs: postgres.leaseMs,
      tls,
      held: (plugin) => tokens.of(plugin),
      parts: limits,
      events: this.#limitsEvents(),
    });
  }

  /** What calls to remotes leave under. */
  get lease(): SendingLease {
    return this.#seat;
  }

  /** Whether calls to remotes may leave. */
  readonly mayWork = (): boolean => this.#seat.mayWork();

  #looksBy(isDead: (epoch: string) => boolean): InboxLooks {
    const { clock, tasksOf } = this.#options;
    const seat = this.#seat;
    const all = Array.from({ length: seat.parts }, (_, part) => part);
    return new InboxLooks({
      inbox: this.#inbox,
      clock,
      isDead,
      here: () => all.filter((part) => seat.stateOf(part) === 'owned'),
      anyStandsIn: () => seat.anyStandsIn,
      tasksOf,
    });
  }

  /** Reaches the database, before anything is served. Throws what the state says. */
  async open(stop: AbortSignal): Promise<void> {
    await this.#members.open(stop);
    await this.#inbox.open();
    // Parts come and go; what is read of all of them is read before the first came, too.
    if (this.engine instanceof PartedEngine) await this.engine.open(stop);
  }

  /** Tells the others of it. Throws CLUSTER_ADDRESS_UNUSABLE, and what the state says. */
  async join(port: number): Promise<void> {
    const { config, env } = this.#options;
    const { advertise, loopback } = config.cluster;
    const loopbackAllowed = loopback !== 'refused';
    await this.#seat.join(advertisedAddress({ given: advertise, podIp: env.POD_IP, port, loopbackAllowed }));
  }

  /** The plugins are loaded: from here on the others are told what this one has to work with, and what its parts need. */
  tellNeeds(of: Pick<PartNeedsOptions, 'host' | 'runtimes' | 'workFor'>): void {
    const { config, clock } = this.#options;
    if (this.#seat.parts === 1) return;
    this.#needs = new PartNeeds({ ...of, seat: this.#seat, plugins: Object.keys(config.plugins), clock });
    this.#needs.start();
  }

  /** Resolves once it is known which replica works. */
  settle(): Promise<void> {
    return this.#seat.settle();
  }

  /** The stop begins: of several parts each is given to others in good order, which take calls about it from then on. */
  handOver(): Promise<void> {
    // Its plugins stop next, which moves nothing any more.
    this.#needs?.close();
    return this.#seat.parts > 1 ? this.#seat.handOver() : this.#seat.retire();
  }

  /** The state is written to its end, or was another's. */
  async leave(): Promise<void> {
    this.#needs?.close();
    try {
      await this.#seat.leave();
    } finally {
      this.limits?.close();
      this.#tokens?.close();
      this.#forwarder.close();
      if (this.engine instanceof PartedEngine) await this.engine.close();
      await this.#inbox.close();
      await this.#members.close();
    }
  }

  /** Why calls wait, or none leaves; undefined while neither is so. */
  get trouble(): { readonly code: ErrorCode; readonly message: string } | undefined {
    const { role, owner, leaseLeftMs, parts } = this.#seat;
    if (parts > 1 && role !== 'joining' && role !== 'lost' && role !== 'left') {
      const away = Array.from({ length: parts }, (_, part) => part).filter(
        (part) => this.#owners.ownerOf(part) === undefined && this.#seat.stateOf(part) === undefined,
      );
      if (away.length > 0) {
        return { code: 'OWNER_AWAY', message: `no replica that works on ${away.length} of ${parts} parts is seen` };
      }
    }
    if (parts === 1 && role === 'standby' && owner === undefined) {
      return { code: 'OWNER_AWAY', message: 'no replica that works is seen' };
    }
    if (role !== 'owner' || leaseLeftMs > 0) return undefined;
    return { code: 'LEASE_LAPSED', message: 'the lease could not be renewed; no remote is called until it is' };
  }

  /** Which parts of the tasks its lists and figures are about; undefined where a state is one. */
  get covers(): string | undefined {
    return coversOf(this.#owners);
  }

  /** What is measured of it. */
  figures(): ClusterFigures {
    const { role, leaseLeftMs, members } = this.#seat;
    const parts = countedParts(this.#seat);
    const inbox = this.looks.figures();
    return { role, roles: SEAT_ROLES, leaseLeftMs, members: members.length, parts, links: this.limits?.links, inbox };
  }

  /** Of a plugin, where limits are shared; undefined for one that is not configured here. */
  limitsOf(plugin: string): PluginFigures['shared'] {
    const figures = this.limits?.figures(plugin);
    return figures && unservedIf(this.#resting, plugin, figures);
  }

  /** For the operator. */
  show(): JsonObject {
    return shownCluster({
      seat: this.#seat,
      covers: this.covers,
      differences: (epoch) => this.#comparison.of(epoch) ?? [],
      sinceMs: (part) => this.#seen.sinceMs(part),
      inboxOf: (part) => this.looks.of(part),
      plugins: Object.keys(this.#options.config.plugins),
      resting: this.#resting,
    });
  }

  /** A plugin that was loaded before at who owns its limits is granted what it may from there, though it does not serve. */
  get #resting(): readonly RestingLimits[] {
    const { limits } = this;
    return limits === undefined ? [] : this.#seat.resting.filter(({ plugin }) => limits.isHeard(plugin) !== true);
  }

  #limitsEvents(): SpreadLimitsOptions['events'] {
    const { events } = this.#options;
    return {
      opened: (epoch) => events.linkOpened?.(this.#nameOf(epoch)),
      broke: (epoch, why) => events.linkBroke?.(this.#nameOf(epoch), why),
      moved: (plugin, owner) => events.limits?.(plugin, owner === this.#seat.epoch ? 'here' : this.#memberOf(owner)),
    };
  }

  #memberOf(epoch: string | undefined): MemberRow | undefined {
    return this.#seat.members.find((member) => member.epoch === epoch);
  }

  #nameOf(epoch: string): string {
    return this.#memberOf(epoch)?.name ?? epoch;
  }

  #tellResting(): void {
    const { clock, events } = this.#options;
    // Of a plugin that is not loaded here nothing is known but what is said.
    const known = this.#resting.filter(({ plugin }) => this.limits?.isHeard(plugin) === false);
    for (const { plugin, owner, servedBy } of this.#restingSeen.saw(known, clock.now())) {
      events.rests?.(
        plugin,
        this.#nameOf(owner),
        servedBy.map((one) => this.#servesText(one)),
      );
    }
  }

  #servesText({ epoch, lacks }: RestingLimits['servedBy'][number]): string {
    return lacks.length === 0 ? this.#nameOf(epoch) : `${this.#nameOf(epoch)}, without ${lacks.join(', ')}`;
  }

  #seatEvents(): SeatEvents {
    const { events, renewed, lost } = this.#options;
    return {
      ...events,
      seen: (members) => {
        void this.#comparison.seen(members);
        this.limits?.seen(members);
        if (this.limits !== undefined) this.#tellResting();
      },
      renewed: () => {
        events.renewed?.();
        this.limits?.look();
        renewed();
      },
      lost: (why) => {
        events.lost?.(why);
        lost(why);
      },
    };
  }
}
