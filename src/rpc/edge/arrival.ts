import type { ServerHttp2Stream } from 'node:http2';
import type { HostError } from '../../errors/index.js';
import type { Connection } from './connections.js';

const ARRIVAL = Symbol('arrival');

interface WithArrival {
  [ARRIVAL]?: Arrival;
}

/** Length and flag before each message. */
const HEAD_BYTES = 5;

/** The most that a byte of deflate unpacks to. */
const INFLATION = 1032;

/**
 * A call from its first header on, as the edge knows it. All times are those of the daemon's clock, in milliseconds.
 *
 * States: arriving (its request is not complete, or waits for its turn; its bytes are held) → `taken` by a handler, which
 * counts its end, or answered before, with `code`. In either its deadline may pass, once.
 */
export class Arrival {
  readonly stream: ServerHttp2Stream;
  readonly connection: Connection;
  /** The method as the caller names it. */
  readonly path: string;
  readonly arrivedMs: number;
  /** What the caller asked for, from `arrivedMs` on; Infinity where it set none. */
  readonly timeoutMs: number;
  /** Until when an answer makes sense; Infinity for as long as the caller likes. */
  deadlineMs: number;
  /** When the edge looks after the call again. */
  endsAtMs: number;
  /** The deadline has passed. */
  passed = false;
  /** Called at the deadline, or with the reason why it ends before, to answer; without it the edge answers or cuts by itself. */
  onPassed: ((early?: HostError) => void) | undefined;
  /** Who calls, as far as it is known. */
  by = '';
  /** That of the token which it was let in by. */
  mark: string | undefined;
  /** A handler has the request: what is answered from here on is its business. */
  taken = false;
  /** The `grpc-status` that was answered before a handler had it. */
  code: unknown;
  /** What was answered is trailers only. */
  trailersOnly = false;
  /** Bytes that the request holds before a handler has it. */
  held = 0;
  /** Its places in `Deadlines` and in `Unfinished`, theirs to write. */
  watchedAt = -1;
  heldAt = -1;
  /** Until when its sender has kept up: see `Unfinished`. */
  keptUpMs: number;
  /** A message may be compressed. */
  readonly #encoded: boolean;
  #head = 0;
  #headBytes = 0;
  #left = 0;
  #weight = 1;

  constructor(
    stream: ServerHttp2Stream,
    connection: Connection,
    path: string,
    times: { readonly arrivedMs: number; readonly timeoutMs: number; readonly deadlineMs: number },
    encoded: boolean,
  ) {
    this.stream = stream;
    this.connection = connection;
    this.path = path;
    this.arrivedMs = this.keptUpMs = times.arrivedMs;
    this.timeoutMs = times.timeoutMs;
    this.deadlineMs = times.deadlineMs;
    this.endsAtMs = times.deadlineMs;
    this.#encoded = encoded;
    (stream as WithArrival)[ARRIVAL] = this;
  }

  static of(stream: object | undefined): Arrival | undefined {
    return (stream as WithArrival | undefined)?.[ARRIVAL];
  }

  /** Reads along in the framing. True where a message ends with the chunk. */
  reads(chunk: Buffer): boolean {
    let ended = false;
    let at = 0;
    while (at < chunk.length) {
      if (this.#headBytes < HEAD_BYTES) {
        const byte = chunk[at++]!;
        ended = false;
        if (this.#headBytes === 0) this.#weight = byte === 1 && this.#encoded ? INFLATION : 1;
        else this.#head = this.#head * 256 + byte;
        this.#headBytes += 1;
        if (this.#headBytes < HEAD_BYTES) continue;
        this.#left = this.#head;
      } else {
        const taken = Math.min(this.#left, chunk.length - at);
        this.#left -= taken;
        at += taken;
      }
      ended = this.#left === 0;
      if (ended) this.#head = this.#headBytes = 0;
    }
    return ended;
  }

  /** What was read comes again, from the first byte on. */
  again(): void {
    this.#head = this.#headBytes = this.#left = 0;
    this.#weight = 1;
    this.keptUpMs = this.arrivedMs;
  }

  /**
   * What `bytes` of the message may come to in memory: a compressed one is unpacked at once, to as much as the largest
   * message that is taken.
   */
  weigh(bytes: number, maxMessage: number): number {
    return this.#weight === 1 ? bytes : Math.max(bytes, Math.min(bytes * this.#weight, maxMessage - this.held));
  }
}
