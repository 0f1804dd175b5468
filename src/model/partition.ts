import { type AttemptIdentity, type AttemptKey, attemptKeyOf } from './attempt-key.js';
import { partitionOf } from './handle.js';
import type { NodeAttempt } from './task-record.js';

/** The partition of a task that was begun here: all attempts of a node lie in one, and one without a node lies by its own key. */
export function partitionOfTask(key: AttemptKey, node: NodeAttempt | undefined): number {
  return partitionOf(node?.nodeKey ?? key);
}

/** The same of one that is to be begun. */
export function partitionOfAttempt(attempt: AttemptIdentity, node: NodeAttempt | undefined): number {
  return partitionOf(node?.nodeKey ?? attemptKeyOf(attempt));
}
