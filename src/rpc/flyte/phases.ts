import { HostError } from '../../errors/index.js';
import type { PhaseState } from '../../model/phase-state.js';
import type { Phase } from '../../plugin-api/phase.js';

/** `flyteidl.core.TaskExecution.Phase`, and the same names in Flyte 2. */
export type WirePhase =
  | 'QUEUED'
  | 'RUNNING'
  | 'SUCCEEDED'
  | 'FAILED'
  | 'RETRYABLE_FAILED'
  | 'INITIALIZING'
  | 'WAITING_FOR_RESOURCES';

/**
 * The phases on Flyte's wire (FIELD 10). UNDEFINED fails a task and is never sent. ABORTED there loses its message, so
 * a job that somebody cancelled is FAILED with the reason.
 */
const WIRE: Readonly<Record<Exclude<Phase, 'UNDEFINED'>, WirePhase>> = {
  NOT_READY: 'QUEUED',
  WAITING_FOR_RESOURCES: 'WAITING_FOR_RESOURCES',
  WAITING_FOR_CACHE: 'WAITING_FOR_RESOURCES',
  QUEUED: 'QUEUED',
  INITIALIZING: 'INITIALIZING',
  RUNNING: 'RUNNING',
  SUCCESS: 'SUCCEEDED',
  RETRYABLE_FAILURE: 'RETRYABLE_FAILED',
  PERMANENT_FAILURE: 'FAILED',
  ABORTED: 'FAILED',
};

/** The deprecated `flyteidl.admin.State`, for engines that read nothing else. */
const STATE: Readonly<Record<WirePhase, string>> = {
  QUEUED: 'PENDING',
  WAITING_FOR_RESOURCES: 'PENDING',
  INITIALIZING: 'PENDING',
  RUNNING: 'RUNNING',
  SUCCEEDED: 'SUCCEEDED',
  FAILED: 'PERMANENT_FAILURE',
  RETRYABLE_FAILED: 'RETRYABLE_FAILURE',
};

/** Throws ENCODE_INVALID for UNDEFINED. */
export function wirePhase(phase: Phase): WirePhase {
  if (phase === 'UNDEFINED') throw new HostError('ENCODE_INVALID', 'the phase UNDEFINED is never answered');
  return WIRE[phase];
}

export function deprecatedState(phase: WirePhase): string {
  return STATE[phase];
}

/**
 * What a person reads of the phase. Engines drop an error's code and take every failure for the user's (FIELD 11), so
 * both stand in the text: `OutOfMemory (SYSTEM): killed at 4 GiB`.
 */
export function wireMessage(state: PhaseState): string {
  const { error, reason, phase } = state;
  if (error !== undefined) return `${error.code} (${error.kind}): ${error.message}`;
  if (phase === 'ABORTED') return reason === '' ? 'aborted at the remote' : `aborted at the remote: ${reason}`;
  return reason;
}
