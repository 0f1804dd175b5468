import { type Difference, HELD_STATES, type RestingLimits, type Seat } from '../cluster/index.js';
import type { Clock } from '../lib/clock.js';
import type { JsonObject } from '../lib/json.js';
import { partOfLimits } from '../model/limits-tenancy.js';
import type { MemberRow } from '../state/index.js';
import type { InboxFigures, SharedFigures } from '../telemetry/index.js';

export interface ShownCluster {
  readonly seat: Pick<
    Seat,
    'role' | 'parts' | 'epoch' | 'address' | 'leaseLeftMs' | 'members' | 'silentMs' | 'owner' | 'ownerOf' | 'stateOf'
  >;
  /** Which parts this replica has, in words; undefined where the state is one. */
  readonly covers: string | undefined;
  /** In which options a member has something else. */
  readonly differences: (epoch: string) => readonly Difference[];
  /** Since when a part has the owner that is seen, epoch milliseconds. */
  readonly sinceMs: (part: number) => number | undefined;
  /** What the inbox has of a part of this replica's; undefined where it has nothing. */
  readonly inboxOf: (part: number) => InboxFigures | undefined;
  /** Configured here, by id. */
  readonly plugins: readonly string[];
  readonly resting: readonly RestingLimits[];
}

/**
 * What an operator sees of the replicas (`GET /v1/cluster`). Where tasks are spread each member has `parts`, each part its `owner`, and
 * each plugin the member that owns its limits, with `rests` where it rests since it does not serve there; where one replica works for all, that one is
 * `owner`. `inbox` is there where something waits in it for the replica that was asked.
 */
export function shownCluster(shown: ShownCluster): JsonObject {
  const { seat, covers } = shown;
  return {
    enabled: true,
    ...(covers !== undefined && { covers }),
    role: seat.role,
    epoch: seat.epoch,
    address: seat.address,
    leaseLeftMs: Math.round(seat.leaseLeftMs),
    ...(seat.parts === 1 ? oneOwner(shown) : manyOwners(shown)),
  };
}

function oneOwner(shown: ShownCluster): JsonObject {
  const { seat } = shown;
  const isOwner = seat.role === 'owner' || seat.role === 'taking';
  const owner = isOwner ? seat.epoch : seat.owner?.epoch;
  return {
    owner: owner ?? null,
    ...inboxOf(shown, 0),
    members: seat.members.map((member) => shownMember(shown, member, member.epoch === owner)),
  };
}

function manyOwners(shown: ShownCluster): JsonObject {
  const { seat, sinceMs } = shown;
  const owners = Array.from({ length: seat.parts }, (_, part) => ownerOf(seat, part));
  return {
    parts: owners.map((owner, part) => {
      const state = seat.stateOf(part);
      const since = timeOf(sinceMs(part));
      return { part, owner: owner ?? null, ...(state !== undefined && { state }), since, ...inboxOf(shown, part) };
    }),
    limits: limitsOf(shown, owners),
    members: seat.members.map((member) => {
      const parts = [...owners.keys()].filter((part) => owners[part] === member.epoch);
      const { leaving = false, unreachable = [], doubted = [], refused = [] } = member.says ?? {};
      const says = { parts, leaving, unreachable: [...unreachable], doubted: [...doubted], refused: [...refused] };
      return { ...shownMember(shown, member, parts.length > 0), ...says };
    }),
  };
}

function inboxOf({ inboxOf }: ShownCluster, part: number) {
  const inbox = inboxOf(part);
  return inbox && { inbox: { ...inbox, oldestMs: Math.round(inbox.oldestMs) } };
}

/** Of plugins that are configured here, and of those that rest. */
function limitsOf({ seat, plugins, resting }: ShownCluster, owners: readonly (string | undefined)[]) {
  const all = new Set([...plugins, ...resting.map(({ plugin }) => plugin)]);
  return [...all].map((plugin) => {
    const part = partOfLimits(plugin, seat.parts);
    const rests = resting.find((one) => one.plugin === plugin);
    const servedBy = rests?.servedBy.map(({ epoch, lacks }) => ({ epoch, lacks: [...lacks] }));
    return { plugin, part, owner: owners[part] ?? null, ...(servedBy !== undefined && { rests: { servedBy } }) };
  });
}

/** What is on its way here or from here is this one's by its row. */
function ownerOf(seat: Pick<Seat, 'epoch' | 'ownerOf' | 'stateOf'>, part: number): string | undefined {
  if (seat.stateOf(part) !== undefined) return seat.epoch;
  const owner = seat.ownerOf(part);
  return owner === 'here' ? seat.epoch : owner?.epoch;
}

function shownMember({ seat, differences }: ShownCluster, member: MemberRow, owner: boolean) {
  const { epoch, name, address, version, joinedAtMs, ownsSinceMs } = member;
  return {
    epoch,
    name,
    address: address ?? null,
    version: version ?? null,
    owner,
    joined: timeOf(joinedAtMs),
    ownerSince: timeOf(ownsSinceMs),
    silentMs: seat.silentMs(epoch) ?? null,
    differs: differences(epoch).map((difference) => ({ ...difference })),
  };
}

function timeOf(ms: number | undefined): string | null {
  return ms === undefined ? null : new Date(ms).toISOString();
}

/** The figures of a plugin's limits: whose they are seen to be grants nothing where the plugin does not serve there. */
export function unservedIf(resting: readonly RestingLimits[], plugin: string, figures: SharedFigures): SharedFigures {
  return resting.some((one) => one.plugin === plugin) ? { ...figures, owner: 'unserved' } : figures;
}

/** How many parts are this replica's, by what it does with them; undefined where the state is one. */
export function countedParts(seat: Pick<Seat, 'parts' | 'stateOf'>): Readonly<Record<string, number>> | undefined {
  if (seat.parts === 1) return undefined;
  const counts = Object.fromEntries(HELD_STATES.map((state) => [state, 0]));
  for (let part = 0; part < seat.parts; part++) {
    const state = seat.stateOf(part);
    if (state !== undefined) counts[state] = (counts[state] ?? 0) + 1;
  }
  return counts;
}

/** Since when each part of the state has the owner that a seat sees: by this replica's clock, and from when it looked first. */
export class OwnersSeen {
  readonly #seat: Pick<Seat, 'parts' | 'epoch' | 'ownerOf' | 'stateOf'>;
  readonly #clock: Clock;
  readonly #seen: { owner: string | undefined; sinceMs: number | undefined }[];

  constructor(seat: Pick<Seat, 'parts' | 'epoch' | 'ownerOf' | 'stateOf' | 'onChange'>, clock: Clock) {
    this.#seat = seat;
    this.#clock = clock;
    this.#seen = Array.from({ length: seat.parts }, () => ({ owner: undefined, sinceMs: undefined }));
    seat.onChange(() => this.#look());
  }

  /** Undefined where nobody is seen to have it. */
  sinceMs(part: number): number | undefined {
    return this.#seen[part]?.sinceMs;
  }

  #look(): void {
    const nowMs = this.#clock.now();
    for (const [part, seen] of this.#seen.entries()) {
      const owner = ownerOf(this.#seat, part);
      if (owner === seen.owner) continue;
      this.#seen[part] = { owner, sinceMs: owner === undefined ? undefined : nowMs };
    }
  }
}
