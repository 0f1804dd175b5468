/** So many go at least before a new table is made. */
const LEAST_GONE = 64;

/**
 * A map of what comes and goes all the time, as the calls under way do, by keys of any kind; see `IdTable` for what a plain `Map` would
 * keep of each. That `Map` gives way to a new one as soon as more has gone from it than is there: the tables of the one do not refer to
 * those of the other. Every operation takes constant time, taken over many.
 *
 * Iterated in the order in which entries came. What went meanwhile is not told, what comes meanwhile may be.
 */
export class PassingMap<K, V> implements Iterable<readonly [K, V]> {
  #map = new Map<K, V>();
  #gone = 0;

  get size(): number {
    return this.#map.size;
  }

  get(key: K): V | undefined {
    return this.#map.get(key);
  }

  has(key: K): boolean {
    return this.#map.has(key);
  }

  set(key: K, value: V): void {
    if (this.#gone >= LEAST_GONE && this.#gone > this.#map.size) {
      this.#map = new Map(this.#map);
      this.#gone = 0;
    }
    this.#map.set(key, value);
  }

  /** False where it is not there. */
  delete(key: K): boolean {
    if (!this.#map.delete(key)) return false;
    this.#gone += 1;
    return true;
  }

  *[Symbol.iterator](): Generator<readonly [K, V]> {
    const told = this.#map;
    for (const entry of told) if (told === this.#map || this.#map.has(entry[0])) yield entry;
  }

  *keys(): Generator<K> {
    for (const [key] of this) yield key;
  }

  *values(): Generator<V> {
    for (const [, value] of this) yield value;
  }
}

/** A set of what comes and goes all the time: see `PassingMap`. */
export class PassingSet<T> implements Iterable<T> {
  readonly #members = new PassingMap<T, true>();

  get size(): number {
    return this.#members.size;
  }

  has(member: T): boolean {
    return this.#members.has(member);
  }

  add(member: T): void {
    this.#members.set(member, true);
  }

  /** False where it is not there. */
  delete(member: T): boolean {
    return this.#members.delete(member);
  }

  [Symbol.iterator](): Iterator<T> {
    return this.#members.keys();
  }
}
