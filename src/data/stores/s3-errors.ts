import { HostError, messageOf } from '../../errors/index.js';
import { abortedError } from './abort.js';
import { shown, unsupported } from './location.js';

/** Errors of the S3 SDK to those of the catalogue. */

const NOT_FOUND = new Set(['NoSuchKey', 'NotFound', 'NoSuchBucket', 'NoSuchVersion']);
const DENIED = new Set([
  'AccessDenied',
  'InvalidAccessKeyId',
  'SignatureDoesNotMatch',
  'ExpiredToken',
  'InvalidToken',
  'RequestExpired',
  'RequestTimeTooSkewed',
  'CredentialsProviderError',
  'TokenProviderError',
]);
const MISPLACED = new Set([
  'InvalidBucketName',
  'PermanentRedirect',
  'AuthorizationHeaderMalformed',
  'KeyTooLongError',
]);
const TOO_LARGE = new Set(['EntityTooLarge', 'MaxMessageLengthExceeded']);

interface SdkError {
  readonly name?: string;
  readonly Code?: string;
  readonly $metadata?: { readonly httpStatusCode?: number };
}

/** The message carries the SDK's words; those never hold credentials, and the URI is shown without its query. */
export function s3ErrorOf(thrown: unknown, uri: string, signal: AbortSignal | undefined): HostError {
  if (HostError.is(thrown)) return thrown;
  if (signal?.aborted) return abortedError(signal, shown(uri));
  const { name = '', Code = '', $metadata } = (thrown ?? {}) as SdkError;
  const status = $metadata?.httpStatusCode;
  const is = (names: ReadonlySet<string>) => names.has(name) || names.has(Code);
  const said = `${name || 'Error'}${status === undefined ? '' : ` ${status}`}: ${messageOf(thrown)}`.slice(0, 500);
  const cause = { cause: thrown };
  if (is(NOT_FOUND) || status === 404) {
    return new HostError('DATA_NOT_FOUND', `${shown(uri)}: there is no such object (${said}).`, cause);
  }
  if (is(MISPLACED) || status === 301 || status === 307) {
    return unsupported(uri, `the store does not serve it under this region and endpoint (${said})`, thrown);
  }
  if (is(DENIED) || status === 401 || status === 403) {
    return new HostError('DATA_ACCESS_DENIED', `${shown(uri)}: the store refused access (${said}).`, cause);
  }
  if (is(TOO_LARGE) || status === 413) {
    return new HostError('DATA_TOO_LARGE', `${shown(uri)}: the store refuses an object of this size (${said}).`, cause);
  }
  return new HostError('DATA_UNAVAILABLE', `${shown(uri)}: the store failed (${said}).`, cause);
}
