import { partitionOf, partOf } from './handle.js';

/** Who owns the limits of a plugin. */
export interface LimitsTenancy {
  /** The epoch of the member. */
  readonly owner: string;
  /** The part whose owner has them. */
  readonly part: number;
  /** Goes up each time that anybody comes to own that part. */
  readonly tenure: number;
  /** Nobody has owned them before, so that nothing is granted by anybody. */
  readonly first: boolean;
}

/** The part whose owner has the limits of a plugin, and keeps what is kept of them. */
export function partOfLimits(plugin: string, parts: number): number {
  return partOf(partitionOf(plugin), parts);
}

const TENANCY = /^[^/]+\/(0|[1-9]\d{0,8})\/([1-9]\d{0,15})$/;

/** Names a tenancy in messages between members, and in what a commit compares: `<owner>/<part>/<tenure>`. */
export function tenancyText({ owner, part, tenure }: Pick<LimitsTenancy, 'owner' | 'part' | 'tenure'>): string {
  return `${owner}/${part}/${tenure}`;
}

/** What a commit under that tenancy has to compare. Throws for a text that names none. */
export function guardOf(text: string): { readonly part: number; readonly tenure: string } {
  const match = TENANCY.exec(text);
  if (match === null) throw new Error(`${JSON.stringify(text.slice(0, 60))} is no tenancy of limits`);
  return { part: Number(match[1]), tenure: match[2] as string };
}
