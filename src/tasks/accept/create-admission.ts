import { isOfEarlierLife } from '../../model/found-job.js';
import type { OutcomeEnd } from '../../model/outcomes.js';
import type { PhaseState } from '../../model/phase-state.js';
import type { PluginFailure } from '../../model/plugin-call.js';
import type { TaskRecord } from '../../model/task-record.js';
import type { ResourceRequirements } from '../../plugin-api/plugin.js';
import type { PluginRuntime } from '../../runtime/runtime.js';
import type { TasksDeps } from '../deps.js';

/** What the steps before a create call need of the run they belong to. */
export interface AdmittedRun {
  readonly task: TaskRecord;
  /** Whether the run must not go on. */
  over(): boolean;
  /** Aborted when the run should stop to wait. */
  readonly patience: AbortSignal;
  /** Says why the task has not started. */
  waits(stage: 'accepted' | 'creating', reason: string): void;
  /** Waits before the next try. */
  pause(failure: PluginFailure, attempt: number): Promise<void>;
  refuse(code: string, message: string, kind: 'USER' | 'SYSTEM', phase: OutcomeEnd['phase']): void;
}

const NO_REQUIREMENTS: ResourceRequirements = { namespace: 'default' };

/** Asks the plugin what the task takes and notes it. False when the run was refused or is over. */
export async function settleRequirements(deps: TasksDeps, runtime: PluginRuntime, run: AdmittedRun): Promise<boolean> {
  const { task } = run;
  const { payload } = task;
  // Known from before a restart.
  if (task.requirements !== undefined) return true;
  let requirements = NO_REQUIREMENTS;
  if (runtime.plugin.features.resourceRequirements && payload !== undefined) {
    const asked = await askRequirements(deps, runtime, run, {
      template: payload.template,
      metadata: payload.metadata,
    });
    if (asked === undefined) return false;
    requirements = asked;
  }
  deps.store.setRequirements(task, requirements, requirements.namespace);
  return true;
}

async function askRequirements(
  { options }: TasksDeps,
  { gate, creates }: PluginRuntime,
  run: AdmittedRun,
  args: Parameters<typeof gate.call<'resourceRequirements'>>[1],
): Promise<ResourceRequirements | undefined> {
  const budget = creates.budget();
  for (let attempt = 1; ; attempt++) {
    const outcome = await gate.call('resourceRequirements', args, { admission: 'wait', signal: run.patience });
    if (run.over()) return undefined;
    if (outcome.ok) return outcome.value;
    const { code, message, faultKind, kind } = outcome.failure;
    if (kind === 'permanent' || budget.spentMs() > options.createBudgetMs) {
      const phase = kind === 'permanent' ? 'PERMANENT_FAILURE' : 'RETRYABLE_FAILURE';
      run.refuse(code, `resourceRequirements: ${message}`, faultKind, phase);
      return undefined;
    }
    await run.pause(outcome.failure, attempt);
    if (run.over()) return undefined;
  }
}

/** Takes the task's allocation token, in line if need be. False when the run was refused, or left the line. */
export async function takeToken({ store }: TasksDeps, { quotas }: PluginRuntime, run: AdmittedRun): Promise<boolean> {
  const { id, identity, requirements } = run.task;
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
    run.refuse('STORE_FULL', `the waiting line of plugin "${plugin}" is full`, 'SYSTEM', 'RETRYABLE_FAILURE');
    return false;
  }
  const quota = `quota namespace "${quotaNamespace}"`;
  const lacks = {
    capacity: 'room in the cache (caching.size)',
    quota,
    project: `its project constraint in ${quota}`,
    namespace: `its namespace constraint in ${quota}`,
  };
  run.waits('accepted', `waits for ${lacks[answer.lacks]}`);
  return answer.granted;
}

/** Whether the job that a create found, in this state, is of an earlier life of the task's key (rule 8). */
export function foundEarlierLife(
  { store, clock, options }: TasksDeps,
  { identity: { key, incarnation } }: TaskRecord,
  state: PhaseState | undefined,
  maySend: boolean,
): boolean {
  return isOfEarlierLife({
    state,
    mark: store.marks.get(key, incarnation),
    maySend,
    completeSinceMs: store.completeSinceMs,
    nowMs: clock.now(),
    replayWindowMs: options.replayWindowMs,
  });
}
