import { messageOf } from '../../errors/index.js';
import { backoffMs } from '../../lib/backoff.js';
import type { TaskId } from '../../model/attempt-key.js';
import { outcomeRule } from '../../model/outcomes.js';
import { type CreateAnswer, type CreateArgs, type PluginFailure, UNTIL_SENT } from '../../model/plugin-call.js';
import type { ReadFailure, TaskRecord } from '../../model/task-record.js';
import { isTerminal } from '../../plugin-api/phase.js';
import type { LaneRun } from '../../runtime/create-lane.js';
import { createArgs, freshConnection, lacksCredentials, type PluginRuntime } from '../../runtime/runtime.js';
import { deleteOrder } from '../../store/owed-deletes.js';
import type { UnclearCreate } from '../../store/unclear-creates.js';
import type { TasksDeps } from '../deps.js';
import type { DeleteList } from './delete-list.js';
import { RepeatedWork } from './repeated-work.js';

/** Between two looks, at most. Milliseconds. */
const LONGEST_DELAY_MS = 3_600_000;
/** Delay before the first look; each is four times the one before. Milliseconds. */
const LOOK_DELAY = { initialMs: 60_000, maxMs: LONGEST_DELAY_MS, factor: 4 };

/** Why a look would be worse than none: it might make a second job. */
const CANNOT_FIND = 'its plugin cannot find a job by its key';

/** The same where a token is held meanwhile. */
const HELD_LOOK_DELAY = { initialMs: 5_000, maxMs: LONGEST_DELAY_MS, factor: 4 };

/** One job that is looked for. */
interface Look {
  readonly id: TaskId;
  readonly plugin: string;
}

/**
 * Looks for the jobs of creates of unclear outcome (rule 9: no job bills unseen): the task is over, and the last word on a
 * create call that was sent does not exclude a job. The only way to the meta of such a job is the create itself, so it is
 * repeated with the same idempotency key, a few times at long intervals; what it answers goes on the delete list at once.
 * What could not be cleared up stays listed for the operator. The list, which the store holds, is bounded in entries and
 * bytes; the oldest entry, or the inputs of the newest, give way.
 */
export class UnclearLooks {
  readonly #deps: TasksDeps;
  readonly #deletes: DeleteList;
  readonly #looks = new Map<TaskId, Look>();
  readonly #work: RepeatedWork<Look>;

  constructor(deps: TasksDeps, deletes: DeleteList) {
    this.#deps = deps;
    this.#deletes = deletes;
    this.#work = new RepeatedWork<Look>({
      clock: deps.clock,
      // One at a time: engines' own creates must not wait behind these.
      concurrency: 1,
      pluginOf: ({ plugin }) => plugin,
      attempt: (look) => this.#look(look),
      faulty: ({ id }, error) => {
        deps.events.fault?.('unclear create', error);
        deps.store.unclear.note(id, { lastError: { code: 'INTERNAL', message: messageOf(error) } });
        return this.#later(id);
      },
    });
  }

  /** Takes on a task that is about to end; without its payload it can only be listed. */
  add(task: TaskRecord, lastError: ReadFailure): void {
    const { options, events, store } = this.#deps;
    const { id, identity } = task;
    const args = this.#list(task, lastError, undefined);
    events.createUnclear?.(id, identity.plugin, lastError.code, lastError.message);
    if (args === undefined) this.#leave(id, 'its inputs are no longer kept');
    else if (!findsByKey(this.#deps, identity.plugin)) this.#leave(id, CANNOT_FIND);
    else if (options.unclearLooks === 0) this.#leave(id, 'tasks.unclearCreateLooks is 0');
    else if (store.unclear.bytes > options.maxUnclearBytes) this.#leave(id, 'the list holds too many inputs already');
    else this.#begin({ id, plugin: identity.plugin });
  }

  /**
   * Takes on a task that is about to be deleted before its plugin is loaded, and whose create an earlier run of the daemon
   * may have sent. It is looked for from `resume` on.
   */
  deletedEarly(task: TaskRecord, why: string): void {
    const message = `${why}; an earlier run of the daemon made the create call`;
    this.#list(task, { code: 'CREATE_LOST', message }, task.sentBoundMs);
  }

  /** Answers what a look needs, where that is known. */
  #list(task: TaskRecord, lastError: ReadFailure, sentBoundMs: number | undefined): CreateArgs | undefined {
    const { clock, options, store } = this.#deps;
    const { id, identity, node, outputPrefix, connection, connectionUntilMs } = task;
    const args = task.payload === undefined ? undefined : { ...createArgs(task, clock.now()), connection: undefined };
    for (const oldest of store.unclear.listed()) {
      if (store.unclear.size < options.maxUnclear) break;
      if (oldest.leftBecause === undefined) this.#leave(oldest.id, 'later ones took its place in the list');
      this.#remove(oldest.id);
    }
    store.unclear.add({
      id,
      identity,
      node,
      outputPrefix,
      sinceMs: clock.now(),
      looks: 0,
      nextLookMs: undefined,
      leftBecause: undefined,
      lastError,
      sentBoundMs,
      args,
      connection,
      connectionUntilMs,
    });
    return args;
  }

  /** Goes on to look for a job that an earlier run of the daemon looked for. */
  resume(id: TaskId, plugin: string): void {
    if (this.#looks.has(id)) return;
    const entry = this.#deps.store.unclear.get(id);
    // A deleted task wants its job cancelled; only the call that may be under way is waited for (rule 8), be it a look.
    const delayMs = (entry?.looks === 0 ? entry.sentBoundMs : undefined) ?? this.#later(id);
    this.#begin({ id, plugin }, Math.max(delayMs, entry?.lookBoundMs ?? 0));
  }

  /** A create that the stop of the daemon interrupts; a durable state takes it up again. */
  interrupted({ id, identity }: TaskRecord, lastError: ReadFailure): void {
    this.#lost(id, identity.plugin, lastError);
  }

  /** Sends nothing more; resolves when no look is under way. */
  stop(): Promise<void> {
    return this.#work.stop();
  }

  /** Tells of the jobs that the daemon would still look for; for the end of a stop, when no create is under way either. */
  tellLeft(): void {
    for (const { id, identity, leftBecause, lastError } of this.#deps.store.unclear.listed()) {
      if (leftBecause === undefined) this.#lost(id, identity.plugin, lastError);
    }
  }

  #begin(look: Look, delayMs = this.#later(look.id)): void {
    this.#looks.set(look.id, look);
    this.#deps.store.unclear.note(look.id, { nextLookMs: this.#deps.clock.now() + delayMs });
    this.#work.add(look, delayMs);
  }

  #lost(id: TaskId, plugin: string, lastError: ReadFailure): void {
    const { store, events } = this.#deps;
    if (!store.durable) events.createLeft?.(id, plugin, 'the daemon stops and keeps no state', lastError.message);
  }

  async #look({ id, plugin }: Look): Promise<number | undefined> {
    const { runtimes, clock, store } = this.#deps;
    const runtime = runtimes.get(plugin);
    if (store.unclear.get(id)?.args === undefined) return undefined;
    // One that did not come up yet has not told whether it could find the job.
    if (runtime?.plugin.kind === undefined) return this.#later(id);
    if (!runtime.plugin.features.findsByKey) return this.#leave(id, CANNOT_FIND);
    const { creates } = runtime;
    const run = Symbol(id);
    try {
      // While creates are held up a look stands in line as they do, and is as good a probe.
      if (!(await this.#work.untilStop((signal) => creates.pass(run, true, signal)))) return this.#later(id);
      store.unclear.note(id, { nextLookMs: undefined });
      // The list may have let it go meanwhile.
      const entry = store.unclear.get(id);
      if (entry?.args === undefined) return undefined;
      if (lacksCredentials(entry, clock.now())) {
        return this.#leave(id, 'the secrets that came with the create are no longer kept');
      }
      return await this.#call(entry, entry.args, runtime, run);
    } finally {
      creates.leave(run);
    }
  }

  async #call(
    entry: UnclearCreate,
    args: CreateArgs,
    runtime: PluginRuntime,
    run: LaneRun,
  ): Promise<number | undefined> {
    const { clock, options, store } = this.#deps;
    const { id } = entry;
    const connection = freshConnection(entry, clock.now());
    const { creates, gate } = runtime;
    const outcome = await this.#work.untilStop((stop, past) =>
      creates.send(run, stop, (signal, sent) =>
        gate.call(
          'create',
          { ...args, connection },
          {
            admission: 'wait',
            deadlineMs: UNTIL_SENT,
            signal,
            beforeSend: store.durable ? (boundMs) => this.#beforeSend(id, boundMs) : undefined,
            onSent: () => {
              sent();
              past();
            },
          },
        ),
      ),
    );
    // It can reach nobody any more: what the gate did not send never will, and the rest is answered or past its bound.
    store.unclear.note(id, { lookBoundMs: undefined });
    // Taken back before it was sent: creates are held up since.
    if (outcome === undefined) return this.#later(id);
    if (outcome.ok) return this.#found(entry, outcome.value);
    const { failure } = outcome;
    const looks = entry.looks + (wasTried(failure) && !runtime.creates.holds ? 1 : 0);
    store.unclear.note(id, { looks, lastError: { code: failure.code, message: failure.message } });
    if (looks >= options.unclearLooks) return this.#leave(id, `${looks} looks did not find out`);
    return this.#later(id, failure.retryAfterMs);
  }

  /** From here on a crash leaves it open whether the look was sent: the next run makes none while it may be under way (rule 8). */
  #beforeSend(id: TaskId, lookBoundMs: number): Promise<void> {
    const { store } = this.#deps;
    store.unclear.note(id, { lookBoundMs });
    return store.safe();
  }

  #found(entry: UnclearCreate, answer: CreateAnswer): undefined {
    const { store, events } = this.#deps;
    const { id, identity } = entry;
    const over = answer.existing && answer.state !== undefined && isTerminal(answer.state.phase);
    const reason = 'the task had ended before the daemon knew its job';
    this.#looks.delete(id);
    store.cleared(id, over ? undefined : deleteOrder({ ...entry, meta: answer.meta }, reason));
    events.createCleared?.(id, identity.plugin, over ? 'over' : 'cancelled');
    this.#deletes.carryOut(id).catch((error: unknown) => events.fault?.('delete', error));
  }

  #later(id: TaskId, atLeastMs = 0): number {
    const { clock, random, store } = this.#deps;
    const { looks = 0, sentBoundMs } = store.unclear.get(id) ?? {};
    const delays = sentBoundMs === undefined ? LOOK_DELAY : HELD_LOOK_DELAY;
    const delay = Math.max(atLeastMs, sentBoundMs ?? 0, backoffMs(looks + 1, delays, random));
    store.unclear.note(id, { nextLookMs: clock.now() + delay });
    return delay;
  }

  /** Nobody looks any more; what stays is the line in the operator's list. */
  #leave(id: TaskId, because: string): undefined {
    const { store, events } = this.#deps;
    const entry = store.unclear.get(id);
    if (entry === undefined) return;
    store.leftUnclear(id, because);
    events.createLeft?.(id, entry.identity.plugin, because, entry.lastError.message);
  }

  #remove(id: TaskId): void {
    const look = this.#looks.get(id);
    if (look !== undefined) this.#work.drop(look);
    this.#looks.delete(id);
    this.#deps.store.cleared(id, undefined);
  }
}

/** Plugins that are not there are asked when they are. */
function findsByKey({ runtimes }: TasksDeps, plugin: string): boolean {
  return runtimes.get(plugin)?.plugin.features.findsByKey ?? true;
}

/** Whether the remote was asked; a throttle, a pause or a full queue is no look. */
function wasTried(failure: PluginFailure): boolean {
  const { counted, ends } = outcomeRule('create', failure.kind);
  return counted === 'yes' || ends !== undefined;
}
