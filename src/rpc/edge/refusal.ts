import { constants, type OutgoingHttpHeaders } from 'node:http2';
import { status } from '@grpc/grpc-js';
import { HostError } from '../../errors/index.js';
import { type CallStatus, statusOf } from '../status.js';

/** A whole answer that is an error and nothing else. */
export function refusalHeaders(error: HostError): OutgoingHttpHeaders {
  return endHeaders(statusOf(error));
}

/** The same of an end that is known. */
export function endHeaders({ code, details, metadata }: CallStatus): OutgoingHttpHeaders {
  return {
    [constants.HTTP2_HEADER_STATUS]: constants.HTTP_STATUS_OK,
    [constants.HTTP2_HEADER_CONTENT_TYPE]: 'application/grpc+proto',
    'grpc-status': code,
    'grpc-message': encodeURI(details),
    ...(metadata.toHttp2Headers() as OutgoingHttpHeaders),
  };
}

/** What grpc-js says of a request before a handler has it, by its own code, with no code of ours. */
const SAID_OF_REQUESTS: ReadonlyMap<unknown, { readonly code: 'REQUEST_UNDECODABLE'; readonly of?: RegExp }> = new Map([
  [status.INTERNAL, { code: 'REQUEST_UNDECODABLE' }],
  [status.UNIMPLEMENTED, { code: 'REQUEST_UNDECODABLE', of: /^Received / }],
]);

/**
 * The headers to send instead of what grpc-js would answer to a request that never became one: bytes that do not unpack, no
 * message or two of them are the caller's fault, and no INTERNAL one.
 */
export function ownRefusal(headers: OutgoingHttpHeaders): OutgoingHttpHeaders {
  const said = SAID_OF_REQUESTS.get(headers['grpc-status']);
  if (said === undefined) return headers;
  const message = unescaped(String(headers['grpc-message'] ?? ''));
  if (said.of?.test(message) === false) return headers;
  return refusalHeaders(new HostError(said.code, `The request cannot be read: ${message}.`));
}

/** Some of its messages are escaped, others as the request brought them (the name of a method that there is not). */
function unescaped(message: string): string {
  try {
    return decodeURI(message);
  } catch {
    return message;
  }
}
