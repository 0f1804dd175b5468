import { backoffMs } from '../../lib/backoff.js';
import { createDeferred, type Deferred } from '../../lib/deferred.js';
import { type Abortable, Stop } from '../../lib/stop.js';
import { settledBefore, sleep } from '../../lib/wait.js';
import { isOfEarlierLife } from '../../model/found-job.js';
import { META_WARN_BYTES } from '../../model/handle.js';
import { type OutcomeEnd, outcomeRule } from '../../model/outcomes.js';
import { type PhaseState, phaseState } from '../../model/phase-state.js';
import { type CreateAnswer, type PluginFailure, type PluginOutcome, UNTIL_SENT } from '../../model/plugin-call.js';
import type { ReadFailure, TaskRecord } from '../../model/task-record.js';
import { isTerminal } from '../../plugin-api/phase.js';
import type { ResourceRequirements } from '../../plugin-api/plugin.js';
import type { CreateBudget } from '../../runtime/create-budget.js';
import type { LaneRun } from '../../runtime/create-lane.js';
import { createArgs, lacksCredentials, type PluginRuntime } from '../../runtime/runtime.js';
import type { TasksDeps } from '../deps.js';
import { failureState } from '../failures.js';
import { nextPart } from '../graces.js';

const NO_REQUIREMENTS: ResourceRequirements = { namespace: 'default' };

/** A step of a run that calls the plugin; both fail by the row of the outcome table for creates. */
interface Step {
  readonly stage: 'accepted' | 'creating';
  /** In a sentence about tries. */
  readonly name: string;
  /** Before the message of a failure. */
  readonly prefix: string;
}

const ASKING: Step = { stage: 'accepted', name: 'resourceRequirements', prefix: 'resourceRequirements: ' };
const CREATING: Step = { stage: 'creating', name: 'creating', prefix: '' };

const ITS_TURN = 'the create waits for its turn within the write limit';

type CreateOutcome = PluginOutcome<CreateAnswer | PhaseState>;

/** How a run ended; `cancelled` says whether the remote may have got a job out of it that nobody has the meta of. */
export type CreateEnd =
  | { readonly kind: 'created'; readonly meta: Buffer }
  /** A sync plugin ran the task to its end. */
  | { readonly kind: 'ran' }
  | { readonly kind: 'refused' }
  | { readonly kind: 'cancelled' }
  | { readonly kind: 'stopped' }
  /** The plugin found a job of an earlier life of this key; the next incarnation is to be tried. */
  | { readonly kind: 'taken' };

/** Jobs that are being cancelled, and why a task waits for that. */
export interface Predecessors {
  readonly gone: Promise<unknown>;
  readonly why: string;
}

/** What a run needs that other use cases own. */
export interface CreatorHooks {
  /** What has to be gone from the remote before this task starts. */
  predecessors(task: TaskRecord): Iterable<Predecessors>;
  /** The task is live: start to poll it. `state` is what create itself told. */
  created(runtime: PluginRuntime, task: TaskRecord, state: PhaseState | undefined): void;
  /** A sync plugin answered the final state. */
  ran(runtime: PluginRuntime, task: TaskRecord, state: PhaseState): void;
  /** The task is about to end, and a create call that was sent may have left a job. */
  unclear(task: TaskRecord, error: ReadFailure): void;
  /** The daemon stops, and a create call that was sent may have left a job. */
  interrupted(task: TaskRecord, error: ReadFailure): void;
  /** The task ended without a job that is known. */
  refused(runtime: PluginRuntime, task: TaskRecord): void;
}

/**
 * One create on its way from accepted to live or over: requirements, token, then the call, repeated within the budget.
 *
 * States: waiting (for predecessors, requirements, token, the remote, the next try), calling (sent, or queued at the gate), ended (`ended`
 * says how). Entered by `start`; `cancel` and `stop` lead from waiting to ended, and from calling once the call is answered.
 *
 * A Delete that comes meanwhile cancels it. Before the plugin was called that is simple. After, the remote may hold a job
 * whose meta is unknown here; then the run goes on until it has the meta, so that the job can be cancelled.
 */
export class CreateRun {
  readonly #deps: TasksDeps;
  readonly #hooks: CreatorHooks;
  readonly #runtime: PluginRuntime;
  readonly #task: TaskRecord;
  readonly #laneRun: LaneRun;
  /** Aborted when the run should stop to wait. */
  readonly #waiting = new Stop();
  /** Aborted when the daemon stops. */
  readonly #halt = new Stop();
  /** Takes the call that is not sent yet out of the gate's queue. A call that was sent is never given up. */
  #queued: Stop | undefined;
  /** Ends a run of `do` that was sent; a Delete does that, the stop of the daemon lets it finish. */
  #running: Stop | undefined;
  readonly #end: Deferred<CreateEnd> = createDeferred<CreateEnd>();
  /** Resolved while the operator holds the plugin back and the call waits for that, and at the end. */
  #rests: Deferred<void> = createDeferred<void>();
  #isHeld = false;
  #cancelled = false;
  #stopping = false;
  /** A create call was sent whose outcome does not exclude that the remote has the job. */
  #mayExist: boolean;
  /** Until then a call of an earlier run may still reach the remote. */
  readonly #untilMs: number;
  #lastError: ReadFailure = { code: 'CREATE_LOST', message: 'an earlier life of the daemon made the create call' };

  /**
   * `sentBoundMs`: a create call of an earlier run of the daemon may have made the job, and may do so within this time from
   * now; undefined where none was sent.
   */
  constructor(deps: TasksDeps, hooks: CreatorHooks, runtime: PluginRuntime, task: TaskRecord, sentBoundMs?: number) {
    this.#mayExist = sentBoundMs !== undefined;
    this.#untilMs = sentBoundMs === undefined ? 0 : deps.clock.now() + sentBoundMs;
    this.#deps = deps;
    this.#hooks = hooks;
    this.#runtime = runtime;
    this.#task = task;
    this.#laneRun = Symbol(task.id);
  }

  /** Resolves when the run has ended, however it did. Never rejects. */
  get ended(): Promise<CreateEnd> {
    return this.#end.promise;
  }

  /** Resolves when the run has ended, or once nothing but the operator, who paused the plugin, can let it go on. Never rejects. */
  get rests(): Promise<void> {
    return this.#rests.promise;
  }

  get isHeld(): boolean {
    return this.#isHeld;
  }

  start(): void {
    const run = this.#run().finally(() => this.#runtime.creates.leave(this.#laneRun));
    run.then(
      (end) => this.#ends(end),
      (error: unknown) => {
        this.#deps.events.fault?.('create', error);
        this.#refuse(
          'INTERNAL',
          'the daemon failed while it created the task; its log says more',
          'SYSTEM',
          'PERMANENT_FAILURE',
        );
        this.#ends({ kind: 'refused' });
      },
    );
  }

  #ends(end: CreateEnd): void {
    this.#end.resolve(end);
    this.#rests.resolve();
  }

  /** The engine deleted the task. What has not reached the plugin never will. */
  cancel(): void {
    this.#cancelled = true;
    this.#leaveLines();
    this.#running?.abort();
  }

  /** The daemon stops: nothing new is sent. The record stays as it is, for the next start to take up. */
  stop(): void {
    this.#stopping = true;
    this.#halt.abort();
    this.#leaveLines();
  }

  #leaveLines(): void {
    this.#runtime.quotas.cancel(this.#task.id);
    this.#waiting.abort();
    this.#queued?.abort();
  }

  async #run(): Promise<CreateEnd> {
    await this.#pluginKnown();
    // What a sync plugin ran before is no job that could be found.
    if (this.#runtime.plugin.kind === 'sync') this.#mayExist = false;
    if (this.#over()) return this.#stopped();
    if (this.#unclearForGood) return this.#leaveUnclear();
    if (this.#untilMs > 0) await this.#earlierCallOver();
    await this.#predecessors();
    if (this.#over()) return this.#stopped();
    if (!(await this.#settleRequirements()) || !(await this.#takeToken())) return this.#given();
    const budget = this.#runtime.creates.budget(this.#task.createFailingForMs);
    for (let attempt = 1; ; ) {
      budget.waits();
      if (!(await this.#secretsKnown())) return this.#given();
      await this.#remoteTakesCreates(attempt);
      if (this.#over()) return this.#stopped();
      this.#waits('creating', ITS_TURN);
      const outcome = await this.#call(budget);
      // Taken back from the gate, where it still waited: it is tried in turn from now on.
      if (outcome === undefined) continue;
      if (outcome.ok) return 'phase' in outcome.value ? this.#ran(outcome.value) : this.#created(outcome.value);
      const { failure } = outcome;
      if (failure.kind === 'cancelled' && this.#over()) return this.#stopped();
      if (endOf(failure) === undefined && this.#unclearForGood) return this.#leaveUnclear();
      if (!(await this.#again(CREATING, failure, attempt++, budget))) return this.#given();
    }
  }

  /** The run was refused, unless it was told to stop. */
  #given(): CreateEnd {
    return this.#over() ? this.#stopped() : { kind: 'refused' };
  }

  /** Asks the plugin what the task takes and notes it. False when the run was refused or is over. */
  async #settleRequirements(): Promise<boolean> {
    const { store } = this.#deps;
    const { gate, creates, plugin } = this.#runtime;
    const { payload } = this.#task;
    // Known from before a restart.
    if (this.#task.requirements !== undefined) return true;
    let requirements = NO_REQUIREMENTS;
    if (plugin.features.resourceRequirements && payload !== undefined) {
      const args = { template: payload.template, metadata: payload.metadata };
      const budget = creates.budget(this.#task.createFailingForMs);
      for (let attempt = 1; ; attempt++) {
        const outcome = await gate.call('resourceRequirements', args, {
          admission: 'wait',
          signal: this.#waiting,
        });
        if (this.#over()) return false;
        if (outcome.ok) {
          requirements = outcome.value;
          break;
        }
        if (!(await this.#again(ASKING, outcome.failure, attempt, budget))) return false;
      }
    }
    store.setRequirements(this.#task, requirements, requirements.namespace);
    return true;
  }

  /** Takes the task's allocation token, in line if need be. False when the run was refused, or left the line. */
  async #takeToken(): Promise<boolean> {
    // Who was told to stop while its token lapsed is in no line any more, and waits in none.
    while (!this.#over() && (await this.#askForToken())) {
      if (await this.#keepToken()) return true;
    }
    return false;
  }

  /**
   * A token that another replica granted counts once the task's record has it, which is committed only while that one may grant. False
   * where it may not any more.
   */
  async #keepToken(): Promise<boolean> {
    const { quotas } = this.#runtime;
    const { id } = this.#task;
    const epoch = quotas.epochOf(id);
    if (epoch === undefined) return true;
    // The record of a task that is created has its token.
    this.#waits('creating', ITS_TURN);
    const isKept = await this.#safeUnder(epoch);
    if (isKept === undefined) return false;
    if (isKept) {
      quotas.kept(id);
      return true;
    }
    quotas.lapse(id);
    this.#deps.events.tokenLapsed?.(this.#task);
    const reason = 'the token was granted by a replica that grants no more; it is asked for anew';
    this.#deps.store.lapsed(this.#task, phaseState('WAITING_FOR_RESOURCES', { reason }));
    return false;
  }

  /** Undefined where the state was closed with that unknown: the token is neither kept nor lapsed then, and the run was told to stop. */
  async #safeUnder(epoch: string): Promise<boolean | undefined> {
    try {
      return await this.#deps.store.safeUnder(epoch);
    } catch (error) {
      if (!this.#stopping) throw error;
      return undefined;
    }
  }

  async #askForToken(): Promise<boolean> {
    const { store } = this.#deps;
    const { quotas } = this.#runtime;
    const { id, identity, requirements } = this.#task;
    const { plugin, quotaNamespace, project, namespace } = identity;
    const constraints = requirements?.constraints;
    const request = {
      taskId: id,
      quotaNamespace,
      project,
      namespace,
      ...(constraints === undefined ? {} : { constraints }),
    };
    // An engine that asked by the handle of an earlier daemon, and now repeats its create, has its token already.
    for (const { id: adopted } of store.adopted.of(identity.key, identity.incarnation)) {
      if (quotas.handOver(adopted, request)) return true;
    }
    const answer = quotas.acquire(request);
    if (answer.status === 'granted') return true;
    if (answer.status === 'full') {
      this.#refuse('STORE_FULL', `the waiting line of plugin "${plugin}" is full`, 'SYSTEM', 'RETRYABLE_FAILURE');
      return false;
    }
    const quota = `quota namespace "${quotaNamespace}"`;
    const lacks = {
      capacity: 'room in the cache (caching.size)',
      quota,
      project: `its project constraint in ${quota}`,
      namespace: `its namespace constraint in ${quota}`,
    };
    this.#waits('accepted', `waits for ${lacks[answer.lacks]}`);
    return answer.granted;
  }

  /** Whether the run must not go on. A cancelled run whose job may exist goes on to find it. */
  #over(): boolean {
    return this.#stopping || (this.#cancelled && !this.#mayExist);
  }

  /**
   * What ends a wait. A cancelled run that looks for its job waits like any other, until the daemon stops: on the signal
   * that its cancellation aborted it would spin.
   */
  get #patience(): Abortable {
    return this.#cancelled ? this.#halt : this.#waiting;
  }

  #stopped(): CreateEnd {
    if (!this.#stopping) return { kind: 'cancelled' };
    if (this.#mayExist) this.#hooks.interrupted(this.#task, this.#lastError);
    return { kind: 'stopped' };
  }

  /** Where a task waits that an earlier run of the daemon may have brought further. */
  get #reached(): Step['stage'] {
    return this.#task.stage === 'creating' ? 'creating' : 'accepted';
  }

  /** Says why the task has not started. A cancelled one is gone from the store and says nothing any more. */
  #waits(stage: 'accepted' | 'creating', reason: string): void {
    if (this.#cancelled) return;
    this.#deps.store.setWaiting(this.#task, stage, phaseState('WAITING_FOR_RESOURCES', { reason }));
  }

  #hold(why: string | undefined): void {
    this.#waits('creating', why ?? ITS_TURN);
    if (why === undefined) {
      this.#goesOn();
      return;
    }
    this.#isHeld = true;
    this.#rests.resolve();
  }

  /** No operator holds the run back, as far as it knows. */
  #goesOn(): void {
    if (!this.#isHeld) return;
    this.#isHeld = false;
    this.#rests = createDeferred<void>();
  }

  /**
   * A plugin that did not come up yet has not told of what kind it is, what its tasks take, within which quotas, and whether it
   * finds a job by its key: nothing is decided on what one without any of it would have.
   */
  async #pluginKnown(): Promise<void> {
    const { plugin } = this.#runtime;
    while (plugin.kind === undefined && !this.#over()) {
      const why = plugin.stateReason === '' ? '' : `: ${plugin.stateReason}`;
      this.#waits(this.#reached, `plugin "${plugin.id}" is ${plugin.state}${why}`);
      const changed = createDeferred<void>();
      const unlisten = plugin.onStateChange(() => changed.resolve());
      this.#patience.addEventListener('abort', () => changed.resolve(), { once: true });
      await changed.promise;
      unlisten();
    }
  }

  /** Rule 8: a create that may have been sent is repeated only once that call can reach nobody any more. */
  async #earlierCallOver(): Promise<void> {
    const { clock } = this.#deps;
    const leftMs = this.#untilMs - clock.now();
    if (leftMs <= 0) return;
    this.#waits(this.#reached, 'an earlier create call may be under way');
    await sleep(clock, leftMs, this.#halt);
  }

  async #predecessors(): Promise<void> {
    const { clock } = this.#deps;
    for (const { gone, why } of this.#hooks.predecessors(this.#task)) {
      const quick = await settledBefore(clock, gone, clock.now(), this.#waiting);
      if (this.#over()) return;
      if (quick) continue;
      this.#waits(this.#reached, why);
      await this.#waitFor(gone);
    }
  }

  /** Within what is left of the budget, over restarts. */
  async #waitFor(gone: Promise<unknown>): Promise<void> {
    const { clock, options, store } = this.#deps;
    for (;;) {
      const partMs = nextPart(options.createBudgetMs, this.#task.waitedForMs);
      if (partMs === 0) return;
      const sinceMs = clock.now();
      const settled = await settledBefore(clock, gone, sinceMs + partMs, this.#waiting);
      store.waitedFor(this.#task, clock.now() - sinceMs);
      if (settled || this.#over() || this.#waiting.aborted) return;
    }
  }

  /** Rule 8: a create that may have been sent is never repeated where the plugin could not find what it made. */
  get #unclearForGood(): boolean {
    return this.#mayExist && !this.#runtime.plugin.features.findsByKey;
  }

  #leaveUnclear(): CreateEnd {
    const { code, message } = this.#lastError;
    const said = `a create call may have made the job, and this plugin cannot find it by its key: [${code}] ${message}`;
    this.#refuse('CREATE_UNCLEAR', said, 'SYSTEM', 'RETRYABLE_FAILURE');
    return { kind: 'refused' };
  }

  /**
   * Rule 14: secrets that came with its calls do not outlive the daemon, nor their time, and nothing is made without them; the
   * engine's next call brings them again. False when the run was refused, or is over.
   */
  async #secretsKnown(): Promise<boolean> {
    const { clock, options } = this.#deps;
    const untilMs = clock.now() + options.createBudgetMs;
    for (let now = clock.now(); lacksCredentials(this.#task, now); now = clock.now()) {
      if (this.#over()) return false;
      if (now >= untilMs) {
        const said = `the secrets that came with its calls are no longer kept, and no call has brought them for ${Math.round(options.createBudgetMs / 1000)} s`;
        this.#refuse('SECRETS_GONE', said, 'SYSTEM', 'RETRYABLE_FAILURE');
        return false;
      }
      this.#waits(
        this.#reached,
        'waits for the next call about it: the secrets that came with its calls are no longer kept',
      );
      await this.#runtime.secrets.wait(this.#task.id, untilMs - now, this.#patience);
    }
    return true;
  }

  /** While the remote takes no creates, or may take none, they are tried in turn. A run of `do` makes no job there. */
  async #remoteTakesCreates(attempt: number): Promise<void> {
    const { creates, plugin } = this.#runtime;
    if (plugin.kind === 'sync') return;
    while (!this.#over()) {
      if (creates.holds) this.#waits(this.#reached, creates.reason);
      // A cancelled run that looks for its job waits on, with another patience.
      if (await creates.pass(this.#laneRun, attempt > 1 || this.#mayExist, this.#patience)) return;
    }
  }

  /** From here on a crash leaves it open whether the create was sent (rule 8). */
  async #beforeSend(boundMs: number, queued: Stop): Promise<void> {
    const { store } = this.#deps;
    // What a plugin says of itself may have come to be known while the call waited for its process.
    if (this.#unclearForGood) return queued.abort();
    store.sending(this.#task, boundMs);
    return store.safe();
  }

  /** Makes the call. Undefined where it was taken back before it was sent. */
  async #call(budget: CreateBudget): Promise<CreateOutcome | undefined> {
    const { gate, creates, plugin } = this.#runtime;
    const { store, clock } = this.#deps;
    const args = createArgs(this.#task, clock.now());
    let sent = false;
    const queued = new Stop();
    this.#queued = queued;
    this.#goesOn();
    const sync = plugin.kind === 'sync';
    const call = (signal: Abortable, onSent = () => {}): Promise<CreateOutcome> =>
      gate.call(sync ? 'do' : 'create', args, {
        admission: 'wait',
        deadlineMs: UNTIL_SENT,
        signal,
        onHeld: (why) => this.#hold(why),
        // A run of `do` makes no job: after a crash it is run again (rule 8 asks no more of it).
        beforeSend: sync || !store.durable ? undefined : (boundMs) => this.#beforeSend(boundMs, queued),
        onSent: () => {
          onSent();
          sent = true;
          budget.sent();
          // A create that was sent is not given up: its answer is the only way to the job. A run of `do` is.
          this.#queued = undefined;
          if (sync) this.#running = queued;
        },
      });
    const outcome = await (sync ? call(queued) : creates.send(this.#laneRun, queued, call));
    if (sent && !sync && outcome?.ok === false) {
      const { kind, notCreated = false } = outcome.failure;
      if (!notCreated && kind !== 'throttled' && kind !== 'permanent' && kind !== 'not_admitted') {
        this.#mayExist = true;
        this.#lastError = { code: outcome.failure.code, message: outcome.failure.message };
      }
    }
    return outcome;
  }

  /** What the outcome table says of a failed step: whether it is tried again, which is due then. Refuses the run otherwise. */
  async #again(step: Step, failure: PluginFailure, attempt: number, budget: CreateBudget): Promise<boolean> {
    const ends = endOf(failure);
    if (ends !== undefined) {
      this.#refuse(codeOf(ends, failure), `${step.prefix}${failure.message}`, failure.faultKind, ends.phase);
      return false;
    }
    const { counted, endsPastBound } = outcomeRule('create', failure.kind);
    const failed = counted === 'yes';
    if (!failed) budget.uncounted();
    const spentMs = failed ? budget.failed() : 0;
    if (failed) this.#deps.store.createFailed(this.#task, spentMs);
    if (failed && endsPastBound !== undefined && spentMs >= this.#deps.options.createBudgetMs) {
      const spent = `${step.name} was tried for ${Math.round(spentMs / 1000)} s; the last error: [${failure.code}] ${failure.message}`;
      this.#refuse(codeOf(endsPastBound, failure), spent, 'SYSTEM', endsPastBound.phase);
      return false;
    }
    const why = failure.kind === 'throttled' ? 'the remote throttles' : `${step.name} failed and is repeated`;
    this.#waits(step.stage, `${why}: ${failure.message}`);
    await this.#pause(step, failure, attempt);
    return !this.#over();
  }

  async #pause(step: Step, failure: PluginFailure, attempt: number): Promise<void> {
    const { clock, options, random, events } = this.#deps;
    const backoff = { initialMs: options.retryInitialMs, maxMs: options.retryMaxMs };
    // In an outage the line of those that wait to be created says when the next try is.
    const inLine = step === CREATING && this.#runtime.creates.holds;
    const least = inLine ? 0 : backoffMs(attempt, backoff, random);
    const delay = Math.max(failure.retryAfterMs ?? 0, least);
    events.createRetried?.(this.#task, failure.code, failure.message, delay);
    // A request that was given up may still be on its way: a Delete, which looks for its job, does not look before it can have come.
    const unhurriedMs = this.#mayExist ? Math.min(delay, options.retryInitialMs) : 0;
    await sleep(clock, unhurriedMs, this.#halt);
    await sleep(clock, delay - unhurriedMs, this.#patience);
  }

  #ran(state: PhaseState): CreateEnd {
    if (!this.#cancelled) this.#hooks.ran(this.#runtime, this.#task, state);
    return { kind: 'ran' };
  }

  #created(answer: CreateAnswer): CreateEnd {
    const { store } = this.#deps;
    if (this.#cancelled && answer.existing && answer.state !== undefined && isTerminal(answer.state.phase)) {
      // A task that was deleted meanwhile wants no next life, and a job that is over no delete.
      return { kind: 'cancelled' };
    }
    if (answer.existing && !this.#cancelled && this.#isOfEarlierLife(answer.state)) return { kind: 'taken' };
    if (answer.meta.length > META_WARN_BYTES) {
      this.#deps.events.metaLarge?.(this.#task, answer.meta.length);
    }
    if (this.#cancelled) return { kind: 'created', meta: answer.meta };
    store.setCreated(this.#task, answer.meta);
    this.#hooks.created(this.#runtime, this.#task, answer.state);
    return { kind: 'created', meta: answer.meta };
  }

  /** Whether the job that the create found, in this state, is of an earlier life of the task's key (rule 8). */
  #isOfEarlierLife(state: PhaseState | undefined): boolean {
    const { store, clock, options } = this.#deps;
    const { key, incarnation } = this.#task.identity;
    return isOfEarlierLife({
      state,
      mark: store.marks.get(key, incarnation),
      maySend: this.#mayExist,
      completeSinceMs: store.endsKnownSinceMs,
      nowMs: clock.now(),
      replayWindowMs: options.replayWindowMs,
    });
  }

  #refuse(code: string, message: string, kind: 'USER' | 'SYSTEM', phase: OutcomeEnd['phase']): void {
    if (this.#mayExist) this.#hooks.unclear(this.#task, { code, message });
    if (this.#cancelled) return;
    this.#deps.store.end(this.#task, failureState(phase, code, message, kind));
    this.#hooks.refused(this.#runtime, this.#task);
  }
}

/** Whether, and how, a failed create ends the task at once. */
function endOf(failure: PluginFailure): OutcomeEnd | undefined {
  const { ends, endsWhen } = outcomeRule('create', failure.kind);
  return endsWhen === 'meta' && !failure.code.startsWith('RESOURCE_META') ? undefined : ends;
}

function codeOf(end: OutcomeEnd, failure: PluginFailure): string {
  return end.code === 'plugin' ? failure.code : end.code;
}
