import { messageOf } from '../../errors/index.js';
import { backoffMs } from '../../lib/backoff.js';
import { PassingMap } from '../../lib/passing.js';
import type { PhaseState } from '../../model/phase-state.js';
import type { FailingReads, TaskRecord } from '../../model/task-record.js';
import { isTerminal } from '../../plugin-api/phase.js';
import type { ReadReport } from '../../refresh/types.js';
import { adoptToken, startPolling } from '../../runtime/polling.js';
import type { PluginRuntime } from '../../runtime/runtime.js';
import type { OwedWithEnd } from '../../store/task-store.js';
import type { TasksDeps } from '../deps.js';
import type { DeleteList } from '../end/delete-list.js';
import { failureState, withAbortError } from '../failures.js';
import { tellEnded } from '../safe.js';
import { awaitsItsEnd, outputsLost } from './ended-before.js';
import { checkOutputs, type OutputTarget, type WrittenOutputs, writeLargeOutputs } from './outputs.js';

/**
 * Where what was read about a task goes: outputs checked, phase into the store, token freed when the task is known over,
 * an owed delete when the daemon ends a task whose remote may still run (rule 6).
 *
 * States of a task here: `read` (what is told of it goes into the store at once); `writing`, when it succeeded with outputs too
 * large to stand in the answer, in which it is not polled; then over, or `unwritten`: the write failed, and the plugin is asked
 * again after a pause, which leads back to `writing` until `outputsBudgetMs` are over.
 */
export class ReadSink {
  readonly #deps: TasksDeps;
  readonly #deletes: DeleteList;
  /** Tasks whose large outputs are being written; they are not polled meanwhile. */
  readonly #writing = new PassingMap<string, Promise<void>>();
  /** Tasks whose large outputs could not be written so far: since when, and how many tries failed. */
  readonly #unwritten = new WeakMap<TaskRecord, { readonly sinceMs: number; tries: number }>();

  constructor(deps: TasksDeps, deletes: DeleteList) {
    this.#deps = deps;
    this.#deletes = deletes;
  }

  /** How one read ended, from the refresher. A task that is over by it leaves the schedule on the store's word. */
  report(runtime: PluginRuntime, report: ReadReport): void {
    const { store } = this.#deps;
    const task = report.task as TaskRecord;
    if (task.stage === 'over' || !store.holds(task)) {
      runtime.refresher.untrack(report.id);
      return;
    }
    if (report.outcome.ok) {
      this.#take(runtime, task, report.outcome.value);
      return;
    }
    const failure = report.lastFailure ?? report.outcome.failure;
    const failed = report.failures + (report.missing?.reads ?? 0);
    store.readFailed(task, { code: failure.code, message: failure.message }, failed, {
      reason: reasonOf(report),
      failing: this.#withUnwritten(task, report.failing),
    });
    const { verdict } = report;
    if (verdict === undefined) return;
    if (awaitsItsEnd(task)) {
      this.end(task, outputsLost(verdict.message), undefined);
      return;
    }
    this.end(
      task,
      failureState(verdict.phase, verdict.code, verdict.message, verdict.faultKind),
      verdict.oweDelete ? `the daemon ended the task: ${verdict.message}` : undefined,
    );
  }

  /**
   * A state that the plugin told, by a read or already by create. Answers whether the task goes on as before: it does not when
   * it is over, nor while its large outputs are written.
   */
  state(runtime: PluginRuntime, task: TaskRecord, told: PhaseState): boolean {
    return this.#take(runtime, task, told) && this.#deps.store.byId(task.id)?.stage !== 'over';
  }

  /** The same, by what was told alone: of a read, which is asked for the many that go on, nobody wants to know more. */
  #take(runtime: PluginRuntime, task: TaskRecord, told: PhaseState): boolean {
    const state = withAbortError(told);
    if (awaitsItsEnd(task) && state.phase !== 'SUCCESS') return this.#unlikeItsEnd(task, state);
    const { options, events } = this.#deps;
    const dropped = (names: readonly string[]) => events.outputsDropped?.(task, names);
    const checked = checkOutputs(targetOf(task), state, options.maxInlineOutputBytes, dropped);
    if (checked.kind === 'write') {
      this.#write(runtime, task, checked);
      return false;
    }
    this.#settle(runtime, task, checked.state, checked.unusable);
    return !isTerminal(checked.state.phase);
  }

  /** Ends a task by the daemon's own decision. With `deleteReason`, its remote job goes on the delete list. */
  end(task: TaskRecord, state: PhaseState, deleteReason: string | undefined): void {
    this.#deps.store.end(task, state, deleteReason === undefined ? undefined : { reason: deleteReason });
    this.#ended(task);
  }

  /** Resolves when the outputs of this task, if they had to be written, are. */
  async settled(id: string): Promise<void> {
    await this.#writing.get(id);
  }

  /** Resolves when no outputs are being written. */
  async idle(): Promise<void> {
    await Promise.allSettled([...this.#writing.values()]);
  }

  /** For how long the outputs of a success have not been written, over restarts. */
  #unwrittenForMs(task: TaskRecord): number | undefined {
    const record = this.#unwritten.get(task);
    return record === undefined ? task.failing?.unwrittenForMs : this.#deps.clock.now() - record.sinceMs;
  }

  #withUnwritten(task: TaskRecord, failing: FailingReads | undefined): FailingReads | undefined {
    const unwrittenForMs = this.#unwrittenForMs(task);
    return failing === undefined || unwrittenForMs === undefined ? failing : { ...failing, unwrittenForMs };
  }

  /** The remote says of a job that it had told as a success that it runs, or failed: neither is told (rule 7). */
  #unlikeItsEnd(task: TaskRecord, { phase, reason }: PhaseState): boolean {
    const message = `its remote says ${phase} now${reason === '' ? '' : `: ${reason}`}`;
    if (isTerminal(phase)) this.end(task, outputsLost(message), undefined);
    else this.#deps.store.readFailed(task, { code: 'OUTPUTS_UNREAD', message }, 0);
    return !isTerminal(phase);
  }

  #settle(runtime: PluginRuntime, task: TaskRecord, state: PhaseState, unusable: boolean): void {
    if (unusable && awaitsItsEnd(task)) {
      this.end(task, outputsLost(state.reason), undefined);
      return;
    }
    // The job itself succeeded, so there is nothing to cancel; a plugin that cleans up on delete gets its chance.
    const owe: OwedWithEnd = { reason: `the daemon ended the task: ${state.reason}`, jobOver: true };
    if (this.#deps.store.observed(task, state, unusable ? owe : undefined)) this.#ended(task);
    else if (task.adopted && this.#deps.store.byId(task.id) === task) adoptToken(runtime, task);
  }

  #ended(task: TaskRecord): void {
    tellEnded(this.#deps, task);
    const { events } = this.#deps;
    this.#deletes.carryOut(task.id).catch((error: unknown) => events.fault?.('delete', error));
  }

  #write(runtime: PluginRuntime, task: TaskRecord, checked: { literalMap: Buffer; state: PhaseState }): void {
    // The task is not over, and what is known of its reads stays.
    runtime.refresher.hold(task.id);
    const writing = writeLargeOutputs(this.#deps, targetOf(task), checked)
      .then((written) => {
        if (written.kind === 'later') this.#writeLater(runtime, task, written);
        else this.#settle(runtime, task, written.state, written.unusable);
      })
      .catch((error: unknown) => this.#deps.events.fault?.(`outputs: ${messageOf(error)}`, error))
      .finally(() => this.#writing.delete(task.id));
    this.#writing.set(task.id, writing);
  }

  /**
   * A data store that is away for a while fails no task. The outputs are not held meanwhile, since nothing bounds how many
   * tasks end in that time: the plugin is asked for them again after a pause. A sync plugin cannot be asked twice.
   */
  #writeLater(runtime: PluginRuntime, task: TaskRecord, failed: Extract<WrittenOutputs, { kind: 'later' }>): void {
    const { clock, random, options, store, events } = this.#deps;
    if (store.byId(task.id) !== task || task.stage !== 'live') return;
    const now = clock.now();
    const record = this.#unwritten.get(task) ?? { sinceMs: now - (this.#unwrittenForMs(task) ?? 0), tries: 0 };
    if (runtime.plugin.kind === 'sync' || now - record.sinceMs >= options.outputsBudgetMs) {
      this.#settle(runtime, task, failed.state, true);
      return;
    }
    record.tries += 1;
    this.#unwritten.set(task, record);
    const failing = this.#withUnwritten(task, NONE_FAILED);
    store.readFailed(task, { code: failed.code, message: failed.message }, record.tries, { failing });
    const delayMs = backoffMs(record.tries, { initialMs: options.retryInitialMs, maxMs: options.retryMaxMs }, random);
    events.outputsDelayed?.(task, failed.code, failed.message, delayMs);
    if (runtime.refresher.resume(task.id, delayMs)) return;
    // A success that create told, whose task was never polled.
    startPolling(this.#deps, runtime, task, { lastReadAtMs: now });
    runtime.refresher.resume(task.id, delayMs);
  }
}

const NONE_FAILED: FailingReads = Object.freeze({
  failures: 0,
  failingForMs: 0,
  notFound: 0,
  notFoundForMs: 0,
  frozenForMs: undefined,
});

/** What the phase's reason says of a job that is not found. One answer alone, which is often a blip, changes nothing. */
function reasonOf({ missing, outcome }: ReadReport): string | undefined {
  if (missing === undefined || outcome.ok || outcome.failure.kind !== 'not_found') return undefined;
  if (missing.wave) return 'the remote does not find this job and others that were alive; the task waits until it does';
  return missing.reads < 2 ? undefined : 'the remote does not find the job; the task goes on until that is confirmed';
}

function targetOf(task: TaskRecord): OutputTarget {
  return { outputNames: task.scope.outputNames, outputPrefix: task.outputPrefix };
}
