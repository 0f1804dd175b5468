import type { JsonObject } from '../../lib/json.js';
import type { TaskRecord } from '../../model/task-record.js';
import type { PluginRuntime } from '../../runtime/runtime.js';
import type { OwedDelete } from '../../store/owed-deletes.js';
import type { UnclearCreate } from '../../store/unclear-creates.js';

/** Rows of the operator's view, as plain JSON. They throw where a value cannot be shown. */

export function taskRow(task: TaskRecord, runtime: PluginRuntime | undefined): JsonObject & { id: string } {
  const { identity, state } = task;
  const missing = task.stage === 'live' ? runtime?.refresher.missing(task.id) : undefined;
  return {
    id: task.id,
    plugin: identity.plugin,
    taskType: identity.taskType,
    project: identity.project,
    domain: identity.domain,
    stage: task.stage,
    phase: state.phase,
    phaseVersion: task.phaseVersion,
    reason: state.reason,
    error: state.error === undefined ? null : { ...state.error },
    remotePhase: state.remotePhase,
    created: iso(task.createdAtMs),
    observed: task.observedAtMs === undefined ? null : iso(task.observedAtMs),
    consecutiveFailures: task.consecutiveFailures,
    lastFailure: task.lastFailure === undefined ? null : { ...task.lastFailure },
    notFound:
      missing === undefined ? null : { since: iso(missing.sinceMs), reads: missing.reads, frozen: missing.wave },
    confirmed: task.confirmed,
    undelivered: task.undeliveredAtMs === undefined ? null : iso(task.undeliveredAtMs),
    adopted: task.adopted,
    handle: task.answeredHandle === undefined ? null : task.answeredHandle.toString('base64'),
  };
}

export function deleteRow(owed: OwedDelete): JsonObject {
  const { id, identity, reason, sinceMs, attempts, nextAttemptMs, needsCredentials, holdsToken, lastError } = owed;
  return {
    id,
    plugin: identity.plugin,
    reason,
    since: iso(sinceMs),
    attempts,
    nextAttempt: nextAttemptMs === undefined ? null : iso(nextAttemptMs),
    needsCredentials,
    holdsToken,
    lastError: lastError === undefined ? null : { ...lastError },
  };
}

export function unclearRow(create: UnclearCreate): JsonObject {
  const { id, identity, sinceMs, looks, nextLookMs, leftBecause, lastError } = create;
  return {
    id,
    plugin: identity.plugin,
    taskType: identity.taskType,
    project: identity.project,
    domain: identity.domain,
    since: iso(sinceMs),
    looks,
    nextLook: nextLookMs === undefined ? null : iso(nextLookMs),
    left: leftBecause ?? null,
    lastError: { ...lastError },
  };
}

const iso = (ms: number): string => new Date(ms).toISOString();
