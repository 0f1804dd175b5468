import { MIN_SECRET_LENGTH as WINDOW } from './secret-forms.js';

/** By so many characters a place in the text is looked up. */
const BLOCK = 3;
const FAR = WINDOW - BLOCK + 1;
const TABLE = 1 << 16;
/** Longer texts are found by their first characters, then compared. */
const HEAD = 256;

/**
 * Finds many texts in one at once (Wu and Manber's way): a table says for every three characters how far the search may
 * jump, so that its cost hardly depends on how many texts are looked for. Each has at least eight characters.
 *
 * It has no states: the sorted heads are made when they are asked for after a text was added.
 */
export class TextMatcher {
  readonly #shifts = new Uint8Array(TABLE).fill(FAR);
  /** The lengths of the heads that end the window with this block, longest first. */
  readonly #lengths = new Map<number, number[]>();
  /** The whole texts by their heads, longest first. */
  readonly #byHead = new Map<string, string[]>();
  #sorted: string[] | undefined;

  add(text: string): void {
    const head = text.slice(0, HEAD);
    const known = this.#byHead.get(head);
    if (known !== undefined) {
      if (!known.includes(text)) known.push(text);
      known.sort((a, b) => b.length - a.length);
      return;
    }
    this.#byHead.set(head, [text]);
    this.#sorted = undefined;
    for (let at = 0; at + BLOCK <= WINDOW; at++) {
      const block = blockAt(text, at);
      this.#shifts[block] = Math.min(this.#shifts[block] as number, WINDOW - BLOCK - at);
    }
    const last = blockAt(text, WINDOW - BLOCK);
    const lengths = this.#lengths.get(last);
    if (lengths === undefined) this.#lengths.set(last, [head.length]);
    else if (!lengths.includes(head.length)) lengths.push(head.length);
    lengths?.sort((a, b) => b - a);
  }

  finds(text: string): boolean {
    return this.#next(text, 0) !== undefined;
  }

  /** The text with every hit replaced, the longest where several begin at one place. */
  replace(text: string, by: string): string {
    let out = '';
    let from = 0;
    for (let hit = this.#next(text, 0); hit !== undefined; hit = this.#next(text, from)) {
      out += text.slice(from, hit.at) + by;
      from = hit.end;
    }
    return from === 0 ? text : out + text.slice(from);
  }

  /** The first place from which on the rest of the text is the beginning of one looked for; else the text's length. */
  openAt(text: string): number {
    let from = 0;
    for (let hit = this.#next(text, 0); hit !== undefined; hit = this.#next(text, from)) {
      if (hit.open || (text.length - hit.at < HEAD && this.#begins(text.slice(hit.at)))) return hit.at;
      from = hit.end;
    }
    for (let at = Math.max(from, text.length - HEAD + 1); at < text.length; at++) {
      if (this.#begins(text.slice(at))) return at;
    }
    return text.length;
  }

  /** The place where a hit begins that `at` divides; else `at` itself. */
  hitOver(text: string, at: number): number {
    for (let hit = this.#next(text, 0); hit !== undefined && hit.at < at; hit = this.#next(text, hit.end)) {
      if (hit.end > at) return hit.at;
    }
    return at;
  }

  /** Whether one looked for begins with this and goes on. */
  #begins(text: string): boolean {
    this.#sorted ??= [...this.#byHead.keys()].sort();
    let at = lowerBound(this.#sorted, text);
    if (this.#sorted[at] === text) at++;
    return this.#sorted[at]?.startsWith(text) ?? false;
  }

  #next(text: string, from: number): { at: number; end: number; open: boolean } | undefined {
    const shifts = this.#shifts;
    for (let at = from; at + WINDOW <= text.length; ) {
      const block = blockAt(text, at + WINDOW - BLOCK);
      const shift = shifts[block] as number;
      if (shift > 0) {
        at += shift;
        continue;
      }
      const hit = this.#longestAt(text, at, block);
      if (hit !== undefined) return hit;
      at++;
    }
    return undefined;
  }

  #longestAt(text: string, at: number, block: number): { at: number; end: number; open: boolean } | undefined {
    for (const length of this.#lengths.get(block) ?? []) {
      const whole = at + length <= text.length ? this.#byHead.get(text.slice(at, at + length)) : undefined;
      if (whole === undefined) continue;
      // Of a long one, also as much as stands here: the rest was cut off, or changed.
      const same = Math.max(...whole.map((one) => agreement(text, at, one)));
      const open = at + same === text.length && whole.some((one) => one.length > same);
      return { at, end: at + same, open };
    }
    return undefined;
  }
}

function blockAt(text: string, at: number): number {
  const mixed = (text.charCodeAt(at) * 31 + text.charCodeAt(at + 1)) * 31 + text.charCodeAt(at + 2);
  return (Math.imul(mixed, 0x9e3779b1) >>> 16) & (TABLE - 1);
}

/** How many characters of `one` stand in the text at this place. */
function agreement(text: string, at: number, one: string): number {
  if (text.startsWith(one, at)) return one.length;
  let same = Math.min(HEAD, one.length);
  while (at + same < text.length && same < one.length && text.charCodeAt(at + same) === one.charCodeAt(same)) same++;
  return same;
}

function lowerBound(sorted: readonly string[], text: string): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((sorted[middle] as string) < text) low = middle + 1;
    else high = middle;
  }
  return low;
}
