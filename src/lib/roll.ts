/** What stands in a roll. */
export interface Listed {
  /** Its place, which no other thing of this roll, or of one that shares its places, ever had or has; 0 until it is added. Written by the roll alone. */
  listedAt: number;
}

/** Places of one block; what is skipped to find a place within it. */
const BLOCK = 256;

/** Gives out places. Rolls that share one list what they have in one order. */
export class Places {
  #last = 0;

  next(): number {
    this.#last += 1;
    return this.#last;
  }
}

interface Block<T> {
  readonly number: number;
  readonly items: Set<T>;
}

/**
 * Things in the order they came, to be listed page by page: a list that starts after any place, be its thing there or not,
 * costs what it gives and the logarithm of all. It takes some forty bytes a thing.
 */
export class Roll<T extends Listed> {
  /** By number; none is empty. */
  readonly #blocks: Block<T>[] = [];
  readonly #places: Places;

  constructor(places = new Places()) {
    this.#places = places;
  }

  add(item: T): void {
    const place = this.#places.next();
    item.listedAt = place;
    const number = Math.floor(place / BLOCK);
    let block = this.#blocks.at(-1);
    if (block?.number !== number) {
      block = { number, items: new Set() };
      this.#blocks.push(block);
    }
    block.items.add(item);
  }

  delete(item: T): void {
    const number = Math.floor(item.listedAt / BLOCK);
    const index = this.#indexOf(number);
    const block = this.#blocks[index];
    if (block?.number !== number || !block.items.delete(item)) return;
    if (block.items.size === 0) this.#blocks.splice(index, 1);
  }

  /** What came after this place, in order. May be left at any time; what comes or goes meanwhile is seen or not. */
  *after(place: number): Iterable<T> {
    for (let index = this.#indexOf(Math.floor(place / BLOCK)); index < this.#blocks.length; index++) {
      for (const item of this.#blocks[index]!.items) if (item.listedAt > place) yield item;
    }
  }

  /** Of the first block with this number or a later one. */
  #indexOf(number: number): number {
    let low = 0;
    let high = this.#blocks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#blocks[middle]!.number < number) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
