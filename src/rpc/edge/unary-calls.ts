import { constants, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import { Gathered } from '../../lib/gathered.js';
import type { Reply } from '../reply.js';
import type { Arrival } from './arrival.js';
import { EdgeReply } from './edge-reply.js';

/**
 * A unary method. `call` has the whole request, sees to the answer, now or later, and never throws. Unless the bytes are `copied`, they
 * are part of what was read at once, of this call and others: what is kept of them is to be copied.
 */
export interface UnaryMethod {
  call(request: Buffer, reply: Reply, copied: boolean): void;
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
  readonly method: UnaryMethod;
  readonly calls: UnaryCalls;
  /** The request so far: part of one uncompressed message, or all of it. */
  readonly gathered: Gathered;
}

export interface UnaryCallsParts {
  /** By path. */
  readonly methods: ReadonlyMap<string, UnaryMethod>;
  /** A larger message is left to grpc-js. */
  readonly maxReceiveBytes: number;
  /** Bytes of a message are held from now on; those that are handed on are `released` first, and come again. */
  readonly held: (arrival: Arrival, chunk: Buffer) => void;
  readonly released: (arrival: Arrival, bytes: number) => void;
  /** Makes it a call of grpc-js. */
  readonly passOn: (opening: Opening) => void;
}

const READING = Symbol('reading');

interface WithReading {
  [READING]?: Reading | undefined;
}

/** Length and flag before each message. */
const HEAD_BYTES = 5;

/**
 * Takes unary calls in front of grpc-js, which takes twice as long to say the same bytes. Only those whose request is as clients
 * send it: one message, not compressed, in as many DATA frames as it likes. Anything else becomes a call
 * of grpc-js, which gets what was read meanwhile as if it came now.
 */
export class UnaryCalls {
  readonly #parts: UnaryCallsParts;

  constructor(parts: UnaryCallsParts) {
    this.#parts = parts;
  }

  /** Begins to read a call that may be answered here; false for any other. */
  take(opening: Opening): boolean {
    const { arrival, headers, flags } = opening;
    const method = this.#parts.methods.get(arrival.path);
    if (method === undefined || !isPlain(headers, flags)) return false;
    const { stream } = arrival;
    const { rawHeaders } = opening;
    const reading: Reading = { arrival, headers, flags, rawHeaders, method, calls: this, gathered: new Gathered() };
    (stream as WithReading)[READING] = reading;
    stream.on('data', onData);
    stream.on('end', onEnd);
    return true;
  }

  read(reading: Reading, chunk: Buffer): void {
    if (chunk.length === 0) return;
    const { arrival, gathered } = reading;
    const { bytes } = gathered;
    gathered.add(chunk, bytes < HEAD_BYTES ? undefined : sizeOf(gathered));
    if (this.#maybeOneMessage(reading)) this.#parts.held(arrival, chunk);
    else this.#passOn(reading, bytes);
  }

  ended(reading: Reading): void {
    const { arrival, method, headers, gathered } = reading;
    const { bytes } = gathered;
    const { stream } = arrival;
    if (stream.destroyed || stream.closed || stream.headersSent) return;
    if (bytes >= HEAD_BYTES && bytes === sizeOf(gathered)) {
      method.call(gathered.all().subarray(HEAD_BYTES), new EdgeReply(arrival, headers), gathered.isCopied);
    } else {
      this.#passOn(reading, bytes);
      stream.emit('end');
    }
  }

  /** Whether what came may be one uncompressed message that is not too large, or the beginning of one. */
  #maybeOneMessage({ gathered }: Reading): boolean {
    const { bytes } = gathered;
    if (gathered.byte(0) !== 0) return false;
    if (bytes < HEAD_BYTES) return true;
    const size = sizeOf(gathered);
    return bytes <= size && size <= HEAD_BYTES + this.#parts.maxReceiveBytes;
  }

  /** `held` are the bytes that are held of it. */
  #passOn(reading: Reading, held: number): void {
    const { arrival, gathered } = reading;
    const { stream } = arrival;
    (stream as WithReading)[READING] = undefined;
    stream.off('data', onData).off('end', onEnd);
    if (held > 0) this.#parts.released(arrival, held);
    this.#parts.passOn(reading);
    if (gathered.bytes > 0) stream.emit('data', gathered.all());
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

/** Of the message whose head has come, with its head. */
function sizeOf(gathered: Gathered): number {
  return HEAD_BYTES + gathered.uint32(1);
}
