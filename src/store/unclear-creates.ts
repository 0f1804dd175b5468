import { heldBytes } from '../lib/held-bytes.js';
import { type Listed, type Places, Roll } from '../lib/roll.js';
import type { TaskId } from '../model/attempt-key.js';
import type { TaskIdentity } from '../model/handle.js';
import type { CreateArgs } from '../model/plugin-call.js';
import type { NodeAttempt, ReadFailure } from '../model/task-record.js';
import type { ConnectionInfo } from '../plugin-api/contexts.js';

/** A task that ended before it was known whether the remote has a job of it. Times are epoch milliseconds. */
export interface UnclearCreate {
  /** Also the idempotency key by which the job, if there is one, can be found at the remote. */
  readonly id: TaskId;
  readonly identity: TaskIdentity;
  readonly node: NodeAttempt | undefined;
  readonly outputPrefix: string;
  readonly sinceMs: number;
  /** Create calls that were made to find the job. */
  readonly looks: number;
  /** In the past while it stands in line; undefined while it is under way, and once nobody looks any more. */
  readonly nextLookMs: number | undefined;
  /** Why nobody looks for the job any more; from here on it is the operator's. */
  readonly leftBecause: string | undefined;
  readonly lastError: ReadFailure;
  /**
   * Set where the task did not end by itself: it was deleted while its create was under way, before the daemon was started
   * again. So long a call of an earlier run may still reach the remote, in milliseconds. It holds its token until it leaves the
   * list, or is left to the operator.
   */
  readonly sentBoundMs?: number | undefined;
  /** A look may be under way, and may reach the remote for so long, in milliseconds; undefined while none is. */
  readonly lookBoundMs?: number | undefined;
  /** What a look needs; dropped with the last one. */
  readonly args: CreateArgs | undefined;
  readonly connection: ConnectionInfo | undefined;
  readonly connectionUntilMs: number;
}

type Mutable = { -readonly [K in keyof UnclearCreate]: UnclearCreate[K] } & Listed & { bytes: number };

/**
 * Creates of unclear outcome (rule 9), as facts; `tasks/end` looks for their jobs.
 *
 * States of one: `looking` (holds the inputs of the create) and `left` (listed for the operator). It leaves the list when
 * its job was found, or when later ones take its place.
 */
export class UnclearCreates {
  readonly #entries = new Map<TaskId, Mutable>();
  readonly #roll: Roll<Mutable>;
  readonly #changed: (id: TaskId) => void;
  #bytes = 0;

  constructor(changed: (id: TaskId) => void, places?: Places) {
    this.#changed = changed;
    this.#roll = new Roll(places);
  }

  get size(): number {
    return this.#entries.size;
  }

  /** What those that are looked for take, with their inputs and secrets. */
  get bytes(): number {
    return this.#bytes;
  }

  /** In the order they came, from a place in the list on. */
  listed(after = 0): Iterable<UnclearCreate & Listed> {
    return this.#roll.after(after);
  }

  has(id: TaskId): boolean {
    return this.#entries.has(id);
  }

  get(id: TaskId): UnclearCreate | undefined {
    return this.#entries.get(id);
  }

  /**
   * Whether the job of this create is on its way to be cancelled, and keeps its key from being created anew. Of a task that ended by
   * itself nobody knows that there is one.
   */
  holdsUp(id: TaskId): boolean {
    const entry = this.#entries.get(id);
    return entry?.sentBoundMs !== undefined && entry.leftBecause === undefined;
  }

  add(entry: UnclearCreate): void {
    this.delete(entry.id);
    const added: Mutable = { ...entry, listedAt: 0, bytes: bytesOf(entry) };
    this.#entries.set(entry.id, added);
    this.#roll.add(added);
    this.#bytes += added.bytes;
    this.#changed(entry.id);
  }

  /** Secrets are not kept for longer than their time, however long the next look is away. */
  dropOldSecrets(nowMs: number): void {
    for (const entry of this.#entries.values()) {
      if (entry.connection === undefined || entry.connectionUntilMs > nowMs) continue;
      entry.connection = undefined;
      this.#weigh(entry);
    }
  }

  /** Notes what became of a look, or when the next one is. */
  note(id: TaskId, news: Partial<Pick<UnclearCreate, 'looks' | 'nextLookMs' | 'lastError' | 'lookBoundMs'>>): void {
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    Object.assign(entry, news);
    this.#changed(id);
  }

  /** Nobody looks any more; what stays is the line in the operator's list. */
  leave(id: TaskId, because: string): void {
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    entry.leftBecause = because;
    entry.nextLookMs = undefined;
    entry.args = undefined;
    entry.connection = undefined;
    this.#weigh(entry);
    this.#changed(id);
  }

  delete(id: TaskId): void {
    const entry = this.#entries.get(id);
    if (entry === undefined) return;
    this.#bytes -= entry.bytes;
    this.#entries.delete(id);
    this.#roll.delete(entry);
    this.#changed(id);
  }

  #weigh(entry: Mutable): void {
    this.#bytes -= entry.bytes;
    entry.bytes = bytesOf(entry);
    this.#bytes += entry.bytes;
  }
}

function bytesOf({ args, connection }: UnclearCreate): number {
  return heldBytes(args) + heldBytes(connection);
}
