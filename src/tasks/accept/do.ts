import { HostError } from '../../errors/index.js';
import { createDeferred, type Deferred } from '../../lib/deferred.js';
import { PassingMap } from '../../lib/passing.js';
import { settledBefore } from '../../lib/wait.js';
import { type AttemptKey, attemptKeyOf, idempotencyKeyOf } from '../../model/attempt-key.js';
import { outcomeRule } from '../../model/outcomes.js';
import type { PhaseState } from '../../model/phase-state.js';
import { isTerminal } from '../../plugin-api/phase.js';
import { assertKnown, runtimeOf } from '../../runtime/runtime.js';
import type { ReplayCache } from '../../store/replay-cache.js';
import type { TasksDeps } from '../deps.js';
import { errorOf, failureState, withAbortError } from '../failures.js';
import { checkOutputs, writeLargeOutputs } from '../read/outputs.js';
import type { CallScope, TaskSpec } from '../types.js';
import type { WaitingRoom } from './waiting-room.js';

export type DoDeps = Pick<TasksDeps, 'clock' | 'host' | 'runtimes' | 'options' | 'writeOutputs'> & {
  /** Where the ends of runs are kept. */
  readonly replays: Pick<ReplayCache, 'get' | 'set'>;
};

/** A claim of another replica is over once no look at the inbox has shown it for so long; they come each second. Milliseconds. */
const CLAIM_MS = 5_000;

/** A run of another replica, as a look at the inbox has shown it. */
interface Claim {
  seenAtMs: number;
  readonly over: Deferred<void>;
}

/**
 * Runs sync tasks. One run per attempt key at a time, whoever asks; its result is kept for a while, since engines repeat
 * the call when they failed to write its answer down. A caller that leaves does not end the run. What another replica runs, that stood in
 * for the owner before, is waited for: its end comes by the inbox, unless it gives its claim back, or dies.
 */
export class DoTask {
  readonly #deps: DoDeps;
  readonly #waiting: WaitingRoom;
  readonly #running = new PassingMap<AttemptKey, Promise<PhaseState>>();
  readonly #elsewhere = new Map<AttemptKey, Claim>();

  constructor(deps: DoDeps, waiting: WaitingRoom) {
    this.#deps = deps;
    this.#waiting = waiting;
  }

  /** Awaited after each run, kept or not, before another one of its key may begin. Must not reject. */
  onOver: (key: AttemptKey) => Promise<void> | undefined = () => undefined;

  isRunning(key: AttemptKey): boolean {
    return this.#running.has(key);
  }

  /** Another replica runs it, as of now. */
  runsElsewhere(key: AttemptKey): void {
    const seenAtMs = this.#deps.clock.now();
    const known = this.#elsewhere.get(key);
    if (known === undefined) this.#elsewhere.set(key, { seenAtMs, over: createDeferred<void>() });
    else known.seenAtMs = seenAtMs;
  }

  /** No other replica runs it any more. */
  overElsewhere(key: AttemptKey): void {
    this.#elsewhere.get(key)?.over.resolve();
    this.#elsewhere.delete(key);
  }

  /** Throws what is no result of the task: bad input, a limit that cannot admit it, a throttle, the caller's deadline. */
  async do(spec: TaskSpec, scope: CallScope): Promise<PhaseState> {
    const { replays, clock } = this.#deps;
    const key = attemptKeyOf(spec.attempt);
    if (this.#elsewhere.size > 0) await this.#untilOver(key, scope);
    const known = replays.get(key);
    let running = this.#running.get(key);
    // An end is told by the run itself once it is safe.
    if (running === undefined && known !== undefined) return known;
    if (running === undefined) {
      // What runs holds its inputs as what waits does.
      this.#waiting.assertRoom(spec);
      const leave = this.#waiting.enter(spec, spec.connection);
      running = this.#run(key, spec, scope.deadlineMs).finally(async () => {
        leave();
        await this.onOver(key);
        this.#running.delete(key);
      });
      this.#running.set(key, running);
      // The run belongs to nobody in particular; its error reaches whoever still waits.
      running.catch(() => undefined);
    }
    if (await settledBefore(clock, running, scope.deadlineMs, scope.signal)) return running;
    throw tooLate(scope);
  }

  /** What a claim was waited for longer than looks at the inbox come is none any more. */
  async #untilOver(key: AttemptKey, scope: CallScope): Promise<void> {
    const { clock } = this.#deps;
    for (let claim = this.#elsewhere.get(key); claim !== undefined; claim = this.#elsewhere.get(key)) {
      const overAtMs = claim.seenAtMs + CLAIM_MS;
      if (clock.now() >= overAtMs) return this.overElsewhere(key);
      const untilMs = Math.min(overAtMs, scope.deadlineMs);
      const over = await settledBefore(clock, claim.over.promise, untilMs, scope.signal);
      if (!over && (scope.signal.aborted || clock.now() >= scope.deadlineMs)) throw tooLate(scope);
    }
  }

  async #run(key: AttemptKey, spec: TaskSpec, deadlineMs: number): Promise<PhaseState> {
    const plugin = this.#deps.host.route(spec.taskType, spec.taskTypeVersion);
    assertKnown(plugin);
    if (plugin.kind !== 'sync') {
      throw new HostError(
        'PLUGIN_KIND_MISMATCH',
        `task type "${spec.taskType}" is served by the async plugin "${plugin.id}"; use Create and Status for it`,
      );
    }
    const { gate } = runtimeOf(this.#deps.runtimes, plugin.id);
    const args = {
      template: spec.template,
      inputs: spec.inputs,
      inputPrefix: spec.inputPrefix,
      outputPrefix: spec.outputPrefix,
      metadata: spec.metadata,
      maxDatasetSizeBytes: spec.maxDatasetSizeBytes,
      idempotencyKey: idempotencyKeyOf(key, 1),
      connection: spec.connection,
    };
    const outcome = await gate.call('do', args, { admission: 'fail-fast', deadlineMs });
    if (outcome.ok) return this.#keep(key, await this.#checked(spec, outcome.value));
    const { failure } = outcome;
    const { ends } = outcomeRule('do', failure.kind);
    if (ends === undefined) throw errorOf(failure, plugin.id, 'the task', 'do');
    const state = failureState(ends.phase, failure.code, failure.message, failure.faultKind);
    // What the deadline of its caller cut short has not ended, and its caller is told nothing of it: a repeat runs it anew.
    const cutShort = failure.kind === 'deadline' && this.#deps.clock.now() >= deadlineMs;
    return cutShort ? state : this.#keep(key, state);
  }

  async #checked(spec: TaskSpec, state: PhaseState): Promise<PhaseState> {
    if (!isTerminal(state.phase)) {
      const seen = `do answered phase ${state.phase}; a sync plugin must answer a terminal one`;
      return failureState('PERMANENT_FAILURE', 'PLUGIN_ANSWER_INVALID', seen, 'SYSTEM');
    }
    const checked = checkOutputs(spec, withAbortError(state), this.#deps.options.maxInlineOutputBytes, () => undefined);
    if (checked.kind === 'ready') return checked.state;
    return (await writeLargeOutputs(this.#deps, spec, checked)).state;
  }

  /** The end is safe before anybody is told. */
  async #keep(key: AttemptKey, state: PhaseState): Promise<PhaseState> {
    await this.#deps.replays.set(key, state);
    return state;
  }
}

function tooLate({ signal }: CallScope): HostError {
  return signal.aborted
    ? new HostError('CALL_CANCELLED', 'the caller cancelled the call; the task runs on')
    : new HostError('DEADLINE_EXCEEDED', 'the task did not end within the deadline; a repeat joins it while it runs');
}
