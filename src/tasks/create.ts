import { HostError } from '../errors/index.js';
import type { HostedPlugin } from '../host/types.js';
import type { JournalEntry } from '../journal/journal.js';
import { attemptKeyOf, type TaskId } from '../model/attempt-key.js';
import { encodeHandle } from '../model/handle.js';
import { phaseState } from '../model/phase-state.js';
import type { TaskRecord } from '../model/task-record.js';
import { CreateRun, type CreatorHooks } from './creator.js';
import type { DeleteList } from './delete-list.js';
import type { TasksDeps } from './deps.js';
import { failureState } from './failures.js';
import type { Orphans } from './orphans.js';
import { forceToken, startPolling } from './polling.js';
import type { ReadSink } from './reads.js';
import { type PluginRuntime, runtimeOf } from './runtime.js';
import type { CallScope, CreateAnswerView, TaskSpec } from './types.js';
import { settledBefore } from './wait.js';

/** Accepts tasks and brings them to life (rules 8 and 9; design 1a, Create). */
export class CreateTask {
  readonly #deps: TasksDeps;
  readonly #deletes: DeleteList;
  readonly #orphans: Orphans;
  readonly #hooks: CreatorHooks;
  readonly #runs = new Map<TaskId, CreateRun>();
  /** Tasks whose intent is being written; nobody is answered before it is safe. */
  readonly #accepting = new Map<TaskId, Promise<void>>();
  #waitingBytes = 0;
  #refusing = false;
  #stopping = false;

  constructor(deps: TasksDeps, deletes: DeleteList, orphans: Orphans, reads: ReadSink) {
    this.#deps = deps;
    this.#deletes = deletes;
    this.#orphans = orphans;
    this.#hooks = {
      predecessorsGone: (task) => orphans.predecessorsGone(task),
      created: (runtime, task, state) => {
        deps.events.created?.(task);
        const { meta } = task;
        if (meta !== undefined) this.#journal({ kind: 'created', id: task.id, identity: task.identity, meta });
        deps.store.observed(task, phaseState('QUEUED', { reason: 'the remote has the job' }));
        const over = state !== undefined && reads.state(runtime, task, state).terminal;
        if (!over) startPolling(deps, runtime, task, state === undefined ? undefined : deps.clock.now());
      },
      ran: (runtime, task, state) => {
        if (reads.state(runtime, task, state).terminal) return;
        const seen = `do answered phase ${state.phase}; a sync plugin must answer a terminal one`;
        reads.end(runtime, task, failureState('PERMANENT_FAILURE', 'PLUGIN_ANSWER_INVALID', seen, 'SYSTEM'), undefined);
      },
      refused: (_runtime, task) => deps.events.ended?.(task),
    };
  }

  async create(spec: TaskSpec, scope: CallScope): Promise<CreateAnswerView> {
    const { store, host, clock, options } = this.#deps;
    const plugin = host.route(spec.taskType, spec.taskTypeVersion);
    const key = attemptKeyOf(spec.attempt);
    let task = store.current(key);
    if (task === undefined) task = await this.#accept(spec, plugin);
    else {
      store.asked(task, false);
      await this.#accepting.get(task.id);
    }

    const answerBy = clock.now() + Math.max(0, scope.deadlineMs - clock.now()) * options.acceptShare;
    for (let run = this.#runs.get(task.id); run !== undefined; run = this.#runs.get(task.id)) {
      const settled = await settledBefore(clock, run.ended, answerBy, scope.signal);
      task = store.current(key) ?? task;
      if (!settled) break;
    }
    return this.#answer(task);
  }

  /** The create that is under way for a task, if one is. */
  run(id: TaskId): CreateRun | undefined {
    return this.#runs.get(id);
  }

  /** Takes up a task whose create did not finish in an earlier life of the daemon. */
  resume(runtime: PluginRuntime, task: TaskRecord, sentBefore: boolean): void {
    this.#start(runtime, task, sentBefore);
  }

  get waiting(): number {
    return this.#runs.size;
  }

  /** From here on new tasks are only accepted where a journal keeps them for the next start. */
  refuse(): void {
    this.#refusing = true;
  }

  /** Sends nothing new; resolves when no create is in flight. Accepted tasks stay accepted. */
  async stop(): Promise<void> {
    this.#refusing = true;
    this.#stopping = true;
    for (const run of this.#runs.values()) run.stop();
    await Promise.all([...this.#runs.values()].map((run) => run.ended));
  }

  async #accept(spec: TaskSpec, plugin: HostedPlugin): Promise<TaskRecord> {
    const { store, clock, journal, events } = this.#deps;
    if (this.#refusing && !journal.durable) {
      throw new HostError(
        'DAEMON_DRAINING',
        'the daemon is stopping and keeps no journal; create the task elsewhere, or again in a moment',
        { retryAfterMs: 5_000 },
      );
    }
    const runtime = runtimeOf(this.#deps.runtimes, plugin.id);
    this.#assertRoom(spec);
    const key = attemptKeyOf(spec.attempt);
    const task = store.insert({
      identity: {
        plugin: plugin.id,
        taskType: spec.taskType,
        taskTypeVersion: spec.taskTypeVersion,
        key,
        incarnation: (store.tombstones.last(key) ?? 0) + 1,
        project: spec.metadata.taskExecutionId.project,
        domain: spec.metadata.taskExecutionId.domain,
        namespace: spec.metadata.namespace,
        quotaNamespace: '',
        createdAtMs: Math.round(clock.now()),
        outputNames: spec.outputNames,
      },
      stage: 'accepted',
      state: phaseState('WAITING_FOR_RESOURCES', { reason: 'accepted' }),
      outputPrefix: spec.outputPrefix,
      payload: {
        template: spec.template,
        inputs: spec.inputs,
        inputPrefix: spec.inputPrefix,
        metadata: spec.metadata,
        maxDatasetSizeBytes: spec.maxDatasetSizeBytes,
      },
      node: spec.node,
      connection: spec.connection,
      connectionUntilMs: clock.now() + this.#deps.options.connectionTtlMs,
    });
    events.accepted?.(task);
    const { identity, payload, outputPrefix } = task;
    this.#orphans.supersede(task, (orphan) => {
      events.orphanDeleted?.(orphan);
      const why = 'its create was never answered and the engine has gone on to a later attempt';
      const { safe, gone } = this.cancelTask(orphan, why);
      for (const one of [safe, gone]) one.catch((error: unknown) => events.fault?.('orphan', error));
      return gone;
    });
    if (payload !== undefined) await this.#intent(task, { kind: 'intent', identity, payload, outputPrefix });
    // A task that was cancelled meanwhile must not be started: nobody would know of its job.
    if (!this.#stopping && store.byId(task.id) === task) this.#start(runtime, task, false);
    return task;
  }

  /** Rule 8: the intent is safe before the plugin is called, and before anybody is answered. */
  async #intent(task: TaskRecord, entry: JournalEntry): Promise<void> {
    const { store, journal } = this.#deps;
    const safe = journal.append(entry);
    this.#accepting.set(task.id, safe);
    try {
      await safe;
    } catch (error) {
      // Nothing was promised and nothing sent; a record without a run would wait for ever.
      if (store.byId(task.id) === task) store.remove(task);
      throw error;
    } finally {
      this.#accepting.delete(task.id);
    }
  }

  #assertRoom(spec: TaskSpec): void {
    this.#deps.store.assertRoom(this.#deletes.size);
    const { maxWaiting } = this.#deps.options;
    if (this.#runs.size >= maxWaiting) {
      throw new HostError(
        'STORE_FULL',
        `${this.#runs.size} accepted tasks wait already, the bound is ${maxWaiting}; try again when some have started`,
        { retryAfterMs: 30_000 },
      );
    }
    const bytes = payloadBytes(spec);
    const bound = this.#deps.options.maxWaitingBytes;
    if (this.#waitingBytes + bytes <= bound) return;
    throw new HostError(
      'STORE_FULL',
      `the templates and inputs of waiting tasks take ${this.#waitingBytes} bytes, ${bytes} more would pass the bound of ${bound}; try again when some have started`,
      { retryAfterMs: 30_000 },
    );
  }

  #start(runtime: PluginRuntime, task: TaskRecord, resumed: boolean): void {
    const bytes = task.payload === undefined ? 0 : payloadBytes(task.payload);
    this.#waitingBytes += bytes;
    const run = new CreateRun(this.#deps, this.#hooks, runtime, task, resumed);
    this.#runs.set(task.id, run);
    run.ended
      .then((end) => {
        this.#waitingBytes -= bytes;
        this.#runs.delete(task.id);
        if (end.kind === 'taken' && !this.#stopping) this.#startNext(runtime, task);
        if (this.#deps.store.byId(task.id) !== task) this.#deps.store.letGo(task);
      })
      .catch((error: unknown) => this.#deps.events.fault?.('create', error));
    run.start();
  }

  /** The key belongs to a finished job of an earlier life: the next incarnation takes its place, under the same handle. */
  #startNext(runtime: PluginRuntime, task: TaskRecord): void {
    runtime.quotas.release(task.id);
    this.#start(runtime, this.#deps.store.nextIncarnation(task), false);
  }

  #answer(task: TaskRecord): CreateAnswerView {
    const { store } = this.#deps;
    if (task.answeredHandle === undefined) {
      const handle = encodeHandle({ identity: task.identity, meta: task.meta });
      store.answered(task, handle);
      this.#journal({ kind: 'answered', id: task.id, handle });
    }
    this.#orphans.answered(task);
    return {
      handle: task.answeredHandle ?? Buffer.alloc(0),
      task,
      undelivered: () => this.#orphans.lost(task),
    };
  }

  /**
   * Ends a task of this memory: out of the line, or onto the delete list. `safe` resolves once the intent is, `gone` when
   * the remote has nothing of it any more.
   */
  cancelTask(task: TaskRecord, reason: string): Cancellation {
    const { store, journal } = this.#deps;
    const { id, identity, outputPrefix, connection, connectionUntilMs, meta } = task;
    const runtime = runtimeOf(this.#deps.runtimes, identity.plugin);
    const order = { id, identity, outputPrefix, connection, connectionUntilMs, reason, readFirst: false };
    if (task.stage === 'over') {
      store.remove(task);
      const safe = journal.append({ kind: 'forgotten', id, incarnation: identity.incarnation });
      return { safe, gone: safe };
    }
    if (meta !== undefined) {
      runtime.refresher.untrack(id);
      store.remove(task);
      const safe = this.#deletes.owe({ ...order, meta });
      return { safe, gone: safe.then(() => this.#deletes.done(id)) };
    }
    const run = this.#runs.get(id);
    run?.cancel();
    store.remove(task);
    const safe = journal.append({ kind: 'delete-owed', id, identity, meta: undefined, outputPrefix, reason });
    const gone = (run?.ended ?? Promise.resolve(undefined)).then(async (end) => {
      if (end?.kind !== 'created') {
        runtime.quotas.release(id);
        return;
      }
      await this.#deletes.owe({ ...order, meta: end.meta });
      await this.#deletes.done(id);
    });
    return { safe, gone };
  }

  /** Takes an unknown, created handle up as a live task (rule 7, rule 10). */
  adopt(runtime: PluginRuntime, task: TaskRecord): void {
    forceToken(runtime, task);
    startPolling(this.#deps, runtime, task);
  }

  #journal(entry: Parameters<TasksDeps['journal']['append']>[0]): void {
    this.#deps.journal.append(entry).catch((error: unknown) => this.#deps.events.fault?.('journal', error));
  }
}

/** A deletion under way; neither promise may be left without a handler for its rejection. */
export interface Cancellation {
  readonly safe: Promise<void>;
  readonly gone: Promise<void>;
}

function payloadBytes(payload: { readonly template: Buffer; readonly inputs: Buffer | undefined }): number {
  return payload.template.length + (payload.inputs?.length ?? 0);
}
