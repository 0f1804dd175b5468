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
  /** It stops, and gives away all it has. */
  readonly leaving: boolean;
  /**
   * Plugins whose remote it cannot reach. It must go on saying so until a call of its own has reached that remote: one that has no tasks
   * of the plugin any more sees no failures either, and would be given the part back.
   */
  readonly unreachable: ReadonlySet<string>;
  /** Parts that it could not load, for now. */
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
  /** The oldest release that can read its tasks. */
  readonly leastVersion: string;
  /** Whether limits of plugins are owned with it: those rest after a move, so such a part stays where another one may move. */
  readonly hasLimits: boolean;
}

export interface AssignmentView {
  /** Those that live. An owner that is none of them is dead. */
  readonly members: readonly AssignedMember[];
  readonly parts: readonly AssignedPart[];
  /** Parts that may be on their way at a time for the sake of balance alone; at least 1. */
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
 * one. What has no owner is given out at once; what its owner cannot or will not keep goes as well; only then, and a few at a time, do parts
 * move for balance. Whatever lies well enough stays, so that a member that comes takes its share and nothing else moves.
 *
 * Pure, and without a memory: every member that sees the same computes the same, acts on what concerns itself, and looks again. A move that
 * is under way is seen as a part without owner, and is given to the same member again, or to one that is as good by then. Costs parts times
 * members.
 */
export function nextMoves(view: AssignmentView): readonly Move[] {
  return new Assignment(view).moves();
}

class Assignment {
  readonly #members: ReadonlyMap<string, AssignedMember>;
  readonly #parts: readonly AssignedPart[];
  readonly #maxMoving: number;
  /** Who has each part once the moves so far are made. */
  readonly #owners = new Map<number, string>();
  readonly #counts = new Map<string, number>();
  readonly #moves: Move[] = [];

  constructor({ members, parts, maxMoving }: AssignmentView) {
    this.#members = new Map([...members].sort(bySeniority).map((member) => [member.epoch, member]));
    this.#parts = [...parts].sort((a, b) => a.part - b.part);
    this.#maxMoving = maxMoving;
    for (const epoch of this.#members.keys()) this.#counts.set(epoch, 0);
    for (const { part, owner } of parts) if (owner !== undefined && this.#members.has(owner)) this.#give(part, owner);
  }

  moves(): readonly Move[] {
    for (const part of this.#parts) this.#settle(part);
    while (this.#moves.length < this.#maxMoving && this.#balance());
    return this.#moves;
  }

  /** Moves a part that cannot stay, where somebody can take it. */
  #settle(part: AssignedPart): void {
    const why = this.#reason(part);
    if (why === undefined) return;
    const owner = this.#ownerOf(part);
    const able = this.#able(part).filter((member) => member !== owner);
    const reaching = able.filter((member) => reaches(member, part));
    // Where nobody reaches the remote either, the part stays: the remote is down for all.
    const takers = reaching.length > 0 || why === 'unreachable' ? reaching : able;
    const to = this.#leastOf(takers);
    if (to !== undefined) this.#move(part, to, why);
  }

  #reason(part: AssignedPart): Move['why'] | undefined {
    const owner = this.#ownerOf(part);
    if (owner === undefined) return 'homeless';
    if (owner.leaving) return 'leaving';
    if (!canWork(owner, part)) return 'unfit';
    return reaches(owner, part) ? undefined : 'unreachable';
  }

  /** One move from a member that has at least two more than another. False where there is none. */
  #balance(): boolean {
    const byCount = [...this.#members.values()].sort((a, b) => this.#count(a) - this.#count(b));
    for (const from of byCount.toReversed()) {
      for (const to of byCount) {
        if (this.#count(from) < this.#count(to) + 2) break;
        const part = this.#spare(from, to);
        if (part === undefined) continue;
        this.#move(part, to, 'balance');
        return true;
      }
    }
    return false;
  }

  /** A part that is as well with `to`; one whose move costs least. */
  #spare(from: AssignedMember, to: AssignedMember): AssignedPart | undefined {
    if (to.leaving || compareVersions(to.version, from.version) < 0) return undefined;
    const fit = this.#parts.filter(
      (part) =>
        this.#owners.get(part.part) === from.epoch &&
        !this.#moves.some((move) => move.part === part.part) &&
        canWork(to, part) &&
        reaches(to, part),
    );
    return fit.find(({ hasLimits }) => !hasLimits) ?? fit[0];
  }

  #able(part: AssignedPart): AssignedMember[] {
    return [...this.#members.values()].filter((member) => !member.leaving && canWork(member, part));
  }

  /** The one with the fewest; of several the newest release, then the one that came first. */
  #leastOf(members: readonly AssignedMember[]): AssignedMember | undefined {
    return members.reduce<AssignedMember | undefined>((best, one) => {
      if (best === undefined) return one;
      const fewer = this.#count(best) - this.#count(one) || compareVersions(one.version, best.version);
      return fewer > 0 ? one : best;
    }, undefined);
  }

  #move(part: AssignedPart, to: AssignedMember, why: Move['why']): void {
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

function canWork({ version, plugins, refuses }: AssignedMember, { part, needs, leastVersion }: AssignedPart): boolean {
  if (refuses?.has(part) === true) return false;
  return compareVersions(version, leastVersion) >= 0 && [...needs].every((plugin) => plugins.has(plugin));
}

function reaches({ unreachable }: AssignedMember, { needs }: AssignedPart): boolean {
  return unreachable.size === 0 || [...needs].every((plugin) => !unreachable.has(plugin));
}

/** An order that all have: who came first, then by name. */
function bySeniority(a: AssignedMember, b: AssignedMember): number {
  return a.joinedAtMs - b.joinedAtMs || (a.epoch < b.epoch ? -1 : 1);
}

/** By their numbers, one after the other; what follows a hyphen, and is no release yet, comes before the release. */
function compareVersions(a: string, b: string): number {
  const [numbersA, pre] = numbersOf(a);
  const [numbersB, preB] = numbersOf(b);
  for (let at = 0; at < Math.max(numbersA.length, numbersB.length); at++) {
    const difference = (numbersA[at] ?? 0) - (numbersB[at] ?? 0);
    if (difference !== 0) return difference;
  }
  if (pre === preB) return 0;
  if (pre === '' || preB === '') return pre === '' ? 1 : -1;
  return pre < preB ? -1 : 1;
}

function numbersOf(version: string): [numbers: readonly number[], pre: string] {
  const [numbers = '', ...pre] = version.split('-');
  return [numbers.split('.').map((text) => Number.parseInt(text, 10) || 0), pre.join('-')];
}
