export interface RememberedOptions {
  readonly max: number;
  /** Of all values together. */
  readonly maxCharacters: number;
}

/** So large a part goes at once: who forgets has to build anew what was made of the values. */
const FORGET_SHARE = 1 / 8;

/** The texts that were added last, each once. Both their number and their length are bounded. */
export class Remembered {
  readonly #options: RememberedOptions;
  readonly #values = new Set<string>();
  #characters = 0;

  constructor(options: RememberedOptions) {
    this.#options = options;
  }

  has(value: string): boolean {
    return this.#values.has(value);
  }

  /** Whether it is new. A known one counts as the newest from now on. */
  add(value: string): boolean {
    const known = this.delete(value);
    this.#values.add(value);
    this.#characters += value.length;
    return !known;
  }

  delete(value: string): boolean {
    if (!this.#values.delete(value)) return false;
    this.#characters -= value.length;
    return true;
  }

  /** Forgets the oldest where there are too many; answers how many went. The newest one stays. */
  trim(): number {
    const { max, maxCharacters } = this.#options;
    if (this.#values.size <= max && this.#characters <= maxCharacters) return 0;
    const before = this.#values.size;
    for (const oldest of this.#values) {
      const few = this.#values.size <= max * (1 - FORGET_SHARE);
      const short = this.#characters <= maxCharacters * (1 - FORGET_SHARE);
      if ((few && short) || this.#values.size === 1) break;
      this.delete(oldest);
    }
    return before - this.#values.size;
  }

  [Symbol.iterator](): IterableIterator<string> {
    return this.#values.values();
  }
}
