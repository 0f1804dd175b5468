import { Metadata, type ServerDuplexStream, type ServerWritableStream } from '@grpc/grpc-js';
import { HostError } from '../errors/index.js';
import type { Clock } from '../lib/clock.js';
import type { RpcMethodObserver } from '../model/events/rpc.js';
import { RpcCall } from './call.js';
import type { Arrival } from './edge/arrival.js';
import { GrpcCall } from './reply.js';

type Writable = ServerWritableStream<Buffer, Buffer> | ServerDuplexStream<Buffer, Buffer>;

/** What a stream has from its method and its server. */
export interface StreamParts {
  readonly arrival: Arrival;
  readonly clock: Clock;
  readonly observer: RpcMethodObserver;
  readonly draining: AbortSignal;
  readonly fault: (thrown: unknown) => void;
}

/** The answering side of a streaming call. */
export class RpcStream {
  readonly call: RpcCall;
  /** Aborted when the server drains: end soon, saying how to continue. */
  readonly draining: AbortSignal;
  /** Logs a fault of the daemon that does not end the stream. */
  readonly fault: (thrown: unknown) => void;
  readonly #surface: Writable;
  readonly #observer: RpcMethodObserver;

  constructor(surface: Writable, parts: StreamParts) {
    this.#surface = surface;
    this.#observer = parts.observer;
    this.draining = parts.draining;
    this.fault = parts.fault;
    this.call = new RpcCall(new GrpcCall(surface), parts.arrival, parts.clock);
  }

  /** Tells the caller that its stream is taken, before there is a message. Once, and before the first. */
  open(): void {
    this.#surface.sendMetadata(new Metadata());
  }

  /**
   * Sends one message. Resolves when the stream can take another one, so that a slow reader holds up its handler and
   * nothing is queued; false when the caller is gone, and the handler should end.
   */
  async write(message: Buffer): Promise<boolean> {
    const surface = this.#surface;
    if (surface.cancelled || surface.destroyed) return false;
    this.#observer.sent();
    return surface.write(message) || (await drained(surface));
  }
}

/** Resolves when a stream that is full can take another message; false when the caller is gone instead. */
export function drained(surface: Writable): Promise<boolean> {
  return new Promise((resolve) => {
    const done = () => {
      surface.off('drain', done);
      surface.off('cancelled', done);
      resolve(!surface.cancelled);
    };
    surface.once('drain', done);
    surface.once('cancelled', done);
  });
}

/** A call with messages both ways. */
export class RpcDuplex extends RpcStream {
  readonly #duplex: ServerDuplexStream<Buffer, Buffer>;
  #reading: AsyncGenerator<Buffer, void, undefined> | undefined;
  /** It was looked at, and is not taken yet. */
  #first: IteratorResult<Buffer, void> | undefined;

  constructor(surface: ServerDuplexStream<Buffer, Buffer>, parts: StreamParts) {
    super(surface, parts);
    this.#duplex = surface;
  }

  /** The first message, which `messages` has as well; undefined where the caller ends without one. Asked once, before that. Throws as it. */
  async first(): Promise<Buffer | undefined> {
    this.#reading = this.#read();
    this.#first = await this.#reading.next();
    return this.#first.done === true ? undefined : this.#first.value;
  }

  /** The caller's messages, read only as fast as they are asked for. Throws CALL_CANCELLED when the caller goes. */
  async *messages(): AsyncGenerator<Buffer, void, undefined> {
    const first = this.#first;
    if (first?.done === true) return;
    if (first !== undefined) yield first.value;
    yield* this.#reading ?? this.#read();
  }

  async *#read(): AsyncGenerator<Buffer, void, undefined> {
    try {
      // The default iterator destroys the stream at the caller's end, and with it the side that is yet to answer.
      for await (const message of this.#duplex.iterator({ destroyOnReturn: false })) yield message as Buffer;
    } catch (cause) {
      if (this.#duplex.cancelled) {
        throw new HostError('CALL_CANCELLED', 'the caller went away within its stream', { cause });
      }
      throw cause;
    }
  }
}
