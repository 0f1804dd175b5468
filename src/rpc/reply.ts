import type { Metadata, ServerUnaryCall, sendUnaryData } from '@grpc/grpc-js';
import type { CallSurface } from './call.js';
import type { Arrival } from './edge/arrival.js';
import { arrivalOf } from './grpc-internals.js';
import type { CallStatus } from './status.js';

/** The one answer of a unary call, whichever way the call came. */
export interface Reply extends CallSurface {
  readonly arrival: Arrival;
  /** Answers with the bytes of a message; nothing happens where the call is `cancelled`. */
  answer(bytes: Buffer): void;
  /** Answers with an error; nothing happens where the call is `cancelled`. */
  end(status: CallStatus): void;
}

/** What is needed here of a call of grpc-js; unary and streaming ones have it. */
interface GrpcSurface {
  readonly cancelled: boolean;
  readonly metadata: Metadata;
  once(event: 'cancelled', listener: () => void): unknown;
}

/** A call of grpc-js, of whatever kind. */
export class GrpcCall implements CallSurface {
  readonly #surface: GrpcSurface;

  constructor(surface: GrpcSurface) {
    this.#surface = surface;
  }

  get cancelled(): boolean {
    return this.#surface.cancelled;
  }

  header(name: string): string | undefined {
    const [value] = this.#surface.metadata.get(name);
    return typeof value === 'string' ? value : undefined;
  }

  onCancelled(listener: () => void): void {
    this.#surface.once('cancelled', listener);
  }
}

/** The reply to a unary call of grpc-js. */
export class GrpcReply extends GrpcCall implements Reply {
  readonly arrival: Arrival;
  readonly #callback: sendUnaryData<Buffer>;

  /** Throws DAEMON_STATE for a call that did not come by the edge. */
  constructor(surface: ServerUnaryCall<Buffer, Buffer>, callback: sendUnaryData<Buffer>) {
    super(surface);
    this.arrival = arrivalOf(surface);
    this.#callback = callback;
  }

  answer(bytes: Buffer): void {
    this.#callback(null, bytes);
  }

  end(status: CallStatus): void {
    this.#callback(status);
  }
}
