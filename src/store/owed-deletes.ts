import { getOrMake } from '../lib/get-or-make.js';
import { ownBytes } from '../lib/own-bytes.js';
import { type Listed, type Places, Roll } from '../lib/roll.js';
import type { AttemptKey, TaskId } from '../model/attempt-key.js';
import type { TaskIdentity } from '../model/handle.js';
import type { NodeAttempt, ReadFailure, TaskRecord } from '../model/task-record.js';
import type { ConnectionInfo } from '../plugin-api/contexts.js';

/** A remote job that is to be cancelled. */
export interface DeleteOrder {
  readonly id: TaskId;
  readonly identity: TaskIdentity;
  readonly node: NodeAttempt | undefined;
  readonly meta: Buffer;
  readonly outputPrefix: string;
  readonly connection: ConnectionInfo | undefined;
  readonly connectionUntilMs: number;
  readonly reason: string;
  /** The task is known from a handle alone. */
  readonly fromHandle: boolean;
  /** The daemon knows that the job is over; what is left of it may be gone as well. */
  readonly jobOver: boolean;
  /**
   * Set where nobody knows whether the job is over: it is read first, and cancelled only if it is not; the end that is found
   * is kept under this handle.
   */
  readonly readFirst: Buffer | undefined;
}

/** Whose job is to be cancelled: a task's, or what a handle or an unclear create says. */
export type Deletable = Pick<DeleteOrder, 'id' | 'identity' | 'outputPrefix' | 'connection' | 'connectionUntilMs'> &
  Partial<Pick<TaskRecord, 'meta' | 'adopted' | 'node'>>;

/** The one place where an order is made. Undefined where the task has no job that is known. */
export function deleteOrder(
  of: Deletable,
  reason: string,
  known: Partial<Pick<DeleteOrder, 'jobOver' | 'readFirst'>> = {},
): DeleteOrder | undefined {
  const { id, identity, node, meta, outputPrefix, connection, connectionUntilMs, adopted = false } = of;
  if (meta === undefined) return undefined;
  return {
    id,
    identity,
    node,
    meta,
    outputPrefix,
    connection,
    connectionUntilMs,
    reason,
    fromHandle: adopted,
    jobOver: known.jobOver ?? false,
    readFirst: known.readFirst,
  };
}

/** An owed delete as the operator's view shows it. Times are epoch milliseconds. */
export interface OwedDelete extends DeleteOrder {
  readonly sinceMs: number;
  readonly attempts: number;
  readonly nextAttemptMs: number | undefined;
  /** The secrets that came with its calls are no longer kept; a repeated Delete may bring them again. */
  readonly needsCredentials: boolean;
  readonly lastError: ReadFailure | undefined;
  /** False once the job was not found, or its delete failed for too long: it stays listed, and starves no quota (rule 10). */
  readonly holdsToken: boolean;
  /** How long its tries have failed, over all runs of the daemon, in milliseconds: from each failed try to the next one of its run. */
  readonly failingForMs: number;
  /** The last try, where it failed in this run. */
  readonly failedAtMs: number | undefined;
  /** Answers of NotFound in a row. */
  readonly notFound: { readonly sinceMs: number; readonly tries: number } | undefined;
}

type Mutable = { -readonly [K in keyof OwedDelete]: OwedDelete[K] } & Listed & {
    /** Nobody waits for it any more: its job was not found, or its delete failed for too long. */
    letsGo: boolean;
  };

/**
 * The deletes that the daemon owes (rule 6), as facts; `tasks/end` carries them out. An order is on the list from the
 * transition that made it until the remote has said that the job is cancelled, over or unknown; no failure takes it off.
 */
export class OwedDeletes {
  readonly #orders = new Map<TaskId, Mutable>();
  readonly #roll: Roll<Mutable>;
  /** Those for handles alone, whose ids do not follow from the key. */
  readonly #fromHandles = new Map<AttemptKey, Set<Mutable>>();
  readonly #changed: (id: TaskId) => void;
  readonly #byPlugin = new Map<string, number>();
  #unheld = 0;

  constructor(changed: (id: TaskId) => void, places?: Places) {
    this.#changed = changed;
    this.#roll = new Roll(places);
  }

  get size(): number {
    return this.#orders.size;
  }

  /** Orders for handles alone: anybody can make these up, so they take no room from what was created here. */
  get unheld(): number {
    return this.#unheld;
  }

  /** Those to whom a delete is owed. */
  get plugins(): Iterable<string> {
    return this.#byPlugin.keys();
  }

  /** In the order they came, from a place in the list on. */
  listed(after = 0): Iterable<OwedDelete & Listed> {
    return this.#roll.after(after);
  }

  has(id: TaskId): boolean {
    return this.#orders.has(id);
  }

  get(id: TaskId): OwedDelete | undefined {
    return this.#orders.get(id);
  }

  /** Whether the job of this order may run, as far as is known, and keep its key from being created anew. */
  holdsUp(id: TaskId): boolean {
    return mayRun(this.#orders.get(id));
  }

  /** The same of the orders for handles alone that name an earlier incarnation of a key. */
  fromHandlesHoldUp(key: AttemptKey, incarnation: number): boolean {
    for (const owed of this.#fromHandles.get(key) ?? []) {
      if (owed.identity.incarnation < incarnation && mayRun(owed)) return true;
    }
    return false;
  }

  /** A second order for the same task joins the first, with its secrets. */
  add(order: DeleteOrder, nowMs: number): void {
    if (this.#orders.has(order.id)) {
      this.renew(order.id, order.connection, order.connectionUntilMs);
      return;
    }
    // Field by field, which costs a tenth of a copy by spreading: every Delete comes by here.
    const owed: Mutable = {
      id: order.id,
      identity: order.identity,
      node: order.node,
      meta: order.meta,
      outputPrefix: order.outputPrefix,
      connection: order.connection,
      connectionUntilMs: order.connectionUntilMs,
      reason: order.reason,
      fromHandle: order.fromHandle,
      jobOver: order.jobOver,
      readFirst: order.readFirst,
      listedAt: 0,
      sinceMs: nowMs,
      attempts: 0,
      nextAttemptMs: undefined,
      needsCredentials: false,
      lastError: undefined,
      // What a handle alone tells of took no token.
      holdsToken: order.readFirst === undefined,
      letsGo: false,
      failingForMs: 0,
      failedAtMs: undefined,
      notFound: undefined,
    };
    this.#list(owed);
    this.#changed(order.id);
  }

  /** Takes back an order that an earlier run wrote. */
  restore(order: OwedDelete): void {
    if (this.#orders.has(order.id)) return;
    // What holds a token says itself whether it was let go of.
    this.#list({ ...order, listedAt: 0, letsGo: order.readFirst === undefined && !order.holdsToken });
  }

  #list(owed: Mutable): void {
    this.#orders.set(owed.id, owed);
    this.#roll.add(owed);
    const { plugin } = owed.identity;
    this.#byPlugin.set(plugin, (this.#byPlugin.get(plugin) ?? 0) + 1);
    if (!owed.fromHandle) return;
    this.#unheld += 1;
    getOrMake(this.#fromHandles, owed.identity.key, () => new Set<Mutable>()).add(owed);
  }

  /** A later call about the task brought its secrets along. */
  renew(id: TaskId, connection: ConnectionInfo | undefined, untilMs: number): void {
    const owed = this.#orders.get(id);
    if (owed === undefined || connection === undefined) return;
    owed.connection = connection;
    owed.connectionUntilMs = untilMs;
    owed.needsCredentials = false;
  }

  /** Secrets are not kept for longer than their time, however long the next try is away. */
  dropOldSecrets(nowMs: number): void {
    for (const owed of this.#orders.values()) {
      if (owed.connection === undefined || owed.connectionUntilMs > nowMs) continue;
      owed.connection = undefined;
      owed.needsCredentials = true;
    }
  }

  /** Notes what became of a try. */
  note(
    id: TaskId,
    news: Partial<
      Pick<
        OwedDelete,
        | 'attempts'
        | 'nextAttemptMs'
        | 'connection'
        | 'needsCredentials'
        | 'lastError'
        | 'notFound'
        | 'failingForMs'
        | 'failedAtMs'
      >
    >,
  ): void {
    const owed = this.#orders.get(id);
    if (owed === undefined) return;
    Object.assign(owed, news);
    // What is tried again may be owed for days.
    if (news.lastError !== undefined) {
      owed.meta = ownBytes(owed.meta);
      owed.readFirst &&= ownBytes(owed.readFirst);
    }
    this.#changed(id);
  }

  /** The order goes on without its token, and nobody waits for it. */
  freed(id: TaskId): OwedDelete | undefined {
    const owed = this.#orders.get(id);
    if (owed !== undefined) owed.letsGo = true;
    if (owed?.holdsToken === true) {
      owed.holdsToken = false;
      this.#changed(id);
    }
    return owed;
  }

  /** False where it was not owed. */
  delete(id: TaskId): boolean {
    const owed = this.#orders.get(id);
    if (owed === undefined) return false;
    this.#orders.delete(id);
    this.#roll.delete(owed);
    const { plugin } = owed.identity;
    const left = (this.#byPlugin.get(plugin) ?? 0) - 1;
    if (left > 0) this.#byPlugin.set(plugin, left);
    else this.#byPlugin.delete(plugin);
    if (owed.fromHandle) this.#unlist(owed);
    this.#changed(id);
    return true;
  }

  #unlist(owed: Mutable): void {
    this.#unheld -= 1;
    const { key } = owed.identity;
    const ofKey = this.#fromHandles.get(key);
    ofKey?.delete(owed);
    if (ofKey?.size === 0) this.#fromHandles.delete(key);
  }
}

function mayRun(owed: Mutable | undefined): boolean {
  return owed !== undefined && !owed.letsGo && !owed.jobOver;
}
