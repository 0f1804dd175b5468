import { constants, type IncomingHttpHeaders, type OutgoingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import type { Reply } from '../reply.js';
import type { CallStatus } from '../status.js';
import type { Arrival } from './arrival.js';
import { endHeaders } from './refusal.js';

/** Length and flag before each message. */
const HEAD_BYTES = 5;

/** What gRPC asks for and no more: each further header is checked, copied and packed with every answer. */
const RESPONSE_HEADERS = {
  [constants.HTTP2_HEADER_STATUS]: constants.HTTP_STATUS_OK,
  [constants.HTTP2_HEADER_CONTENT_TYPE]: 'application/grpc+proto',
};
/** Node's own servers leave the date out by this option, which its types do not know; where it is unknown the date is sent. */
const RESPONSE_OPTIONS = { waitForTrailers: true, sendDate: false };
const END_OPTIONS = { endStream: true, sendDate: false };
const TRAILERS = { 'grpc-status': '0' };

/** What metadata may hold that is no bytes; grpc-js leaves out what does not fit. */
const TEXT = /^[ -~]*$/;

/** The reply to a unary call whose request the edge has read, without grpc-js; it says the same to callers. */
export class EdgeReply implements Reply {
  readonly arrival: Arrival;
  readonly #headers: IncomingHttpHeaders;

  constructor(arrival: Arrival, headers: IncomingHttpHeaders) {
    this.arrival = arrival;
    this.#headers = headers;
  }

  /** The caller is gone, or was answered. */
  get cancelled(): boolean {
    const { stream } = this.arrival;
    return stream.destroyed || stream.closed || stream.headersSent;
  }

  header(name: string): string | undefined {
    const given = this.#headers[name];
    const value = Array.isArray(given) ? given[0] : given;
    return value !== undefined && TEXT.test(value) && !name.endsWith('-bin') ? value : undefined;
  }

  onCancelled(listener: () => void): void {
    this.arrival.stream.once('close', listener);
  }

  answer(bytes: Buffer): void {
    if (this.cancelled) return;
    const { stream } = this.arrival;
    const frame = Buffer.allocUnsafe(HEAD_BYTES + bytes.length);
    frame[0] = 0;
    frame.writeUInt32BE(bytes.length, 1);
    bytes.copy(frame, HEAD_BYTES);
    stream.respond(RESPONSE_HEADERS, RESPONSE_OPTIONS);
    stream.on('wantTrailers', sendTrailers);
    stream.end(frame);
  }

  end(status: CallStatus): void {
    if (this.cancelled) return;
    const headers: OutgoingHttpHeaders = endHeaders(status);
    this.arrival.stream.respond(headers, END_OPTIONS);
  }
}

function sendTrailers(this: ServerHttp2Stream): void {
  this.sendTrailers(TRAILERS);
}
