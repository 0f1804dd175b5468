import { leaseOf } from '../call-lease.js';
import { isPluginError, TransientError } from '../errors.js';
import { isUnreachable, toPluginError } from './failure.js';
import { errorOf, isRead } from './meaning.js';
import type { HttpCall, HttpErrorTable } from './types.js';

export interface SdkCallOptions {
  /** What statuses mean, where the helper's own table does not fit. The body of an answer is `{ name, message }`. */
  readonly errors?: HttpErrorTable;
}

/** Names by which SDKs tell that they have no credential, or an old one: the remote did nothing. */
const CREDENTIALS = /^(Credentials?Provider|ExpiredToken|InvalidClientTokenId|UnrecognizedClient|TokenRefresh)/;

/** Names of errors that SDKs made nothing of. */
const UNNAMED = /^(Error|UnknownError|SyntaxError|the SDK failed)$/;

/** Names by which they tell a throttle, whatever the status. */
const THROTTLES =
  /^(Throttl|TooManyRequests|RequestLimitExceeded|RequestThrottled|SlowDown|ProvisionedThroughputExceeded)/;

/**
 * Runs a call of a vendor's SDK and turns what it throws into an error of the plugin contract, by the status that the
 * error carries (`$metadata.httpStatusCode`, `status`, `statusCode`, `response.status`) and the table of the HTTP client:
 * a call that makes something can be refused for good, one about a job that exists cannot. `call` is the context of the
 * method; hand its signal to the SDK, too. What tells neither a status nor a broken connection is thrown as it is.
 *
 * @throws errors of the plugin contract, and whatever is no failure of a call
 */
export async function callSdk<T>(call: HttpCall, run: () => Promise<T>, options: SdkCallOptions = {}): Promise<T> {
  if (leaseOf(call.signal)?.maySend() === false) throw call.signal?.reason;
  try {
    return await run();
  } catch (thrown) {
    throw errorOfSdk(call, thrown, options.errors);
  }
}

function errorOfSdk(call: HttpCall, thrown: unknown, errors: HttpErrorTable | undefined): unknown {
  if (isPluginError(thrown) || typeof thrown !== 'object' || thrown === null) return thrown;
  const { name, message } = thrown as { readonly name?: unknown; readonly message?: unknown };
  const what = typeof name === 'string' && name !== '' ? name.slice(0, 100) : 'the SDK failed';
  const text = typeof message === 'string' ? message : '';
  const mask = (quoted: string) => quoted;
  if (call.signal?.aborted === true) return toPluginError(thrown, what, mask, true);
  if (CREDENTIALS.test(what)) {
    return new TransientError(`${what}: ${text.slice(0, 300)}`, { code: what, cause: thrown, notCreated: true });
  }
  const status = THROTTLES.test(what) || isThrottle(thrown) ? 429 : statusOf(thrown);
  if (status !== undefined) {
    const { 'content-type': type = '', ...others } = headersOf(thrown);
    // What the SDK could name it has read, whatever the remote called its type; what it could not may be a proxy's page.
    const headers = UNNAMED.test(what) ? { ...others, 'content-type': type } : others;
    const answer = { status, headers, body: { name: what, message: text } };
    return errorOf({ reads: isRead(call), what, code: what, answer, text, mask }, [errors]) ?? thrown;
  }
  return isUnreachable(thrown) ? toPluginError(thrown, what, mask, false) : thrown;
}

function isThrottle(thrown: object): boolean {
  const hint = (thrown as { readonly $retryable?: { readonly throttling?: unknown } }).$retryable;
  return hint?.throttling === true;
}

interface Told {
  readonly $metadata?: { readonly httpStatusCode?: unknown };
  readonly $response?: { readonly headers?: unknown };
  readonly response?: { readonly status?: unknown; readonly statusCode?: unknown; readonly headers?: unknown };
  readonly headers?: unknown;
  readonly status?: unknown;
  readonly statusCode?: unknown;
}

function statusOf(thrown: Told): number | undefined {
  const { $metadata, response, status, statusCode } = thrown;
  const told = [$metadata?.httpStatusCode, statusCode, status, response?.status, response?.statusCode];
  return told.find((one): one is number => Number.isInteger(one) && Number(one) >= 300 && Number(one) < 600);
}

/** Of the answer, in lower case, where the SDK hands it out; for Retry-After. */
function headersOf(thrown: Told): Record<string, string> {
  const told = thrown.$response?.headers ?? thrown.response?.headers ?? thrown.headers;
  if (typeof told !== 'object' || told === null) return {};
  const entries: Iterable<[string, unknown]> = told instanceof Headers ? told.entries() : Object.entries(told);
  const known: Record<string, string> = Object.create(null);
  for (const [name, value] of entries) if (typeof value === 'string') known[name.toLowerCase()] = value;
  return known;
}
