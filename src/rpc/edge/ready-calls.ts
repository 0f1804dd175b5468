import { constants, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import type { Arrival } from './arrival.js';

/**
 * A unary method that memory may answer at once. `answer` has the call counted and answered as any other, or answers undefined
 * and has done nothing that anybody notices: then grpc-js is to have it.
 */
export interface ReadyMethod {
  answer(arrival: Arrival, request: Buffer): Buffer | undefined;
}

/** A call as the HTTP/2 server told of it: what its listeners are given. */
export interface Opening {
  readonly arrival: Arrival;
  readonly headers: IncomingHttpHeaders;
  readonly flags: number;
  readonly rawHeaders: readonly string[];
}

/** What is read ahead of grpc-js, and how it is handed on to it. */
interface Reading extends Opening {
  readonly method: ReadyMethod;
  readonly calls: ReadyCalls;
  /** A whole message, uncompressed and in one piece. */
  chunk: Buffer | undefined;
}

export interface ReadyCallsParts {
  /** By path. */
  readonly methods: ReadonlyMap<string, ReadyMethod>;
  /** Bytes of a message are held from now on; those that are handed on are `released` first, and come again. */
  readonly held: (arrival: Arrival, chunk: Buffer) => void;
  readonly released: (arrival: Arrival, chunk: Buffer) => void;
  /** Makes it a call of grpc-js. */
  readonly passOn: (opening: Opening) => void;
}

const READING = Symbol('reading');

interface WithReading {
  [READING]?: Reading | undefined;
}

/** Length and flag before each message. */
const HEAD_BYTES = 5;

/** What gRPC asks for and no more: each further header is checked, copied and packed with every answer. */
const RESPONSE_HEADERS = {
  [constants.HTTP2_HEADER_STATUS]: constants.HTTP_STATUS_OK,
  [constants.HTTP2_HEADER_CONTENT_TYPE]: 'application/grpc+proto',
};
/** Node's own servers leave the date out by this option, which its types do not know; where it is unknown the date is sent. */
const RESPONSE_OPTIONS = { waitForTrailers: true, sendDate: false };
const TRAILERS = { 'grpc-status': '0' };

/**
 * Answers hot unary calls in front of grpc-js, which takes twice as long to say the same bytes. Only what is as engines
 * send it: one message, whole in one DATA frame, not compressed, about a task that memory knows. Anything else becomes a call
 * of grpc-js, which gets what was read meanwhile as if it came now.
 */
export class ReadyCalls {
  readonly #parts: ReadyCallsParts;

  constructor(parts: ReadyCallsParts) {
    this.#parts = parts;
  }

  /** Begins to read a call that may be answered here; false for any other. */
  take(opening: Opening): boolean {
    const { arrival, headers, flags } = opening;
    const method = this.#parts.methods.get(arrival.path);
    if (method === undefined || !isPlain(headers, flags)) return false;
    const { stream } = arrival;
    const { rawHeaders } = opening;
    (stream as WithReading)[READING] = { arrival, headers, flags, rawHeaders, method, calls: this, chunk: undefined };
    stream.on('data', onData);
    stream.on('end', onEnd);
    return true;
  }

  read(reading: Reading, chunk: Buffer): void {
    if (reading.chunk !== undefined || !isOneMessage(chunk)) {
      this.#passOn(reading);
      reading.arrival.stream.emit('data', chunk);
      return;
    }
    reading.chunk = chunk;
    this.#parts.held(reading.arrival, chunk);
  }

  ended(reading: Reading): void {
    const { arrival, method, chunk } = reading;
    const { stream } = arrival;
    if (stream.destroyed || stream.closed || stream.headersSent) return;
    const answer = chunk && method.answer(arrival, chunk.subarray(HEAD_BYTES));
    if (answer !== undefined) respond(stream, answer);
    else {
      this.#passOn(reading);
      stream.emit('end');
    }
  }

  #passOn(reading: Reading): void {
    const { arrival, chunk } = reading;
    const { stream } = arrival;
    (stream as WithReading)[READING] = undefined;
    stream.off('data', onData).off('end', onEnd);
    if (chunk !== undefined) this.#parts.released(arrival, chunk);
    this.#parts.passOn(reading);
    if (chunk !== undefined) stream.emit('data', chunk);
  }
}

function onData(this: ServerHttp2Stream, chunk: Buffer): void {
  const reading = (this as WithReading)[READING];
  reading?.calls.read(reading, chunk);
}

function onEnd(this: ServerHttp2Stream): void {
  const reading = (this as WithReading)[READING];
  reading?.calls.ended(reading);
}

/** What grpc-js would look at beyond the message. */
function isPlain(headers: IncomingHttpHeaders, flags: number): boolean {
  return (
    headers['content-type']?.startsWith('application/grpc') === true &&
    headers['grpc-encoding'] === undefined &&
    (flags & constants.NGHTTP2_FLAG_END_STREAM) === 0
  );
}

function isOneMessage(chunk: Buffer): boolean {
  return chunk.length > HEAD_BYTES && chunk[0] === 0 && chunk.readUInt32BE(1) === chunk.length - HEAD_BYTES;
}

function respond(stream: ServerHttp2Stream, answer: Buffer): void {
  const frame = Buffer.allocUnsafe(HEAD_BYTES + answer.length);
  frame[0] = 0;
  frame.writeUInt32BE(answer.length, 1);
  answer.copy(frame, HEAD_BYTES);
  stream.respond(RESPONSE_HEADERS, RESPONSE_OPTIONS);
  stream.on('wantTrailers', sendTrailers);
  stream.end(frame);
}

function sendTrailers(this: ServerHttp2Stream): void {
  this.sendTrailers(TRAILERS);
}
