import {
  type ClientHttp2Stream,
  constants,
  type Http2Session,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
} from 'node:http2';
import { status } from '@grpc/grpc-js';
import { messageOf } from '../errors/index.js';
import { Gathered } from '../lib/gathered.js';

/** How a call that was passed on ended, if not with an answer. */
export interface PassedEnd {
  readonly code: status;
  readonly message: string;
  /** The encoded google.rpc.Status, where there was one. */
  readonly details: Buffer | undefined;
  /** The owner has not looked at it: it may be made again at once. */
  readonly refused: boolean;
}

export interface UnaryParts {
  readonly path: string;
  readonly authority: string;
  readonly request: Buffer;
  readonly metadata: OutgoingHttpHeaders;
  /** What the owner has for it. Milliseconds. */
  readonly leftMs: number;
  /** Of an answer. */
  readonly maxBytes: number;
}

/** Length and flag before each message. */
const HEAD_BYTES = 5;
/** A larger request is not copied to stand behind its head. */
const COPIED_BYTES = 16 * 1024;
/** The header has eight digits at most. */
const MAX_TIMEOUT = 99_999_999;

/** What a stream that is reset says, where it says nothing more; anything else is INTERNAL. */
const CODE_OF_RESET: ReadonlyMap<number, status> = new Map([
  [constants.NGHTTP2_REFUSED_STREAM, status.UNAVAILABLE],
  [constants.NGHTTP2_CANCEL, status.CANCELLED],
  [constants.NGHTTP2_ENHANCE_YOUR_CALM, status.RESOURCE_EXHAUSTED],
  [constants.NGHTTP2_INADEQUATE_SECURITY, status.PERMISSION_DENIED],
]);

/** What the stream has, with an error, where its connection was lost. */
const CODES_OF_LOSS: ReadonlySet<number> = new Set([
  constants.NGHTTP2_NO_ERROR,
  constants.NGHTTP2_CANCEL,
  constants.NGHTTP2_INTERNAL_ERROR,
]);

/** What an HTTP status says that is no 200; anything else is UNKNOWN. */
const CODE_OF_HTTP: ReadonlyMap<unknown, status> = new Map([
  [400, status.INTERNAL],
  [401, status.UNAUTHENTICATED],
  [403, status.PERMISSION_DENIED],
  [404, status.UNIMPLEMENTED],
  [429, status.UNAVAILABLE],
  [502, status.UNAVAILABLE],
  [503, status.UNAVAILABLE],
  [504, status.UNAVAILABLE],
]);

export const endOf = (code: status, message: string, details?: Buffer, refused = false): PassedEnd => ({
  code,
  message,
  details,
  refused,
});

/** A `grpc-timeout` that ends no sooner than `ms`. */
export function timeoutHeader(ms: number): string {
  const whole = Math.ceil(ms);
  return whole <= MAX_TIMEOUT ? `${whole}m` : `${Math.min(MAX_TIMEOUT, Math.ceil(ms / 1000))}S`;
}

/**
 * One unary call over HTTP/2: bytes in, bytes out. Nothing is compressed: it says that it takes nothing else.
 *
 * States: sent → answered, failed or `cut`, which is told once by `ended`; what still comes is nobody's.
 */
export class OwnerCall {
  readonly #stream: ClientHttp2Stream;
  /** It leaves the stream when that is closed. */
  readonly #session: Http2Session | undefined;
  readonly #maxBytes: number;
  readonly #gathered = new Gathered();
  readonly #told: (end: Buffer | PassedEnd) => void;
  #last: IncomingHttpHeaders | undefined;
  #read = false;
  #failure: unknown;
  #over = false;

  /** Sends it on a stream that `open` makes, and throws what `open` throws. */
  constructor(
    parts: UnaryParts,
    open: (headers: OutgoingHttpHeaders) => ClientHttp2Stream,
    told: (end: Buffer | PassedEnd) => void,
  ) {
    const { path, authority, request, metadata, leftMs, maxBytes } = parts;
    this.#maxBytes = maxBytes;
    this.#told = told;
    const stream = open({
      ':method': 'POST',
      ':path': path,
      ':authority': authority,
      'content-type': 'application/grpc',
      te: 'trailers',
      ...(Number.isFinite(leftMs) && { 'grpc-timeout': timeoutHeader(leftMs) }),
      ...metadata,
    });
    this.#stream = stream;
    this.#session = stream.session;
    stream.on('response', (headers) => this.#response(headers));
    stream.on('trailers', (headers) => {
      this.#last = headers;
      this.#maybeOver();
    });
    stream.on('data', (chunk: Buffer) => this.#data(chunk));
    stream.on('end', () => {
      this.#read = true;
      this.#maybeOver();
    });
    stream.on('error', (error) => {
      this.#failure = error;
    });
    stream.on('close', () => this.#closed());
    send(stream, request);
  }

  /** Ends it so, and tells the owner that nobody waits any more. */
  cut(end: PassedEnd): void {
    if (this.#over) return;
    this.#end(end);
    this.#stream.close(constants.NGHTTP2_CANCEL);
  }

  #response(headers: IncomingHttpHeaders): void {
    const http: unknown = headers[':status'];
    if (headers['grpc-status'] !== undefined) this.#last = headers;
    else if (http !== constants.HTTP_STATUS_OK) {
      this.cut(endOf(CODE_OF_HTTP.get(http) ?? status.UNKNOWN, `Received HTTP status code ${http}`));
    }
  }

  #data(chunk: Buffer): void {
    if (this.#over) return;
    this.#gathered.add(chunk, this.#size());
    const { bytes } = this.#gathered;
    const size = this.#size();
    if (size === undefined || (size <= HEAD_BYTES + this.#maxBytes && bytes <= size)) return;
    const large = `Received message larger than max (${size - HEAD_BYTES} vs ${this.#maxBytes})`;
    this.cut(bytes > size ? endOf(status.INTERNAL, 'more than one answer') : endOf(status.RESOURCE_EXHAUSTED, large));
  }

  /** Of the answer with its head; undefined before that is there. */
  #size(): number | undefined {
    return this.#gathered.bytes < HEAD_BYTES ? undefined : HEAD_BYTES + this.#gathered.uint32(1);
  }

  /** A status counts when all that stands before it was read. */
  #maybeOver(): void {
    if (this.#over || this.#last === undefined || !this.#read) return;
    this.#end(this.#answer(this.#last));
  }

  #answer(last: IncomingHttpHeaders): Buffer | PassedEnd {
    const code = Number(last['grpc-status']);
    if (code !== status.OK) {
      const known = status[code] === undefined ? status.UNKNOWN : code;
      return endOf(known, unescaped(last['grpc-message']), bytesOf(last['grpc-status-details-bin']));
    }
    if (this.#size() !== this.#gathered.bytes) return endOf(status.INTERNAL, 'OK without a whole answer');
    if (this.#gathered.byte(0) !== 0)
      return endOf(status.INTERNAL, 'an answer that is compressed, which was not asked for');
    return this.#gathered.all().subarray(HEAD_BYTES);
  }

  /** Without a word of the owner. */
  #closed(): void {
    if (this.#over) return;
    if (this.#last !== undefined) {
      this.#end(this.#answer(this.#last));
      return;
    }
    const { rstCode } = this.#stream;
    const failure = this.#failure;
    const lost =
      this.#session?.destroyed === true ||
      (failure !== undefined && CODES_OF_LOSS.has(rstCode ?? constants.NGHTTP2_NO_ERROR));
    const code = lost
      ? status.UNAVAILABLE
      : (CODE_OF_RESET.get(rstCode ?? constants.NGHTTP2_NO_ERROR) ?? status.INTERNAL);
    const message = failure === undefined ? `the stream was closed with error code ${rstCode}` : messageOf(failure);
    this.#end(endOf(code, message, undefined, rstCode === constants.NGHTTP2_REFUSED_STREAM));
  }

  #end(end: Buffer | PassedEnd): void {
    this.#over = true;
    this.#told(end);
  }
}

function send(stream: ClientHttp2Stream, request: Buffer): void {
  const copied = request.length <= COPIED_BYTES;
  const head = Buffer.allocUnsafe(HEAD_BYTES + (copied ? request.length : 0));
  head[0] = 0;
  head.writeUInt32BE(request.length, 1);
  if (copied) {
    request.copy(head, HEAD_BYTES);
    stream.end(head);
  } else {
    stream.write(head);
    stream.end(request);
  }
}

function unescaped(header: string | string[] | undefined): string {
  const text = String(header ?? '');
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function bytesOf(header: string | string[] | undefined): Buffer | undefined {
  const text = Array.isArray(header) ? header[0] : header;
  return text === undefined ? undefined : Buffer.from(text, 'base64');
}
