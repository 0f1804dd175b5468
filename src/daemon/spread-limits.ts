import { LimitsLinks, type ReplicaTls, type Seat } from '../cluster/index.js';
import { bootMs } from '../lib/boot-clock.js';
import type { Clock } from '../lib/clock.js';
import {
  type PluginLimits,
  type SharedFigures,
  SharedLimits,
  type SharedLimitsOptions,
  type SharedPlugin,
} from '../limits/shared-limits.js';
import type { TaskId } from '../model/attempt-key.js';
import { type LimitsTenancy, partOfLimits } from '../model/limits-tenancy.js';
import type { Lane } from '../model/plugin-methods.js';
import type { LinkAcceptor, LinkEvents } from '../model/replica-link.js';
import type { MemberRow } from '../state/index.js';

/** What the limits of plugins go by in this replica's parts of the state. */
export interface LimitsParts {
  /** The part that holds a task here; undefined where none does. */
  partOfTask(id: TaskId): number | undefined;
  /** Until when a lane rests that its remote throttled, by the part that keeps it. Milliseconds since the epoch. */
  restsUntilMs(plugin: string, lane: Lane): number | undefined;
  keepPause(plugin: string, lane: Lane, untilMs: number): void;
}

export interface SpreadLimitsOptions {
  readonly seat: Pick<Seat, 'epoch' | 'parts' | 'holderOf' | 'turnOf' | 'mayWork' | 'onChange' | 'isGone'>;
  readonly clock: Clock;
  readonly random: () => number;
  readonly leaseMs: number;
  readonly tls: () => ReplicaTls | undefined;
  readonly held: SharedLimitsOptions['held'];
  /** Asked once there are parts. */
  readonly parts: () => LimitsParts;
  readonly events: LinkEvents & Pick<SharedLimitsOptions, 'moved'>;
}

/** The life of a grant as a share of the lease: all replicas have the same lease. */
const GRANT_SHARE = 0.3;
/** Between two tries of what nobody acknowledged, and of a wish for which the owner's line was full. Milliseconds. */
const RESEND_MS = 500;
const RETRY_MS = 1_000;

/**
 * The limits of all plugins where tasks are spread over replicas (design 7): those of a plugin are owned by who has the part that its id hashes
 * into, and everybody, that one too, draws from there. Begins with the seat; `close` ends it.
 */
export class SpreadLimits {
  readonly #options: SpreadLimitsOptions;
  readonly #limits: SharedLimits;
  readonly #links: LimitsLinks;
  #members: readonly string[] = [];

  constructor(options: SpreadLimitsOptions) {
    const { seat, clock, random, leaseMs, tls, held, events, parts } = options;
    this.#options = options;
    this.#links = new LimitsLinks({
      epoch: seat.epoch,
      clock,
      random,
      tls,
      receive: (from, message) => this.#limits.receive(from, message),
      events,
    });
    this.#limits = new SharedLimits({
      self: seat.epoch,
      clock,
      bootMs,
      grantMs: leaseMs * GRANT_SHARE,
      resendMs: RESEND_MS,
      retryMs: RETRY_MS,
      owners: { ownerOf: (plugin) => this.#ownerOf(plugin), onChange: (listener) => seat.onChange(listener) },
      mayGrant: () => seat.mayWork(),
      held,
      turnOf: (id) => this.#turnOf(id),
      restsUntilMs: (plugin, lane) => parts().restsUntilMs(plugin, lane),
      rests: (plugin, lane, untilMs) => parts().keepPause(plugin, lane, untilMs),
      moved: events.moved,
      send: (to, message) => void this.#links.send(to, message),
    });
  }

  /** Takes the streams of other replicas. */
  get acceptor(): LinkAcceptor {
    return this.#links;
  }

  /** Of a plugin that is configured here. Once for each. */
  plugin(plugin: string, of: SharedPlugin): PluginLimits {
    return this.#limits.plugin(plugin, of);
  }

  /** These are there; all others have no say any more, once nothing is theirs. */
  seen(members: readonly MemberRow[]): void {
    this.#links.members(members);
    const there = members.map(({ epoch }) => epoch);
    const before = this.#members;
    const away = before.filter((epoch) => !there.includes(epoch));
    const gone = away.filter((epoch) => this.#options.seat.isGone(epoch));
    for (const epoch of gone) this.#limits.forget(epoch);
    this.#members = [...there, ...away.filter((epoch) => !gone.includes(epoch))];
  }

  /** With how many other replicas limits can be shared now, and with how many not. */
  get links(): LimitsLinks['counts'] {
    return this.#links.counts;
  }

  /** Of a plugin; undefined for one that is not configured here. */
  figures(plugin: string): SharedFigures | undefined {
    return this.#limits.figures(plugin);
  }

  /** Whether who owns the limits of a plugin has answered this replica; undefined of a plugin that is not loaded here. */
  isHeard(plugin: string): boolean | undefined {
    return this.#limits.isHeard(plugin);
  }

  /** The lease was renewed, or limits are others. */
  look(): void {
    this.#limits.look();
  }

  close(): void {
    this.#limits.close();
    this.#links.close();
  }

  #ownerOf(plugin: string): LimitsTenancy | undefined {
    const { seat } = this.#options;
    const part = partOfLimits(plugin, seat.parts);
    const holder = seat.holderOf(part);
    if (holder === undefined) return undefined;
    const tenure = Number(holder.tenure);
    return { owner: holder.epoch, part, tenure, first: tenure === 1 };
  }

  /** 0 for a task that is of no part here, for which nobody here speaks. */
  #turnOf(id: TaskId): number {
    const part = this.#options.parts().partOfTask(id);
    return part === undefined ? 0 : this.#options.seat.turnOf(part);
  }
}
