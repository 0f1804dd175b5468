import { getOrMake } from '../lib/get-or-make.js';
import { type HeapMember, IndexedHeap } from './heap.js';

/** What a pool needs to know of its items. */
export interface Pooled<T extends Pooled<T>> extends HeapMember {
  /** Its next read is made for it alone. */
  readonly alone: boolean;
  /** Items that a batch with this one may carry. */
  readonly batchLimit: number;
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

/** All items that may share a batch. `key` is the due time of the first of them, as of the last `refresh`. */
export class Pool<T extends Pooled<T>> implements HeapMember {
  key = Number.POSITIVE_INFINITY;
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
    const bin = getOrMake(this.#bins, name, () => ({ name, intervalMs, items: new IndexedHeap<T>(), pool: this }));
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

  /** Computes the due time of the first item anew. */
  refresh(): void {
    this.key = this.firstOf()?.dueMs ?? Number.POSITIVE_INFINITY;
  }

  /** Takes out the most overdue item and as many others as may go with it: those due, then those due soon. */
  takeBatch(nowMs: number, maxBatch: number): T[] {
    const batch: T[] = [];
    let limit = maxBatch;
    while (batch.length < limit) {
      const first = this.firstOf();
      if (first === undefined) break;
      const { item, dueMs, intervalMs } = first;
      if (batch.length === 0 ? dueMs > nowMs : dueMs - nowMs > EARLY * intervalMs) break;
      const itemLimit = item.alone ? 1 : item.batchLimit;
      if (batch.length > 0 && itemLimit <= batch.length) break;
      limit = Math.min(limit, itemLimit);
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
  firstOf(wanted: (bin: string) => boolean = () => true): { item: T; dueMs: number; intervalMs: number } | undefined {
    let best: { item: T; dueMs: number; intervalMs: number } | undefined;
    for (const bin of this.#bins.values()) {
      const item = bin.items.peek();
      if (item === undefined || !wanted(bin.name)) continue;
      const intervalMs = bin.intervalMs();
      const dueMs = item.key + intervalMs;
      if (best === undefined || dueMs < best.dueMs) best = { item, dueMs, intervalMs };
    }
    return best;
  }
}
