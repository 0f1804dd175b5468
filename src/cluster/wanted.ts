import { getOrMake } from '../lib/get-or-make.js';
import { partOfLimits } from '../model/limits-tenancy.js';
import type { MemberRow, MemberSays, MembersView, PartRow } from '../state/index.js';
import { type AssignedMember, type AssignedPart, type Move, nextMoves } from './assignment.js';
import type { LeaseWatch } from './lease.js';
import { needOf } from './plugin-needs.js';

/** Parts that may be on their way at a time for the sake of balance alone. */
const MAX_MOVING = 2;
/** Who was silent for longer than this share of a lease is given nothing; what it has it keeps until it is dead. */
const QUIET_SHARE = 0.6;

/** A member as it knows itself and the others. */
export interface Looker {
  readonly epoch: string;
  /** What it says now, which its row may not say yet. */
  readonly says: MemberSays;
  readonly leaseMs: number;
  readonly watch: LeaseWatch;
}

/** The next moves by what one member saw. Those of others are theirs to make. */
export function wantedMoves({ parts, members }: MembersView, looker: Looker): readonly Move[] {
  const { epoch, watch, leaseMs } = looker;
  const isHeard = (member: MemberRow) =>
    member.epoch === epoch || (watch.silentMs(member.epoch) ?? 0) < leaseMs * QUIET_SHARE;
  const heard = members.filter(isHeard);
  const known = new Set(heard.map((member) => member.epoch));
  // What is of one that may be dead is nobody's to take, and not to be counted on.
  const settled = parts.filter(({ owner }) => owner === undefined || known.has(owner) || watch.isDead(owner));
  const assigned = heard.map((member) => assignedMember(member, looker));
  const limits = limitsByPart(assigned, parts.length);
  return nextMoves({
    members: assigned,
    parts: settled.map((part) => assignedPart(part, limits.get(part.part))),
    maxMoving: MAX_MOVING,
  });
}

function assignedMember(member: MemberRow, { epoch, says: own }: Looker): AssignedMember {
  const says = member.epoch === epoch ? own : member.says;
  return {
    epoch: member.epoch,
    version: member.version ?? '',
    joinedAtMs: member.joinedAtMs ?? 0,
    plugins: new Set(says?.plugins),
    versions: new Map(Object.entries(says?.versions ?? {})),
    leaving: says?.leaving ?? false,
    unreachable: new Set(says?.unreachable),
    doubted: new Set(says?.doubted),
    refuses: new Set(says?.refused),
  };
}

/** The plugins that serve anywhere, by the part whose owner has their limits. */
function limitsByPart(members: readonly AssignedMember[], parts: number): ReadonlyMap<number, ReadonlySet<string>> {
  const byPart = new Map<number, Set<string>>();
  for (const { plugins } of members) {
    for (const plugin of plugins) getOrMake(byPart, partOfLimits(plugin, parts), () => new Set()).add(plugin);
  }
  return byPart;
}

function assignedPart({ part, owner, needs }: PartRow, limitsOf: ReadonlySet<string> | undefined): AssignedPart {
  const { plugins, leastVersion, hasLimits } = needs;
  const all = plugins.map(needOf);
  const leastPlugins = new Map(all.map(({ id, least }) => [id, least ?? '']));
  const known = {
    part,
    owner,
    needs: new Set(leastPlugins.keys()),
    leastPlugins,
    leastVersion: leastVersion ?? '',
    hasLimits,
  };
  return limitsOf === undefined ? known : { ...known, limitsOf };
}
