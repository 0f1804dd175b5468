import type { ErrorCode } from '../errors/index.js';
import { wellFormed } from '../lib/text.js';
import { CUT_MARK, isWait, MAX_CODE, MAX_FAILURE_TEXT } from './answer-bounds.js';
import { FAILURE_KINDS, type FailureKind, type PluginFailure } from './plugin-call.js';

export type FailedCall = { readonly ok: false; readonly failure: PluginFailure };

/** What a failure may say besides its kind, code and message. */
export type FailureDetails = Partial<Pick<PluginFailure, 'faultKind' | 'retryAfterMs' | 'notCreated'>>;

/** The one maker of a PluginFailure. `code` is the plugin's own, or one of the catalogue; the fault is SYSTEM's unless said. */
export function pluginFailure(
  kind: FailureKind,
  code: string,
  message: string,
  { faultKind = 'SYSTEM', retryAfterMs, notCreated }: FailureDetails = {},
): PluginFailure {
  const known = { kind, message, code, faultKind, retryAfterMs };
  return notCreated === undefined ? known : { ...known, notCreated };
}

/** A failure that the daemon saw or decided itself, as the outcome of a call. */
export function failedCall(kind: FailureKind, code: ErrorCode, message: string, retryAfterMs?: number): FailedCall {
  return { ok: false, failure: pluginFailure(kind, code, message, { retryAfterMs }) };
}

/** Whether a value from a plugin's process is a failure within its bounds. */
export function isPluginFailure(value: unknown): value is PluginFailure {
  if (typeof value !== 'object' || value === null) return false;
  const { kind, message, code, faultKind, retryAfterMs, notCreated } = value as Record<string, unknown>;
  return (
    FAILURE_KINDS.includes(kind as FailureKind) &&
    typeof message === 'string' &&
    message.length <= MAX_FAILURE_TEXT + CUT_MARK &&
    typeof code === 'string' &&
    code.length <= MAX_CODE &&
    (faultKind === 'USER' || faultKind === 'SYSTEM') &&
    (retryAfterMs === undefined || isWait(retryAfterMs)) &&
    (notCreated === undefined || typeof notCreated === 'boolean')
  );
}

/** A failure that came from a plugin's process, with nothing in it that could not be told. Throws Error. */
export function failureOf(value: unknown): PluginFailure {
  if (!isPluginFailure(value)) throw new Error('a failure is not known');
  const { kind, message, code, ...details } = value;
  return pluginFailure(kind, wellFormed(code), wellFormed(message), details);
}
