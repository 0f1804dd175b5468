/** Keys between these two, which are none of them; without one as far as there are any. */
export interface KeyRange {
  readonly after?: string;
  readonly before?: string;
}

/**
 * The keys of the facts of part n of N, where a state has several, are those of any state behind `N.n/`: so no two numbers of parts share
 * one, and those of a part lie together. A state that is not divided has keys without.
 */
export function partPrefix(index: number, parts: number): string {
  return `${parts}.${index}/`;
}

const PREFIX = /^\d{1,3}\.\d{1,3}\//;

/** Whether it is the key of a state that is divided. */
export function isKeyOfPart(key: string): boolean {
  return PREFIX.test(key);
}

/** The key as its part knows it. */
export function withoutPart(key: string): string {
  return key.replace(PREFIX, '');
}

/** All keys of a part; `/` comes before `0`, and no other character between the two is in a key. */
export function rangeOfPart(index: number, parts: number): KeyRange {
  return { after: `${parts}.${index}/`, before: `${parts}.${index}0` };
}

/** The same of one kind alone. */
export function rangeOfKind(index: number, parts: number, kind: string): KeyRange {
  const prefix = `${partPrefix(index, parts)}${kind}`;
  return { after: `${prefix}/`, before: `${prefix}0` };
}

/** All keys that are none of so many parts. */
export function rangesOutside(parts: number): readonly KeyRange[] {
  return [{ before: `${parts}.` }, { after: `${parts}/` }];
}
