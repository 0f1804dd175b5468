import type { Item } from './item.js';
import { AGE_CLASSES, type Population } from './pacing.js';

/** How many tasks each age class has, and each class of tasks nobody asks for. */
export class ClassCounts implements Population {
  readonly byAge: number[] = new Array<number>(AGE_CLASSES).fill(0);
  readonly idle = new Map<number, number>();

  add(item: Item, by: 1 | -1): void {
    if (item.doublings === 0) this.byAge[item.ageClass] = (this.byAge[item.ageClass] as number) + by;
    else {
      const count = (this.idle.get(item.doublings) ?? 0) + by;
      if (count === 0) this.idle.delete(item.doublings);
      else this.idle.set(item.doublings, count);
    }
  }
}

/** How many tasks each batch key has. */
export class KeyCounts {
  readonly #counts = new Map<string, number>();
  #total = 0;
  readonly #gone: (batchKey: string) => void;

  /** `gone` is told when the last task of a key has left it. */
  constructor(gone: (batchKey: string) => void) {
    this.#gone = gone;
  }

  /** Keys that have tasks. */
  get size(): number {
    return this.#counts.size;
  }

  /** Tasks of all keys. */
  get total(): number {
    return this.#total;
  }

  of(batchKey: string): number {
    return this.#counts.get(batchKey) ?? 0;
  }

  add(batchKey: string): void {
    this.#total += 1;
    this.#counts.set(batchKey, this.of(batchKey) + 1);
  }

  remove(batchKey: string): void {
    this.#total -= 1;
    const left = this.of(batchKey) - 1;
    if (left > 0) {
      this.#counts.set(batchKey, left);
      return;
    }
    this.#counts.delete(batchKey);
    this.#gone(batchKey);
  }

  /** A task changed its key. */
  move(from: string, to: string): void {
    if (from === to) return;
    this.add(to);
    this.remove(from);
  }
}
