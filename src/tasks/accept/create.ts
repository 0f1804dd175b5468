import { HostError } from '../../errors/index.js';
import type { HostedPlugin } from '../../host/types.js';
import { settledBefore } from '../../lib/wait.js';
import { type AttemptKey, attemptKeyOf, type TaskId } from '../../model/attempt-key.js';
import { partitionOf } from '../../model/handle.js';
import { phaseState } from '../../model/phase-state.js';
import type { TaskRecord } from '../../model/task-record.js';
import { startPolling } from '../../runtime/polling.js';
import { assertNotFailed, keptUntil, type PluginRuntime, runtimeOf } from '../../runtime/runtime.js';
import type { TasksDeps } from '../deps.js';
import { cancelInBackground } from '../end/cancel.js';
import type { DeleteList } from '../end/delete-list.js';
import type { UnclearLooks } from '../end/unclear-looks.js';
import { failureState } from '../failures.js';
import { recallEnded } from '../read/adopt.js';
import type { ReadSink } from '../read/reads.js';
import { takeOverTwin } from '../read/twins.js';
import type { CallScope, CreateAnswerView, TaskSpec } from '../types.js';
import { CreateRun, type CreatorHooks } from './creator.js';
import type { Orphans } from './orphans.js';
import { WaitingRoom } from './waiting-room.js';

/** Other use cases that a create leads to. */
export interface CreateParts {
  readonly deletes: DeleteList;
  readonly orphans: Orphans;
  readonly reads: ReadSink;
  readonly unclear: UnclearLooks;
}

/** A key that was cancelled and created anew more often than this is none: the plugin calls its own jobs found. */
const MAX_LIVES = 100;

/** Accepts tasks and brings them to life (rules 8 and 9; design 1a, Create). */
export class CreateTask {
  readonly #deps: TasksDeps;
  readonly #deletes: DeleteList;
  readonly #orphans: Orphans;
  readonly #hooks: CreatorHooks;
  readonly #runs = new Map<TaskId, CreateRun>();
  /** Tasks whose intent is being written; nobody is answered before it is safe. */
  readonly #accepting = new Map<TaskId, Promise<void>>();
  readonly #waiting: WaitingRoom;
  #refusing = false;
  #stopping = false;

  constructor(deps: TasksDeps, { deletes, orphans, reads, unclear }: CreateParts) {
    this.#deps = deps;
    this.#deletes = deletes;
    this.#orphans = orphans;
    this.#waiting = new WaitingRoom(deps.options);
    this.#hooks = {
      predecessorsGone: (task) => orphans.predecessorsGone(task),
      created: (runtime, task, state) => {
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
      refused: (_runtime, task) => deps.events.ended?.(task),
    };
  }

  async create(spec: TaskSpec, scope: CallScope): Promise<CreateAnswerView> {
    const { store, host, clock, options } = this.#deps;
    const key = attemptKeyOf(spec.attempt);
    let task = store.current(key) ?? this.#recalled(key);
    // A repeat is answered whatever became of the plugin meanwhile.
    if (task === undefined) task = await this.#accept(spec, host.route(spec.taskType, spec.taskTypeVersion));
    else {
      store.asked(task, false);
      await this.#accepting.get(task.id);
    }

    const answerBy = clock.now() + Math.max(0, scope.deadlineMs - clock.now()) * options.acceptShare;
    for (let run = this.#runs.get(task.id); run !== undefined; run = this.#runs.get(task.id)) {
      // While the operator holds the plugin back there is nothing to wait for.
      const settled = await settledBefore(clock, Promise.race([run.ended, run.held]), answerBy, scope.signal);
      task = store.current(key) ?? task;
      if (!settled || run.isHeld) break;
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

  /** From here on new tasks are only accepted where a state keeps them for the next start. */
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
    const { store, clock, events } = this.#deps;
    if (this.#refusing && !store.durable) {
      throw new HostError(
        'DAEMON_DRAINING',
        'the daemon is stopping and keeps no journal; create the task elsewhere, or again in a moment',
        { retryAfterMs: 5_000 },
      );
    }
    assertNotFailed(plugin);
    const runtime = runtimeOf(this.#deps.runtimes, plugin.id);
    store.assertRoom();
    this.#waiting.assertRoom(spec);
    const key = attemptKeyOf(spec.attempt);
    const task = store.insert({
      identity: {
        plugin: plugin.id,
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
      connectionUntilMs: keptUntil(spec.connection, clock.now(), this.#deps.options.connectionTtlMs),
    });
    events.accepted?.(task);
    this.#orphans.supersede(task, (orphan) => {
      events.orphanDeleted?.(orphan);
      const why = 'its create was never answered and the engine has gone on to a later attempt';
      return cancelInBackground(this.#deps, { deletes: this.#deletes, creates: this }, orphan, why).gone;
    });
    await this.#intent(task);
    // A task that was cancelled meanwhile must not be started: nobody would know of its job.
    if (!this.#stopping && store.byId(task.id) === task) this.#start(runtime, task, false);
    return task;
  }

  /** An attempt that ended here and gave way in memory; one whose outputs were not kept is read again. */
  #recalled(key: AttemptKey): TaskRecord | undefined {
    const task = recallEnded(this.#deps, key);
    if (task?.stage === 'live') startPolling(this.#deps, runtimeOf(this.#deps.runtimes, task.identity.plugin), task);
    return task;
  }

  /** Rule 8: the intent is safe before the plugin is called, and before anybody is answered. */
  async #intent(task: TaskRecord): Promise<void> {
    const { store } = this.#deps;
    const safe = store.safe();
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

  /** `lives`: jobs of earlier lives of the key that were found before. */
  #start(runtime: PluginRuntime, task: TaskRecord, resumed: boolean, lives = 0): void {
    const leave = this.#waiting.enter(task.payload);
    const run = new CreateRun(this.#deps, this.#hooks, runtime, task, resumed);
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
      this.#deps.events.ended?.(task);
      return;
    }
    const next = this.#deps.store.nextIncarnation(task);
    this.#orphans.moved(task, next);
    this.#start(runtime, next, false, lives);
  }

  #answer(task: TaskRecord): CreateAnswerView {
    const { store } = this.#deps;
    if (task.answeredHandle === undefined) {
      const { identity, meta, node } = task;
      const partition = partitionOf(node?.nodeKey ?? identity.key);
      store.answered(task, this.#deps.handles.encode({ identity, meta, partition }));
    }
    this.#orphans.answered(task);
    return {
      handle: task.answeredHandle ?? Buffer.alloc(0),
      task,
      undelivered: () => this.#orphans.lost(task),
    };
  }
}
