import { getOrMake } from '../lib/get-or-make.js';
import type { Listed } from '../lib/roll.js';
import type { OwedDeletes } from './owed-deletes.js';
import type { StoreListener, TaskStore } from './task-store.js';
import type { UnclearCreates } from './unclear-creates.js';

/** What those ask a store who work for the tasks of several, or show them. */
export type TaskStores = Pick<
  TaskStore,
  | 'unfinished'
  | 'finished'
  | 'evictions'
  | 'watchers'
  | 'watchersLagged'
  | 'durable'
  | 'counts'
  | 'entry'
  | 'byId'
  | 'unfinishedOf'
  | 'listed'
  | 'listen'
> & {
  readonly owed: Pick<OwedDeletes, 'size' | 'get' | 'listed'>;
  readonly unclear: Pick<UnclearCreates, 'size' | 'listed'>;
};

type Counted = 'unfinished' | 'finished' | 'evictions' | 'watchers' | 'watchersLagged';

/** Several stores as one. Of their lists the places are to be shared. They may come and go; what is counted from the start of the daemon on counts on after one went. */
export class JoinedStores implements TaskStores {
  readonly #stores: TaskStore[];
  readonly #listeners = new Map<string, StoreListener>();
  /** Ends the listening of each store. */
  readonly #deaf = new Map<TaskStore, (() => void)[]>();
  readonly #before = { evictions: 0, watchersLagged: 0 };
  readonly owed: TaskStores['owed'];
  readonly unclear: TaskStores['unclear'];

  constructor(those: readonly TaskStore[]) {
    const stores = [...those];
    this.#stores = stores;
    this.owed = {
      get size() {
        return sum(stores, ({ owed }) => owed.size);
      },
      get: (id) => first(stores, ({ owed }) => owed.get(id)),
      listed: (after) => inOrder(stores.map(({ owed }) => owed.listed(after))),
    };
    this.unclear = {
      get size() {
        return sum(stores, ({ unclear }) => unclear.size);
      },
      listed: (after) => inOrder(stores.map(({ unclear }) => unclear.listed(after))),
    };
  }

  get unfinished(): number {
    return this.#sum('unfinished');
  }

  get finished(): number {
    return this.#sum('finished');
  }

  get evictions(): number {
    return this.#before.evictions + this.#sum('evictions');
  }

  /** A stream over all of them reads each. */
  get watchers(): number {
    return Math.max(0, ...this.#stores.map(({ watchers }) => watchers));
  }

  get watchersLagged(): number {
    return this.#before.watchersLagged + this.#sum('watchersLagged');
  }

  get durable(): boolean {
    return this.#stores.every(({ durable }) => durable);
  }

  counts(plugin: string): ReturnType<TaskStore['counts']> {
    const all = this.#stores.map((store) => store.counts(plugin));
    return {
      accepted: sum(all, ({ accepted }) => accepted),
      creating: sum(all, ({ creating }) => creating),
      live: sum(all, ({ live }) => live),
      over: sum(all, ({ over }) => over),
    };
  }

  entry(id: string): ReturnType<TaskStore['entry']> {
    return first(this.#stores, (store) => store.entry(id));
  }

  byId(id: string): ReturnType<TaskStore['byId']> {
    return first(this.#stores, (store) => store.byId(id));
  }

  unfinishedOf(plugin: string): ReturnType<TaskStore['unfinishedOf']> {
    return this.#stores.flatMap((store) => store.unfinishedOf(plugin));
  }

  listed(after?: number): ReturnType<TaskStore['listed']> {
    return inOrder(this.#stores.map((store) => store.listed(after)));
  }

  listen(plugin: string, listener: StoreListener): () => void {
    this.#listeners.set(plugin, listener);
    const deaf = this.#stores.map((store) => this.#tells(store, plugin, listener));
    return () => {
      if (this.#listeners.get(plugin) === listener) this.#listeners.delete(plugin);
      for (const end of deaf) end();
    };
  }

  /** Who listens hears of its tasks as well. */
  add(store: TaskStore): void {
    this.#stores.push(store);
    for (const [plugin, listener] of this.#listeners) this.#tells(store, plugin, listener);
  }

  /** Nobody hears of it any more. */
  remove(store: TaskStore): void {
    const at = this.#stores.indexOf(store);
    if (at === -1) return;
    this.#stores.splice(at, 1);
    for (const end of this.#deaf.get(store) ?? []) end();
    this.#deaf.delete(store);
    this.#before.evictions += store.evictions;
    this.#before.watchersLagged += store.watchersLagged;
  }

  #tells(store: TaskStore, plugin: string, listener: StoreListener): () => void {
    const end = store.listen(plugin, listener);
    getOrMake(this.#deaf, store, () => [] as (() => void)[]).push(end);
    return end;
  }

  #sum(what: Counted): number {
    return sum(this.#stores, (store) => store[what]);
  }
}

function sum<T>(all: readonly T[], of: (one: T) => number): number {
  return all.reduce((total, one) => total + of(one), 0);
}

function first<T, R>(all: readonly T[], of: (one: T) => R | undefined): R | undefined {
  for (const one of all) {
    const found = of(one);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Lists that are in order each, in one order; each is read as far as it is asked for. */
function* inOrder<T extends Listed>(lists: readonly Iterable<T>[]): Iterable<T> {
  const heads: { at: T; readonly rest: Iterator<T> }[] = [];
  try {
    for (const list of lists) {
      const rest = list[Symbol.iterator]();
      const { done, value } = rest.next();
      if (done !== true) heads.push({ at: value, rest });
    }
    while (heads.length > 0) {
      const next = heads.reduce((least, head) => (head.at.listedAt < least.at.listedAt ? head : least));
      const { at } = next;
      const { done, value } = next.rest.next();
      if (done === true) heads.splice(heads.indexOf(next), 1);
      else next.at = value;
      yield at;
    }
  } finally {
    for (const { rest } of heads) rest.return?.();
  }
}
