/**
 * Whether what a file holds is there to stay: who writes it in place leaves, for a moment, the first part of it, which may look whole.
 *
 * States: what the last look has found, if there was one.
 */
export class Settling {
  #seen: string | undefined;

  /** Whether the look before, some time ago, has found the same. */
  settled(found: string): boolean {
    const same = found === this.#seen;
    this.#seen = found;
    return same;
  }
}
