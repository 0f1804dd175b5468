import type { TaskIdentity } from '../../src/model/handle.js';

/** The identity of a task as a test needs one; what the test is about is said, the rest is any. */
export function identityOf(key: string, more: Partial<TaskIdentity> = {}): TaskIdentity {
  return {
    plugin: 'demo',
    taskType: 't',
    taskTypeVersion: 0,
    key,
    incarnation: 1,
    project: 'p',
    domain: 'd',
    namespace: 'n',
    quotaNamespace: 'default',
    createdAtMs: 1,
    outputNames: [],
    ...more,
  };
}
