export const MAX_ID = 2 ** 31 - 1;

/** A power of two, and few enough to cost nothing where there is one table a connection. */
const FIRST_SIZE = 16;

/**
 * A map from whole numbers above 0 to values that come and go, such as the calls of a connection. It leaves nothing behind for the collector, which
 * `Map` and `Set` do: theirs is a new table again and again, and each refers to the one that took its place. Once one of them is old, all that
 * any later table ever held is kept until the next full collection, and promoted before it: every call with all that it
 * refers to.
 *
 * As much of `Map` as Node's HTTP/2 uses. Collisions go to the next place, and a delete moves up those that stand behind; a free place has the
 * id 0. Every operation takes constant time but `forEach`.
 */
export class IdTable<T> {
  #ids = new Int32Array(FIRST_SIZE);
  #values: (T | undefined)[] = new Array(FIRST_SIZE).fill(undefined);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(id: number): T | undefined {
    return this.#values[this.#place(id)];
  }

  has(id: number): boolean {
    return this.#ids[this.#place(id)] === id;
  }

  /** `id` from 1 to `MAX_ID`. */
  set(id: number, value: T): this {
    if (this.#size * 2 >= this.#ids.length) this.#grow();
    const place = this.#place(id);
    if (this.#ids[place] !== id) this.#size += 1;
    this.#ids[place] = id;
    this.#values[place] = value;
    return this;
  }

  delete(id: number): boolean {
    const place = this.#place(id);
    if (this.#ids[place] !== id) return false;
    this.#size -= 1;
    this.#free(place);
    return true;
  }

  /** In no order. Whoever is deleted meanwhile is not told any more; whoever is set meanwhile may be. */
  forEach(tell: (value: T, id: number) => void): void {
    for (const id of this.#ids.filter((one) => one !== 0)) if (this.has(id)) tell(this.get(id) as T, id);
  }

  /** Where it is, or would be. */
  #place(id: number): number {
    const last = this.#ids.length - 1;
    let place = homeOf(id, last);
    while (this.#ids[place] !== 0 && this.#ids[place] !== id) place = (place + 1) & last;
    return place;
  }

  #free(from: number): void {
    const last = this.#ids.length - 1;
    let free = from;
    for (let place = (free + 1) & last; this.#ids[place] !== 0; place = (place + 1) & last) {
      const id = this.#ids[place] as number;
      // Whoever has its home behind the free place stays.
      if (((place - homeOf(id, last)) & last) < ((place - free) & last)) continue;
      this.#ids[free] = id;
      this.#values[free] = this.#values[place];
      free = place;
    }
    this.#ids[free] = 0;
    this.#values[free] = undefined;
  }

  #grow(): void {
    const [ids, values] = [this.#ids, this.#values];
    this.#ids = new Int32Array(ids.length * 2);
    this.#values = new Array(ids.length * 2).fill(undefined);
    for (const [at, id] of ids.entries()) {
      if (id === 0) continue;
      const place = this.#place(id);
      this.#ids[place] = id;
      this.#values[place] = values[at];
    }
  }
}

/** The ids of one side of a connection are all odd, or all even. */
function homeOf(id: number, last: number): number {
  return (id >>> 1) & last;
}
