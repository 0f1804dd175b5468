import {
  constants,
  type Http2Server,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
  type ServerStreamResponseOptions,
} from 'node:http2';
import { Duplex } from 'node:stream';
import { status } from '@grpc/grpc-js';
import type { CallGuard } from '../../access/guard.js';
import { HostError } from '../../errors/index.js';
import type { Clock } from '../../lib/clock.js';
import { leaveNoStreamsBehind } from '../../lib/http2-streams.js';
import { ownBytes } from '../../lib/own-bytes.js';
import { PassingSet } from '../../lib/passing.js';
import { Arrival } from './arrival.js';
import type { Connection, Connections } from './connections.js';
import { Deadlines } from './deadlines.js';
import { Noise } from './noise.js';
import { Reading } from './reading.js';
import { ownRefusal, refusalHeaders } from './refusal.js';
import { parseTimeout } from './timeout-header.js';
import { Turns } from './turns.js';
import { type Opening, UnaryCalls, type UnaryMethod } from './unary-calls.js';
import { Unfinished } from './unfinished.js';

export interface EdgeBounds {
  /** Applied where the caller set none; engines with named deployments set none (FIELD 9). */
  readonly defaultDeadlineMs: number;
  /** A longer one is cut to this. */
  readonly maxDeadlineMs: number;
  readonly maxReceiveBytes: number;
  /** Of all requests together that no handler has yet; their headers count. */
  readonly maxUnfinishedBytes: number;
  /** Calls that start in one turn of the event loop. */
  readonly callsPerTurn: number;
}

/** Told of a call that no handler had: its method, the name of its status, and how long it was there. */
export type Refused = (path: string, code: string, seconds: number) => void;

/** What a call costs in memory before a byte of it has come: the stream, and what grpc-js keeps beside it. */
const STREAM_BYTES = 8 * 1024;
/** A header costs this beside its text. */
const HEADER_BYTES = 64;
/** Text of headers beyond this counts fourfold: it stays, whatever becomes of its call, until the collector comes. */
const USUAL_TEXT_BYTES = 2 * 1024;
const UNUSUAL_WEIGHT = 4;
/** Frames of a call beside its headers and its message: their heads, its reset, windows. */
const FRAMES_BYTES = 256;
/** What a peer may send of a call before it is asked for more. */
const WINDOW_BYTES = 64 * 1024;
/** To open a call, or to give it up with its connection, takes as long as to read so much text. */
const CALL_TEXT_BYTES = 2 * 1024;
/** Each piece of a message costs this beside its bytes where it stays one: grpc-js puts them together at the end. */
const PIECE_BYTES = 512;
/** A connection that brings so many calls in a row which the budget ends, and none that becomes a request, is closed. */
const OVERDRAWN_CALLS = 64;
/** A stream that is still there so long after its deadline is reset. */
const LINGER_MS = 1000;

type StreamListener = (
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  flags: number,
  rawHeaders: readonly string[],
) => void;

type Respond = (this: ServerHttp2Stream, headers?: OutgoingHttpHeaders, options?: ServerStreamResponseOptions) => void;

/**
 * What stands before grpc-js on every stream: it sees a call at its first header, and decides whether and when grpc-js does.
 *
 * - Time runs from the first header, on the monotonic clock, by the caller's timeout or the default one. At its end a call is
 *   answered, or reset where its peer does not take the answer. grpc-js is not told the timeout: it would take it for a time
 *   of the wall clock, and leave the stream open.
 * - Bytes of requests that no handler has yet have one budget for all.
 * - Who may not call is answered so before anything is done for it, and what lives on without a deadline ends with its token.
 * - After a final status nothing stays open, also where the peer never ends its side.
 * - A connection that brings many calls at once, or calls with many headers, shares each turn of the event loop with the others.
 * - One that brings what comes to no call, and goes on so, is cut.
 *
 * All of that holds as well for the calls that are answered here, without grpc-js (`UnaryCalls`), and so does the idle time of
 * connections: grpc-js is told of no bound on it, since it would not see those calls.
 *
 * Its states are those of its parts: of a call in arrival.ts, of a connection in connections.ts. It is bound to a server once, by
 * `attach`, for good.
 */
export class Edge {
  readonly #bounds: EdgeBounds;
  readonly #clock: Clock;
  readonly #connections: Connections;
  readonly #refused: Refused;
  readonly #guard: CallGuard | undefined;
  readonly #deadlines: Deadlines<Arrival>;
  readonly #unfinished: Unfinished;
  readonly #turns: Turns;
  readonly #unaryCalls: UnaryCalls;
  readonly #reading = new Reading();
  readonly #noise: Noise;
  /** Made once: those that are ended with it come by the thousand. */
  readonly #lateRefusal: OutgoingHttpHeaders;
  readonly #overdrawnRefusal: OutgoingHttpHeaders;
  /** Calls without a deadline of ours that a token has let in. */
  readonly #byToken = new PassingSet<Arrival>();
  readonly #bySession = new WeakMap<ServerHttp2Session, Connection>();
  #accepting: Connection | undefined;
  #inner: readonly StreamListener[] = [];
  #respond: Respond | undefined;

  /**
   * `methods` are those that are unary, and answered without grpc-js where they can be, by path; it may still be filled. `guard` is asked of each call at its
   * first header, whichever way it would be answered; without one all are let in.
   */
  constructor(
    bounds: EdgeBounds,
    clock: Clock,
    connections: Connections,
    refused: Refused,
    methods: ReadonlyMap<string, UnaryMethod> = new Map(),
    guard?: CallGuard,
  ) {
    this.#guard = guard;
    guard?.onTokens(() => this.#tokensChanged());
    this.#bounds = bounds;
    this.#clock = clock;
    this.#connections = connections;
    this.#refused = refused;
    this.#deadlines = new Deadlines<Arrival>(clock, (arrival) => this.#passed(arrival));
    this.#unfinished = new Unfinished(bounds.maxUnfinishedBytes, (arrival) => this.#overdrawn(arrival));
    this.#turns = new Turns(bounds.callsPerTurn);
    this.#noise = new Noise(clock, (connection) => connections.noisy(connection));
    this.#unaryCalls = new UnaryCalls({
      methods,
      maxReceiveBytes: bounds.maxReceiveBytes,
      held: (arrival, chunk) => this.#arrived(arrival, chunk, 0),
      released: (arrival, bytes) => {
        this.#unfinished.giveBack(arrival, bytes);
        arrival.again();
      },
      passOn: (opening) => this.#passOn(opening),
    });
    const late = 'no whole request and answer within the deadline';
    this.#lateRefusal = refusalHeaders(new HostError('DEADLINE_EXCEEDED', late));
    const seen = `requests that are not complete hold more than ${bounds.maxUnfinishedBytes} bytes`;
    const overdrawn = `${seen}; the one that came most slowly was ended`;
    this.#overdrawnRefusal = refusalHeaders(
      new HostError('REQUESTS_UNFINISHED', overdrawn, { retryAfterMs: LINGER_MS }),
    );
  }

  /** Bytes that requests hold which no handler has yet. */
  get unfinishedBytes(): number {
    return this.#unfinished.bytes;
  }

  /** Takes the place of the listeners that a server has for its streams; they are called by the edge. */
  attach(server: Http2Server): void {
    this.#inner = server.listeners('stream') as StreamListener[];
    server.removeAllListeners('stream');
    server.on('stream', ((stream, headers, flags, raw) => this.#arrive(stream, headers, flags, raw)) as StreamListener);
    server.prependListener('session', (session) => this.#opened(session));
  }

  /** Lets `inject` hand the connection's socket to the server, and knows its session from there. */
  accept(connection: Connection, inject: () => void): void {
    this.#accepting = connection;
    try {
      inject();
    } finally {
      this.#accepting = undefined;
    }
  }

  /** A handler has the whole request. */
  take(arrival: Arrival): void {
    arrival.taken = true;
    arrival.connection.overdrawn = 0;
    this.#unfinished.release(arrival);
  }

  /** The call may live on as long as its caller wants: only a timeout of its own ends it, and the end of its token. Throws TOKEN_REVOKED. */
  live(arrival: Arrival): void {
    const revoked = this.#guard?.revoked(arrival.mark);
    if (revoked !== undefined) throw revoked;
    if (arrival.mark !== undefined) this.#byToken.add(arrival);
    this.#until(arrival, arrival.arrivedMs + arrival.timeoutMs);
  }

  #tokensChanged(): void {
    for (const arrival of [...this.#byToken]) {
      const revoked = this.#guard?.revoked(arrival.mark);
      if (revoked !== undefined && !arrival.passed) this.#passed(arrival, revoked);
    }
  }

  /** The call may live on for the longest deadline there is, from now. */
  goesOn(arrival: Arrival): void {
    this.#within(arrival, this.#bounds.maxDeadlineMs);
  }

  /** What a call that lived on has sent must be taken within the default deadline, from now. */
  ended(arrival: Arrival): void {
    this.#within(arrival, this.#bounds.defaultDeadlineMs);
  }

  #within(arrival: Arrival, ms: number): void {
    this.#until(arrival, Math.min(arrival.arrivedMs + arrival.timeoutMs, this.#clock.now() + ms));
  }

  #until(arrival: Arrival, deadlineMs: number): void {
    if (arrival.passed || arrival.stream.destroyed) return;
    arrival.deadlineMs = deadlineMs;
    arrival.endsAtMs = deadlineMs;
    this.#deadlines.add(arrival);
  }

  #opened(session: ServerHttp2Session): void {
    const connection = this.#accepting;
    if (connection === undefined) return;
    connection.session = session;
    leaveNoStreamsBehind(session);
    this.#bySession.set(session, connection);
    session.once('remoteSettings', () => this.#connections.greeted(connection));
    session.once('close', () => {
      this.#reading.gone(connection);
      this.#noise.gone(connection);
    });
    this.#reading.opened(connection);
    this.#noise.opened(connection);
    const left = () => this.#reading.brought(connection, connection.calls * CALL_TEXT_BYTES);
    connection.socket.once('end', left).once('error', left);
  }

  #arrive(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, flags: number, rawHeaders: readonly string[]): void {
    const connection = stream.session && this.#bySession.get(stream.session as ServerHttp2Session);
    if (connection === undefined) {
      stream.close(constants.NGHTTP2_REFUSED_STREAM);
      return;
    }
    const header = headers['grpc-timeout'];
    const timeoutMs = header === undefined ? Number.POSITIVE_INFINITY : parseTimeout(header);
    const arrival = this.#arrival(stream, connection, timeoutMs, headers);
    this.#connections.callOpened(connection);
    stream.on('error', ignore);
    stream.on('close', this.#onClose);
    this.#respond ??= (Object.getPrototypeOf(stream) as { respond: Respond }).respond;
    this.#deadlines.add(arrival);
    const text = textOf(rawHeaders);
    connection.accounted += text + FRAMES_BYTES + stream.readableLength;
    stream.push = onPush;
    this.#reading.brought(connection, text + CALL_TEXT_BYTES);
    this.#unfinished.hold(arrival, sizeOf(text, rawHeaders.length / 2));
    if (timeoutMs === undefined) {
      const seen = `grpc-timeout: ${String(header).slice(0, 100)} is none`;
      this.#refuse(arrival, refusalHeaders(new HostError('REQUEST_UNDECODABLE', seen)));
      return;
    }
    const admission = this.#guard?.check(arrival.path, headers.authorization, connection.peer);
    if (admission?.denied !== undefined) {
      this.#refuse(arrival, refusalHeaders(admission.denied));
      return;
    }
    arrival.by = admission?.by ?? '';
    arrival.mark = admission?.mark;
    const opening: Opening = { arrival, headers, flags, rawHeaders };
    if (this.#turns.admits()) this.#deliver(opening);
    else this.#turns.wait({ arrival, start: () => this.#deliver(opening) });
  }

  #arrival(
    stream: ServerHttp2Stream,
    connection: Connection,
    timeoutMs: number | undefined,
    headers: IncomingHttpHeaders,
  ): Arrival {
    const { defaultDeadlineMs, maxDeadlineMs } = this.#bounds;
    const arrivedMs = this.#clock.now();
    const given = timeoutMs ?? Number.POSITIVE_INFINITY;
    const own = given === Number.POSITIVE_INFINITY ? defaultDeadlineMs : given;
    const times = { arrivedMs, timeoutMs: given, deadlineMs: arrivedMs + Math.min(own, maxDeadlineMs) };
    return new Arrival(stream, connection, headers[':path'] ?? '', times, headers['grpc-encoding'] !== undefined);
  }

  #deliver(opening: Opening): void {
    const { stream } = opening.arrival;
    if (stream.destroyed || stream.closed || stream.headersSent) return;
    if (!this.#unaryCalls.take(opening)) this.#passOn(opening);
  }

  /** Makes it a call of grpc-js. */
  #passOn({ arrival: { stream }, headers, flags, rawHeaders }: Opening): void {
    delete headers['grpc-timeout'];
    stream.respond = this.#onRespond;
    stream.push = onPushApart;
    // Before those of grpc-js, which pauses the stream: bytes are counted as grpc-js takes them.
    stream.on('data', this.#onData);
    for (const listener of this.#inner) listener(stream, headers, flags, rawHeaders);
  }

  readonly #onData = (() => {
    const edge = this;
    return function onData(this: ServerHttp2Stream, chunk: Buffer): void {
      edge.#arrived(Arrival.of(this)!, chunk, PIECE_BYTES);
    };
  })();

  /** `beside` is what the piece costs beside its bytes. */
  #arrived(arrival: Arrival, chunk: Buffer, beside: number): void {
    const ended = arrival.reads(chunk);
    if (arrival.taken && ended) {
      this.#unfinished.release(arrival);
      return;
    }
    if (!ended) this.#unfinished.progressed(arrival, chunk.length, this.#clock.now());
    this.#unfinished.hold(arrival, arrival.weigh(chunk.length, this.#bounds.maxReceiveBytes) + beside);
  }

  readonly #onClose = (() => {
    const edge = this;
    return function onClose(this: ServerHttp2Stream): void {
      const arrival = Arrival.of(this)!;
      edge.#deadlines.remove(arrival);
      edge.#byToken.delete(arrival);
      edge.#unfinished.release(arrival);
      edge.#connections.callClosed(arrival.connection);
      if (arrival.taken) return;
      // What was on its way when the call was refused is dropped unseen.
      arrival.connection.accounted += WINDOW_BYTES;
      edge.#countRefused(arrival);
    };
  })();

  #countRefused(arrival: Arrival): void {
    const { code, path, stream, arrivedMs } = arrival;
    const unanswered = stream.headersSent ? status.UNKNOWN : status.CANCELLED;
    const name = status[code === undefined ? unanswered : Number(code)] ?? 'UNKNOWN';
    this.#refused(path, name, (this.#clock.now() - arrivedMs) / 1000);
  }

  readonly #onRespond = (() => {
    const edge = this;
    return function respond(
      this: ServerHttp2Stream,
      headers?: OutgoingHttpHeaders,
      options?: ServerStreamResponseOptions,
    ): void {
      const arrival = Arrival.of(this)!;
      // The edge has answered meanwhile.
      if (this.headersSent) return;
      arrival.trailersOnly = options?.endStream === true;
      if (headers === undefined || arrival.taken || !arrival.trailersOnly) edge.#answer(this, headers, options);
      else edge.#answerUntaken(arrival, ownRefusal(headers));
    };
  })();

  /** At the deadline, or before it for the reason `early`. */
  #passed(arrival: Arrival, early?: HostError): void {
    const { stream, onPassed } = arrival;
    if (stream.destroyed) return;
    if (arrival.passed) {
      stream.close(constants.NGHTTP2_CANCEL);
      return;
    }
    arrival.passed = true;
    arrival.onPassed = undefined;
    if (onPassed !== undefined) onPassed(early);
    else if (stream.headersSent) stream.close(constants.NGHTTP2_CANCEL);
    else this.#refuse(arrival, early === undefined ? this.#lateRefusal : refusalHeaders(early));
    if (stream.destroyed) return;
    arrival.endsAtMs = this.#clock.now() + LINGER_MS;
    this.#deadlines.add(arrival);
  }

  /** Ends a request that has to make room; and its connection, where that has brought nothing else for long. */
  #overdrawn(arrival: Arrival): void {
    const { connection } = arrival;
    connection.overdrawn += 1;
    if (connection.overdrawn < OVERDRAWN_CALLS) this.#refuse(arrival, this.#overdrawnRefusal);
    else if (connection.overdrawn === OVERDRAWN_CALLS) this.#connections.overdrawn(connection);
  }

  /** Answers with an error where nothing was answered, else resets. */
  #refuse(arrival: Arrival, headers: OutgoingHttpHeaders): void {
    const { stream } = arrival;
    if (stream.destroyed || stream.closed) return;
    if (stream.headersSent) stream.close(constants.NGHTTP2_CANCEL);
    else {
      arrival.trailersOnly = true;
      // What still comes is nobody's.
      stream.removeAllListeners('data').removeAllListeners('end').resume();
      this.#unfinished.release(arrival);
      this.#answerUntaken(arrival, headers);
    }
  }

  #answerUntaken(arrival: Arrival, headers: OutgoingHttpHeaders): void {
    arrival.code = headers['grpc-status'];
    this.#answer(arrival.stream, headers, { endStream: true });
  }

  #answer(stream: ServerHttp2Stream, headers?: OutgoingHttpHeaders, options?: ServerStreamResponseOptions): void {
    // A peer that has ended its side leaves nothing to close.
    if (!stream.readableEnded) stream.on('finish', onFinish);
    this.#respond!.call(stream, headers, options);
  }
}

function ignore(): void {}

/** Accounts for bytes as they come: those of a call that waits for its turn are read by nobody for a time. */
function onPush(this: ServerHttp2Stream, chunk: Buffer | null): boolean {
  if (chunk !== null) Arrival.of(this)!.connection.accounted += chunk.length;
  return Duplex.prototype.push.call(this, chunk);
}

/** What grpc-js keeps of a piece must not keep with it all that came in the same read, of this call and others. */
function onPushApart(this: ServerHttp2Stream, chunk: Buffer | null): boolean {
  return onPush.call(this, chunk && ownBytes(chunk));
}

/** All of the answer is handed over: where the peer has not ended its side, and may never do, the stream is closed. */
function onFinish(this: ServerHttp2Stream): void {
  if (this.readableEnded || this.closed) return;
  if (Arrival.of(this)!.trailersOnly || this.sentTrailers !== undefined) setImmediate(closeIfOpen, this);
  else this.once('wantTrailers', () => setImmediate(closeIfOpen, this));
}

function closeIfOpen(stream: ServerHttp2Stream): void {
  if (!stream.closed && !stream.destroyed) stream.close(constants.NGHTTP2_NO_ERROR);
}

function textOf(rawHeaders: readonly string[]): number {
  let bytes = 0;
  for (const text of rawHeaders) bytes += text.length;
  return bytes;
}

/** What a request holds when its headers are there. */
function sizeOf(text: number, headers: number): number {
  const unusual = Math.max(0, text - USUAL_TEXT_BYTES);
  return STREAM_BYTES + headers * HEADER_BYTES + text + (UNUSUAL_WEIGHT - 1) * unusual;
}
