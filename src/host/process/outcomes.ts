import type { ErrorCode } from '../../errors/index.js';
import type { FailureKind, PluginFailure } from '../../model/plugin-call.js';

/** A failure that the daemon, not the plugin, found. */
export function hostFailure(kind: FailureKind, code: ErrorCode, message: string): PluginFailure {
  return { kind, message, code, faultKind: 'SYSTEM', retryAfterMs: undefined };
}

export function failed(kind: FailureKind, code: ErrorCode, message: string): { ok: false; failure: PluginFailure } {
  return { ok: false, failure: hostFailure(kind, code, message) };
}
