import type { Message } from '../idl/codec.js';
import { type AttemptIdentity, attemptKeyOf } from '../model/attempt-key.js';
import type { NodeAttempt } from '../model/task-record.js';
import type { TaskExecutionId, TaskExecutionMetadata } from '../plugin-api/contexts.js';

/**
 * From flyteidl.admin.TaskExecutionMetadata and flyteidl.core.TaskExecutionIdentifier, decoded, to our words. The native
 * API and Flyte 1 send these very messages, Flyte 2 messages of the same shape.
 */

const text = (value: unknown): string => (typeof value === 'string' ? value : '');

export function taskExecutionIdOf(id: Message | null | undefined): TaskExecutionId {
  const task = (id?.taskId ?? {}) as Message;
  const node = (id?.nodeExecutionId ?? {}) as Message;
  const execution = (node.executionId ?? {}) as Message;
  return {
    task: {
      project: text(task.project),
      domain: text(task.domain),
      name: text(task.name),
      version: text(task.version),
    },
    project: text(execution.project),
    domain: text(execution.domain),
    execution: text(execution.name),
    nodeId: text(node.nodeId),
    retryAttempt: Number(id?.retryAttempt ?? 0),
  };
}

/** Canonical text of an execution and its node, without the attempt. */
function nodeText(id: TaskExecutionId): string {
  const { task } = id;
  return JSON.stringify([
    [task.project, task.domain, task.name, task.version],
    [id.project, id.domain, id.execution, id.nodeId],
  ]);
}

/** Canonical text of a task execution id, the retry attempt included; equal ids give equal text. */
function canonicalExecutionId(id: TaskExecutionId): string {
  return `${nodeText(id)}#${id.retryAttempt}`;
}

/** The attempt as Flyte identifies it: its task_execution_id alone is not unique, with the output prefix it is (FIELD 2). */
export function flyteAttempt(outputPrefix: string, id: TaskExecutionId): AttemptIdentity {
  return { name: outputPrefix, executionId: canonicalExecutionId(id) };
}

/** The node that an attempt belongs to: the output prefix without its last segment, which is the attempt's. */
export function flyteNode(outputPrefix: string, id: TaskExecutionId): NodeAttempt {
  const parent = outputPrefix.replace(/\/+$/, '').replace(/\/[^/]*$/, '');
  return { nodeKey: `${parent}\n${nodeText(id)}`, attempt: id.retryAttempt };
}

/** `generatedName` is what the engine sent; where it sent none, the attempt's key stands for it. */
export function executionMetadataOf(
  metadata: Message | null | undefined,
  generatedName: string,
  attempt: AttemptIdentity,
): TaskExecutionMetadata {
  const texts = (map: unknown): Record<string, string> => (map ?? {}) as Record<string, string>;
  return {
    generatedName: generatedName !== '' ? generatedName : attemptKeyOf(attempt),
    taskExecutionId: taskExecutionIdOf(metadata?.taskExecutionId),
    namespace: text(metadata?.namespace),
    labels: texts(metadata?.labels),
    annotations: texts(metadata?.annotations),
    serviceAccount: text(metadata?.k8sServiceAccount),
    environmentVariables: texts(metadata?.environmentVariables),
    maxAttempts: Number(metadata?.maxAttempts ?? 0),
    interruptible: metadata?.interruptible === true,
  };
}
