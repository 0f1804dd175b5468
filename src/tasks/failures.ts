import { type ErrorCode, HostError, isErrorCode } from '../errors/index.js';
import { outcomeRule } from '../model/outcomes.js';
import { type PhaseState, phaseState } from '../model/phase-state.js';
import type { FailureKind, PluginFailure, PluginMethod } from '../model/plugin-call.js';
import { methodTraits } from '../model/plugin-methods.js';

/** The catalogue's code of a failure whose own code is the plugin's. */
const CODE_OF_KIND: Readonly<Record<FailureKind, ErrorCode>> = {
  throttled: 'PLUGIN_THREW_THROTTLED',
  transient: 'PLUGIN_THREW_TRANSIENT',
  permanent: 'PLUGIN_THREW_PERMANENT',
  not_found: 'PLUGIN_THREW_NOT_FOUND',
  unknown: 'PLUGIN_THREW_UNKNOWN',
  deadline: 'PLUGIN_DEADLINE',
  process_died: 'PLUGIN_PROCESS_DIED',
  invalid: 'PLUGIN_ANSWER_INVALID',
  not_admitted: 'ADMISSION_DEADLINE',
  cancelled: 'CALL_CANCELLED',
};

/**
 * A failed plugin call as an error for the caller of an RPC, by the outcome table: what it makes of a kind of failure stands
 * above the code that names this kind, while a code that says more than the kind is passed on.
 */
export function errorOf(failure: PluginFailure, plugin: string, doing: string, method: PluginMethod): HostError {
  const general = CODE_OF_KIND[failure.kind];
  const { answer } = outcomeRule(methodTraits(method).place, failure.kind);
  const byTable = answer === 'phase' || answer === 'ok' ? general : answer;
  const code = isErrorCode(failure.code) && failure.code !== general ? failure.code : byTable;
  return new HostError(code, `${doing} by plugin "${plugin}" failed: ${failure.message}`, {
    details: { plugin, plugin_code: failure.code },
    ...(failure.retryAfterMs === undefined ? {} : { retryAfterMs: failure.retryAfterMs }),
  });
}

/** A task that the daemon ends by its own decision. */
export function failureState(
  phase: 'RETRYABLE_FAILURE' | 'PERMANENT_FAILURE',
  code: string,
  message: string,
  kind: 'USER' | 'SYSTEM',
): PhaseState {
  return phaseState(phase, { reason: message, error: { code, message, kind } });
}

/** Callers find an error with every way a task can fail; a plugin gives an abort a reason only. */
export function withAbortError(state: PhaseState): PhaseState {
  if (state.phase !== 'ABORTED' || state.error !== undefined) return state;
  const message = state.reason === '' ? 'the job was aborted at the remote' : state.reason;
  return { ...state, error: { code: 'TASK_ABORTED', message, kind: 'USER' } };
}
