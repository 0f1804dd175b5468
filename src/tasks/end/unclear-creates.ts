import { messageOf } from '../../errors/index.js';
import { backoffMs } from '../../lib/backoff.js';
import type { TaskId } from '../../model/attempt-key.js';
import type { TaskIdentity } from '../../model/handle.js';
import { outcomeRule } from '../../model/outcomes.js';
import type { CreateAnswer, CreateArgs, PluginFailure } from '../../model/plugin-call.js';
import type { ReadFailure, TaskRecord } from '../../model/task-record.js';
import type { ConnectionInfo } from '../../plugin-api/contexts.js';
import { isTerminal } from '../../plugin-api/phase.js';
import { payloadBytes } from '../accept/waiting-room.js';
import type { TasksDeps } from '../deps.js';
import { createArgs, freshConnection, lacksCredentials, type PluginRuntime } from '../runtime.js';
import type { DeleteList } from './delete-list.js';
import { RepeatedWork } from './repeated-work.js';

/** A task that ended before it was known whether the remote has a job of it. Times are epoch milliseconds. */
export interface UnclearCreate {
  /** Also the idempotency key by which the job, if there is one, can be found at the remote. */
  readonly id: TaskId;
  readonly identity: TaskIdentity;
  readonly sinceMs: number;
  /** Create calls that were made to find the job. */
  readonly looks: number;
  /** In the past while it stands in line; undefined while it is under way, and once nobody looks any more. */
  readonly nextLookMs: number | undefined;
  /** Why nobody looks for the job any more; from here on it is the operator's. */
  readonly leftBecause: string | undefined;
  readonly lastError: ReadFailure;
}

type Entry = { -readonly [K in keyof UnclearCreate]: UnclearCreate[K] } & {
  /** Dropped with the last look. */
  args: CreateArgs | undefined;
  connection: ConnectionInfo | undefined;
  readonly connectionUntilMs: number;
  bytes: number;
};

/** Delay before the first look and the longest one; each is four times the one before. Milliseconds. */
const LOOK_DELAY = { initialMs: 60_000, maxMs: 3_600_000, factor: 4 };

/**
 * Creates of unclear outcome (rule 9: no job bills unseen): the task is over, and the last word on a create call that was
 * sent does not exclude a job. The only way to the meta of such a job is the create itself, so it is repeated with the same
 * idempotency key, a few times at long intervals; what it answers goes on the delete list at once. What could not be
 * cleared up stays listed for the operator.
 *
 * States of an entry: `looking` (holds the inputs of the create) and `left`. The list is bounded in entries and bytes; the
 * oldest entry, or the inputs of the newest, give way.
 */
export class UnclearCreates {
  readonly #deps: TasksDeps;
  readonly #deletes: DeleteList;
  readonly #entries = new Map<TaskId, Entry>();
  readonly #work: RepeatedWork<Entry>;
  #bytes = 0;

  constructor(deps: TasksDeps, deletes: DeleteList) {
    this.#deps = deps;
    this.#deletes = deletes;
    this.#work = new RepeatedWork<Entry>({
      clock: deps.clock,
      // One at a time: engines' own creates must not wait behind these.
      concurrency: 1,
      pluginOf: (entry) => entry.identity.plugin,
      attempt: (entry) => this.#look(entry),
      faulty: (entry, error) => {
        deps.events.fault?.('unclear create', error);
        entry.lastError = { code: 'INTERNAL', message: messageOf(error) };
        return this.#later(entry);
      },
    });
  }

  get size(): number {
    return this.#entries.size;
  }

  *list(): Iterable<UnclearCreate> {
    yield* this.#entries.values();
  }

  has(id: TaskId): boolean {
    return this.#entries.has(id);
  }

  /** Takes on a task that is about to end; without its payload it can only be listed. */
  add(task: TaskRecord, lastError: ReadFailure): void {
    const { clock, options, events } = this.#deps;
    const { id, identity, connection, connectionUntilMs } = task;
    const args = task.payload === undefined ? undefined : { ...createArgs(task, clock.now()), connection: undefined };
    const entry: Entry = {
      id,
      identity,
      sinceMs: clock.now(),
      looks: 0,
      nextLookMs: undefined,
      leftBecause: undefined,
      lastError,
      args,
      connection,
      connectionUntilMs,
      bytes: args === undefined ? 0 : payloadBytes(args),
    };
    for (const oldest of this.#entries.values()) {
      if (this.#entries.size < options.maxUnclear) break;
      if (oldest.leftBecause === undefined) this.#leave(oldest, 'later ones took its place in the list');
      this.#remove(oldest);
    }
    this.#entries.set(id, entry);
    this.#bytes += entry.bytes;
    events.createUnclear?.(id, identity.plugin, lastError.code, lastError.message);
    if (args === undefined) this.#leave(entry, 'its inputs are no longer kept');
    else if (options.unclearLooks === 0) this.#leave(entry, 'tasks.unclearCreateLooks is 0');
    else if (this.#bytes > options.maxUnclearBytes) this.#leave(entry, 'the list holds too many inputs already');
    else this.#work.add(entry, this.#later(entry));
  }

  /** A create that the stop of the daemon interrupts; a durable journal takes it up again. */
  interrupted({ id, identity }: TaskRecord, lastError: ReadFailure): void {
    this.#lost(id, identity.plugin, lastError);
  }

  /** Sends nothing more; resolves when no look is under way. */
  stop(): Promise<void> {
    return this.#work.stop();
  }

  /** Tells of the jobs that the daemon would still look for; for the end of a stop, when no create is under way either. */
  tellLeft(): void {
    for (const { id, identity, leftBecause, lastError } of this.#entries.values()) {
      if (leftBecause === undefined) this.#lost(id, identity.plugin, lastError);
    }
  }

  #lost(id: TaskId, plugin: string, lastError: ReadFailure): void {
    const { journal, events } = this.#deps;
    if (!journal.durable) events.createLeft?.(id, plugin, 'the daemon stops and keeps no journal', lastError.message);
  }

  async #look(entry: Entry): Promise<number | undefined> {
    const { runtimes, clock } = this.#deps;
    const runtime = runtimes.get(entry.identity.plugin);
    if (entry.args === undefined) return undefined;
    if (runtime === undefined) return this.#later(entry);
    const { creates } = runtime;
    try {
      // While creates are held up a look stands in line as they do, and is as good a probe.
      if (!(await this.#work.untilStop((signal) => creates.pass(entry.id, true, signal)))) return this.#later(entry);
      entry.nextLookMs = undefined;
      // The list may have let it go meanwhile.
      const { args } = entry;
      if (args === undefined) return undefined;
      if (lacksCredentials(entry, clock.now())) {
        return this.#leave(entry, 'the secrets that came with the create are no longer kept');
      }
      return await this.#call(entry, args, runtime);
    } finally {
      creates.leave(entry.id);
    }
  }

  async #call(entry: Entry, args: CreateArgs, runtime: PluginRuntime): Promise<number | undefined> {
    const { clock, options } = this.#deps;
    const connection = freshConnection(entry, clock.now());
    const outcome = await this.#work.call(runtime, 'create', { ...args, connection });
    runtime.creates.told(entry.id, outcome);
    if (outcome.ok) return this.#found(entry, outcome.value);
    const { failure } = outcome;
    entry.lastError = { code: failure.code, message: failure.message };
    if (wasTried(failure) && !runtime.creates.holds) entry.looks += 1;
    if (entry.looks >= options.unclearLooks) return this.#leave(entry, `${entry.looks} looks did not find out`);
    return this.#later(entry, failure.retryAfterMs);
  }

  #found(entry: Entry, answer: CreateAnswer): undefined {
    const { id, identity, args, connection, connectionUntilMs } = entry;
    const over = answer.existing && answer.state !== undefined && isTerminal(answer.state.phase);
    this.#remove(entry);
    this.#deps.events.createCleared?.(id, identity.plugin, over ? 'over' : 'cancelled');
    if (over) return;
    const reason = 'the task had ended before the daemon knew its job';
    const outputPrefix = args?.outputPrefix ?? '';
    this.#deletes
      .owe({
        id,
        identity,
        meta: answer.meta,
        outputPrefix,
        connection,
        connectionUntilMs,
        reason,
        readFirst: false,
      })
      .catch((error: unknown) => this.#deps.events.fault?.('delete', error));
  }

  #later(entry: Entry, atLeastMs = 0): number {
    const { clock, random } = this.#deps;
    const delay = Math.max(atLeastMs, backoffMs(entry.looks + 1, LOOK_DELAY, random));
    entry.nextLookMs = clock.now() + delay;
    return delay;
  }

  /** Nobody looks any more; what stays is the line in the operator's list. */
  #leave(entry: Entry, because: string): undefined {
    entry.leftBecause = because;
    entry.nextLookMs = undefined;
    this.#letGo(entry);
    this.#deps.events.createLeft?.(entry.id, entry.identity.plugin, because, entry.lastError.message);
  }

  #remove(entry: Entry): void {
    this.#work.drop(entry);
    this.#letGo(entry);
    this.#entries.delete(entry.id);
  }

  #letGo(entry: Entry): void {
    this.#bytes -= entry.bytes;
    entry.bytes = 0;
    entry.args = undefined;
    entry.connection = undefined;
  }
}

/** Whether the remote was asked; a throttle, a pause or a full queue is no look. */
function wasTried(failure: PluginFailure): boolean {
  const { counted, ends } = outcomeRule('create', failure.kind);
  return counted === 'yes' || ends !== undefined;
}
