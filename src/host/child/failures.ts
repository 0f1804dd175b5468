import { HostError, messageOf } from '../../errors/index.js';
import type { FailureKind, PluginFailure } from '../../model/plugin-call.js';
import { isPluginError } from '../../plugin-api/errors.js';
import { InvalidAnswer } from './invalid-answer.js';
import { bounded } from './plain-fields.js';

const MAX_MESSAGE = 4_096;
const MAX_CODE = 128;

const CODES = {
  throttled: 'PLUGIN_THREW_THROTTLED',
  transient: 'PLUGIN_THREW_TRANSIENT',
  permanent: 'PLUGIN_THREW_PERMANENT',
  not_found: 'PLUGIN_THREW_NOT_FOUND',
} as const;

/**
 * What a plugin threw as data (the outcome table's row). Errors of the contract are known by their brand, since the
 * plugin may have another copy of the package. What the host's own readers and stores threw through the plugin keeps
 * its code: transient where the catalogue says retryable, permanent where the task's data is wrong.
 */
export function toFailure(thrown: unknown, redact: (text: string) => string): PluginFailure {
  const message = bounded(redact(messageOf(thrown)), MAX_MESSAGE);
  if (thrown instanceof InvalidAnswer) return failure('invalid', message, thrown.code);
  if (isPluginError(thrown)) return contractFailure(thrown, message, redact);
  if (HostError.is(thrown)) return failure(kindOfHostError(thrown), message, thrown.code);
  return failure('unknown', message, 'PLUGIN_THREW_UNKNOWN');
}

function contractFailure(
  thrown: Record<string, unknown> | object,
  message: string,
  redact: (text: string) => string,
): PluginFailure {
  // Fields are read with care: anybody can put the brand on anything.
  const { kind, code, faultKind, retryAfterMs } = thrown as Record<string, unknown>;
  if (typeof kind !== 'string' || !Object.hasOwn(CODES, kind)) {
    return failure('unknown', message, 'PLUGIN_THREW_UNKNOWN');
  }
  const known = kind as keyof typeof CODES;
  return {
    kind: known,
    message,
    code: typeof code === 'string' && code !== '' ? redact(code).slice(0, MAX_CODE) : CODES[known],
    faultKind: known === 'permanent' && faultKind !== 'SYSTEM' ? 'USER' : 'SYSTEM',
    retryAfterMs:
      known === 'throttled' && typeof retryAfterMs === 'number' && Number.isFinite(retryAfterMs) && retryAfterMs >= 0
        ? retryAfterMs
        : undefined,
  };
}

function kindOfHostError(error: HostError): FailureKind {
  if (error.retryable) return 'transient';
  return error.kind === 'invalid' || error.code === 'DATA_TOO_LARGE' ? 'permanent' : 'unknown';
}

function failure(kind: FailureKind, message: string, code: string): PluginFailure {
  return { kind, message, code, faultKind: kind === 'permanent' ? 'USER' : 'SYSTEM', retryAfterMs: undefined };
}

/** Whether the stack trace of this is worth a log line: bugs are, refusals of the remote are not. */
export function isSurprise(thrown: unknown): boolean {
  return !isPluginError(thrown) && !(thrown instanceof InvalidAnswer) && !(HostError.is(thrown) && thrown.retryable);
}
