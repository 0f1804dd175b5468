import { adoptedIdOf, taskIdOf } from '../model/attempt-key.js';
import type { TaskIdentity } from '../model/handle.js';
import type { PhaseState } from '../model/phase-state.js';
import type { NodeAttempt, TaskPayload, TaskRecord, TaskStage } from '../model/task-record.js';
import type { ConnectionInfo } from '../plugin-api/contexts.js';

/** What a new record starts from. */
export interface NewTask {
  readonly identity: TaskIdentity;
  readonly stage: TaskStage;
  readonly state: PhaseState;
  readonly meta?: Buffer;
  readonly outputPrefix: string;
  readonly payload?: TaskPayload;
  readonly node?: NodeAttempt | undefined;
  readonly connection?: ConnectionInfo | undefined;
  readonly connectionUntilMs?: number;
  readonly answeredHandle?: Buffer;
  /** Known from a handle alone: it goes by an id of its own and claims no attempt key. */
  readonly adopted?: boolean;
  readonly deleted?: boolean;
  /** What callers know of a record that this one takes the place of. */
  readonly seen?: Pick<TaskRecord, 'phaseVersion'> & Partial<Pick<TaskRecord, 'confirmed' | 'undeliveredAtMs'>>;
}

/** A record as the store alone may change it. */
export type Entry = { -readonly [K in keyof TaskRecord]: TaskRecord[K] };

/** A record with everything filled in that a new one starts without. */
export function newEntry(task: NewTask, nowMs: number): Entry {
  const { identity } = task;
  return {
    id: idOf(task),
    identity,
    stage: task.stage,
    meta: task.meta,
    outputPrefix: task.outputPrefix,
    payload: task.payload,
    node: task.node,
    requirements: undefined,
    connection: task.connection,
    connectionUntilMs: task.connectionUntilMs ?? 0,
    state: task.state,
    phaseVersion: task.seen?.phaseVersion ?? 0,
    observedAtMs: undefined,
    consecutiveFailures: 0,
    lastFailure: undefined,
    answeredHandle: undefined,
    createdAtMs: identity.createdAtMs,
    liveSinceMs: identity.createdAtMs,
    lastAskedAtMs: nowMs,
    confirmed: task.seen?.confirmed ?? task.adopted ?? false,
    undeliveredAtMs: task.seen?.undeliveredAtMs,
    adopted: task.adopted ?? false,
    deleted: task.deleted ?? false,
    encoded: [],
  };
}

function idOf({ identity: { key, incarnation }, adopted, answeredHandle }: NewTask): TaskRecord['id'] {
  if (adopted !== true || answeredHandle === undefined) return taskIdOf(key, incarnation);
  return adoptedIdOf(key, incarnation, answeredHandle);
}
