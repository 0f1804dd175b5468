import { HostError, messageOf } from '../../errors/index.js';
import { backoffMs } from '../../lib/backoff.js';
import { createDeferred, type Deferred } from '../../lib/deferred.js';
import { PassingMap } from '../../lib/passing.js';
import type { TaskId } from '../../model/attempt-key.js';
import { outcomeRule } from '../../model/outcomes.js';
import type { PhaseState } from '../../model/phase-state.js';
import type { DeleteArgs, PluginFailure } from '../../model/plugin-call.js';
import { isTerminal } from '../../plugin-api/phase.js';
import { freshConnection, keyOf, lacksCredentials, type PluginRuntime } from '../../runtime/runtime.js';
import type { OwedDelete } from '../../store/owed-deletes.js';
import type { TasksDeps } from '../deps.js';
import { RepeatedWork } from './repeated-work.js';

/** The carrying out of one order. */
interface Work {
  readonly id: TaskId;
  readonly plugin: string;
  readonly done: Deferred<void>;
}

/** Tries that must all have answered NotFound before it is believed. */
const TRIES_TO_CONFIRM = 3;
/** By then another daemon, or the next start of this one, takes it. Milliseconds. */
const DRAINING_RETRY_MS = 5_000;

/**
 * Carries out the deletes that the store says are owed (rule 6): each is tried and repeated with back-off until the remote
 * says that the job is cancelled or over, or does not find it over the minimum time. No failure takes an order off the
 * list. One answer of NotFound frees the token and lets go on who waits; the order stays, since the same fault hides jobs
 * that run.
 *
 * States of one: `unsafe` (not written down yet; entered by `carryOut`), `early` while its plugin is still to be loaded (left by
 * the next `carryOut`), then `waiting` for its turn or its next try and `trying`, until it is done. Where the state cannot be written it is carried out all the same: the task has left already.
 */
export class DeleteList {
  readonly #deps: TasksDeps;
  readonly #works = new PassingMap<TaskId, Work>();
  readonly #early = new Set<Work>();
  readonly #tries: RepeatedWork<Work>;
  #stopped = false;

  constructor(deps: TasksDeps) {
    this.#deps = deps;
    this.#tries = new RepeatedWork<Work>({
      clock: deps.clock,
      concurrency: deps.options.deleteConcurrency,
      pluginOf: ({ plugin }) => plugin,
      attempt: (work) => this.#attempt(work),
      faulty: (work, error) => {
        deps.events.fault?.('delete', error);
        return this.#retryIn(work, 'INTERNAL', messageOf(error), undefined);
      },
    });
  }

  /** Told the state that the first read of an order found, where the job is over: how the task ended must not be forgotten. */
  onOver: (order: OwedDelete, state: PhaseState) => void = () => {};

  /** Whether the first read of an order, which finds out if the job is over, is still to come. */
  reads(id: TaskId): boolean {
    const owed = this.#deps.store.owed.get(id);
    return owed?.readFirst !== undefined && owed.lastError === undefined;
  }

  /** Resolves when the order is carried out, as far as is known; at once if there is none. */
  done(id: TaskId): Promise<void> {
    return this.#works.get(id)?.done.promise ?? Promise.resolve();
  }

  /** Sets about the order that the store has for this task, if it has one. Resolves once what was ordered so far is safe. */
  carryOut(id: TaskId): Promise<void> {
    const { store, events, runtimes } = this.#deps;
    const safe = store.safe();
    const owed = store.owed.get(id);
    const known = this.#works.get(id);
    if (known !== undefined && this.#early.delete(known)) this.#tries.add(known);
    if (owed === undefined || known !== undefined) return safe;
    const work: Work = { id, plugin: owed.identity.plugin, done: createDeferred<void>() };
    this.#works.set(id, work);
    events.deleteOwed?.(id, work.plugin, owed.reason);
    const enqueue = () => {
      if (runtimes.comes(work.plugin)) this.#early.add(work);
      else this.#tries.add(work);
    };
    safe.then(enqueue, enqueue);
    return safe;
  }

  /** Throws DAEMON_DRAINING once nothing is sent any more, and no state keeps the order for the next start. */
  assertTaken(): void {
    if (!this.#stopped || this.#deps.store.durable) return;
    const seen = 'the daemon is stopping and keeps no state, so nobody would carry the delete out; send it again';
    throw new HostError('DAEMON_DRAINING', seen, { retryAfterMs: DRAINING_RETRY_MS });
  }

  /** Sends nothing more; resolves when no attempt is in flight. What is owed stays owed. */
  stop(): Promise<void> {
    this.#stopped = true;
    return this.#tries.stop();
  }

  async #attempt(work: Work): Promise<number | undefined> {
    const { store, clock, runtimes } = this.#deps;
    const { id, plugin } = work;
    const owed = store.owed.get(id);
    if (owed === undefined) return undefined;
    const runtime = runtimes.get(plugin);
    if (runtime === undefined) {
      const missing = `plugin "${plugin}" is not configured`;
      return this.#retryIn(work, 'PLUGIN_NOT_SERVING', missing, undefined);
    }
    // Secrets are not kept for longer than their time, however long the delete is owed.
    const now = clock.now();
    const connection = freshConnection(owed, now);
    const needsCredentials = lacksCredentials(owed, now);
    store.owed.note(id, { nextAttemptMs: undefined, attempts: owed.attempts + 1, connection, needsCredentials });
    const { meta, outputPrefix, identity, reason } = owed;
    const { outputNames } = identity;
    const args: DeleteArgs = {
      meta,
      outputPrefix,
      outputNames,
      idempotencyKey: keyOf(identity),
      connection,
      reason,
    };
    if (owed.readFirst !== undefined) {
      const read = await this.#read(runtime, owed, args);
      if (read === 'over') return this.#finish(work);
      if (read !== undefined) return this.#notFound(runtime, work, read);
    }
    const outcome = await this.#tries.call(runtime, 'delete', args);
    if (outcome.ok) return this.#finish(work);
    const { failure } = outcome;
    const { retry } = outcomeRule('delete', failure.kind);
    if (retry === 'confirm') return this.#notFound(runtime, work, failure);
    // An answer that says nothing of the job breaks the row; a call that was not made, or throttled, is no answer.
    if (retry === 'backoff') store.owed.note(id, { notFound: undefined });
    this.#failing(work, retry === 'backoff');
    return this.#retryIn(work, failure.code, failure.message, failure.retryAfterMs);
  }

  /**
   * Whether the remote says that there is nothing left to cancel: the job is over, or it was not found. Doubt is answered
   * with undefined, since cancelling is safe; a young job that is not found may only not be visible yet.
   */
  async #read(runtime: PluginRuntime, owed: OwedDelete, args: DeleteArgs): Promise<'over' | PluginFailure | undefined> {
    const outcome = await this.#tries.call(runtime, 'get', args);
    if (outcome.ok) {
      if (!isTerminal(outcome.value.phase)) return undefined;
      this.onOver(owed, outcome.value);
      return 'over';
    }
    const { clock, options } = this.#deps;
    const visible = clock.now() - owed.identity.createdAtMs >= options.visibilityGraceMs;
    return outcome.failure.kind === 'not_found' && visible ? outcome.failure : undefined;
  }

  /**
   * The job was not found. That is believed once nothing else was answered over the minimum time, three tries at least, and
   * while no wave of NotFound is on at the remote (rule 4).
   */
  #notFound(runtime: PluginRuntime, work: Work, { code, message }: PluginFailure): number | undefined {
    const { clock, options, random, store } = this.#deps;
    const { id } = work;
    const owed = store.owed.get(id);
    const now = clock.now();
    const sinceMs = owed?.notFound?.sinceMs ?? now;
    const tries = (owed?.notFound?.tries ?? 0) + 1;
    const confirmed = tries >= TRIES_TO_CONFIRM && now - sinceMs >= options.notFoundMinMs;
    const wave = runtime.refresher.stats().notFoundFrozen > 0;
    if (owed?.jobOver === true || (confirmed && !wave)) return this.#finish(work);
    store.deleteFreed(id);
    work.done.resolve();
    const backoff = { initialMs: options.retryInitialMs, maxMs: options.retryMaxMs };
    // The fourth try comes when the minimum time is over: its sixth, third and half part lie between them.
    const share = (options.notFoundMinMs * Math.min(tries, TRIES_TO_CONFIRM)) / 6;
    const delay = Math.max(backoffMs(tries, backoff, random), share);
    store.owed.note(id, {
      notFound: { sinceMs, tries },
      lastError: { code, message },
      nextAttemptMs: now + delay,
    });
    return delay;
  }

  /**
   * Counts how long the tries have failed, and gives the token back when that is longer than the grace (rule 10): a cluster
   * that is gone starves no quota. The time between two failed tries of one run counts, so that neither a daemon that was
   * down nor a throttle uses the grace up.
   */
  #failing({ id, plugin }: Work, failed: boolean): void {
    const { clock, events, options, store } = this.#deps;
    const owed = store.owed.get(id);
    if (owed === undefined) return;
    const now = clock.now();
    const failingForMs = owed.failingForMs + (failed && owed.failedAtMs !== undefined ? now - owed.failedAtMs : 0);
    store.owed.note(id, { failingForMs, failedAtMs: failed ? now : undefined });
    if (failingForMs < options.deleteGraceMs || !owed.holdsToken) return;
    store.deleteFreed(id);
    events.deleteFreed?.(id, plugin, failingForMs);
  }

  #finish({ id, plugin, done }: Work): undefined {
    const { store, events } = this.#deps;
    const attempts = store.owed.get(id)?.attempts ?? 0;
    this.#works.delete(id);
    store.deleteDone(id);
    events.deleteDone?.(id, plugin, attempts);
    done.resolve();
  }

  #retryIn({ id, plugin }: Work, code: string, message: string, retryAfterMs: number | undefined): number {
    const { clock, options, random, events, store } = this.#deps;
    const attempts = store.owed.get(id)?.attempts ?? 0;
    const backoff = { initialMs: options.retryInitialMs, maxMs: options.retryMaxMs };
    const delay = Math.max(retryAfterMs ?? 0, backoffMs(attempts, backoff, random));
    store.owed.note(id, { lastError: { code, message }, nextAttemptMs: clock.now() + delay });
    events.deleteFailed?.(id, plugin, code, message, attempts);
    return delay;
  }
}
