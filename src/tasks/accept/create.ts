import { HostError } from '../../errors/index.js';
import type { PluginHost } from '../../host/types.js';
import type { Timer } from '../../lib/clock.js';
import { createDeferred } from '../../lib/deferred.js';
import { PassingMap, PassingSet } from '../../lib/passing.js';
import { settledBefore } from '../../lib/wait.js';
import { type AttemptKey, attemptKeyOf, type TaskId } from '../../model/attempt-key.js';
import { partitionOfTask } from '../../model/partition.js';
import { phaseState } from '../../model/phase-state.js';
import type { TaskPayload, TaskRecord } from '../../model/task-record.js';
import { startPolling } from '../../runtime/polling.js';
import { assertNotFailed, keptUntil, type PluginRuntime, runtimeOf } from '../../runtime/runtime.js';
import type { NewTask } from '../../store/entry.js';
import type { TasksDeps } from '../deps.js';
import { cancelInBackground } from '../end/cancel.js';
import type { DeleteList } from '../end/delete-list.js';
import type { UnclearLooks } from '../end/unclear-looks.js';
import { failureState } from '../failures.js';
import { nextPart } from '../graces.js';
import { recallEnded } from '../read/adopt.js';
import { readEnd } from '../read/ended-before.js';
import type { ReadSink } from '../read/reads.js';
import { takeOverTwin } from '../read/twins.js';
import type { LastRun } from '../report.js';
import { assertSafe, tellEnded } from '../safe.js';
import type { CallScope, CreateAnswerView, TaskSpec } from '../types.js';
import { CreateRun, type CreatorHooks, type Predecessors } from './creator.js';
import type { Orphans } from './orphans.js';
import type { WaitingRoom } from './waiting-room.js';

/** Other use cases that a create leads to. */
export interface CreateParts {
  readonly deletes: DeleteList;
  readonly orphans: Orphans;
  readonly reads: ReadSink;
  readonly unclear: UnclearLooks;
  readonly waiting: WaitingRoom;
}

/** A task that was accepted, and answered, elsewhere. */
export type Promised = Omit<NewTask, 'stage' | 'state'> & { readonly answeredHandle: Buffer };

/** About what an answer takes of the event loop. Milliseconds. */
const ANSWER_MS = 0.1;

/** Of what a create may wait for; one that is looked at later than that is answered before it is begun. */
const LATE_SHARE = 0.25;

/** Creates that are begun in one turn while those who came with them wait for an answer. */
const STARTS_AT_ONCE = 16;

/** A key that was cancelled and created anew more often than this is none: the plugin calls its own jobs found. */
const MAX_LIVES = 100;

/**
 * Accepts tasks and brings them to life (rules 8 and 9; design 1a, Create).
 *
 * States of a task here: none → *running*, with a run (creator.ts has its states) until that ends; *early*, where it came before the
 * plugins were loaded, until `recover` runs it; *behind*, where it came with many others, until its turn; *unclaimed*, where an
 * earlier run of the daemon neither answered nor sent it, until its engine repeats the create or the orphan grace forgets it. A repeat of a create finds the task in any of them and makes none.
 * Of itself: open → `refuse` → refusing, where no state keeps what is new → `stop` → stopping, in which nothing is sent any more and runs end.
 */
export class CreateTask {
  readonly #deps: TasksDeps;
  readonly #deletes: DeleteList;
  readonly #orphans: Orphans;
  readonly #unclear: UnclearLooks;
  readonly #hooks: CreatorHooks;
  readonly #runs = new PassingMap<TaskId, CreateRun>();
  /** Tasks of an earlier run that nobody was told of and that were not sent. */
  readonly #unclaimed = new Map<TaskId, { timer: Timer; readonly start: () => void }>();
  /** Tasks that were accepted before the plugins were loaded. */
  readonly #early = new Set<TaskId>();
  /** Records that took the place of one which has waited for what was before it. */
  readonly #waited = new WeakSet<TaskRecord>();
  readonly #waiting: WaitingRoom;
  /** Tasks that wait and have no run, each with what lets it out of the waiting room. */
  readonly #parked = new PassingMap<TaskRecord, () => void>();
  /** Callers that wait for how their create ends. */
  #asking = 0;
  /** Starts of tasks that are answered first, in the order in which they were accepted. */
  readonly #behind = new PassingSet<() => void>();
  /** Some came since the last of them were begun. */
  #joined = false;
  #refusing = false;
  #stopping = false;

  constructor(deps: TasksDeps, { deletes, orphans, reads, unclear, waiting }: CreateParts) {
    this.#deps = deps;
    this.#deletes = deletes;
    this.#orphans = orphans;
    this.#unclear = unclear;
    this.#waiting = waiting;
    this.#hooks = {
      predecessors: (task) => this.#predecessors(task),
      created: (runtime, task, state) => {
        // Its part is with another replica by now, who looks for the job.
        if (!deps.store.holds(task)) return;
        deps.events.created?.(task);
        if (!takeOverTwin(deps, runtime, task)) {
          deps.store.observed(task, phaseState('QUEUED', { reason: 'the remote has the job' }));
        }
        const goesOn = state === undefined || reads.state(runtime, task, state);
        if (goesOn) startPolling(deps, runtime, task, state === undefined ? {} : { lastReadAtMs: deps.clock.now() });
      },
      ran: (runtime, task, state) => {
        if (!reads.state(runtime, task, state)) return;
        const seen = `do answered phase ${state.phase}; a sync plugin must answer a terminal one`;
        reads.end(task, failureState('PERMANENT_FAILURE', 'PLUGIN_ANSWER_INVALID', seen, 'SYSTEM'), undefined);
      },
      unclear: (task, error) => unclear.add(task, error),
      interrupted: (task, error) => unclear.interrupted(task, error),
      refused: (_runtime, task) => tellEnded(deps, task),
    };
  }

  /** Who served a task type in the last run; set until the plugins are loaded. */
  starting: Pick<LastRun, 'route'> | undefined;

  async create(spec: TaskSpec, scope: CallScope): Promise<CreateAnswerView> {
    const { store, clock, options } = this.#deps;
    const key = attemptKeyOf(spec.attempt);
    let task = store.current(key) ?? this.#recalled(key);
    // A repeat is answered whatever became of the plugin meanwhile.
    if (task === undefined) task = await this.#accept(spec, key, scope);
    else {
      store.asked(task, false);
      store.enrich(task, spec.outputPrefix, spec.connection, clock.now() + options.connectionTtlMs);
      this.#claimed(task);
    }

    const answerBy = this.#answerBy(scope);
    this.#asking += 1;
    try {
      for (let run = this.#runs.get(task.id); run !== undefined; run = this.#runs.get(task.id)) {
        // While the operator holds the plugin back there is nothing to wait for.
        const settled = await settledBefore(clock, run.rests, answerBy, scope.signal);
        task = store.current(key) ?? task;
        if (!settled || run.isHeld) break;
      }
    } finally {
      this.#asking -= 1;
    }
    await readEnd(this.#deps, task, scope);
    return this.#answer(task, scope);
  }

  /**
   * Until when a create may be waited for: a share of the caller's time from when it came, since in a burst much of that is over
   * before a call is looked at; and so much earlier that those who wait as well can be answered one after the other by then.
   */
  #answerBy({ arrivedMs, deadlineMs }: CallScope): number {
    const share = (deadlineMs - arrivedMs) * this.#deps.options.acceptShare;
    return arrivedMs + share - Math.min(this.#asking * ANSWER_MS, share / 2);
  }

  /** The create that is under way for a task, if one is. */
  run(id: TaskId): CreateRun | undefined {
    return this.#runs.get(id);
  }

  /**
   * Goes on with a task whose create did not finish in an earlier run of the daemon. What was neither answered nor sent is
   * nobody's yet: the engine repeats its create, or it is dropped after the orphan grace.
   */
  recover(runtime: PluginRuntime, task: TaskRecord): void {
    if (this.#runs.has(task.id)) return;
    const early = this.#early.delete(task.id);
    const start = () => {
      // What was sent has waited for them. For the others the last run had them cancelled, and may not have seen it done, or it knew
      // of no orphan when it accepted the task (rule 9).
      if (task.sentBoundMs === undefined) this.#supersede(task);
      this.#start(runtime, task, task.sentBoundMs);
    };
    if (early || task.hasHandle || task.sentBoundMs !== undefined) {
      start();
      return;
    }
    this.#awaitClaim(task, start);
    this.#park(task);
  }

  /** For the next part of the orphan grace: nobody was told of the task, nor of what a run before this one has waited. */
  #awaitClaim(task: TaskRecord, start: () => void): void {
    const { clock, options, store } = this.#deps;
    const partMs = nextPart(options.orphanGraceMs, task.undeliveredForMs);
    const timer = clock.setTimer(partMs, () => {
      store.undeliveredFor(task, partMs);
      if (task.undeliveredForMs < options.orphanGraceMs) return this.#awaitClaim(task, start);
      this.#unclaimed.delete(task.id);
      if (store.byId(task.id) === task) store.forget(task);
    });
    this.#unclaimed.set(task.id, { timer, start });
  }

  /** Its engine repeated the create of a task that nobody had been told of. */
  #claimed(task: TaskRecord): void {
    const unclaimed = this.#unclaimed.get(task.id);
    if (unclaimed === undefined) return;
    unclaimed.timer.cancel();
    this.#unclaimed.delete(task.id);
    if (task.undeliveredForMs > 0) this.#deps.store.undeliveredFor(task, -task.undeliveredForMs);
    if (this.#deps.store.byId(task.id) === task && !this.#stopping) unclaimed.start();
  }

  /** From here on new tasks are only accepted where a state keeps them for the next start. */
  refuse(): void {
    this.#refusing = true;
  }

  /**
   * Sends nothing new; resolves when no create is in flight. Accepted tasks stay accepted. `othersGoOn`: those of other parts still
   * say whether the remote takes creates.
   */
  async stop(othersGoOn: boolean): Promise<void> {
    this.#refusing = true;
    this.#stopping = true;
    for (const { timer } of this.#unclaimed.values()) timer.cancel();
    if (!othersGoOn) for (const { creates } of this.#deps.runtimes.all()) creates.stops();
    for (const run of this.#runs.values()) run.stop();
    await Promise.all([...this.#runs.values()].map((run) => run.ended));
  }

  /** Throws STORE_FULL, or what the state says, unless one more task may be taken on. */
  #assertRoom(spec: TaskSpec): void {
    const { store } = this.#deps;
    store.assertRoom();
    store.assertStorable();
    if (this.#waiting.hasRoom(spec)) return;
    // Those that were deleted or dropped meanwhile take none.
    for (const task of this.#parked.keys()) if (store.byId(task.id) !== task) this.#unpark(task);
    this.#waiting.assertRoom(spec);
  }

  /** What waits for the state to be written again is counted meanwhile. */
  async #untilStorable(spec: TaskSpec, scope: CallScope): Promise<void> {
    const leave = this.#waiting.enter(spec, spec.connection);
    try {
      await assertSafe(this.#deps, this.#deps.store.safe(), scope, 'accepting the task');
    } finally {
      leave();
    }
  }

  async #accept(spec: TaskSpec, key: AttemptKey, scope: CallScope): Promise<TaskRecord> {
    const { store, clock, host } = this.#deps;
    if (this.#refusing && !store.durable) {
      throw new HostError(
        'DAEMON_DRAINING',
        'the daemon is stopping and keeps no state; create the task elsewhere, or again in a moment',
        { retryAfterMs: 5_000 },
      );
    }
    const plugin = this.starting?.route(spec.taskType, spec.taskTypeVersion) ?? this.#served(host, spec);
    this.#assertRoom(spec);
    // While nothing can be written, nothing is taken on that could not be promised.
    const waited = store.trouble !== undefined;
    if (waited) await this.#untilStorable(spec, scope);
    // The same create may have come meanwhile.
    const known = store.current(key);
    if (known !== undefined) {
      store.enrich(known, spec.outputPrefix, spec.connection, clock.now() + this.#deps.options.connectionTtlMs);
      return known;
    }
    // Others that waited as well may have taken it.
    if (waited) this.#assertRoom(spec);
    const { task, start } = this.#insert({
      identity: {
        plugin,
        taskType: spec.taskType,
        taskTypeVersion: spec.taskTypeVersion,
        key,
        incarnation: store.freeIncarnation(key),
        project: spec.metadata.taskExecutionId.project,
        domain: spec.metadata.taskExecutionId.domain,
        namespace: spec.metadata.namespace,
        quotaNamespace: '',
        createdAtMs: Math.round(clock.now()),
        outputNames: spec.outputNames,
      },
      outputPrefix: spec.outputPrefix,
      payload: payloadOf(spec),
      node: spec.node,
      connection: spec.connection,
      connectionUntilMs: keptUntil(spec.connection, clock.now(), this.#deps.options.connectionTtlMs),
    });
    if (start === undefined) return task;
    const late = this.#isLate(scope);
    if (this.#behind.size === 0 && !late) start();
    else {
      const begun = this.#startBehind(task, start);
      if (!late) await settledBefore(clock, begun, this.#answerBy(scope), scope.signal);
    }
    return task;
  }

  /**
   * What a stand-in has promised, whatever room there is for it. Of a task that is known already it is the handle that was promised; one
   * that was deleted meanwhile, or is of an earlier life than the key's task, is over. Its caller may have the answer, or not.
   */
  takeIn(promised: Promised): void {
    const { store } = this.#deps;
    const { identity, answeredHandle } = promised;
    const { key, incarnation } = identity;
    const known = store.current(key);
    if (known !== undefined) {
      if (known.identity.incarnation !== incarnation) return;
      store.answered(known, answeredHandle);
      this.#claimed(known);
      this.#orphans.answered(known, true);
    } else if (!store.isTaken(key, incarnation)) {
      const { task, start } = this.#insert(promised);
      this.#orphans.answered(task, true);
      if (start !== undefined) void this.#startBehind(task, start);
    }
  }

  /** Makes the record of a task that is not known. Answers how its create is begun; undefined where it is over, or nobody begins one yet. */
  #insert(of: Omit<NewTask, 'stage' | 'state'>): { readonly task: TaskRecord; readonly start?: () => void } {
    const { store, events, runtimes } = this.#deps;
    const { plugin, key, incarnation } = of.identity;
    const mark = store.marks.get(key, incarnation);
    // It ended here, and only its mark is left: how it failed is answered again, and what it made is looked for, not made anew.
    const failed = mark?.ended === true ? mark.failure : undefined;
    const task = store.insert({
      ...of,
      stage: failed === undefined ? 'accepted' : 'over',
      state: failed ?? phaseState('WAITING_FOR_RESOURCES', { reason: 'accepted' }),
    });
    if (failed !== undefined) return { task };
    events.accepted?.(task);
    this.#supersede(task);
    const runtime = runtimes.get(plugin);
    if (runtime === undefined) this.#early.add(task.id);
    if (runtime === undefined || this.#stopping) {
      this.#park(task);
      return { task };
    }
    const mayExist = mark?.ended === true && runtime.plugin.kind !== 'sync';
    return { task, start: () => this.#start(runtime, task, mayExist ? 0 : undefined) };
  }

  /** Whether so much of what it may wait for is over already, in which others were seen to, that it is answered first. */
  #isLate(scope: CallScope): boolean {
    const nowMs = this.#deps.clock.now();
    return nowMs > scope.arrivedMs && nowMs - scope.arrivedMs >= (this.#answerBy(scope) - scope.arrivedMs) * LATE_SHARE;
  }

  /**
   * Starts a task's create in its turn, a few at a time, so that a burst is answered before all of it is begun. Resolves when it is
   * begun, or will not be.
   */
  #startBehind(task: TaskRecord, start: () => void): Promise<void> {
    this.#park(task);
    this.#joined = true;
    const begun = createDeferred<void>();
    this.#behind.add(() => {
      try {
        if (!this.#stopping && this.#deps.store.byId(task.id) === task && !this.#runs.has(task.id)) start();
      } catch (error) {
        // Nobody awaits it: a throw here would end the daemon, and leave all behind it where they are.
        this.#deps.events.fault?.('create', error);
      }
      begun.resolve();
    });
    if (this.#behind.size === 1) this.#startSome();
    return begun.promise;
  }

  #startSome(): void {
    this.#deps.clock.setTimer(0, () => {
      // While others still join, they are accepted first; each turn begins one all the same.
      let left = this.#joined ? 1 : STARTS_AT_ONCE;
      this.#joined = false;
      for (const start of this.#behind) {
        if (left-- === 0) break;
        start();
        this.#behind.delete(start);
      }
      if (this.#behind.size > 0) this.#startSome();
    });
  }

  /** The task waits, and nobody runs its create yet. */
  #park(task: TaskRecord): void {
    this.#parked.set(task, this.#enter(task));
  }

  #unpark(task: TaskRecord): void {
    this.#parked.get(task)?.();
    this.#parked.delete(task);
  }

  #enter(task: TaskRecord): () => void {
    return this.#waiting.enter(task.payload, task.connection);
  }

  #supersede(task: TaskRecord): void {
    const parts = { deletes: this.#deletes, creates: this, unclear: this.#unclear };
    this.#orphans.supersede(task, (orphan) => {
      this.#deps.events.orphanDeleted?.(orphan);
      const why = 'its create was never answered and the engine has gone on to a later attempt';
      return cancelInBackground(this.#deps, parts, orphan, why).gone;
    });
  }

  /** Attempts of the node that nobody holds (rule 9), and deleted runs of the key, which write to the same prefix (rule 8). */
  *#predecessors(task: TaskRecord): Iterable<Predecessors> {
    const orphans = this.#orphans.predecessorsGone(task);
    if (orphans !== undefined) yield { gone: orphans, why: 'an earlier attempt of this node is being cancelled first' };
    // What was sent by an earlier run of the daemon has waited for them, and its job may run.
    if (task.sentBoundMs !== undefined || this.#waited.has(task)) return;
    const { key, incarnation } = task.identity;
    const earlier = this.#deps.store.earlier.gone(key, incarnation);
    if (earlier !== undefined)
      yield { gone: earlier, why: 'the last run of this key, which was deleted, is being cancelled first' };
  }

  /** The plugin that serves a task. */
  #served(host: PluginHost, { taskType, taskTypeVersion }: TaskSpec): string {
    const plugin = host.route(taskType, taskTypeVersion);
    assertNotFailed(plugin);
    return runtimeOf(this.#deps.runtimes, plugin.id).plugin.id;
  }

  /** An attempt that ended here and gave way in memory; one whose outputs were not kept is read again. */
  #recalled(key: AttemptKey): TaskRecord | undefined {
    const task = recallEnded(this.#deps, key);
    if (task?.stage === 'live') startPolling(this.#deps, runtimeOf(this.#deps.runtimes, task.scope.plugin), task);
    return task;
  }

  /** `lives`: jobs of earlier lives of the key that were found before. */
  #start(runtime: PluginRuntime, task: TaskRecord, sentBoundMs: number | undefined, lives = 0): void {
    this.#unpark(task);
    const leave = this.#enter(task);
    const run = new CreateRun(this.#deps, this.#hooks, runtime, task, sentBoundMs);
    this.#runs.set(task.id, run);
    run.ended
      .then((end) => {
        leave();
        this.#runs.delete(task.id);
        // A delete may have come since the run ended.
        const held = this.#deps.store.byId(task.id) === task;
        if (end.kind === 'taken' && held && !this.#stopping) this.#startNext(runtime, task, lives + 1);
        if (this.#deps.store.byId(task.id) !== task) this.#deps.store.letGo(task);
      })
      .catch((error: unknown) => this.#deps.events.fault?.('create', error));
    run.start();
  }

  /** The key belongs to a job of an earlier life: the next incarnation takes its place, under the same handle. */
  #startNext(runtime: PluginRuntime, task: TaskRecord, lives: number): void {
    if (lives > MAX_LIVES) {
      const seen = `create found a job of an earlier life under each of ${MAX_LIVES} keys; it must not say existing of a job that it made`;
      this.#deps.store.end(task, failureState('PERMANENT_FAILURE', 'PLUGIN_ANSWER_INVALID', seen, 'SYSTEM'));
      tellEnded(this.#deps, task);
      return;
    }
    const next = this.#deps.store.nextIncarnation(task);
    this.#orphans.moved(task, next);
    this.#waited.add(next);
    this.#start(runtime, next, undefined, lives);
  }

  /** Gives a task the handle that it keeps. */
  #name(task: TaskRecord): Buffer {
    const { identity, meta, node } = task;
    const handle = this.#deps.handles.encode({ identity, meta, partition: partitionOfTask(identity.key, node) });
    this.#deps.store.answered(task, handle);
    return handle;
  }

  /** Handle, and what is known of the job, are safe before they are told. */
  async #answer(task: TaskRecord, scope: CallScope): Promise<CreateAnswerView> {
    const { store } = this.#deps;
    const handle = task.answeredHandle ?? this.#name(task);
    this.#orphans.answered(task, scope.relayed);
    try {
      await assertSafe(this.#deps, store.safe(), scope, 'the task');
    } catch (error) {
      this.#orphans.lost(task, scope.relayed);
      throw error;
    }
    return {
      handle,
      task,
      undelivered: () => this.#orphans.lost(task, scope.relayed),
    };
  }
}

/** What the create of a task needs. */
export function payloadOf({ template, inputs, inputPrefix, metadata, maxDatasetSizeBytes }: TaskSpec): TaskPayload {
  return { template, inputs, inputPrefix, metadata, maxDatasetSizeBytes };
}
