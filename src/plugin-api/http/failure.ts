import { isPluginError, PermanentError, type PluginError, TransientError } from '../errors.js';
import { AnswerTooLarge } from './transport.js';

/** Failures of a connection that was never made: nothing reached the remote. */
const NOT_CONNECTED = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EADDRNOTAVAIL',
  'UND_ERR_CONNECT_TIMEOUT',
  'CERT_HAS_EXPIRED',
  'CERT_NOT_YET_VALID',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'ERR_TLS_CERT_ALTNAME_INVALID',
  'CERT_UNTRUSTED',
  'CERT_REVOKED',
  'CERT_REJECTED',
  'INVALID_CA',
  'INVALID_PURPOSE',
  'UNABLE_TO_GET_ISSUER_CERT',
  // The other side speaks no TLS, or none that both know.
  'ERR_SSL_WRONG_VERSION_NUMBER',
  'ERR_SSL_PACKET_LENGTH_TOO_LONG',
  'ERR_SSL_UNSUPPORTED_PROTOCOL',
  'ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE',
  'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION',
]);

/** How undici says that a proxy made no connection to the remote, or wants a password first. */
const PROXY_REFUSED = /Proxy response \(\d+\) !== 200 when HTTP Tunneling|Proxy Authentication Required/;

/** What undici refuses to send at all. */
const INVALID = new Set([
  'UND_ERR_INVALID_ARG',
  'UND_ERR_NOT_SUPPORTED',
  'ERR_INVALID_CHAR',
  'ERR_HTTP_INVALID_HEADER_VALUE',
]);

/** A connection that the other side closed, before there was an answer. */
const RESET = new Set(['ECONNRESET', 'EPIPE', 'UND_ERR_SOCKET']);

/** An answer that did not come, by the names and codes of Node and of those who build on it. */
const LATE = new Set(['ETIMEDOUT', 'ESOCKETTIMEDOUT', 'TimeoutError', 'AbortError', 'ECONNABORTED']);

/** Whether the remote closed a connection that it had kept open: the usual fate of a reused socket. */
export function isReset(thrown: unknown): boolean {
  return codesOf(thrown).some((code) => RESET.has(code));
}

/** Whether it tells of a connection that was not made, or broke, or of an answer that did not come. */
export function isUnreachable(thrown: unknown): boolean {
  const passing = (code: string) => NOT_CONNECTED.has(code) || RESET.has(code) || LATE.has(code);
  return chainOf(thrown).some((error) => passing(codeOf(error) ?? '') || passing(nameOf(error)));
}

/**
 * Whatever a request ended in as an error of the contract, with the reason that lies deepest: "connect ECONNREFUSED
 * 127.0.0.1:8080" and not "fetch failed".
 */
export function toPluginError(
  thrown: unknown,
  what: string,
  mask: (text: string) => string,
  aborted: boolean,
): PluginError {
  if (isPluginError(thrown)) return thrown as PluginError;
  const message = `${what}: ${mask(reasonOf(thrown))}`;
  const codes = codesOf(thrown);
  if (aborted)
    return new TransientError(`${what}: not answered before the call ended`, { code: 'HTTPAborted', cause: thrown });
  if (thrown instanceof AnswerTooLarge) return new TransientError(message, { code: 'HTTPAnswerTooLarge' });
  const proxyRefused = PROXY_REFUSED.test(message);
  if (!proxyRefused && codes.some((code) => INVALID.has(code))) {
    return new PermanentError(message, { code: 'HTTPRequestInvalid', faultKind: 'SYSTEM', cause: thrown });
  }
  const notCreated = codes.some((code) => NOT_CONNECTED.has(code)) || proxyRefused;
  return new TransientError(message, { code: 'HTTPUnreachable', cause: thrown, ...(notCreated ? { notCreated } : {}) });
}

function reasonOf(thrown: unknown): string {
  const parts: string[] = [];
  for (const error of chainOf(thrown)) {
    const code = codeOf(error);
    const text = (error instanceof Error ? error.message : String(error)) || code || 'unknown reason';
    const whole = code === undefined || text.includes(code) ? text : `${text} (${code})`;
    if (!parts.includes(whole)) parts.push(whole);
  }
  return parts.join(': ').slice(0, 1_000);
}

function codesOf(thrown: unknown): string[] {
  return chainOf(thrown).flatMap((error) => codeOf(error) ?? []);
}

function codeOf(error: unknown): string | undefined {
  const code = typeof error === 'object' && error !== null ? (error as { code?: unknown }).code : undefined;
  return typeof code === 'string' ? code : undefined;
}

function nameOf(error: unknown): string {
  return error instanceof Error ? error.name : '';
}

/** The error and what caused it; of several attempts (IPv4 and IPv6) the first. */
function chainOf(thrown: unknown): unknown[] {
  const chain: unknown[] = [];
  for (let at = thrown; at !== undefined && at !== null && chain.length < 5; ) {
    chain.push(at);
    const { cause, errors } = (typeof at === 'object' ? at : {}) as { cause?: unknown; errors?: unknown };
    at = cause ?? (Array.isArray(errors) ? errors[0] : undefined);
  }
  return chain;
}
