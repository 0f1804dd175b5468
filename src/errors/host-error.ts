import { ERROR_CATALOGUE, type ErrorCode, type ErrorKind, isErrorCode } from './catalogue.js';

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
    // Making an error must not fail, whatever was taken for a code.
    const { kind, retryable } = ERROR_CATALOGUE[isErrorCode(code) ? code : 'INTERNAL'];
    this.kind = kind;
    this.retryable = retryable;
    this.retryAfterMs = options.retryAfterMs;
    this.details = options.details ?? {};
    Object.defineProperty(this, BRAND, { value: true });
  }

  /** Never throws, whatever it is given. */
  static is(value: unknown): value is HostError {
    if (typeof value !== 'object' || value === null) return false;
    try {
      return BRAND in value;
    } catch {
      return false;
    }
  }
}

/** What cannot be read: a proxy or getter that throws, a revoked proxy. */
const UNREADABLE = 'something that cannot be read was thrown';

/** The message of whatever was thrown, for logs and wrapped errors. Never throws, and always answers a text. */
export function messageOf(thrown: unknown): string {
  if (typeof thrown === 'string') return thrown;
  return textOf(() => (thrown instanceof Error ? thrown.message || thrown.name : undefined)) ?? shown(thrown);
}

/** The stack of an error, or its message. Never throws, and always answers a text. */
export function stackOf(thrown: unknown): string {
  return textOf(() => (thrown instanceof Error ? thrown.stack : undefined)) ?? messageOf(thrown);
}

function shown(thrown: unknown): string {
  const forms = [() => JSON.stringify(thrown), () => String(thrown), () => Object.prototype.toString.call(thrown)];
  for (const form of forms) {
    const text = textOf(form);
    if (text !== undefined) return text;
  }
  return UNREADABLE;
}

/** Undefined where reading throws or does not give a text: what was thrown may be anything. */
function textOf(read: () => unknown): string | undefined {
  try {
    const text = read();
    return typeof text === 'string' ? text : undefined;
  } catch {
    return undefined;
  }
}
