import { constants, type ServerHttp2Stream } from 'node:http2';
import {
  type handleBidiStreamingCall,
  type handleServerStreamingCall,
  type handleUnaryCall,
  Metadata,
  type ServerDuplexStream,
  type ServerWritableStream,
  status,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { HostError } from '../errors/index.js';
import type { Clock } from '../lib/clock.js';
import type { RpcAction, RpcLog, RpcMethodObserver, RpcMetrics } from '../model/events/rpc.js';
import { EndedElsewhere } from '../model/forwarding.js';
import { RpcCall } from './call.js';
import type { Arrival } from './edge/arrival.js';
import type { Edge } from './edge/edge.js';
import type { UnaryMethod } from './edge/unary-calls.js';
import { arrivalOf, http2StreamOf } from './grpc-internals.js';
import type { RpcMethodHandler, RpcServiceModule } from './methods.js';
import { GrpcReply, type Reply } from './reply.js';
import { type CallStatus, statusOf } from './status.js';
import { RpcDuplex, RpcStream, type StreamParts } from './stream.js';

/** Length and flag before each message. */
const HEAD_BYTES = 5;

/** What all calls of a server share. */
export interface DispatchContext {
  readonly edge: Edge;
  readonly clock: Clock;
  readonly maxStreams: number;
  readonly maxSendBytes: number;
  readonly log: RpcLog;
  readonly metrics: RpcMetrics | undefined;
  /** What observes each method, by its path. */
  readonly observers: Map<string, RpcMethodObserver>;
  /** Unary methods, which the edge answers without grpc-js where it can, by their path. */
  readonly unary: Map<string, UnaryMethod>;
  /** Aborted when the server drains. */
  readonly draining: AbortSignal;
  /** Open streams of all services that count against a bound, which each service has to itself. */
  openStreams: number;
  /** Calls whose handler has not ended. */
  inFlight: number;
}

/** Open streams of one service that count against the bound. */
interface OpenCount {
  open: number;
}

type Unary = Extract<RpcMethodHandler, { kind: 'unary' }>;
type Answering = ServerWritableStream<Buffer, Buffer> | ServerDuplexStream<Buffer, Buffer>;
type Streaming = Exclude<RpcMethodHandler, { kind: 'unary' }>;

/** Handlers of one method, ready for the edge and for grpc-js. They call the method's handler with bytes; no interceptor is involved. */
class MethodDispatch {
  readonly #path: string;
  readonly #context: DispatchContext;
  readonly #observer: RpcMethodObserver;
  readonly #streams: OpenCount;

  constructor(path: string, context: DispatchContext, observer: RpcMethodObserver, streams: OpenCount) {
    this.#path = path;
    this.#streams = streams;
    this.#context = context;
    this.#observer = observer;
  }

  /** The method for both ways: `call` for the edge, `grpc` for what the edge leaves to grpc-js. */
  unary(handler: Unary): UnaryMethod & { readonly grpc: handleUnaryCall<Buffer, Buffer> } {
    return {
      call: (request, reply, copied) => this.#unary(handler, request, reply, copied ? asIs : copyOf),
      grpc: (surface, callback) => this.#unary(handler, surface.request, new GrpcReply(surface, callback), asIs),
    };
  }

  /** A handler may keep the request, which `own` sees to. */
  #unary(handler: Unary, request: Buffer, reply: Reply, own: (bytes: Buffer) => Buffer): void {
    const { arrival } = reply;
    const startedAt = performance.now();
    this.#observer.started();
    this.#observer.received();
    this.#context.edge.take(arrival);
    const call = new RpcCall(reply, arrival, this.#context.clock);
    try {
      const answer = readyAnswer(handler, request) ?? handler.handle(own(request), call);
      if (Buffer.isBuffer(answer)) this.#answer(reply, call, answer, startedAt);
      else this.#detach(this.#later(reply, call, answer, startedAt));
    } catch (thrown) {
      this.#fail(reply, call, thrown, startedAt);
    }
  }

  /** Answers when the promise settles, or at the deadline; what settles later reaches nobody. */
  async #later(reply: Reply, call: RpcCall, answer: Promise<Buffer>, startedAt: number): Promise<void> {
    this.#context.inFlight += 1;
    let late = false;
    call.atDeadline((error) => {
      late = true;
      this.#fail(reply, call, error, startedAt);
    });
    try {
      const bytes = await answer;
      if (call.action !== undefined) this.#acted(call.action, reply.arrival);
      if (late) call.undelivered();
      else this.#answer(reply, call, bytes, startedAt);
    } catch (thrown) {
      if (late) this.#report(thrown);
      else this.#fail(reply, call, thrown, startedAt);
    } finally {
      this.#context.inFlight -= 1;
    }
  }

  /** Also where the answer reaches nobody: it is done. */
  #acted(action: RpcAction, { by, connection }: Arrival): void {
    this.#context.log.acted?.({ action: action.action, task: action.task, by, remote: connection.address });
  }

  #answer(reply: Reply, call: RpcCall, bytes: Buffer, startedAt: number): void {
    call.close();
    if (reply.cancelled) {
      // The transport answers nothing any more: the caller left, or its deadline passed.
      this.#handled(cutCode(call), startedAt);
      call.undelivered();
      return;
    }
    const { maxSendBytes } = this.#context;
    if (bytes.length > maxSendBytes) {
      this.#end(reply, call, answerTooLarge(bytes.length, maxSendBytes), startedAt);
      return;
    }
    this.#observer.sent();
    reply.answer(bytes);
    this.#handled(status.OK, startedAt);
    if (call.watchesDelivery) watchDelivery(reply.arrival.stream, call);
  }

  #fail(reply: Reply, call: RpcCall, thrown: unknown, startedAt: number): void {
    this.#report(thrown);
    this.#end(reply, call, statusOf(thrown), startedAt);
  }

  #end(reply: Reply, call: RpcCall, end: CallStatus, startedAt: number): void {
    call.close();
    reply.end(end);
    this.#handled(end.code, startedAt);
    // Something may have been done before it failed, such as a create whose answer could not be encoded.
    try {
      call.undelivered();
    } catch (error) {
      this.#report(error);
    }
  }

  /** Nobody awaits the end of a call; a throw while it is answered costs that call and nothing else. */
  #detach(end: Promise<void>): void {
    end.catch((thrown: unknown) => this.#report(thrown));
  }

  serverStream(handler: Streaming & { kind: 'serverStream' }): handleServerStreamingCall<Buffer, Buffer> {
    return (surface) => {
      this.#observer.received();
      const arrival = arrivalOf(surface);
      const stream = new RpcStream(surface, this.#streamParts(arrival));
      const run = () => handler.handle(surface.request, stream);
      this.#detach(this.#stream(surface, stream, handler.bounded ? arrival : undefined, run));
    };
  }

  bidi(handler: Streaming & { kind: 'bidi' }): handleBidiStreamingCall<Buffer, Buffer> {
    return (surface) => {
      const arrival = arrivalOf(surface);
      const stream = new RpcDuplex(surface, this.#streamParts(arrival));
      const bounded = handler.bounded === true ? arrival : undefined;
      this.#detach(this.#stream(surface, stream, bounded, () => handler.handle(stream)));
    };
  }

  #streamParts(arrival: Arrival): StreamParts {
    const { edge, clock, draining, log } = this.#context;
    edge.take(arrival);
    return {
      arrival,
      clock,
      draining,
      observer: this.#observer,
      fault: (error) => log.fault({ method: this.#path, error }),
    };
  }

  /** `bounded` is given where open streams are counted instead of having a deadline of ours. */
  async #stream(
    surface: Answering,
    stream: RpcStream,
    bounded: Arrival | undefined,
    run: () => Promise<void>,
  ): Promise<void> {
    const context = this.#context;
    const startedAt = performance.now();
    this.#observer.started();
    context.inFlight += 1;
    let counted = false;
    try {
      cutAtDeadline(surface, stream.call);
      if (bounded !== undefined) {
        if (this.#streams.open >= context.maxStreams) throw tooManyStreams(context.maxStreams);
        this.#streams.open += 1;
        context.openStreams += 1;
        counted = true;
        context.edge.live(bounded);
      }
      await run();
      surface.end();
      const cut = surface.cancelled || stream.call.early !== undefined;
      this.#handled(cut ? cutCode(stream.call) : status.OK, startedAt);
    } catch (thrown) {
      this.#report(thrown);
      const end = statusOf(thrown);
      surface.emit('error', end);
      this.#handled(end.code, startedAt);
    } finally {
      stream.call.close();
      context.inFlight -= 1;
      if (counted) {
        this.#streams.open -= 1;
        context.openStreams -= 1;
        if (bounded !== undefined) context.edge.ended(bounded);
      }
    }
  }

  #handled(code: status, startedAt: number): void {
    this.#observer.handled(status[code] ?? 'UNKNOWN', (performance.now() - startedAt) / 1000);
  }

  /** Never throws: it is called where nothing is left to catch it. */
  #report(thrown: unknown): void {
    if (HostError.is(thrown) || thrown instanceof EndedElsewhere) return;
    try {
      this.#context.log.fault({ method: this.#path, error: thrown });
    } catch {
      // A log that cannot be written must not end the calls.
    }
  }
}

function tooManyStreams(bound: number): HostError {
  return new HostError(
    'TOO_MANY_STREAMS',
    `${bound} streams are open, which is the bound; end one or raise maxStreams`,
    {
      retryAfterMs: 5000,
    },
  );
}

/** In the words of grpc-js, which says it of what streams send. */
function answerTooLarge(bytes: number, maxBytes: number): CallStatus {
  const details = `Sent message larger than max (${HEAD_BYTES + bytes} vs. ${maxBytes})`;
  return { code: status.RESOURCE_EXHAUSTED, details, metadata: new Metadata() };
}

/** Why the transport answers nothing any more: the caller left, a deadline passed, its own or ours, or it had to end before. */
function cutCode(call: RpcCall): status {
  if (call.early !== undefined) return statusOf(call.early).code;
  return call.passed ? status.DEADLINE_EXCEEDED : status.CANCELLED;
}

/**
 * Ends a stream at its deadline. Where what was sent is not taken, the stream is reset: the transport would wait with its
 * status, and with all that is left to send, for as long as the reader likes, the reader's own deadline notwithstanding.
 */
function cutAtDeadline(surface: Answering, call: RpcCall): void {
  call.atDeadline((error) => {
    const stream = http2StreamOf(surface);
    if (surface.writableLength > 0 || (stream?.writableLength ?? 0) > 0) stream?.close(constants.NGHTTP2_CANCEL);
    else surface.emit('error', statusOf(error));
  });
}

/** An answer that was handed over and did not leave as a whole (reset, broken connection) counts as undelivered. */
function watchDelivery(stream: ServerHttp2Stream, call: RpcCall): void {
  const judge = () => {
    if (stream.rstCode !== 0 || !stream.writableFinished) call.undelivered();
  };
  if (stream.closed || stream.destroyed) judge();
  else stream.once('close', judge);
}

const copyOf = (bytes: Buffer): Buffer => Buffer.from(bytes);
const asIs = (bytes: Buffer): Buffer => bytes;

/** What it throws, `handle` throws, too. */
function readyAnswer(handler: Unary, request: Buffer): Buffer | undefined {
  try {
    return handler.ready?.(request);
  } catch {
    return undefined;
  }
}

const NO_OBSERVER: RpcMethodObserver = { started() {}, handled() {}, received() {}, sent() {} };

const TYPES = { unary: 'unary', serverStream: 'server_stream', bidi: 'bidi_stream' } as const;

/** The implementation of a service for grpc-js. Throws DAEMON_STATE when a method has no handler or a needless one. */
export function implementationOf(service: RpcServiceModule, context: DispatchContext): UntypedServiceImplementation {
  const implementation: UntypedServiceImplementation = {};
  const streams: OpenCount = { open: 0 };
  const surplus = Object.keys(service.handlers).filter((name) => !Object.hasOwn(service.definition, name));
  if (surplus.length > 0) {
    throw new HostError('DAEMON_STATE', `service ${service.name} has handlers for no method: ${surplus.join(', ')}`);
  }
  for (const [name, method] of Object.entries(service.definition)) {
    const handler = service.handlers[name];
    const kind = method.requestStream ? 'bidi' : method.responseStream ? 'serverStream' : 'unary';
    if (handler?.kind !== kind) {
      throw new HostError('DAEMON_STATE', `${method.path} needs a ${kind} handler, got ${handler?.kind ?? 'none'}`);
    }
    const observer = context.metrics?.({ service: service.name, method: name, type: TYPES[kind] }) ?? NO_OBSERVER;
    context.observers.set(method.path, observer);
    const dispatch = new MethodDispatch(method.path, context, observer, streams);
    if (handler.kind === 'unary') {
      const unary = dispatch.unary(handler);
      implementation[name] = unary.grpc;
      context.unary.set(method.path, unary);
    }
    if (handler.kind === 'serverStream') implementation[name] = dispatch.serverStream(handler);
    if (handler.kind === 'bidi') implementation[name] = dispatch.bidi(handler);
  }
  return implementation;
}
