import { NotFoundError, PermanentError, type PluginError, ThrottledError, TransientError } from '../errors.js';

/** One entry of `errors` in an answer (GraphQL, section 7.1.2), as far as it can be trusted. */
interface GraphqlError {
  readonly message: string;
  readonly code: string | undefined;
}

/** Codes by which servers say whose fault it is; there is no standard, and these are the usual ones. */
const THROTTLED = new Set(['THROTTLED', 'RATE_LIMITED', 'RATELIMITED', 'TOO_MANY_REQUESTS']);
const NOT_FOUND = new Set(['NOT_FOUND']);
const BAD_INPUT = new Set(['BAD_USER_INPUT', 'BAD_REQUEST', 'ARGUMENT_ERROR', 'FORBIDDEN']);
const BAD_QUERY = new Set(['GRAPHQL_VALIDATION_FAILED', 'GRAPHQL_PARSE_FAILED', 'OPERATION_RESOLUTION_FAILURE']);

/**
 * The `data` of an answer.
 *
 * @throws the error of the contract that its `errors` stand for: as with a status, a request that makes something can be
 * refused for good, and one about a job that exists cannot
 */
export function dataOf(body: unknown, about: { readonly what: string; readonly reads: boolean }): unknown {
  const { data, errors } = (typeof body === 'object' && body !== null ? body : {}) as Record<string, unknown>;
  const [first] = Array.isArray(errors) ? errors : [];
  if (first !== undefined) throw errorOf(readError(first), about);
  if (data === undefined || data === null) throw new TransientError(`${about.what}: the answer is none of GraphQL`);
  return data;
}

function errorOf(
  { message, code }: GraphqlError,
  about: { readonly what: string; readonly reads: boolean },
): PluginError {
  const text = `${about.what}: ${message}`;
  const options = { code: code ?? 'GraphQLError' };
  if (code === undefined) return new TransientError(text, options);
  if (THROTTLED.has(code)) return new ThrottledError(text, options);
  if (about.reads) return NOT_FOUND.has(code) ? new NotFoundError(text, options) : new TransientError(text, options);
  if (BAD_INPUT.has(code) || NOT_FOUND.has(code)) return new PermanentError(text, options);
  return BAD_QUERY.has(code)
    ? new PermanentError(text, { ...options, faultKind: 'SYSTEM' })
    : new TransientError(text, options);
}

function readError(value: unknown): GraphqlError {
  const { message, extensions, type } = (typeof value === 'object' && value !== null ? value : {}) as Record<
    string,
    unknown
  >;
  const told =
    typeof extensions === 'object' && extensions !== null ? (extensions as { code?: unknown }).code : undefined;
  const code = told ?? type;
  return {
    message: typeof message === 'string' && message !== '' ? message : 'an error without a message',
    code: typeof code === 'string' && /^\w{1,100}$/.test(code) ? code : undefined,
  };
}

/** Whether a document changes nothing, so that it may be sent again. */
export function isQuery(document: string): boolean {
  return !/(^|[\s}])(mutation|subscription)\b/.test(document.replace(/#[^\n]*/g, ''));
}
