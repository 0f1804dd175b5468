import { randomBytes } from 'node:crypto';
import { createDeferred, type Deferred } from '../lib/deferred.js';
import { PassingSet } from '../lib/passing.js';
import type { TaskRecord } from '../model/task-record.js';
import type { WatchChange, WatchEvent, WatchFilter, WatchReader } from '../model/watch.js';
import { placeToken, readPlace } from '../model/watch-token.js';

export interface ChangeRingOptions {
  /** Changes held for readers that come back or fall behind. */
  readonly capacity: number;
  /** Tasks to start from when a reader asks for the current state. */
  readonly current: () => Iterable<TaskRecord>;
}

/** Refers to its task also for the handle: ten thousand Buffers would keep pieces of as many pools alive. */
class Change implements WatchChange {
  readonly task: TaskRecord;
  readonly deleted: boolean;

  constructor(task: TaskRecord, deleted: boolean) {
    this.task = task;
    this.deleted = deleted;
  }

  get handle(): Buffer {
    return this.task.answeredHandle ?? Buffer.alloc(0);
  }
}

/**
 * The last changes of all tasks, for Watch. Readers hold a position in it and no queue of their own, so that any number of
 * slow ones costs nothing; one that fell out of the ring is told how much it missed. A change refers to its task and is
 * sent with the task's state at that time, which may be newer than the change: never older. So the ring holds one change
 * a task, the last.
 *
 * States: open → `drain` → draining: what is held is still told, and a reader that has seen all ends.
 */
export class ChangeRing {
  /** Names this run of the daemon: sequences of another run mean nothing here. */
  readonly #run = randomBytes(6).toString('hex');
  /** A place is empty once a newer change of its task is held, and `evicted` once its task was dropped from memory. */
  readonly #ring: (WatchChange | 'evicted' | undefined)[];
  /** Where the change of each task in the ring lies. */
  readonly #lastOf = new Map<TaskRecord, number>();
  readonly #options: ChangeRingOptions;
  #next = 1;
  /** How often a reader was told that it lagged. */
  lagged = 0;
  #draining = false;
  readonly #waiting = new PassingSet<Deferred<void>>();
  readonly #readers = new Set<WatchReader>();

  constructor(options: ChangeRingOptions) {
    this.#options = options;
    this.#ring = new Array<WatchChange | 'evicted' | undefined>(options.capacity);
  }

  get readers(): number {
    return this.#readers.size;
  }

  append(task: TaskRecord, deleted: boolean): void {
    // A task whose handle nobody was given yet has no name that a reader could know it by.
    if (!task.hasHandle) return;
    this.#clear(task, undefined);
    const sequence = this.#next++;
    const at = sequence % this.#ring.length;
    const gone = this.#ring[at];
    if (typeof gone === 'object') this.#lastOf.delete(gone.task);
    this.#lastOf.set(task, sequence);
    this.#ring[at] = new Change(task, deleted);
    this.#wake();
  }

  /** Lets go of a task that memory no longer holds; a reader that had not seen its change is told that it lagged. */
  evict(task: TaskRecord): void {
    this.#clear(task, 'evicted');
  }

  /** Lets go of a record whose place a new one takes; the new one's change tells readers as much. */
  replace(task: TaskRecord): void {
    this.#clear(task, undefined);
  }

  #clear(task: TaskRecord, mark: 'evicted' | undefined): void {
    const last = this.#lastOf.get(task);
    if (last === undefined) return;
    this.#lastOf.delete(task);
    // A change that is pushed out takes its task off the map, so what lies there is this task's own.
    this.#ring[last % this.#ring.length] = mark;
  }

  /** Every reader gets a last bookmark and ends; new ones get it at once. */
  drain(): void {
    this.#draining = true;
    this.#wake();
  }

  /** `closed` is told once the reader reads no more. Throws RESUME_TOKEN_INVALID for a token that no daemon made. */
  read(filter: WatchFilter, closed: () => void = () => {}): WatchReader {
    const position = this.#position(filter.resumeToken);
    const current =
      filter.includeCurrent && !position.toldCurrent ? this.#options.current()[Symbol.iterator]() : undefined;
    const reader = new RingReader(this, filter, position, current, () => {
      this.#readers.delete(reader);
      closed();
    });
    this.#readers.add(reader);
    return reader;
  }

  /** `foreign`: what happened since the token is unknown. `toldCurrent`: its reader had been told the state of all tasks. */
  #position(token: string): Position {
    const newest = this.#next - 1;
    if (token === '') return { after: newest, foreign: false, toldCurrent: false };
    const { run, sequence, tellsCurrent } = readPlace(token);
    // A token of an earlier run.
    if (run !== this.#run || sequence > newest) return { after: newest, foreign: true, toldCurrent: false };
    return { after: sequence, foreign: false, toldCurrent: !tellsCurrent };
  }

  /** Says where a reader stands; with `c` where it was still being told the current state, which then starts anew. */
  token(sequence: number, tellsCurrent: boolean): string {
    return placeToken({ run: this.#run, sequence, tellsCurrent });
  }

  get newest(): number {
    return this.#next - 1;
  }

  get oldestHeld(): number {
    return Math.max(1, this.#next - this.#ring.length);
  }

  get draining(): boolean {
    return this.#draining;
  }

  at(sequence: number): WatchChange | 'evicted' | undefined {
    return this.#ring[sequence % this.#ring.length];
  }

  /** Resolves at the next change, when draining starts, or once `until` is resolved by another. */
  async changed(until: Deferred<void>): Promise<void> {
    this.#waiting.add(until);
    await until.promise;
    this.#waiting.delete(until);
  }

  #wake(): void {
    for (const one of this.#waiting) one.resolve();
  }
}

interface Position {
  readonly after: number;
  readonly foreign: boolean;
  readonly toldCurrent: boolean;
}

/** How many changes or tasks a reader may pass over in one go before it lets others run. */
const SCAN_LIMIT = 10_000;

/**
 * States: telling the current tasks (only where they were asked for), then the changes after a position, waiting for the next where
 * it has told them all. One that fell behind the ring is told so once, and goes on from the oldest that is held.
 * Closed, for good, by `close`, and by the ring's draining once it has told all.
 */
class RingReader implements WatchReader {
  readonly #ring: ChangeRing;
  readonly #plugins: ReadonlySet<string> | undefined;
  readonly #handles: ReadonlySet<string> | undefined;
  readonly #onClose: () => void;
  #current: Iterator<TaskRecord> | undefined;
  #after: number;
  #lag: number | undefined;
  #closed = false;
  #waiting: Deferred<void> | undefined;

  constructor(
    ring: ChangeRing,
    filter: WatchFilter,
    position: Position,
    current: Iterator<TaskRecord> | undefined,
    onClose: () => void,
  ) {
    this.#ring = ring;
    this.#plugins = filter.plugins.length > 0 ? new Set(filter.plugins) : undefined;
    this.#handles =
      filter.handles.length > 0 ? new Set(filter.handles.map((handle) => handle.toString('latin1'))) : undefined;
    this.#after = position.after;
    this.#lag = position.foreign ? 0 : undefined;
    this.#current = current;
    this.#onClose = onClose;
  }

  async next(): Promise<WatchEvent | undefined> {
    for (;;) {
      if (this.#closed) return undefined;
      const event = this.#lagged() ?? (this.#current === undefined ? this.#fromRing() : this.#fromCurrent());
      if (event !== undefined) return event;
      if (this.#current !== undefined || this.#after < this.#ring.newest) {
        await new Promise((resolve) => setImmediate(resolve));
        continue;
      }
      if (this.#ring.draining) {
        this.close();
        return { kind: 'bookmark', resumeToken: this.#token, draining: true };
      }
      this.#waiting = createDeferred<void>();
      await this.#ring.changed(this.#waiting);
    }
  }

  get #token(): string {
    return this.#ring.token(this.#after, this.#current !== undefined);
  }

  bookmark(): WatchEvent {
    return { kind: 'bookmark', resumeToken: this.#token, draining: false };
  }

  close(): void {
    this.#closed = true;
    this.#onClose();
    this.#waiting?.resolve();
  }

  #lagged(): WatchEvent | undefined {
    const oldest = this.#ring.oldestHeld;
    if (this.#after + 1 < oldest) {
      this.#lag = (this.#lag ?? 0) + oldest - 1 - this.#after;
      this.#after = oldest - 1;
    }
    if (this.#lag === undefined) return undefined;
    const dropped = this.#lag;
    this.#ring.lagged += 1;
    this.#lag = undefined;
    return { kind: 'lagged', resumeToken: this.#token, dropped };
  }

  #fromCurrent(): WatchEvent | undefined {
    for (let scanned = 0; this.#current !== undefined && scanned < SCAN_LIMIT; scanned++) {
      const next = this.#current.next();
      if (next.done === true) {
        this.#current = undefined;
        return undefined;
      }
      const task = next.value;
      const handle = task.answeredHandle;
      if (handle === undefined || !this.#wants(task.scope.plugin, handle)) continue;
      const change = new Change(task, false);
      return { kind: 'change', resumeToken: this.#token, change };
    }
    return undefined;
  }

  #fromRing(): WatchEvent | undefined {
    for (let scanned = 0; this.#after < this.#ring.newest && scanned < SCAN_LIMIT; scanned++) {
      const change = this.#ring.at(this.#after + 1);
      this.#after += 1;
      if (change === undefined) continue;
      if (change === 'evicted') {
        this.#lag = (this.#lag ?? 0) + 1;
        return this.#lagged();
      }
      if (!this.#wants(change.task.scope.plugin, change.handle)) continue;
      return { kind: 'change', resumeToken: this.#token, change };
    }
    return undefined;
  }

  #wants(plugin: string, handle: Buffer): boolean {
    if (this.#plugins !== undefined && !this.#plugins.has(plugin)) return false;
    return this.#handles === undefined || this.#handles.has(handle.toString('latin1'));
  }
}
