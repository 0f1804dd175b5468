/** Lets each key through once in `pauseMs`, on the clock that is handed in; what it remembers is bounded by `maxKeys`. */
export class Rarely {
  readonly #nextMs = new Map<string, number>();
  readonly #now: () => number;
  readonly #pauseMs: number;
  readonly #maxKeys: number;

  constructor(options: { readonly now: () => number; readonly pauseMs: number; readonly maxKeys: number }) {
    this.#now = options.now;
    this.#pauseMs = options.pauseMs;
    this.#maxKeys = options.maxKeys;
  }

  allows(key: string): boolean {
    const now = this.#now();
    const next = this.#nextMs.get(key);
    if (next !== undefined && now < next) return false;
    if (next === undefined && this.#nextMs.size >= this.#maxKeys) return false;
    this.#nextMs.set(key, now + this.#pauseMs);
    return true;
  }
}
