import type { Clock } from '../lib/clock.js';
import type { TaskId } from '../model/attempt-key.js';
import { type LimitsTenancy, tenancyText } from '../model/limits-tenancy.js';
import type { Lane } from '../model/plugin-methods.js';
import { decodeEnvelope, type Envelope, encodeEnvelope, MalformedEnvelope } from './grants/envelope.js';
import { GrantDrawer } from './grants/grant-drawer.js';
import { GrantOwner, type LaneBounds } from './grants/grant-owner.js';
import { QuotaDrawer } from './grants/quota-drawer.js';
import { type HeldToken, QuotaOwner } from './grants/quota-owner.js';
import { QuotaLedger, type QuotaLedgerOptions } from './quota-ledger.js';
import { MAX_PAUSE_MS } from './token-bucket.js';
import type { QuotaLimits, Quotas, RateLimiter } from './types.js';

export interface LimitsOwners {
  /** Undefined while nobody that is seen owns them. */
  ownerOf(plugin: string): LimitsTenancy | undefined;
  /** Calls back whenever an answer may have changed; answers how to end that. */
  onChange(listener: () => void): () => void;
}

/** What of a plugin concerns its limits. */
export interface SharedPlugin extends Pick<QuotaLedgerOptions, 'maxWaiting' | 'events'> {
  /** Asked again whenever they may be others. */
  readonly bounds: () => PluginBounds;
}

/** What a plugin's limits are, as it is configured now. */
export interface PluginBounds {
  readonly read: LaneBounds;
  readonly write: LaneBounds;
  readonly quotas: QuotaLimits;
}

/** The limits of one plugin as its runtime asks for them. */
export interface PluginLimits {
  /** For the gate; see there. Each lane once. */
  limiter(lane: Lane, changed: () => void): RateLimiter;
  /** In the place of a ledger of its own. Once. */
  quotas(options: QuotaLedgerOptions): Quotas;
  /** Asks nobody any more. What is owned here stays. */
  close(): void;
}

export interface SharedLimitsOptions {
  /** The epoch of this member. */
  readonly self: string;
  readonly clock: Clock;
  /** A clock that goes on while the machine is suspended. Milliseconds. */
  readonly bootMs: () => number;
  /** The life of a grant, the same for all members. Milliseconds. */
  readonly grantMs: number;
  /** After so long what nobody acknowledged is said again. Milliseconds. */
  readonly resendMs: number;
  /** After so long a wish for a token is repeated for which the owner's line was full. Milliseconds. */
  readonly retryMs: number;
  readonly owners: LimitsOwners;
  /** Whether this member's lease holds. */
  readonly mayGrant: () => boolean;
  /** The tokens that tasks hold by their facts, of all members, read from now on. Where it rejects it is asked again. */
  readonly held: (plugin: string) => Promise<readonly HeldToken[]>;
  /** The tenure of the part that a task lies in. */
  readonly turnOf: (taskId: TaskId) => number;
  /** Until when a lane rests that its remote throttled, as it was kept. Milliseconds since the epoch. */
  readonly restsUntilMs?: ((plugin: string, lane: Lane) => number | undefined) | undefined;
  /** Told of each rest of a lane whose limits are owned here, to be kept. */
  readonly rests?: ((plugin: string, lane: Lane, untilMs: number) => void) | undefined;
  /** The limits of a plugin have another owner, or tenancy; undefined where nobody that is seen owns them. */
  readonly moved?: ((plugin: string, owner: string | undefined) => void) | undefined;
  /** To another member; may lose it. */
  readonly send: (to: string, message: Buffer) => void;
}

/** What this member owns of a plugin. */
interface Owned {
  readonly lanes: Readonly<Record<Lane, GrantOwner>>;
  readonly ledger: QuotaLedger;
  readonly quotas: QuotaOwner;
}

/** Of a plugin's limits, for metrics: calls are counted since the beginning. */
export interface SharedFigures extends Readonly<Record<Lane, LaneTotals>> {
  readonly owner: 'here' | 'other' | 'none';
}

interface LaneTotals {
  /** Granted to this member; of these, not taken in time. */
  readonly drawn: number;
  readonly lapsed: number;
  /** Granted by this member, to itself and others. */
  readonly granted: number;
}

interface Shared {
  readonly plugin: string;
  readonly of: SharedPlugin;
  readonly lanes: Map<Lane, GrantDrawer>;
  quotas: QuotaDrawer | undefined;
  owner: string | undefined;
  epoch: string | undefined;
  owned: Owned | undefined;
  /** Calls that owners of this member's have granted. */
  readonly granted: Record<Lane, number>;
}

const LANES = ['read', 'write'] as const;
/** Of what is said of quotas, that an owner does not hear. */
const MOST_WAITING = 10_000;

/**
 * The limits of all plugins over members that share them: draws for each plugin's runtime from whoever owns its limits, and owns those
 * that are this member's. Its own draws go the same way as those of others, without a network.
 *
 * States of a plugin here: nobody owns its limits (what was granted is used up) ↔ another one does ↔ this member does. Each tenancy has
 * owners of its own, which begin with nothing: lanes wait for a grant's life (unless nobody was before), tokens for what facts say is held.
 */
export class SharedLimits {
  readonly #options: SharedLimitsOptions;
  readonly #plugins = new Map<string, Shared>();
  readonly #unlisten: () => void;
  #closed = false;

  constructor(options: SharedLimitsOptions) {
    this.#options = options;
    this.#unlisten = options.owners.onChange(() => this.#followAll());
  }

  /** The limits of a plugin that is configured here. Once for each. */
  plugin(plugin: string, of: SharedPlugin): PluginLimits {
    const rest = { quotas: undefined, owner: undefined, epoch: undefined, owned: undefined };
    const shared: Shared = { plugin, of, lanes: new Map(), granted: { read: 0, write: 0 }, ...rest };
    this.#plugins.set(plugin, shared);
    this.#follow(shared);
    return {
      limiter: (lane, changed) => this.#drawer(shared, lane, changed),
      quotas: (options) => this.#quotaDrawer(shared, options),
      close: () => closeDrawers(shared),
    };
  }

  /** A message of another member. Throws MalformedEnvelope for what none says. */
  receive(from: string, bytes: Buffer): void {
    const envelope = decodeEnvelope(bytes);
    const { kind, message } = envelope;
    if ((kind === 'draw' || kind === 'ask') && message.drawer !== from) {
      throw new MalformedEnvelope(`${from} speaks for ${message.drawer}`);
    }
    this.#take(from, envelope);
  }

  /** The lease was renewed, or the limits of a plugin are others. */
  look(): void {
    for (const shared of this.#plugins.values()) this.#reconfigure(shared);
  }

  /** A member is gone, and others have its tasks. */
  forget(member: string): void {
    for (const { owned } of this.#plugins.values()) owned?.quotas.forget(member);
  }

  /** Undefined for a plugin that is not configured here. */
  figures(plugin: string): SharedFigures | undefined {
    const shared = this.#plugins.get(plugin);
    if (shared === undefined) return undefined;
    const { owner, lanes, granted } = shared;
    const totals = (lane: Lane) => ({
      ...(lanes.get(lane)?.totals ?? { drawn: 0, lapsed: 0 }),
      granted: granted[lane],
    });
    const who = owner === this.#options.self ? 'here' : 'other';
    return { owner: owner === undefined ? 'none' : who, read: totals('read'), write: totals('write') };
  }

  /** Whether who owns the limits of a plugin now has answered this member; undefined of a plugin that is not loaded here. */
  isHeard(plugin: string): boolean | undefined {
    return this.#plugins.get(plugin)?.quotas?.isHeard;
  }

  close(): void {
    this.#closed = true;
    this.#unlisten();
    for (const shared of this.#plugins.values()) {
      closeDrawers(shared);
      closeOwned(shared);
    }
  }

  #followAll(): void {
    for (const shared of this.#plugins.values()) this.#follow(shared);
  }

  #follow(shared: Shared): void {
    if (this.#closed) return;
    const { self, owners } = this.#options;
    const tenancy = owners.ownerOf(shared.plugin);
    const epoch = tenancy && tenancyText(tenancy);
    if (epoch === shared.epoch) return;
    closeOwned(shared);
    shared.epoch = epoch;
    shared.owner = tenancy?.owner;
    if (tenancy !== undefined && epoch !== undefined && tenancy.owner === self) this.#own(shared, epoch, tenancy.first);
    for (const drawer of shared.lanes.values()) drawer.follow(epoch);
    shared.quotas?.follow(epoch);
    this.#options.moved?.(shared.plugin, shared.owner);
  }

  #drawer(shared: Shared, lane: Lane, changed: () => void): RateLimiter {
    const { self, clock, bootMs, grantMs } = this.#options;
    const drawer = new GrantDrawer({
      drawer: self,
      grantMs,
      clock,
      bootMs,
      send: (message) => this.#toOwner(shared, { plugin: shared.plugin, kind: 'draw', lane, message }),
      changed,
      reconfigured: () => this.#reconfigure(shared),
    });
    shared.lanes.set(lane, drawer);
    drawer.follow(shared.epoch);
    return drawer;
  }

  #quotaDrawer(shared: Shared, options: QuotaLedgerOptions): Quotas {
    const { self, clock, resendMs, retryMs, turnOf } = this.#options;
    shared.quotas = new QuotaDrawer({
      drawer: self,
      clock,
      resendMs,
      retryMs,
      maxWaiting: options.maxWaiting,
      mostWaiting: MOST_WAITING,
      turnOf,
      jobOf: options.jobOf,
      limits: options,
      send: (message) => this.#toOwner(shared, { plugin: shared.plugin, kind: 'ask', message }),
    });
    shared.quotas.follow(shared.epoch);
    return shared.quotas;
  }

  #own(shared: Shared, epoch: string, first: boolean): void {
    const { clock, resendMs, held } = this.#options;
    const { plugin, of } = shared;
    const { bounds, maxWaiting, events = {} } = of;
    const jobOf: QuotaLedgerOptions['jobOf'] = (taskId) => quotas.jobOf(taskId);
    const ledger = new QuotaLedger({ clock, ...bounds().quotas, maxWaiting, jobOf, events });
    const send: ConstructorParameters<typeof QuotaOwner>[0]['send'] = (message) =>
      this.#send(message.drawer, { plugin, kind: 'said', message });
    const quotas = new QuotaOwner({ epoch, ledger, clock, resendMs, held: () => held(plugin), send });
    const lanes = {
      read: this.#grantOwner(shared, epoch, 'read', first),
      write: this.#grantOwner(shared, epoch, 'write', first),
    };
    const owned: Owned = { lanes, ledger, quotas };
    shared.owned = owned;
    this.#rebuild(shared, owned);
  }

  #grantOwner({ plugin, of, granted }: Shared, epoch: string, lane: Lane, first: boolean): GrantOwner {
    const { clock, grantMs, mayGrant, restsUntilMs, rests } = this.#options;
    const owner = new GrantOwner({
      epoch,
      bounds: of.bounds()[lane],
      grantMs,
      first,
      clock,
      mayGrant,
      rests: (untilMs) => rests?.(plugin, lane, untilMs),
      send: (message) => {
        granted[lane] += message.calls;
        this.#send(message.drawer, { plugin, kind: 'grant', lane, message });
      },
    });
    // It was kept by the clock of another machine.
    owner.pause(Math.min(restsUntilMs?.(plugin, lane) ?? 0, clock.now() + MAX_PAUSE_MS));
    return owner;
  }

  /** No token is granted before it is known who holds some. */
  #rebuild(shared: Shared, owned: Owned): void {
    const { held, clock, resendMs } = this.#options;
    const goesOn = () => shared.owned === owned && !this.#closed;
    held(shared.plugin).then(
      (tokens) => {
        if (goesOn()) owned.quotas.rebuild(tokens);
      },
      () => {
        clock.setTimer(resendMs, () => {
          if (goesOn()) this.#rebuild(shared, owned);
        });
      },
    );
  }

  #reconfigure({ owned, of }: Shared): void {
    if (owned === undefined) return;
    const now = of.bounds();
    for (const lane of LANES) owned.lanes[lane].reconfigure(now[lane]);
    owned.ledger.reconfigure(now.quotas);
  }

  #toOwner({ owner }: Shared, envelope: Envelope): void {
    if (owner !== undefined) this.#send(owner, envelope);
  }

  #send(to: string, envelope: Envelope): void {
    const { self, clock, send } = this.#options;
    if (to !== self) send(to, encodeEnvelope(envelope));
    // Whoever sends is not called back before it has sent.
    else clock.setTimer(0, () => this.#take(self, envelope));
  }

  #take(from: string, envelope: Envelope): void {
    const shared = this.#plugins.get(envelope.plugin);
    if (shared === undefined || this.#closed) return;
    const { owned, quotas, lanes } = shared;
    if (envelope.kind === 'draw') owned?.lanes[envelope.lane].onDraw(envelope.message);
    else if (envelope.kind === 'ask') owned?.quotas.receive(envelope.message);
    // What another one says than who owns the limits now comes late.
    else if (from !== shared.owner || envelope.message.drawer !== this.#options.self) return;
    else if (envelope.kind === 'grant') lanes.get(envelope.lane)?.onGrant(envelope.message);
    else quotas?.receive(envelope.message);
  }
}

function closeDrawers(shared: Shared): void {
  for (const drawer of shared.lanes.values()) drawer.close();
  shared.lanes.clear();
  shared.quotas?.close();
  shared.quotas = undefined;
}

function closeOwned(shared: Shared): void {
  const { owned } = shared;
  shared.owned = undefined;
  if (owned === undefined) return;
  for (const lane of LANES) owned.lanes[lane].close();
  owned.quotas.close();
}
