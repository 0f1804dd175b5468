import type { JsonObject, JsonValue } from '../lib/json.js';
import type { MemberRow } from '../state/index.js';

/** One option that two replicas have set differently, in words. */
export interface Difference {
  readonly option: string;
  readonly here: string;
  readonly there: string;
}

/** So many of one replica are told; a wholly different configuration is seen by the first. */
const MAX_TOLD = 20;
const MAX_TEXT = 100;

/** What stands at each path of a tree; what stands in a list is one value. */
function leavesOf(value: JsonValue | undefined, path = ''): Map<string, string> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return new Map([[path, JSON.stringify(value ?? null).slice(0, MAX_TEXT)]]);
  }
  const leaves = Object.entries(value).flatMap(([key, child]) => [
    ...leavesOf(child, path === '' ? key : `${path}.${key}`),
  ]);
  return new Map(leaves);
}

/** Options that differ, in order of their names, the first ones of them. */
export function differencesOf(here: JsonObject, there: JsonObject): Difference[] {
  const [own, other] = [leavesOf(here), leavesOf(there)];
  const options = [...new Set([...own.keys(), ...other.keys()])].sort();
  return options
    .filter((option) => own.get(option) !== other.get(option))
    .slice(0, MAX_TOLD)
    .map((option) => ({ option, here: own.get(option) ?? 'not set', there: other.get(option) ?? 'not set' }));
}

export interface ComparisonOptions {
  /** What this replica goes by, secrets masked. */
  readonly own: JsonObject;
  readonly epoch: string;
  /** What another one goes by, as it said when it came. */
  readonly configOf: (epoch: string) => Promise<string | undefined>;
  /** Told once of each replica that goes by other options. */
  readonly differs: (member: MemberRow, differences: readonly Difference[]) => void;
}

/**
 * Compares the options of every replica that comes with this one's: the one that works goes by its own, so that limits that differ would change
 * with each takeover, unseen.
 *
 * States of a replica: unseen → asked for (again where that failed) → compared, until it is gone.
 */
export class Comparison {
  readonly #options: ComparisonOptions;
  readonly #compared = new Map<string, readonly Difference[]>();
  #asking = false;

  constructor(options: ComparisonOptions) {
    this.#options = options;
  }

  /** Undefined while it was not compared. */
  of(epoch: string): readonly Difference[] | undefined {
    return this.#compared.get(epoch);
  }

  /** These are there now. Never rejects. */
  async seen(members: readonly MemberRow[]): Promise<void> {
    if (this.#asking) return;
    this.#asking = true;
    const there = new Set(members.map(({ epoch }) => epoch));
    for (const epoch of this.#compared.keys()) if (!there.has(epoch)) this.#compared.delete(epoch);
    try {
      for (const member of members) if (!this.#compared.has(member.epoch)) await this.#compare(member);
    } catch {
      // It is asked for again at the next look, which tells what is wrong with the database.
    } finally {
      this.#asking = false;
    }
  }

  async #compare(member: MemberRow): Promise<void> {
    const { own, epoch, configOf, differs } = this.#options;
    if (member.epoch === epoch) return;
    const text = await configOf(member.epoch);
    // One of a release that says nothing of it.
    const differences = text === undefined ? [] : differencesOf(own, JSON.parse(text) as JsonObject);
    this.#compared.set(member.epoch, differences);
    if (differences.length > 0) differs(member, differences);
  }
}
