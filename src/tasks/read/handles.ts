import { createHash } from 'node:crypto';
import { HostError } from '../../errors/index.js';
import { settledBefore } from '../../lib/wait.js';
import { adoptedIdOf, type TaskId, taskIdOf } from '../../model/attempt-key.js';
import { decodeHandle, type Handle, identityProblem, looksLikeHandle } from '../../model/handle.js';
import { type PhaseState, phaseState } from '../../model/phase-state.js';
import type { TaskRecord } from '../../model/task-record.js';
import { assertHosted, runtimeOf } from '../../runtime/runtime.js';
import { recordForAnswer } from '../../store/entry.js';
import type { TaskStore } from '../../store/task-store.js';
import type { TasksDeps } from '../deps.js';
import type { DeleteList } from '../end/delete-list.js';
import { errorOf } from '../failures.js';
import type { CallScope, HandleHints } from '../types.js';
import { adoptTask } from './adopt.js';
import { Adoptions } from './adoptions.js';

/** What a handle turned out to be. */
export type Found =
  | { readonly kind: 'held'; readonly task: TaskRecord }
  /** Its incarnation was deleted. */
  | { readonly kind: 'deleted'; readonly id: TaskId }
  | { readonly kind: 'unknown'; readonly handle: Handle };

/** Finds tasks by handle and takes up those that memory does not hold (rule 7). */
export class Handles {
  readonly #deps: TasksDeps;
  readonly #deletes: DeleteList;
  readonly #adoptions: Adoptions;

  constructor(deps: TasksDeps, deletes: DeleteList) {
    this.#deps = deps;
    this.#deletes = deletes;
    this.#adoptions = new Adoptions(deps);
  }

  /**
   * Throws HANDLE_MALFORMED, HANDLE_VERSION_UNKNOWN, HANDLE_UNSIGNED, HANDLE_FOREIGN, or PLUGIN_NOT_SERVING for a plugin that is
   * not configured.
   */
  find(bytes: Buffer, hints: HandleHints): Found {
    const { store, clock, options } = this.#deps;
    const byBytes = store.byHandle(bytes);
    const handle = byBytes === undefined ? this.#read(bytes) : undefined;
    const task = byBytes ?? (handle === undefined ? undefined : this.#byIdentity(handle));
    if (task !== undefined) {
      store.asked(task);
      store.enrich(task, hints.outputPrefix, hints.connection, clock.now() + options.connectionTtlMs);
      return { kind: 'held', task };
    }
    if (handle === undefined) throw new HostError('INTERNAL', 'a handle was neither held nor decoded');
    const id = this.#deletedAs(handle, bytes);
    if (id !== undefined) return { kind: 'deleted', id };
    // What ended here is known without its plugin.
    if (!endedHere(store, handle, bytes)) assertHosted(this.#deps.runtimes, handle.identity.plugin);
    return { kind: 'unknown', handle };
  }

  /** A handle whose task went on as the next incarnation stands for that one. */
  #read(bytes: Buffer): Handle {
    const handle = decodeHandle(bytes);
    this.#deps.handles.check(bytes, handle);
    const { identity } = handle;
    const incarnation = this.#deps.store.marks.follow(identity.key, identity.incarnation);
    return incarnation === identity.incarnation ? handle : { ...handle, identity: { ...identity, incarnation } };
  }

  /** The id that a handle was deleted under before its task was over, or while nothing says that it was. */
  #deletedAs({ identity: { key, incarnation } }: Handle, bytes: Buffer): TaskId | undefined {
    const { store } = this.#deps;
    const mark = store.marks.get(key, incarnation);
    const adopted = adoptedIdOf(key, incarnation, bytes);
    const id = store.owed.has(adopted) ? adopted : taskIdOf(key, incarnation);
    if (mark?.ended === true || store.trace(id) !== undefined) return undefined;
    const current = store.current(key)?.identity.incarnation ?? 0;
    // A delete may be owed for longer than its mark lasts.
    return mark?.deleted === true || incarnation < current || store.owed.has(id) ? id : undefined;
  }

  /**
   * A repeated create that waits does not know the job yet which the handle of an earlier daemon does: until it does the
   * handle stands for a record of its own, or the job would be read and cancelled by nobody.
   */
  #byIdentity({ identity: { key, incarnation }, meta }: Handle): TaskRecord | undefined {
    const task = this.#deps.store.byId(taskIdOf(key, incarnation));
    return meta !== undefined && task?.meta === undefined && task?.stage !== 'over' ? undefined : task;
  }

  /** A record for a handle that memory does not hold. Throws LEASE_LAPSED where another replica may have the task by now. */
  adopt(bytes: Buffer, handle: Handle, hints: HandleHints): TaskRecord {
    if (this.#deps.mayWork?.() === false) {
      throw new HostError(
        'LEASE_LAPSED',
        'this replica does not know the task, and could not renew its lease: another one may know it; try again',
        { retryAfterMs: 1_000 },
      );
    }
    return adoptTask(this.#deps, this.#adoptions, { ...handle, bytes, hints });
  }

  /**
   * The task of a handle. One that memory did not hold is read first, within the caller's deadline; if that fails the
   * answer is RUNNING, and the schedule goes on.
   */
  async resolve(bytes: Buffer, hints: HandleHints, scope: CallScope): Promise<TaskRecord> {
    const told = this.#deps.store.told.of(bytes);
    if (told !== undefined) return ended(bytes, told.state, told.atMs);
    const found = this.find(bytes, hints);
    if (found.kind === 'held') {
      if (!awaitsFirstRead(found.task)) return found.task;
      await this.#firstRead(found.task, scope);
      return this.latest(bytes, hints, found.task);
    }
    if (found.kind === 'deleted') return this.#deletedOrEnded(bytes, found.id, hints, scope);
    const task = this.adopt(bytes, found.handle, hints);
    await this.#firstRead(task, scope);
    return this.latest(bytes, hints, task);
  }

  /** The task of a handle after a wait: a create that came to know its job meanwhile has taken the adopted record's place. */
  latest(bytes: Buffer, hints: HandleHints, before: TaskRecord): TaskRecord {
    if (!before.adopted || before.stage === 'over' || this.#deps.store.byId(before.id) === before) return before;
    const found = this.find(bytes, hints);
    return found.kind === 'held' ? found.task : before;
  }

  /**
   * Takes up a resource meta that another service made, if a plugin of the task type knows it. Its handle is the foreign
   * bytes themselves. Answers its task's id, or undefined for a handle. Throws HANDLE_MALFORMED where no plugin does.
   */
  async adoptForeign(
    bytes: Buffer,
    taskType: string,
    version: number,
    hints: HandleHints,
    scope: CallScope,
  ): Promise<TaskId | undefined> {
    const { store, host, clock, options } = this.#deps;
    if (looksLikeHandle(bytes)) return undefined;
    const held = store.byHandle(bytes);
    if (held !== undefined) return held.id;
    if (!options.adoptForeign) {
      throw new HostError(
        'HANDLE_MALFORMED',
        `not a handle of this daemon (${bytes.length} bytes), and handles.adoptForeign is off; send the bytes that Create answered, or let plugins take over what another service has started`,
      );
    }
    const plugin = host.route(taskType, version);
    const runtime = runtimeOf(this.#deps.runtimes, plugin.id);
    const key = foreignKey(bytes, taskType);
    const identity = foreignIdentity(plugin.id, taskType, version, key, clock.now());
    const problem = identityProblem(identity);
    // What is kept has to be read again at the next start.
    if (problem !== undefined) {
      throw new HostError('REQUEST_FIELD_INVALID', `the ${problem} of the task is none that Create would take`);
    }
    const mark = store.marks.get(key, 1);
    if (mark?.failure !== undefined) {
      return this.adopt(bytes, { identity, meta: undefined }, hints).id;
    }
    if (mark?.deleted === true && !mark.ended) {
      // Known as deleted from here on, so that Get says so and a repeated Delete succeeds.
      const { outputPrefix } = hints;
      const over = store.insert({
        identity,
        stage: 'over',
        state: DELETED,
        outputPrefix,
        answeredHandle: bytes,
        adopted: true,
        deleted: true,
      });
      return over.id;
    }
    if (plugin.features.adoptMeta) {
      const outcome = await runtime.gate.call(
        'adoptMeta',
        { foreign: bytes, taskType },
        { admission: 'fail-fast', deadlineMs: scope.deadlineMs, signal: scope.signal },
      );
      if (!outcome.ok) throw errorOf(outcome.failure, plugin.id, 'looking at a foreign resource meta', 'adoptMeta');
      if (outcome.value.meta !== undefined) {
        return (store.byHandle(bytes) ?? this.adopt(bytes, { identity, meta: outcome.value.meta }, hints)).id;
      }
    }
    throw new HostError(
      'HANDLE_MALFORMED',
      `not a handle of this daemon, and plugin "${plugin.id}" does not take over resource metas of another service like this one (${bytes.length} bytes); send the bytes that Create answered`,
    );
  }

  async #firstRead(task: TaskRecord, scope: CallScope): Promise<void> {
    const { clock, options, store } = this.#deps;
    if (task.stage !== 'live' || store.byId(task.id) !== task) return;
    const { refresher } = runtimeOf(this.#deps.runtimes, task.scope.plugin);
    const until = scope.deadlineMs - options.answerMarginMs;
    const read = refresher.readNow(task.id, until, scope.signal);
    await settledBefore(clock, read, until, scope.signal);
  }

  /** What was deleted without being known here is being read: it may have been over, and then says how it ended. */
  async #deletedOrEnded(bytes: Buffer, id: TaskId, hints: HandleHints, scope: CallScope): Promise<TaskRecord> {
    const { clock, options } = this.#deps;
    if (this.#deletes.reads(id)) {
      await settledBefore(clock, this.#deletes.done(id), scope.deadlineMs - options.answerMarginMs, scope.signal);
      const found = this.find(bytes, hints);
      if (found.kind === 'held') return found.task;
    }
    // The order may still find out that it was over.
    if (this.#deps.store.owed.has(id)) this.#deps.store.told.add(bytes, DELETED);
    return ended(bytes, DELETED, clock.now());
  }
}

/** Whether how the task of a handle ended is remembered. */
export function endedHere(store: TaskStore, { identity: { key, incarnation } }: Handle, bytes: Buffer): boolean {
  if (store.marks.get(key, incarnation)?.ended === true) return true;
  return [taskIdOf(key, incarnation), adoptedIdOf(key, incarnation, bytes)].some((id) => store.trace(id) !== undefined);
}

/** A record for an answer only. `atMs`: when that was told first, which is what its version goes by. */
function ended(bytes: Buffer, state: PhaseState, atMs: number): TaskRecord {
  const { identity } = decodeHandle(bytes);
  const task = { identity, stage: 'over', state, outputPrefix: '', adopted: true } as const;
  return recordForAnswer(task, atMs, bytes);
}

const DELETED = phaseState('ABORTED', {
  reason: 'the task was deleted',
  error: { code: 'TASK_DELETED', message: 'the task was deleted', kind: 'USER' },
});

/**
 * Whether an answer about this task waits for its first read (rule 7). Once a read has failed it does not: the task is
 * RUNNING then, and the schedule goes on.
 */
export function awaitsFirstRead(task: TaskRecord): boolean {
  return task.adopted && task.stage === 'live' && task.observedAtMs === undefined && task.lastFailure === undefined;
}

function foreignIdentity(
  plugin: string,
  taskType: string,
  taskTypeVersion: number,
  key: string,
  nowMs: number,
): Handle['identity'] {
  return {
    plugin,
    taskType,
    taskTypeVersion,
    key,
    incarnation: 1,
    project: '',
    domain: '',
    namespace: '',
    quotaNamespace: '',
    createdAtMs: Math.round(nowMs),
    outputNames: undefined,
  };
}

/** Foreign metas have no attempt key; what identifies the task is the meta itself, with its task type. */
function foreignKey(bytes: Buffer, taskType: string): string {
  return createHash('sha256').update(`foreign\n${taskType}\n`).update(bytes).digest('hex').slice(0, 32);
}
