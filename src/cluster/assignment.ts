import { compareVersions, newerOf } from './versions.js';

/** One replica as it may be given parts: what all know of it from its row. */
export interface AssignedMember {
  /** Of this start of it. */
  readonly epoch: string;
  /** Of its release: numbers with points between. */
  readonly version: string;
  /** By the database's clock, so that all say the same; epoch milliseconds. Only the order counts. */
  readonly joinedAtMs: number;
  /** Plugins that serve there, by id. */
  readonly plugins: ReadonlySet<string>;
  /** Their versions, by id, of those that state one. */
  readonly versions?: ReadonlyMap<string, string>;
  /** It stops, and gives away all it has. */
  readonly leaving: boolean;
  /**
   * Plugins whose remote it cannot reach. It must go on saying so for a while: one that has no tasks of the plugin any more sees no failures
   * either, and would be given the part back at once. After that it doubts it.
   */
  readonly unreachable: ReadonlySet<string>;
  /** Plugins whose remote it could not reach when it last tried: it is given one part that needs one of them, and no more, to try again. */
  readonly doubted?: ReadonlySet<string>;
  /** Parts that it could not load, for now: it is given none of them. */
  readonly refuses?: ReadonlySet<number>;
}

/** A group of partitions that moves as one, as its row and its tasks say. */
export interface AssignedPart {
  /** From 0 on. */
  readonly part: number;
  /** The epoch that owns it; undefined where it was given back. */
  readonly owner: string | undefined;
  /** Plugins that its tasks need, by id. */
  readonly needs: ReadonlySet<string>;
  /** The oldest versions of them that can work on its tasks, by id, where there are such. */
  readonly leastPlugins?: ReadonlyMap<string, string>;
  /** The oldest release that can read its tasks. */
  readonly leastVersion: string;
  /** Plugins whose limits are owned with it, by id, as far as any member serves them: where one does not it cannot own them. */
  readonly limitsOf?: ReadonlySet<string>;
  /** Whether limits of plugins are owned with it: those rest after a move, so such a part stays where another one may move. */
  readonly hasLimits: boolean;
}

export interface AssignmentView {
  /** Those that live. An owner that is none of them is dead. */
  readonly members: readonly AssignedMember[];
  readonly parts: readonly AssignedPart[];
  /** Parts that may be on their way at a time where they might stay as well: for the sake of balance, or of a remote; at least 1. */
  readonly maxMoving: number;
}

/** `from`: who has to give it up first, in good order; undefined: nobody has it, and `to` takes it. */
export interface Move {
  readonly part: number;
  readonly from: string | undefined;
  readonly to: string;
  readonly why: 'homeless' | 'leaving' | 'unfit' | 'unreachable' | 'balance';
}

/**
 * The next small moves towards parts that lie well: each with a member that can work on its tasks, as many with one as with another within
 * one.
 *
 * - What has no owner, or one that stops, goes at once to whom it fits best (`Fitness`), and be it badly: without an owner nobody is told of
 *   its tasks. Only who could not load it is not asked to.
 * - What its owner cannot work on, for its release or a plugin, goes at once to one that can, if there is one.
 * - What needs a remote that its owner does not reach goes, a few at a time, to one that does, if there is one.
 * - For balance a few at a time move, to whom they fit perfectly.
 *
 * A plugin that serves nowhere, or nowhere as new as it should be, or whose remote nobody reaches, speaks for no member and against none. Whatever lies well enough stays, so
 * that a member that comes takes its share and nothing else moves; and no move makes anything fit less than before, so they come to an end.
 *
 * Pure, and without a memory: every member that sees the same computes the same, acts on what concerns itself, and looks again. A move that
 * is under way is seen as a part without owner, and is given to the same member again, or to one that is as good by then. Costs parts times
 * members.
 */
export function nextMoves(view: AssignmentView): readonly Move[] {
  return new Assignment(view).moves();
}

/** How badly a part lies with a member; what stands first decides first. */
interface Fitness {
  /** 1 where its release cannot read the part. */
  readonly tooOld: number;
  /** So many plugins that it needs, or whose limits are owned with it, do not serve there, or are too old. */
  readonly lacking: number;
  /** So many remotes are not reached from there. */
  readonly cut: number;
  /** So many remotes were not reached when it last tried, and it tries them by another part already. */
  readonly tries: number;
}

const NONE: ReadonlySet<string> = new Set();

class Assignment {
  readonly #members: ReadonlyMap<string, AssignedMember>;
  /** Those that parts may be given to. */
  readonly #takers: readonly AssignedMember[];
  readonly #parts: readonly AssignedPart[];
  readonly #maxMoving: number;
  /** Plugins that serve somewhere, with the newest version that does, and those of them whose remote is reached from somewhere. */
  readonly #served: ReadonlyMap<string, string>;
  readonly #reached: ReadonlySet<string>;
  /** Who has each part once the moves so far are made. */
  readonly #owners = new Map<number, string>();
  readonly #counts = new Map<string, number>();
  readonly #moves: Move[] = [];

  constructor({ members, parts, maxMoving }: AssignmentView) {
    this.#members = new Map([...members].sort(bySeniority).map((member) => [member.epoch, member]));
    this.#takers = [...this.#members.values()].filter(({ leaving }) => !leaving);
    this.#parts = [...parts].sort((a, b) => a.part - b.part);
    this.#maxMoving = maxMoving;
    this.#served = newestServed(this.#takers);
    this.#reached = new Set(
      this.#takers.flatMap(({ plugins, unreachable }) => [...plugins].filter((plugin) => !unreachable.has(plugin))),
    );
    for (const epoch of this.#members.keys()) this.#counts.set(epoch, 0);
    for (const { part, owner } of parts) if (owner !== undefined && this.#members.has(owner)) this.#give(part, owner);
  }

  moves(): readonly Move[] {
    for (const part of this.#parts) this.#settle(part);
    for (const part of this.#parts) this.#reconnect(part);
    while (this.#mayMove && this.#balance());
    return this.#moves;
  }

  /** Without haste. */
  get #mayMove(): boolean {
    return this.#moves.length < this.#maxMoving;
  }

  /** Moves a part that nobody works on, or nobody will. */
  #settle(part: AssignedPart): void {
    const owner = this.#ownerOf(part);
    const why = owner === undefined ? 'homeless' : owner.leaving ? 'leaving' : 'unfit';
    if (why === 'unfit' && this.#canWork(owner as AssignedMember, part)) return;
    const best = this.#bestOf(part);
    // What lies badly stays, unless there is somebody with whom it lies well.
    if (why !== 'unfit' || best.some((taker) => this.#canWork(taker, part))) this.#move(part, best, why);
  }

  /** Moves a part whose owner can work on it, but for a remote that others reach. */
  #reconnect(part: AssignedPart): void {
    const owner = this.#ownerOf(part);
    if (!this.#mayMove || owner === undefined || owner.leaving || !this.#canWork(owner, part)) return;
    if (this.#fitness(owner, part).cut === 0) return;
    const best = this.#bestOf(part);
    if (best.some((taker) => this.#fits(taker, part))) this.#move(part, best, 'unreachable');
  }

  /** One move from a member that has at least two more than another. False where there is none. */
  #balance(): boolean {
    const byCount = [...this.#members.values()].sort((a, b) => this.#count(a) - this.#count(b));
    for (const from of byCount.toReversed()) {
      for (const to of byCount) {
        if (this.#count(from) < this.#count(to) + 2) break;
        const part = this.#spare(from, to);
        if (part === undefined) continue;
        this.#move(part, [to], 'balance');
        return true;
      }
    }
    return false;
  }

  /** A part that lies well with `to`; one whose move costs least. */
  #spare(from: AssignedMember, to: AssignedMember): AssignedPart | undefined {
    if (to.leaving || compareVersions(to.version, from.version) < 0) return undefined;
    const fit = this.#parts.filter(
      (part) =>
        this.#owners.get(part.part) === from.epoch &&
        !this.#moves.some((move) => move.part === part.part) &&
        this.#fits(to, part),
    );
    return fit.find(({ hasLimits }) => !hasLimits) ?? fit[0];
  }

  /** Whether nothing speaks against that a member is given a part. */
  #fits(member: AssignedMember, part: AssignedPart): boolean {
    const { cut, tries } = this.#fitness(member, part);
    return this.#canWork(member, part) && cut === 0 && tries === 0;
  }

  #canWork(member: AssignedMember, part: AssignedPart): boolean {
    const { tooOld, lacking } = this.#fitness(member, part);
    return tooOld === 0 && lacking === 0 && !refuses(member, part);
  }

  #fitness(member: AssignedMember, part: AssignedPart): Fitness {
    const { epoch, version, plugins, unreachable, doubted } = member;
    const { needs, limitsOf = NONE, leastVersion, leastPlugins } = part;
    const fitness = { tooOld: compareVersions(version, leastVersion) < 0 ? 1 : 0, lacking: 0, cut: 0, tries: 0 };
    for (const plugin of limitsOf) {
      if (!needs.has(plugin) && this.#lacks(member, plugin)) fitness.lacking += 1;
    }
    for (const plugin of needs) {
      if (this.#lacks(member, plugin, leastPlugins?.get(plugin))) fitness.lacking += 1;
      else if (!plugins.has(plugin)) continue;
      else if (unreachable.has(plugin)) fitness.cut += this.#reached.has(plugin) ? 1 : 0;
      else if (doubted?.has(plugin) === true && this.#has(epoch, plugin)) fitness.tries += 1;
    }
    return fitness;
  }

  /** Whether others serve a plugin that a member does not, or of which it has an older version than may be. */
  #lacks({ plugins, versions }: AssignedMember, plugin: string, least = ''): boolean {
    const newest = this.#served.get(plugin);
    if (newest === undefined) return false;
    if (!plugins.has(plugin)) return true;
    return compareVersions(newest, least) >= 0 && compareVersions(versions?.get(plugin) ?? '', least) < 0;
  }

  /** Whether a member has a part that needs this plugin. */
  #has(epoch: string, plugin: string): boolean {
    return this.#parts.some(({ part, needs }) => this.#owners.get(part) === epoch && needs.has(plugin));
  }

  /** Those that may be given a part, and with whom it lies least badly. */
  #bestOf(part: AssignedPart): readonly AssignedMember[] {
    const rated = this.#takers
      .filter((taker) => !refuses(taker, part))
      .map((taker) => ({ taker, fitness: this.#fitness(taker, part) }))
      .sort((a, b) => compareFitness(a.fitness, b.fitness));
    const [best] = rated;
    if (best === undefined) return [];
    return rated.filter(({ fitness }) => compareFitness(fitness, best.fitness) === 0).map(({ taker }) => taker);
  }

  /** The one with the fewest; of several the newest release, then the one that came first. */
  #leastOf(members: readonly AssignedMember[]): AssignedMember | undefined {
    return members.reduce<AssignedMember | undefined>((best, one) => {
      if (best === undefined) return one;
      const fewer = this.#count(best) - this.#count(one) || compareVersions(one.version, best.version);
      return fewer > 0 ? one : best;
    }, undefined);
  }

  /** To the one of these that has the fewest; where there is one at all. */
  #move(part: AssignedPart, takers: readonly AssignedMember[], why: Move['why']): void {
    const to = this.#leastOf(takers);
    if (to === undefined) return;
    const from = this.#owners.get(part.part);
    if (from !== undefined) this.#counts.set(from, (this.#counts.get(from) as number) - 1);
    this.#give(part.part, to.epoch);
    this.#moves.push({ part: part.part, from, to: to.epoch, why });
  }

  #give(part: number, epoch: string): void {
    this.#owners.set(part, epoch);
    this.#counts.set(epoch, (this.#counts.get(epoch) as number) + 1);
  }

  #ownerOf({ part }: AssignedPart): AssignedMember | undefined {
    return this.#members.get(this.#owners.get(part) ?? '');
  }

  #count({ epoch }: AssignedMember): number {
    return this.#counts.get(epoch) as number;
  }
}

function newestServed(members: readonly AssignedMember[]): ReadonlyMap<string, string> {
  const newest = new Map<string, string>();
  for (const { plugins, versions } of members) {
    for (const plugin of plugins) {
      newest.set(plugin, newerOf(newest.get(plugin), versions?.get(plugin)) ?? '');
    }
  }
  return newest;
}

function refuses({ refuses: refused }: AssignedMember, { part }: AssignedPart): boolean {
  return refused?.has(part) === true;
}

function compareFitness(a: Fitness, b: Fitness): number {
  return a.tooOld - b.tooOld || a.lacking - b.lacking || a.cut - b.cut || a.tries - b.tries;
}

/** An order that all have: who came first, then by name. */
function bySeniority(a: AssignedMember, b: AssignedMember): number {
  return a.joinedAtMs - b.joinedAtMs || (a.epoch < b.epoch ? -1 : 1);
}
