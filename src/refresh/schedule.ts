import { backoffMs } from '../lib/backoff.js';
import type { TaskId } from '../model/attempt-key.js';
import { ClassCounts, KeyCounts } from './counts.js';
import { IndexedHeap } from './heap.js';
import { Item } from './item.js';
import { AGE_CLASSES, ageClassOf, JITTER, Pacing, type Throughput } from './pacing.js';
import { EAGER, Pool } from './pool.js';
import { isOutvoted } from './remote-state.js';
import type { PolledTask, PollHistory, RefreshConfig } from './types.js';

export interface ScheduleOptions {
  readonly config: RefreshConfig;
  /** In [0, 1). */
  readonly random: () => number;
  /** Whether a create waits for a token of this quota namespace. */
  readonly tokenWanted: (quotaNamespace: string) => boolean;
  /** Told when the last task of a batch key has gone. */
  readonly keyGone?: (batchKey: string) => void;
  /** Told when a task is taken on whose reads failed in an earlier run of the daemon. */
  readonly resumed?: (item: Item) => void;
  /** Told when a task has left the schedule. */
  readonly gone?: (item: Item) => void;
}

/** Between two computations of the intervals; grows with the number of pools, which each of them walks. */
const SOLVE_EVERY_MS = 1_000;
const POOLS_PER_MS = 100;
/** A failing task is retried no later than this many longest intervals on. */
const BACKOFF_INTERVALS = 4;
const BACKOFF_INITIAL_MS = 2_000;
const NO_HISTORY: PollHistory = {};

/** What is known of a task's reads: none was made here, the last ones failed, or the last one found it. */
export type Standing = 'fresh' | 'failing' | 'well';

/** Of items with a due time of their own. */
const AT_ITS_TIME = () => 0;

/** The bin of an age class; made once, since every read puts its task into one. */
interface AgeBin {
  readonly name: string;
  intervalMs(): number;
}

/** By the bin that holds a task; those that were read well have many. */
function standingOf(bin: string): Standing {
  if (bin === EAGER) return 'fresh';
  return bin === 'fresh' || bin === 'failing' ? bin : 'well';
}

/** What is asked for each of many tasks. */
interface Many {
  readonly batchKeyOf: ((task: PolledTask) => string) | undefined;
  readonly inFlight: (id: TaskId) => boolean;
}

/** When a task is to be read next, as its last read says. */
export type Again =
  /** In its interval, or as `nextPollAfterMs` of the task says. */
  | { readonly kind: 'interval' }
  /** After the back-off of the item's `retries`. */
  | { readonly kind: 'backoff' }
  /** After a fixed time. */
  | { readonly kind: 'after'; readonly ms: number };

/**
 * Which task is to be read next (rule 5). Pure: time is handed in, nothing here waits or calls.
 *
 * Items of one batch key form a pool; within it, items of one age class form a bin with one interval, ordered by last
 * read. So a change of all intervals costs the number of pools and bins, not of tasks, and taking the most overdue item
 * costs the logarithm of their number. Always taking the most overdue one keeps anything from starving: whatever is due
 * at a time is read before what becomes due later.
 *
 * A start does not know when its tasks were read last. They are due spread over one `resyncInterval`, the young ones first, since these
 * are likelier to have changed while no daemon ran; but each is read as soon as there is room for a read that is not due. So few are read
 * at once, and many hold up neither the tasks that come meanwhile nor each other.
 *
 * States of an item are told in item.ts; the schedule has it from `track` until `untrack`. Of its own it has the intervals, which hold
 * for a second, or until the limits or the number of tasks change.
 */
export class Schedule {
  readonly #options: ScheduleOptions;
  readonly #items = new Map<TaskId, Item>();
  readonly #pools = new Map<string, Pool<Item>>();
  readonly #order = new IndexedHeap<Pool<Item>>();
  readonly #counts = new ClassCounts();
  /** The batch keys of all tasks, in flight or not. */
  readonly keys: KeyCounts;
  /** The same of the tasks whose reads fail. */
  readonly failing = new KeyCounts(() => undefined);
  /** The same of the tasks whose failures may say something of their remote. */
  readonly telling = new KeyCounts(() => undefined);
  /** The same of the tasks whose last read found their job, and of those that were never read. */
  readonly seen = new KeyCounts(() => undefined);
  /** Those that may be read before they are due, the next one last; the others of them have been read or have left. */
  #eager: Item[] = [];
  /** Quota namespaces with idle tasks -> whether somebody waits for a token of theirs. */
  readonly #wanted = new Map<string, boolean>();
  readonly #pacing: Pacing;
  #config: RefreshConfig;
  /** Pools whose place is still to be seen to, while `together` is at work. */
  #touched: Set<Pool<Item>> | undefined;
  readonly #ageBins: readonly AgeBin[];
  #solvedAtMs = Number.NEGATIVE_INFINITY;
  #solvedSize = 0;

  constructor(options: ScheduleOptions) {
    this.#options = options;
    this.#config = options.config;
    this.#pacing = new Pacing(options.config);
    this.#ageBins = Array.from({ length: AGE_CLASSES }, (_, ageClass) => ({
      name: `a${ageClass}`,
      intervalMs: () => this.#pacing.intervalMs(ageClass),
    }));
    this.keys = new KeyCounts((batchKey) => options.keyGone?.(batchKey));
  }

  get size(): number {
    return this.#items.size;
  }

  get pacing(): Pacing {
    return this.#pacing;
  }

  get(id: TaskId): Item | undefined {
    return this.#items.get(id);
  }

  reconfigure(config: RefreshConfig): void {
    this.#config = config;
    this.#pacing.reconfigure(config);
    this.#solvedAtMs = Number.NEGATIVE_INFINITY;
  }

  /** Takes a task on, or corrects it. `inFlight`: a read of it is under way, so it is not queued before `again`. */
  track(task: PolledTask, history: PollHistory, nowMs: number, inFlight: boolean): void {
    const known = this.#items.get(task.id);
    if (known !== undefined) {
      const before = known.batchKey;
      known.correct(task, history);
      this.keys.move(before, known.batchKey);
      this.#moveCounts(known, before);
      if (known.bin !== undefined) this.#place(known, nowMs);
      return;
    }
    const item = this.#add(task, history, nowMs);
    if (!inFlight) this.#place(item, nowMs);
  }

  #add(task: PolledTask, history: PollHistory, nowMs: number): Item {
    const item = new Item(task, history, nowMs);
    this.#items.set(item.id, item);
    this.keys.add(item.batchKey);
    this.telling.add(item.batchKey);
    this.seen.add(item.batchKey);
    this.#counts.add(item, 1);
    if (task.failing !== undefined) this.#options.resumed?.(item);
    this.noteFailing(item);
    return item;
  }

  /**
   * Takes on many tasks of whose reads nothing is known: a start has half a million. Each is due within `resyncInterval`, those that
   * engines ask for and the young before others.
   */
  trackAll(tasks: readonly PolledTask[], { batchKeyOf, inFlight }: Many, nowMs: number): void {
    const byUrgency = Array.from({ length: 2 * AGE_CLASSES }, (): Item[] => []);
    this.together(() => {
      for (const task of tasks) {
        const history = batchKeyOf === undefined ? NO_HISTORY : { batchKey: batchKeyOf(task) };
        const reading = inFlight(task.id);
        if (reading || this.#items.has(task.id) || this.#firstDueMs(task) > nowMs) {
          this.track(task, history, nowMs, reading);
          continue;
        }
        const item = this.#add(task, history, nowMs);
        this.#classify(item, nowMs);
        byUrgency[item.doublings > 0 ? AGE_CLASSES + item.ageClass : item.ageClass]?.push(item);
      }
      this.#spread(byUrgency.flat(), nowMs);
    });
  }

  /** Queues tasks whose last reads are not known, in their order. */
  #spread(items: Item[], nowMs: number): void {
    for (const [rank, item] of items.entries()) {
      const shareMs = (rank / items.length) * this.#config.resyncIntervalMs;
      const { nextPollAfterMs } = item.task.state;
      const inMs = nextPollAfterMs === undefined ? shareMs : Math.min(shareMs, this.#wishMs(nextPollAfterMs));
      this.#enqueue(item, nowMs + inMs, EAGER, AT_ITS_TIME);
      item.eager = true;
    }
    this.#eager = [...items.reverse(), ...this.#eager];
  }

  /** The next task that may be read before it is due. */
  #firstEager(): Item | undefined {
    for (let item = this.#eager.at(-1); item !== undefined; item = this.#eager.at(-1)) {
      if (item.eager && item.bin !== undefined) return item;
      this.#eager.pop();
    }
    return undefined;
  }

  untrack(id: TaskId): void {
    const item = this.#items.get(id);
    if (item === undefined) return;
    this.take(item);
    this.#counts.add(item, -1);
    this.keys.remove(item.batchKey);
    if (item.countedFailing) this.failing.remove(item.batchKey);
    if (!item.countedMute) this.telling.remove(item.batchKey);
    if (!item.countedUnseen) this.seen.remove(item.batchKey);
    this.#items.delete(id);
    item.gone = true;
    this.#options.gone?.(item);
  }

  /** Says with which tasks this one may share a batch from now on; when it is due stays. */
  regroup(id: TaskId, batchKey: string): void {
    const item = this.#items.get(id);
    if (item === undefined || item.batchKey === batchKey) return;
    const before = item.batchKey;
    item.batchKey = batchKey;
    this.keys.move(before, batchKey);
    this.#moveCounts(item, before);
    const { bin } = item;
    if (bin === undefined) return;
    this.take(item);
    this.#insert(item, bin.name, bin.intervalMs);
  }

  /** Takes a task out of the queue until `resume`. */
  hold(id: TaskId): void {
    const item = this.#items.get(id);
    if (item === undefined) return;
    item.held = true;
    this.take(item);
  }

  /** Queues a task that was held; false when there is none. */
  resume(id: TaskId, nowMs: number, delayMs: number): boolean {
    const item = this.#items.get(id);
    if (item === undefined) return false;
    item.held = false;
    this.take(item);
    this.again(item, nowMs, { kind: 'after', ms: delayMs });
    return true;
  }

  /** Takes a task out of the queue until an engine asks for it. */
  awaitAsked(id: TaskId): void {
    const item = this.#items.get(id);
    if (item === undefined) return;
    item.unasked = true;
    item.task.asksMatter = true;
    this.take(item);
  }

  /** An engine asked; true when the task may be due earlier for it. */
  asked(id: TaskId, nowMs: number): boolean {
    const item = this.#items.get(id);
    if (item === undefined) return false;
    if (item.unasked) {
      item.unasked = false;
      // Its read may be under way, and queues it again.
      if (item.flight === undefined && !item.held) this.#place(item, nowMs);
      return true;
    }
    if (item.doublings === 0 || item.bin === undefined) return false;
    this.#place(item, nowMs);
    return true;
  }

  /** Takes the task out of the queue, for a read of its own. */
  take(item: Item): void {
    const pool = item.bin?.pool;
    if (pool === undefined) return;
    pool.remove(item);
    this.#reorder(pool);
  }

  /**
   * Does what moves many tasks, most of them of one batch key; which of the keys is due first is seen to at its end. Until then
   * `nextDueMs` may be behind.
   */
  together(work: () => void): void {
    const touched = new Set<Pool<Item>>();
    this.#touched = touched;
    try {
      work();
    } finally {
      this.#touched = undefined;
      for (const pool of touched) this.#reorder(pool);
    }
  }

  /** The due time of the most overdue task; undefined when nothing is queued. */
  nextDueMs(): number | undefined {
    return this.#order.peek()?.key;
  }

  /** When the next read may be made: at once while tasks may be read before they are due; undefined when nothing is queued. */
  nextReadMs(nowMs: number): number | undefined {
    const dueMs = this.nextDueMs();
    return dueMs !== undefined && this.#firstEager() !== undefined ? Math.min(nowMs, dueMs) : dueMs;
  }

  /**
   * The most overdue task and those that go with it in one call; where none is due, those that may be read before; else empty.
   */
  takeDue(nowMs: number): Item[] {
    // Looked for in any case, so that those that have gone are not kept here.
    const eager = this.#firstEager();
    const first = this.#order.peek();
    const pool = first !== undefined && first.key <= nowMs ? first : eager?.bin?.pool;
    if (pool === undefined) return [];
    const batch = pool.takeBatch(nowMs, this.#config.maxBatch);
    this.#reorder(pool);
    return batch;
  }

  /** When the first task of this standing may be read; undefined without one. Looks at every batch key: for probes only. */
  firstDueMs(standing: Standing): number | undefined {
    const first = this.#firstOf(standing);
    return first?.item.eager === true ? Number.NEGATIVE_INFINITY : first?.dueMs;
  }

  /** Takes out the most overdue task of this standing, or else the next one. Looks at every batch key. */
  takeFirst(standing: Standing): Item | undefined {
    const first = this.#firstOf(standing);
    if (first !== undefined) this.take(first.item);
    return first?.item;
  }

  #firstOf(standing: Standing): { item: Item; dueMs: number } | undefined {
    let best: { item: Item; dueMs: number } | undefined;
    for (const pool of this.#order) {
      const first = pool.firstOf((bin) => standingOf(bin) === standing);
      if (first !== undefined && (best === undefined || first.dueMs < best.dueMs)) best = first;
    }
    return best;
  }

  /** Counts the task by how its reads go. Called after every read. */
  noteFailing(item: Item): void {
    const failing = item.failingSinceMs !== undefined;
    if (failing !== item.countedFailing) {
      item.countedFailing = failing;
      this.failing[failing ? 'add' : 'remove'](item.batchKey);
    }
    const mute = isOutvoted(item);
    if (mute !== item.countedMute) {
      item.countedMute = mute;
      this.telling[mute ? 'remove' : 'add'](item.batchKey);
    }
    const { unseen } = item;
    if (unseen !== item.countedUnseen) {
      item.countedUnseen = unseen;
      this.seen[unseen ? 'remove' : 'add'](item.batchKey);
    }
  }

  #moveCounts(item: Item, before: string): void {
    if (item.countedFailing) this.failing.move(before, item.batchKey);
    if (!item.countedMute) this.telling.move(before, item.batchKey);
    if (!item.countedUnseen) this.seen.move(before, item.batchKey);
  }

  /** Queues a task again after a read. */
  again(item: Item, nowMs: number, again: Again): void {
    if (item.held || item.unasked) return;
    if (again.kind === 'interval') this.#place(item, nowMs);
    else {
      this.#classify(item, nowMs);
      // A read that was not made brings the next one no nearer than it was.
      const noSoonerMs = item.eager ? nowMs : item.dueMs;
      const dueMs = again.kind === 'after' ? Math.max(noSoonerMs, nowMs + again.ms) : nowMs + this.#backoffMs(item);
      this.#fixed(item, dueMs);
    }
  }

  /** Computes the intervals anew if it is time, or if the number of tasks changed by a tenth. */
  pace(nowMs: number, throughput: Throughput): void {
    const every = Math.max(SOLVE_EVERY_MS, this.#pools.size / POOLS_PER_MS);
    const jumped = Math.abs(this.#items.size - this.#solvedSize) > Math.max(10, this.#solvedSize / 10);
    if (nowMs - this.#solvedAtMs < (jumped ? every / 10 : every)) return;
    this.#solvedAtMs = nowMs;
    this.#solvedSize = this.#items.size;
    if (this.#counts.idle.size === 0) this.#wanted.clear();
    let changed = this.#pacing.solve(this.#counts, throughput);
    for (const [namespace, before] of this.#wanted) {
      const wanted = this.#options.tokenWanted(namespace);
      if (wanted !== before) changed = true;
      this.#wanted.set(namespace, wanted);
    }
    if (!changed) return;
    for (const pool of this.#order) pool.refresh();
    this.#order.rebuild();
  }

  /** Number of queued tasks that are due. */
  countDue(nowMs: number): number {
    let count = 0;
    for (const pool of this.#order) count += pool.countDue(nowMs);
    return count;
  }

  /** Queues by the interval of the item's class, its own wish, or as a task that was never read. */
  #place(item: Item, nowMs: number): void {
    const { lastReadAtMs, task } = item;
    this.#classify(item, nowMs);
    // It waits for its turn already.
    if (lastReadAtMs === undefined && item.eager && item.bin !== undefined) return;
    this.take(item);
    const { nextPollAfterMs } = task.state;
    if (lastReadAtMs === undefined) {
      this.#fixed(item, Math.max(nowMs, this.#firstDueMs(task)));
      return;
    }
    if (item.retries > 0) {
      this.#fixed(item, lastReadAtMs + this.#backoffMs(item));
      return;
    }
    if (nextPollAfterMs !== undefined) {
      const wishMs = this.#wishMs(nextPollAfterMs);
      this.#fixed(item, lastReadAtMs + (item.doublings > 0 ? Math.max(wishMs, this.#intervalMs(item)) : wishMs));
      return;
    }
    const early = JITTER * this.#options.random() * this.#intervalMs(item);
    if (item.doublings > 0) {
      const { doublings } = item;
      const { quotaNamespace } = task.identity;
      this.#enqueue(item, lastReadAtMs - early, `u${doublings}/${quotaNamespace}`, () =>
        this.#idleMs(doublings, quotaNamespace),
      );
    } else {
      const { name, intervalMs } = this.#ageBins[item.ageClass] as AgeBin;
      this.#enqueue(item, lastReadAtMs - early, name, intervalMs);
    }
  }

  /** Before that a task that was never read is too new to be. */
  #firstDueMs({ liveSinceMs }: PolledTask): number {
    return liveSinceMs + this.#config.minIntervalMs;
  }

  /** A plugin's wish within the bounds of an interval, and a little later, so that tasks of one moment do not stay together. */
  #wishMs(nextPollAfterMs: number): number {
    const { minIntervalMs, maxIntervalMs } = this.#config;
    const wishMs = Math.min(maxIntervalMs, Math.max(minIntervalMs, nextPollAfterMs));
    return wishMs * (1 + (JITTER / 2) * this.#options.random());
  }

  #fixed(item: Item, dueMs: number): void {
    const bin = item.lastReadAtMs === undefined ? 'fresh' : item.retries > 0 ? 'failing' : 'fixed';
    this.#enqueue(item, dueMs, bin, AT_ITS_TIME);
  }

  #enqueue(item: Item, key: number, bin: string, intervalMs: () => number): void {
    item.key = key;
    item.dueMs = key + intervalMs();
    item.eager = false;
    this.#insert(item, bin, intervalMs);
  }

  #insert(item: Item, bin: string, intervalMs: () => number): void {
    let pool = this.#pools.get(item.batchKey);
    if (pool === undefined) {
      pool = new Pool<Item>(item.batchKey);
      this.#pools.set(item.batchKey, pool);
      this.#order.push(pool);
    }
    pool.add(item, bin, intervalMs);
    this.#reorder(pool);
  }

  #reorder(pool: Pool<Item>): void {
    if (this.#touched !== undefined) {
      this.#touched.add(pool);
      return;
    }
    if (pool.empty) {
      this.#order.remove(pool);
      this.#pools.delete(pool.batchKey);
      return;
    }
    pool.refresh();
    this.#order.moved(pool);
  }

  #intervalMs(item: Item): number {
    return item.doublings > 0
      ? this.#idleMs(item.doublings, item.task.identity.quotaNamespace)
      : this.#pacing.intervalMs(item.ageClass);
  }

  #idleMs(doublings: number, quotaNamespace: string): number {
    return this.#wanted.get(quotaNamespace) === true
      ? this.#config.resyncIntervalMs
      : this.#pacing.idleIntervalMs(doublings);
  }

  /** Never sooner than an interval, so that failing tasks take no more of the limit than others. */
  #backoffMs(item: Item): number {
    const maxMs = BACKOFF_INTERVALS * this.#pacing.longestMs;
    const backoff = backoffMs(item.retries, { initialMs: BACKOFF_INITIAL_MS, maxMs }, this.#options.random);
    return Math.max(backoff, this.#pacing.intervalMs(item.ageClass));
  }

  /** Assigns the age class, or how often the interval has doubled since engines ceased to ask. */
  #classify(item: Item, nowMs: number): void {
    const { liveSinceMs, lastAskedAtMs } = item.task;
    const ageClass = ageClassOf(nowMs - liveSinceMs);
    const idleFor = (nowMs - lastAskedAtMs) / this.#config.idleAfterMs;
    const doublings = idleFor < 1 ? 0 : 1 + Math.min(30, Math.floor(Math.log2(idleFor)));
    if (doublings > 0) {
      const { quotaNamespace } = item.task.identity;
      if (!this.#wanted.has(quotaNamespace)) {
        this.#wanted.set(quotaNamespace, this.#options.tokenWanted(quotaNamespace));
      }
    }
    item.task.asksMatter = doublings !== 0;
    if (ageClass === item.ageClass && doublings === item.doublings) return;
    this.#counts.add(item, -1);
    item.ageClass = ageClass;
    item.doublings = doublings;
    this.#counts.add(item, 1);
  }
}
