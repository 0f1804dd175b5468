import { getOrMake } from '../lib/get-or-make.js';
import { partOfLimits } from '../model/limits-tenancy.js';
import type { MemberRow, MembersView, PartRow } from '../state/index.js';
import { needOf } from './plugin-needs.js';

/** A plugin that serves somewhere, whose limits are with a member at which it does not: nobody grants what it may, so it rests everywhere. */
export interface RestingLimits {
  readonly plugin: string;
  /** The part that its limits are owned with. */
  readonly part: number;
  /** The member that has it. */
  readonly owner: string;
  /** Where it serves, and what keeps the part from lying there; nothing does where it is about to move. */
  readonly servedBy: readonly { readonly epoch: string; readonly lacks: readonly string[] }[];
}

/** So long limits are on their way after a change of who serves what, before anybody is told that they rest. Milliseconds. */
const PATIENCE_MS = 15_000;

/** Plugins of members that live, by what was seen last; by id. */
export function restingLimits(
  { parts, members }: MembersView,
  isDead: (epoch: string) => boolean,
): readonly RestingLimits[] {
  const alive = members.filter(({ epoch }) => !isDead(epoch));
  const byPart = new Map<number, Set<string>>();
  for (const member of alive) {
    for (const plugin of servedAt(member)) {
      getOrMake(byPart, partOfLimits(plugin, parts.length), () => new Set()).add(plugin);
    }
  }
  const served = new Set([...byPart.values()].flatMap((plugins) => [...plugins]));
  return parts
    .flatMap((part) => {
      const owner = alive.find(({ epoch }) => epoch === part.owner);
      const plugins = [...(byPart.get(part.part) ?? [])];
      if (owner === undefined) return [];
      const needed = neededIn(part, plugins).filter((plugin) => served.has(plugin));
      return plugins
        .filter((plugin) => !servedAt(owner).includes(plugin))
        .map((plugin) => ({ plugin, part: part.part, owner: owner.epoch, servedBy: servedBy(plugin, alive, needed) }));
    })
    .sort((a, b) => (a.plugin < b.plugin ? -1 : 1));
}

function servedAt({ says }: MemberRow): readonly string[] {
  return says?.plugins ?? [];
}

/** What a member has to serve so that a part lies well there. */
function neededIn({ needs }: PartRow, limitsOf: readonly string[]): readonly string[] {
  return [...new Set([...limitsOf, ...needs.plugins.map((text) => needOf(text).id)])].sort();
}

function servedBy(plugin: string, members: readonly MemberRow[], needed: readonly string[]): RestingLimits['servedBy'] {
  return members
    .filter((member) => servedAt(member).includes(plugin))
    .map((member) => ({ epoch: member.epoch, lacks: needed.filter((one) => !servedAt(member).includes(one)) }));
}

/** Which limits rest for good, unless somebody does something: each is told once, and anew once it did not. Pure: time is handed in. */
export class RestingSeen {
  readonly #sinceMs = new Map<string, { readonly sinceMs: number; told: boolean }>();

  /** Those that are to be told of now. */
  saw(resting: readonly RestingLimits[], nowMs: number): readonly RestingLimits[] {
    for (const plugin of this.#sinceMs.keys()) {
      if (!resting.some((one) => one.plugin === plugin)) this.#sinceMs.delete(plugin);
    }
    return resting.filter(({ plugin }) => {
      const seen = getOrMake(this.#sinceMs, plugin, () => ({ sinceMs: nowMs, told: false }));
      if (seen.told || nowMs - seen.sinceMs < PATIENCE_MS) return false;
      seen.told = true;
      return true;
    });
  }
}
