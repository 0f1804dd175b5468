import { ERROR_CATALOGUE, type ErrorCode, type ErrorKind } from './catalogue.js';

/** Found on every HostError, whichever copy of this module made it; `instanceof` fails across copies and processes. */
const BRAND = Symbol.for('webapi-plugin-host.HostError');

export interface HostErrorOptions {
  readonly cause?: unknown;
  /** When a retry makes sense, how long to wait first, in milliseconds. Sent as google.rpc.RetryInfo. */
  readonly retryAfterMs?: number;
  /** Small facts for the reader (plugin id, option name). Sent as google.rpc.ErrorInfo metadata; never secrets. */
  readonly details?: Readonly<Record<string, string>>;
}

/** The one error class of the daemon: a code of the catalogue, what was seen, what was expected, what to do. */
export class HostError extends Error {
  readonly code: ErrorCode;
  readonly kind: ErrorKind;
  readonly retryable: boolean;
  readonly retryAfterMs: number | undefined;
  readonly details: Readonly<Record<string, string>>;

  constructor(code: ErrorCode, message: string, options: HostErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'HostError';
    this.code = code;
    this.kind = ERROR_CATALOGUE[code].kind;
    this.retryable = ERROR_CATALOGUE[code].retryable;
    this.retryAfterMs = options.retryAfterMs;
    this.details = options.details ?? {};
    Object.defineProperty(this, BRAND, { value: true });
  }

  static is(value: unknown): value is HostError {
    return typeof value === 'object' && value !== null && BRAND in value;
  }
}

/** The message of whatever was thrown, for logs and wrapped errors. */
export function messageOf(thrown: unknown): string {
  if (thrown instanceof Error) return thrown.message || thrown.name;
  try {
    return typeof thrown === 'string' ? thrown : (JSON.stringify(thrown) ?? String(thrown));
  } catch {
    return Object.prototype.toString.call(thrown);
  }
}
