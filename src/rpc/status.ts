import { Metadata, type MetadataValue, status } from '@grpc/grpc-js';
import { type ErrorKind, HostError } from '../errors/index.js';
import { encodeRpcStatus } from '../idl/rpc-status.js';
import { EndedElsewhere } from '../model/forwarding.js';

/** The domain of every google.rpc.ErrorInfo that the daemon sends. */
const ERROR_DOMAIN = 'pluginhost';

/** Kind of error → gRPC status: the only place where the two meet. */
const STATUS_OF_KIND: Readonly<Record<ErrorKind, status>> = {
  invalid: status.INVALID_ARGUMENT,
  not_found: status.NOT_FOUND,
  conflict: status.ALREADY_EXISTS,
  exhausted: status.RESOURCE_EXHAUSTED,
  unavailable: status.UNAVAILABLE,
  deadline: status.DEADLINE_EXCEEDED,
  cancelled: status.CANCELLED,
  precondition: status.FAILED_PRECONDITION,
  unimplemented: status.UNIMPLEMENTED,
  denied: status.PERMISSION_DENIED,
  unauthenticated: status.UNAUTHENTICATED,
  internal: status.INTERNAL,
};

/** What grpc-js takes as the end of a call. */
export interface CallStatus {
  readonly code: status;
  readonly details: string;
  readonly metadata: Metadata;
}

/**
 * In bytes. Clients bound the size of the trailers they take, often at 8 KiB; there the message stands twice, once with
 * three bytes for each that is not plain ASCII, and all that stands in the details takes a third more as base64.
 */
const MAX_MESSAGE = 1000;
const MAX_DETAIL = 200;
const MAX_DETAIL_NAME = 60;
const MAX_DETAILS = 8;

/** Goes by way of UTF-8, which has no half surrogate pairs: the transport's encodeURI would throw on one. */
function bounded(text: string, maxBytes: number): string {
  const bytes = Buffer.from(text.slice(0, maxBytes + 1));
  if (bytes.length <= maxBytes) return bytes.toString();
  const start = bytes
    .subarray(0, maxBytes - 3)
    .toString()
    .replace(/\ufffd$/, '');
  return `${start}…`;
}

const UNKNOWN_FAULT = new HostError(
  'INTERNAL',
  'The daemon failed to answer the call by a fault of its own; its log has the details.',
);

/**
 * Any throw as the end of a call: the status of its kind, and the trailer `grpc-status-details-bin` with a
 * google.rpc.Status that holds ErrorInfo (reason: the code), RetryInfo where a delay is known, and BadRequest where
 * `details.field` names the field at fault. Whatever is not a HostError says nothing about its inside. Never throws: what
 * cannot be read or written of an error is a fault of the daemon like any other.
 */
export function statusOf(thrown: unknown): CallStatus {
  try {
    if (thrown instanceof EndedElsewhere) return passedOn(thrown);
    return statusOfError(HostError.is(thrown) ? thrown : UNKNOWN_FAULT);
  } catch {
    return statusOfError(UNKNOWN_FAULT);
  }
}

/** What another replica has answered, as it was. */
function passedOn({ status: code, message, trailer }: EndedElsewhere): CallStatus {
  const metadata = new Metadata();
  if (trailer !== undefined) metadata.set('grpc-status-details-bin', trailer);
  return { code, details: message, metadata };
}

/** What a wait may be; anything else is not told. A year. */
const MAX_RETRY_MS = 365 * 86_400_000;

function retryDelay(ms: number | undefined): number | undefined {
  return ms !== undefined && ms >= 0 ? Math.min(ms, MAX_RETRY_MS) : undefined;
}

function statusOfError(error: HostError): CallStatus {
  const code = Object.hasOwn(STATUS_OF_KIND, error.kind) ? STATUS_OF_KIND[error.kind] : status.INTERNAL;
  const message = bounded(error.message, MAX_MESSAGE);
  const metadata = Object.fromEntries(
    Object.entries(error.details)
      .slice(0, MAX_DETAILS)
      .map(([key, value]) => [bounded(key, MAX_DETAIL_NAME), bounded(value, MAX_DETAIL)]),
  );
  const field = error.details.field;
  const trailer = new Metadata();
  const details: MetadataValue = encodeRpcStatus({
    code,
    message,
    errorInfo: { reason: error.code, domain: ERROR_DOMAIN, metadata },
    retryAfterMs: retryDelay(error.retryAfterMs),
    violations:
      field === undefined ? [] : [{ field: bounded(field, MAX_DETAIL), description: bounded(message, MAX_DETAIL) }],
  });
  trailer.set('grpc-status-details-bin', details);
  return { code, details: message, metadata: trailer };
}
