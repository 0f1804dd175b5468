import { HostError, isErrorCode, messageOf } from '../errors/index.js';
import { cutText } from '../lib/text.js';
import { MAX_CODE, MAX_DURATION_MS, MAX_FAILURE_TEXT } from '../model/answer-bounds.js';
import type { FailureKind, PluginFailure } from '../model/plugin-call.js';
import { pluginFailure } from '../model/plugin-failure.js';
import { isPluginError } from '../plugin-api/errors.js';
import { InvalidAnswer } from './invalid-answer.js';
import { bounded } from './plain-fields.js';

const CODES = {
  throttled: 'PLUGIN_THREW_THROTTLED',
  transient: 'PLUGIN_THREW_TRANSIENT',
  permanent: 'PLUGIN_THREW_PERMANENT',
  not_found: 'PLUGIN_THREW_NOT_FOUND',
} as const;

/**
 * What a plugin threw as data (the outcome table's row). Errors of the contract are known by their brand, since the
 * plugin may have another copy of the package. What the host's own readers and stores threw through the plugin keeps
 * its code: transient where the catalogue says retryable, permanent where the task's data is wrong. Never throws. `redact`
 * masks and bounds what it is given, which may be of any length.
 */
export function toFailure(thrown: unknown, redact: (text: string) => string): PluginFailure {
  const message = bounded(redact(messageOf(thrown)), MAX_FAILURE_TEXT);
  try {
    return classified(thrown, message, redact);
  } catch {
    // A proxy or getter of the plugin threw while its error was read.
    return failure('unknown', message, 'PLUGIN_THREW_UNKNOWN');
  }
}

function classified(thrown: unknown, message: string, redact: (text: string) => string): PluginFailure {
  if (thrown instanceof InvalidAnswer) return failure('invalid', message, thrown.code);
  if (isPluginError(thrown)) return contractFailure(thrown, message, redact);
  // Anybody can put its brand on anything, too.
  if (HostError.is(thrown) && isErrorCode(thrown.code)) {
    return failure(kindOfHostError(thrown), message, thrown.code);
  }
  return failure('unknown', message, 'PLUGIN_THREW_UNKNOWN');
}

function contractFailure(
  thrown: Record<string, unknown> | object,
  message: string,
  redact: (text: string) => string,
): PluginFailure {
  // Fields are read with care: anybody can put the brand on anything.
  const { kind, code, faultKind, retryAfterMs, notCreated } = thrown as Record<string, unknown>;
  if (typeof kind !== 'string' || !Object.hasOwn(CODES, kind)) {
    return failure('unknown', message, 'PLUGIN_THREW_UNKNOWN');
  }
  const known = kind as keyof typeof CODES;
  const ownCode = typeof code === 'string' && code !== '' ? cutText(redact(code), MAX_CODE) : undefined;
  return pluginFailure(known, ownCode ?? CODES[known], message, {
    faultKind: known === 'permanent' && faultKind !== 'SYSTEM' ? 'USER' : 'SYSTEM',
    retryAfterMs:
      known === 'throttled' && typeof retryAfterMs === 'number' && retryAfterMs >= 0
        ? Math.min(retryAfterMs, MAX_DURATION_MS)
        : undefined,
    ...(known === 'transient' && notCreated === true ? { notCreated } : {}),
  });
}

function kindOfHostError(error: HostError): FailureKind {
  if (error.retryable) return 'transient';
  return error.kind === 'invalid' || error.code === 'DATA_TOO_LARGE' ? 'permanent' : 'unknown';
}

function failure(kind: FailureKind, message: string, code: string): PluginFailure {
  return pluginFailure(kind, code, message, { faultKind: kind === 'permanent' ? 'USER' : 'SYSTEM' });
}

/** Whether the stack trace of this is worth a log line: bugs are, refusals of the remote are not. */
export function isSurprise(thrown: unknown): boolean {
  try {
    return !isPluginError(thrown) && !(thrown instanceof InvalidAnswer) && !(HostError.is(thrown) && thrown.retryable);
  } catch {
    return true;
  }
}
