import { type HeapMember, IndexedHeap } from './heap.js';

/** What a pool needs to know of its items. */
export interface Pooled<T extends Pooled<T>> extends HeapMember {
  /** Its next read is made for it alone. */
  readonly alone: boolean;
  /** Items that a batch with this one may carry. */
  readonly batchLimit: number;
  /** When it was due as it was queued; as it is taken for a read, where its interval has grown since. */
  dueMs: number;
  /** Where it is queued; written by the pool alone. */
  bin: Bin<T> | undefined;
}

/** Items with one interval. Their keys are times of the last read, and an item is due at key + interval. */
export interface Bin<T extends Pooled<T>> {
  readonly name: string;
  /** Zero for items with a due time of their own. */
  intervalMs(): number;
  readonly items: IndexedHeap<T>;
  readonly pool: Pool<T>;
}

/** How far before its time an item may fill up a batch that is sent anyway, as a part of its interval. */
const EARLY = 0.5;

/** The bin of items that may be read at any time before they are due, where nothing that is due takes the room. */
export const EAGER = 'eager';

/** All items that may share a batch. `key` is the due time of the first of them, as of the last `refresh`. */
export class Pool<T extends Pooled<T>> implements HeapMember {
  key = 0;
  heapIndex = -1;
  readonly batchKey: string;
  readonly #bins = new Map<string, Bin<T>>();

  constructor(batchKey: string) {
    this.batchKey = batchKey;
  }

  get empty(): boolean {
    return this.#bins.size === 0;
  }

  add(item: T, name: string, intervalMs: () => number): void {
    let bin = this.#bins.get(name);
    if (bin === undefined) {
      bin = { name, intervalMs, items: new IndexedHeap<T>(), pool: this };
      this.#bins.set(name, bin);
    }
    bin.items.push(item);
    item.bin = bin;
  }

  remove(item: T): void {
    const { bin } = item;
    if (bin === undefined) return;
    bin.items.remove(item);
    if (bin.items.size === 0) this.#bins.delete(bin.name);
    item.bin = undefined;
  }

  /** Computes the due time of the first item anew; a pool without one is of no order's. */
  refresh(): void {
    const first = this.#firstBin();
    if (first !== undefined) this.key = dueMsOf(first);
  }

  /** Takes out the most overdue item and as many others as may go with it: those due, then those due soon, then eager ones. */
  takeBatch(nowMs: number, maxBatch: number): T[] {
    const batch: T[] = [];
    let limit = maxBatch;
    while (batch.length < limit) {
      const bin = this.#binFor(batch.length !== 0, nowMs);
      if (bin === undefined) break;
      const item = bin.items.peek() as T;
      const itemLimit = item.alone ? 1 : item.batchLimit;
      if (batch.length > 0 && itemLimit <= batch.length) break;
      limit = Math.min(limit, itemLimit);
      item.dueMs = Math.max(item.dueMs, dueMsOf(bin));
      this.remove(item);
      batch.push(item);
    }
    return batch;
  }

  countDue(nowMs: number): number {
    let count = 0;
    for (const bin of this.#bins.values()) count += bin.items.countUpTo(nowMs - bin.intervalMs());
    return count;
  }

  /** The item that is due first, of the bins whose names are wanted. */
  firstOf(wanted?: (bin: string) => boolean): { item: T; dueMs: number } | undefined {
    const bin = this.#firstBin(wanted);
    return bin && { item: bin.items.peek() as T, dueMs: dueMsOf(bin) };
  }

  /** Whose first item goes next into a batch that is begun or not. */
  #binFor(begun: boolean, nowMs: number): Bin<T> | undefined {
    const bin = this.#firstBin();
    if (bin === undefined) return undefined;
    const soonMs = begun ? EARLY * bin.intervalMs() : 0;
    return dueMsOf(bin) - nowMs > soonMs ? this.#bins.get(EAGER) : bin;
  }

  /** The bin whose first item is due first; bins are never empty. */
  #firstBin(wanted?: (bin: string) => boolean): Bin<T> | undefined {
    let best: Bin<T> | undefined;
    let bestMs = Number.POSITIVE_INFINITY;
    for (const bin of this.#bins.values()) {
      if (wanted !== undefined && !wanted(bin.name)) continue;
      const dueMs = dueMsOf(bin);
      if (best !== undefined && dueMs >= bestMs) continue;
      best = bin;
      bestMs = dueMs;
    }
    return best;
  }
}

/** When the first item of a bin is due. */
function dueMsOf<T extends Pooled<T>>(bin: Bin<T>): number {
  return (bin.items.peek() as T).key + bin.intervalMs();
}
