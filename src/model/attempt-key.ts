import { hash } from 'node:crypto';

/**
 * What identifies one attempt of one task, as the engine says it. Native clients send a generated name; from Flyte it
 * is the output prefix with the task execution id and retry attempt (its task_execution_id alone is not unique).
 */
export interface AttemptIdentity {
  /** Unique per attempt: the generated name, or the output prefix. */
  readonly name: string;
  /** Distinguishes what `name` may not: the task execution id in canonical text; empty for native clients. */
  readonly executionId: string;
}

/** 128 bits of SHA-256 over the attempt identity, as 32 lower-case hex digits. */
export type AttemptKey = string;

export function attemptKeyOf(identity: AttemptIdentity): AttemptKey {
  const said = `${identity.name.length}:${identity.name}\n${identity.executionId}`;
  return hash('sha256', said, 'buffer').toString('hex', 0, 16);
}

/** Names one incarnation of an attempt, everywhere a task is looked up. */
export type TaskId = string;

export function taskIdOf(key: AttemptKey, incarnation: number): TaskId {
  return `${key}-${incarnation}`;
}

/** What the plugin gives the remote as its idempotency token: at most 48 characters of [a-z0-9-]. */
export function idempotencyKeyOf(key: AttemptKey, incarnation: number): string {
  return taskIdOf(key, incarnation);
}

/**
 * What a task goes by that is known from a handle alone, and not from a create here. Handles that say the same key may
 * differ in all else, and none of them may stand in another's place, nor in that of the task that a create made.
 */
export function adoptedIdOf(key: AttemptKey, incarnation: number, handle: Uint8Array): TaskId {
  return `${taskIdOf(key, incarnation)}~${hash('sha256', handle, 'hex').slice(0, 16)}`;
}
