import { type ErrorCode, HostError, isErrorCode } from '../errors/index.js';
import { type PhaseState, phaseState } from '../model/phase-state.js';
import type { FailureKind, PluginFailure } from '../model/plugin-call.js';

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

/** A failed plugin call as an error for the caller of an RPC. */
export function errorOf(failure: PluginFailure, plugin: string, doing: string): HostError {
  const code = isErrorCode(failure.code) ? failure.code : CODE_OF_KIND[failure.kind];
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
