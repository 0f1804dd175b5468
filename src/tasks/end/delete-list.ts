import { messageOf } from '../../errors/index.js';
import { backoffMs } from '../../lib/backoff.js';
import { createDeferred, type Deferred } from '../../lib/deferred.js';
import type { TaskId } from '../../model/attempt-key.js';
import type { TaskIdentity } from '../../model/handle.js';
import { outcomeRule } from '../../model/outcomes.js';
import type { PhaseState } from '../../model/phase-state.js';
import type { DeleteArgs, PluginFailure } from '../../model/plugin-call.js';
import type { ConnectionInfo } from '../../plugin-api/contexts.js';
import { isTerminal } from '../../plugin-api/phase.js';
import type { TasksDeps } from '../deps.js';
import { freshConnection, keyOf, lacksCredentials, type PluginRuntime } from '../runtime.js';
import { RepeatedWork } from './repeated-work.js';

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
  /** The daemon knows that the job is over; what is left of it may be gone as well. */
  readonly jobOver?: boolean;
  /** The task is known from a handle alone. */
  readonly fromHandle?: boolean;
  /** Told the state that the first read found, where the job is over: how the task ended must not be forgotten. */
  readonly onOver?: (state: PhaseState) => void;
}

/** An owed delete as the operator's view shows it. Times are epoch milliseconds. */
export interface OwedDelete extends DeleteOrder {
  readonly sinceMs: number;
  readonly attempts: number;
  readonly nextAttemptMs: number | undefined;
  /** The secrets that came with its calls are no longer kept; a repeated Delete may bring them again. */
  readonly needsCredentials: boolean;
  readonly lastError: { readonly code: string; readonly message: string } | undefined;
}

type Entry = { -readonly [K in keyof OwedDelete]: OwedDelete[K] } & {
  readonly done: Deferred<void>;
  /** Settles with the journal's word on the order. */
  readonly safe: Promise<void>;
  /** Answers of NotFound in a row. */
  notFound: { readonly sinceMs: number; tries: number } | undefined;
};

/** Tries that must all have answered NotFound before it is believed. */
const TRIES_TO_CONFIRM = 3;

/**
 * The deletes that the daemon owes (rule 6). An order is safe once `owe` resolves; it is carried out and repeated with
 * back-off until the remote says that the job is cancelled or over, or does not find it over the minimum time. No failure
 * takes an order off the list. One answer of NotFound frees the token and lets go on who waits; the order stays, since the
 * same fault hides jobs that run.
 */
export class DeleteList {
  readonly #deps: TasksDeps;
  readonly #entries = new Map<TaskId, Entry>();
  readonly #work: RepeatedWork<Entry>;
  #unheld = 0;

  constructor(deps: TasksDeps) {
    this.#deps = deps;
    this.#work = new RepeatedWork<Entry>({
      clock: deps.clock,
      concurrency: deps.options.deleteConcurrency,
      pluginOf: (entry) => entry.identity.plugin,
      attempt: (entry) => this.#attempt(entry),
      faulty: (entry, error) => {
        deps.events.fault?.('delete', error);
        return this.#retryIn(entry, 'INTERNAL', messageOf(error), undefined);
      },
    });
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Orders for handles alone: anybody can make these up, so they take no room from what was created here. */
  get unheld(): number {
    return this.#unheld;
  }

  *list(): Iterable<OwedDelete> {
    yield* this.#entries.values();
  }

  has(id: TaskId): boolean {
    return this.#entries.has(id);
  }

  /** Whether the first read of an order, which finds out if the job is over, is still to come. */
  reads(id: TaskId): boolean {
    const entry = this.#entries.get(id);
    return entry?.readFirst === true && entry.lastError === undefined;
  }

  /** Resolves when the order is carried out, as far as is known; at once if there is none. */
  done(id: TaskId): Promise<void> {
    return this.#entries.get(id)?.done.promise ?? Promise.resolve();
  }

  /** Resolves once the order is safe; at once if there is none. Rejects when the journal did not take it. */
  safe(id: TaskId): Promise<void> {
    return this.#entries.get(id)?.safe ?? Promise.resolve();
  }

  /**
   * Takes an order on and resolves once it is safe. A second order for the same task joins the first, with its secrets. Where the journal
   * fails the caller is told, and the order is carried out all the same: the task has left the store already.
   */
  owe(order: DeleteOrder): Promise<void> {
    const known = this.#entries.get(order.id);
    if (known !== undefined) {
      this.renew(order.id, order.connection, order.connectionUntilMs);
      return known.safe;
    }
    const { id, identity, meta, outputPrefix, reason } = order;
    const entry: Entry = {
      ...order,
      sinceMs: this.#deps.clock.now(),
      attempts: 0,
      nextAttemptMs: undefined,
      needsCredentials: false,
      lastError: undefined,
      notFound: undefined,
      done: createDeferred<void>(),
      safe: this.#deps.journal.append({ kind: 'delete-owed', id, identity, meta, outputPrefix, reason }),
    };
    this.#entries.set(order.id, entry);
    if (entry.fromHandle === true) this.#unheld += 1;
    this.#deps.events.deleteOwed?.(order.id, order.identity.plugin, order.reason);
    const enqueue = () => this.#work.add(entry);
    entry.safe.then(enqueue, enqueue);
    return entry.safe;
  }

  /** A later call about the task brought its secrets along. */
  renew(id: TaskId, connection: ConnectionInfo | undefined, untilMs: number): void {
    const entry = this.#entries.get(id);
    if (entry === undefined || connection === undefined) return;
    entry.connection = connection;
    entry.connectionUntilMs = untilMs;
    entry.needsCredentials = false;
  }

  /** Sends nothing more; resolves when no attempt is in flight. What is owed stays owed. */
  stop(): Promise<void> {
    return this.#work.stop();
  }

  async #attempt(entry: Entry): Promise<number | undefined> {
    entry.nextAttemptMs = undefined;
    const runtime = this.#deps.runtimes.get(entry.identity.plugin);
    if (runtime === undefined) {
      const missing = `plugin "${entry.identity.plugin}" is not configured`;
      return this.#retryIn(entry, 'PLUGIN_NOT_SERVING', missing, undefined);
    }
    entry.attempts += 1;
    // Secrets are not kept for longer than their time, however long the delete is owed.
    const now = this.#deps.clock.now();
    entry.connection = freshConnection(entry, now);
    entry.needsCredentials = lacksCredentials(entry, now);
    const args: DeleteArgs = {
      meta: entry.meta,
      outputPrefix: entry.outputPrefix,
      idempotencyKey: keyOf(entry.identity),
      connection: entry.connection,
      reason: entry.reason,
    };
    if (entry.readFirst) {
      const read = await this.#read(runtime, entry, args);
      if (read === 'over') return this.#finish(runtime, entry);
      if (read !== undefined) return this.#notFound(runtime, entry, read);
    }
    const outcome = await this.#work.call(runtime, 'delete', args);
    if (outcome.ok) return this.#finish(runtime, entry);
    const { failure } = outcome;
    const { retry } = outcomeRule('delete', failure.kind);
    if (retry === 'confirm') return this.#notFound(runtime, entry, failure);
    // An answer that says nothing of the job breaks the row; a call that was not made, or throttled, is no answer.
    if (retry === 'backoff') entry.notFound = undefined;
    return this.#retryIn(entry, failure.code, failure.message, failure.retryAfterMs);
  }

  /**
   * Whether the remote says that there is nothing left to cancel: the job is over, or it was not found. Doubt is answered
   * with undefined, since cancelling is safe; a young job that is not found may only not be visible yet.
   */
  async #read(runtime: PluginRuntime, entry: Entry, args: DeleteArgs): Promise<'over' | PluginFailure | undefined> {
    const outcome = await this.#work.call(runtime, 'get', args);
    if (outcome.ok) {
      if (!isTerminal(outcome.value.phase)) return undefined;
      entry.onOver?.(outcome.value);
      return 'over';
    }
    const { clock, options } = this.#deps;
    const visible = clock.now() - entry.identity.createdAtMs >= options.visibilityGraceMs;
    return outcome.failure.kind === 'not_found' && visible ? outcome.failure : undefined;
  }

  /**
   * The job was not found. That is believed once nothing else was answered over the minimum time, three tries at least, and
   * while no wave of NotFound is on at the remote (rule 4).
   */
  #notFound(runtime: PluginRuntime, entry: Entry, { code, message }: PluginFailure): number | undefined {
    const { clock, options, random } = this.#deps;
    const now = clock.now();
    entry.notFound ??= { sinceMs: now, tries: 0 };
    entry.notFound.tries += 1;
    const { sinceMs, tries } = entry.notFound;
    const confirmed = tries >= TRIES_TO_CONFIRM && now - sinceMs >= options.notFoundMinMs;
    const wave = runtime.refresher.stats().notFoundFrozen > 0;
    if (entry.jobOver === true || (confirmed && !wave)) return this.#finish(runtime, entry);
    runtime.quotas.release(entry.id);
    entry.done.resolve();
    entry.lastError = { code, message };
    const backoff = { initialMs: options.retryInitialMs, maxMs: options.retryMaxMs };
    // The fourth try comes when the minimum time is over: its sixth, third and half part lie between them.
    const share = (options.notFoundMinMs * Math.min(tries, TRIES_TO_CONFIRM)) / 6;
    const delay = Math.max(backoffMs(tries, backoff, random), share);
    entry.nextAttemptMs = now + delay;
    return delay;
  }

  #finish(runtime: PluginRuntime, entry: Entry): undefined {
    this.#entries.delete(entry.id);
    if (entry.fromHandle === true) this.#unheld -= 1;
    runtime.quotas.release(entry.id);
    this.#deps.events.deleteDone?.(entry.id, entry.identity.plugin, entry.attempts);
    this.#deps.journal
      .append({ kind: 'delete-done', id: entry.id })
      .catch((error: unknown) => this.#deps.events.fault?.('journal', error));
    entry.done.resolve();
  }

  #retryIn(entry: Entry, code: string, message: string, retryAfterMs: number | undefined): number {
    const { clock, options, random, events } = this.#deps;
    entry.lastError = { code, message };
    const backoff = { initialMs: options.retryInitialMs, maxMs: options.retryMaxMs };
    const delay = Math.max(retryAfterMs ?? 0, backoffMs(entry.attempts, backoff, random));
    entry.nextAttemptMs = clock.now() + delay;
    events.deleteFailed?.(entry.id, entry.identity.plugin, code, message, entry.attempts);
    return delay;
  }
}
