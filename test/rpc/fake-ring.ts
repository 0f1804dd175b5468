import { HostError } from '../../src/errors/index.js';
import { createDeferred, type Deferred } from '../../src/lib/deferred.js';
import type { TaskRecord } from '../../src/model/task-record.js';
import type { WatchEvent, WatchFilter, WatchReader } from '../../src/model/watch.js';

/** A list of changes that readers pull from; tokens are positions in it. */
export class FakeRing {
  readonly filters: WatchFilter[] = [];
  readonly readers = new Set<FakeReader>();
  readonly events: WatchEvent[] = [];
  /** Events that were handed to any reader. */
  pulled = 0;
  #changed: Deferred<void> = createDeferred();

  append(task: TaskRecord, deleted = false): void {
    const sequence = this.events.length + 1;
    const change = { handle: task.answeredHandle!, task, deleted };
    this.push({ kind: 'change', resumeToken: String(sequence), change });
  }

  push(event: WatchEvent): void {
    this.events.push(event);
    this.wake();
  }

  wake(): void {
    this.#changed.resolve();
    this.#changed = createDeferred();
  }

  get changed(): Promise<void> {
    return this.#changed.promise;
  }

  read(filter: WatchFilter): FakeReader {
    if (filter.resumeToken === 'foreign') {
      throw new HostError('RESUME_TOKEN_INVALID', 'resume_token "foreign" is not one that Watch sent');
    }
    this.filters.push(filter);
    const reader = new FakeReader(this, filter.resumeToken === '' ? this.events.length : Number(filter.resumeToken));
    this.readers.add(reader);
    return reader;
  }
}

export class FakeReader implements WatchReader {
  closed = false;

  constructor(
    private readonly ring: FakeRing,
    private at: number,
  ) {}

  async next(): Promise<WatchEvent | undefined> {
    while (!this.closed) {
      const event = this.ring.events[this.at];
      if (event !== undefined) {
        this.at += 1;
        this.ring.pulled += 1;
        return event;
      }
      await this.ring.changed;
    }
    return undefined;
  }

  bookmark(): WatchEvent {
    return { kind: 'bookmark', resumeToken: String(this.at), draining: false };
  }

  close(): void {
    this.closed = true;
    this.ring.readers.delete(this);
    this.ring.wake();
  }
}
