import { messageOf } from '../errors/index.js';
import { backoffMs } from '../lib/backoff.js';
import type { Timer } from '../lib/clock.js';
import { createDeferred, type Deferred } from '../lib/deferred.js';
import type { TaskId } from '../model/attempt-key.js';
import type { TaskIdentity } from '../model/handle.js';
import { outcomeRule } from '../model/outcomes.js';
import type { DeleteArgs, PluginMethods } from '../model/plugin-call.js';
import type { ConnectionInfo } from '../plugin-api/contexts.js';
import { isTerminal } from '../plugin-api/phase.js';
import type { TasksDeps } from './deps.js';
import { freshConnection, type PluginRuntime } from './runtime.js';

/** A remote job that is to be cancelled. */
export interface DeleteOrder {
  readonly id: TaskId;
  readonly identity: TaskIdentity;
  readonly meta: Buffer;
  readonly outputPrefix: string;
  readonly connection: ConnectionInfo | undefined;
  readonly connectionUntilMs: number;
  readonly reason: string;
  /** The daemon does not know whether the job is over: read it, and cancel it only if it is not. */
  readonly readFirst: boolean;
}

/** An owed delete as the operator's view shows it. Times are epoch milliseconds. */
export interface OwedDelete extends DeleteOrder {
  readonly sinceMs: number;
  readonly attempts: number;
  readonly nextAttemptMs: number | undefined;
  readonly lastError: { readonly code: string; readonly message: string } | undefined;
}

type Entry = { -readonly [K in keyof OwedDelete]: OwedDelete[K] } & {
  readonly done: Deferred<void>;
  /** Settles with the journal's word on the order. */
  readonly safe: Promise<void>;
  timer: Timer | undefined;
};

/**
 * The deletes that the daemon owes (rule 6). An order is safe once `owe` resolves; it is carried out and repeated with
 * back-off until the remote says that the job is cancelled, over or unknown. No failure takes an order off the list.
 */
export class DeleteList {
  readonly #deps: TasksDeps;
  readonly #entries = new Map<TaskId, Entry>();
  readonly #ready = new Map<string, Entry[]>();
  readonly #active = new Map<string, number>();
  /** Takes calls that are not sent yet out of the gate's queue. */
  readonly #queued = new Set<AbortController>();
  #stopping = false;
  #idle: Deferred<void> | undefined;

  constructor(deps: TasksDeps) {
    this.#deps = deps;
  }

  get size(): number {
    return this.#entries.size;
  }

  *list(): Iterable<OwedDelete> {
    yield* this.#entries.values();
  }

  has(id: TaskId): boolean {
    return this.#entries.has(id);
  }

  /** Resolves when the order is carried out; at once if there is none. */
  done(id: TaskId): Promise<void> {
    return this.#entries.get(id)?.done.promise ?? Promise.resolve();
  }

  /** Resolves once the order is safe; at once if there is none. Rejects when the journal did not take it. */
  safe(id: TaskId): Promise<void> {
    return this.#entries.get(id)?.safe ?? Promise.resolve();
  }

  /**
   * Takes an order on and resolves once it is safe. A second order for the same task joins the first. Where the journal
   * fails the caller is told, and the order is carried out all the same: the task has left the store already.
   */
  owe(order: DeleteOrder): Promise<void> {
    const known = this.#entries.get(order.id);
    if (known !== undefined) return known.safe;
    const { id, identity, meta, outputPrefix, reason } = order;
    const entry: Entry = {
      ...order,
      sinceMs: this.#deps.clock.now(),
      attempts: 0,
      nextAttemptMs: undefined,
      lastError: undefined,
      done: createDeferred<void>(),
      safe: this.#deps.journal.append({ kind: 'delete-owed', id, identity, meta, outputPrefix, reason }),
      timer: undefined,
    };
    this.#entries.set(order.id, entry);
    this.#deps.events.deleteOwed?.(order.id, order.identity.plugin, order.reason);
    const enqueue = () => this.#enqueue(entry);
    entry.safe.then(enqueue, enqueue);
    return entry.safe;
  }

  /** Sends nothing more; resolves when no attempt is in flight. What is owed stays owed. */
  async stop(): Promise<void> {
    this.#stopping = true;
    for (const queued of this.#queued) queued.abort();
    for (const entry of this.#entries.values()) entry.timer?.cancel();
    if (this.#inFlight() === 0) return;
    this.#idle ??= createDeferred<void>();
    await this.#idle.promise;
  }

  #inFlight(): number {
    let sum = 0;
    for (const active of this.#active.values()) sum += active;
    return sum;
  }

  #enqueue(entry: Entry): void {
    entry.timer = undefined;
    entry.nextAttemptMs = undefined;
    const { plugin } = entry.identity;
    const ready = this.#ready.get(plugin);
    if (ready === undefined) this.#ready.set(plugin, [entry]);
    else ready.push(entry);
    this.#pump(plugin);
  }

  #pump(plugin: string): void {
    const ready = this.#ready.get(plugin) ?? [];
    const active = this.#active.get(plugin) ?? 0;
    if (this.#stopping || active >= this.#deps.options.deleteConcurrency) return;
    const entry = ready.shift();
    if (entry === undefined) return;
    this.#active.set(plugin, active + 1);
    this.#attempt(entry)
      .catch((error: unknown) => {
        this.#deps.events.fault?.('delete', error);
        this.#retry(entry, 'INTERNAL', messageOf(error), undefined);
      })
      .finally(() => {
        this.#active.set(plugin, (this.#active.get(plugin) ?? 1) - 1);
        if (this.#stopping && this.#inFlight() === 0) this.#idle?.resolve();
        this.#pump(plugin);
      });
    this.#pump(plugin);
  }

  async #attempt(entry: Entry): Promise<void> {
    const runtime = this.#deps.runtimes.get(entry.identity.plugin);
    if (runtime === undefined) {
      this.#retry(entry, 'PLUGIN_NOT_SERVING', `plugin "${entry.identity.plugin}" is not configured`, undefined);
      return;
    }
    entry.attempts += 1;
    // Secrets are not kept for longer than their time, however long the delete is owed.
    entry.connection = freshConnection(entry, this.#deps.clock.now());
    const args: DeleteArgs = {
      meta: entry.meta,
      outputPrefix: entry.outputPrefix,
      idempotencyKey: entry.id,
      connection: entry.connection,
      reason: entry.reason,
    };
    if (entry.readFirst && (await this.#isOver(runtime, args))) return this.#finish(runtime, entry);
    const outcome = await this.#call(runtime, 'delete', args);
    if (outcome.ok || outcomeRule('delete', outcome.failure.kind).retry === 'no') return this.#finish(runtime, entry);
    this.#retry(entry, outcome.failure.code, outcome.failure.message, outcome.failure.retryAfterMs);
  }

  /** Whether the remote says that there is nothing left to cancel. Doubt is answered with false: cancelling is safe. */
  async #isOver(runtime: PluginRuntime, args: DeleteArgs): Promise<boolean> {
    const outcome = await this.#call(runtime, 'get', args);
    return outcome.ok ? isTerminal(outcome.value.phase) : outcome.failure.kind === 'not_found';
  }

  /** A call that waits its turn, unless the stop comes first; once sent it is not given up. */
  async #call<M extends 'get' | 'delete'>(runtime: PluginRuntime, method: M, args: PluginMethods[M]['args']) {
    const queued = new AbortController();
    if (this.#stopping) queued.abort();
    this.#queued.add(queued);
    const onSent = () => this.#queued.delete(queued);
    try {
      return await runtime.gate.call(method, args, { admission: 'wait', signal: queued.signal, onSent });
    } finally {
      this.#queued.delete(queued);
    }
  }

  #finish(runtime: PluginRuntime, entry: Entry): void {
    this.#entries.delete(entry.id);
    runtime.quotas.release(entry.id);
    this.#deps.events.deleteDone?.(entry.id, entry.identity.plugin, entry.attempts);
    this.#deps.journal
      .append({ kind: 'delete-done', id: entry.id })
      .catch((error: unknown) => this.#deps.events.fault?.('journal', error));
    entry.done.resolve();
  }

  #retry(entry: Entry, code: string, message: string, retryAfterMs: number | undefined): void {
    const { clock, options, random, events } = this.#deps;
    entry.lastError = { code, message };
    const backoff = { initialMs: options.retryInitialMs, maxMs: options.retryMaxMs };
    const delay = Math.max(retryAfterMs ?? 0, backoffMs(entry.attempts, backoff, random));
    entry.nextAttemptMs = clock.now() + delay;
    events.deleteFailed?.(entry.id, entry.identity.plugin, code, message, entry.attempts);
    if (!this.#stopping) entry.timer = clock.setTimer(delay, () => this.#enqueue(entry));
  }
}
