import type { Duplex } from 'node:stream';
import { messageOf } from '../errors/index.js';
import type { Clock, Timer } from '../lib/clock.js';
import { createDeferred, type Deferred } from '../lib/deferred.js';
import { Pace } from '../lib/pace.js';
import { ChannelError } from './channel-error.js';
import { type DecodedFrame, type EncodedFrame, encodeFrame, FrameDecoder } from './frame.js';
import type { FrameBounds } from './frame-bounds.js';

export interface ChannelOptions {
  /** Largest message that may come in, and that may be sent; bytes. */
  readonly maxInBytes: number;
  readonly maxOutBytes: number;
  /** Bytes waiting to be sent above which `writable` is false. */
  readonly highWaterBytes: number;
  /** Called once per message, in order, with the bytes and values of its frame. What it throws closes the channel as GARBAGE. */
  readonly onMessage: (message: unknown, bytes: number, values: number) => void;
  /** What each kind of message that comes in, or goes out, is held to. Default: the size alone. */
  readonly inBounds?: FrameBounds;
  readonly outBounds?: FrameBounds;
  /** Above it nothing is read until the second is over. Default: no such bound. */
  readonly inRate?: InRate;
  /** The same for messages of some kinds alone, evenly over time. Default: no such bound. */
  readonly steadyRate?: SteadyRate;
  /** Called once, after which nothing is sent or received. `error` is undefined when the other side just ended. */
  readonly onClose: (error: Error | undefined) => void;
}

export interface InRate {
  readonly bytesPerSecond: number;
  /** Values in the texts, which is what their parsing costs. */
  readonly valuesPerSecond: number;
  readonly clock: Clock;
}

export interface SteadyRate {
  readonly kinds: ReadonlySet<string>;
  readonly bytesPerSecond: number;
  /** That may come at once after a quiet time. */
  readonly atOnceBytes: number;
  readonly clock: Clock;
}

/**
 * What is handled in one turn of the event loop, so that a flooding sender cannot stall its receiver, however many chunks a
 * pipe gives in it. The time is looked at between messages: one message may take longer, by as much as its bound allows.
 */
const TURN_MESSAGES = 256;
const TURN_BYTES = 1024 * 1024;
const TURN_MS = 4;
const SECOND_MS = 1_000;

/**
 * Messages over a byte stream, used by both ends. What is sent within one turn of the event loop leaves in one write.
 *
 * States: open (sends and receives) and closed (entered once, by `close`, by the other side, or by an error). While
 * the receiver is behind its budget of a turn or of a second, or rests from what comes faster than steadily, the stream is
 * paused, so the sender's pipe fills up: nothing is buffered here beyond one frame.
 */
export class Channel {
  readonly #stream: Duplex;
  readonly #options: ChannelOptions;
  readonly #decoder: FrameDecoder;
  #outgoing: EncodedFrame[] = [];
  #outgoingBytes = 0;
  #flushing: NodeJS.Immediate | undefined;
  /** Until the turn is over in which messages were handled, and how much of its budget they took. */
  #turn: NodeJS.Immediate | undefined;
  #turnMessages = 0;
  #turnBytes = 0;
  #turnMs = 0;
  /** Nothing more is handled in this turn. */
  #behind = false;
  #blocked = false;
  #closed = false;
  #drain: Deferred<void> | undefined;
  #second: Timer | undefined;
  #inBytes = 0;
  #inValues = 0;
  #overRate = false;
  readonly #pace: Pace | undefined;

  constructor(stream: Duplex, options: ChannelOptions) {
    this.#stream = stream;
    this.#options = options;
    this.#decoder = new FrameDecoder(options.maxInBytes, options.inBounds);
    const { steadyRate } = options;
    if (steadyRate !== undefined) {
      const { clock, bytesPerSecond: perSecond, atOnceBytes: atOnce } = steadyRate;
      this.#pace = new Pace({ clock, perSecond, atOnce, onGoOn: () => this.#goOn() });
    }
    stream.on('data', (chunk: Buffer) => {
      this.#decoder.push(chunk);
      if (!this.#mayNot) this.#pump();
      this.#decoder.keep();
    });
    stream.on('drain', () => this.#onDrain());
    stream.on('end', () => this.#shut(undefined));
    stream.on('close', () => this.#shut(undefined));
    stream.on('error', (error: Error) => this.#shut(error));
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Bytes handed over and not yet taken by the operating system. */
  get queuedBytes(): number {
    return this.#outgoingBytes + this.#stream.writableLength;
  }

  get writable(): boolean {
    return !this.#closed && this.queuedBytes < this.#options.highWaterBytes;
  }

  /** Resolves when the channel is writable again or closed. */
  drained(): Promise<void> {
    if (this.#closed || this.writable) return Promise.resolve();
    this.#drain ??= createDeferred<void>();
    return this.#drain.promise;
  }

  /** Queues a message. Throws ChannelError TOO_LARGE, UNSENDABLE or CLOSED; then nothing was queued. */
  send(message: unknown): void {
    if (this.#closed) throw new ChannelError('CLOSED', 'the channel is closed');
    const frame = encodeFrame(message, this.#options.maxOutBytes, this.#options.outBounds);
    this.#outgoing.push(frame);
    this.#outgoingBytes += frame.bytes;
    this.#flushing ??= setImmediate(() => {
      this.#flushing = undefined;
      this.#flush();
    });
  }

  /** Sends what is queued, then ends the stream. Callable twice. */
  end(): void {
    if (this.#closed) return;
    this.#blocked = false;
    this.#flush();
    this.#stream.end();
  }

  /** Drops everything at once. Callable twice. */
  destroy(): void {
    this.#shut(undefined);
  }

  #flush(): void {
    if (this.#closed || this.#blocked || this.#outgoing.length === 0) return;
    const frames = this.#outgoing;
    this.#outgoing = [];
    this.#outgoingBytes = 0;
    this.#stream.cork();
    for (const frame of frames) {
      for (const part of frame.parts) this.#blocked = !this.#stream.write(part);
    }
    this.#stream.uncork();
    if (this.#blocked && !this.#stream.writableNeedDrain) this.#blocked = false;
  }

  #onDrain(): void {
    this.#blocked = false;
    this.#flush();
    if (this.writable) this.#settleDrain();
  }

  #settleDrain(): void {
    this.#drain?.resolve();
    this.#drain = undefined;
  }

  /** Whether what has come has to wait. */
  get #mayNot(): boolean {
    return this.#behind || this.#overRate || this.#pace?.rests === true;
  }

  /** Handles messages up to the budget of a turn; what is left waits for the next turn with the stream paused. */
  #pump(): void {
    this.#turn ??= setImmediate(() => this.#nextTurn());
    let since = performance.now();
    try {
      while (!this.#closed) {
        const next = this.#decoder.next();
        if (next === undefined) {
          if (this.#stream.isPaused()) this.#stream.resume();
          return;
        }
        this.#options.onMessage(next.message, next.bytes, next.values);
        const now = performance.now();
        this.#takeFromTurn(next.bytes, now - since);
        this.#takeFromSecond(next);
        this.#takeSteadily(next);
        since = now;
        if (this.#mayNot) {
          this.#stream.pause();
          return;
        }
      }
    } catch (error) {
      this.#shut(error instanceof Error ? error : new ChannelError('GARBAGE', messageOf(error)));
    }
  }

  #takeFromTurn(bytes: number, ms: number): void {
    this.#turnMessages++;
    this.#turnBytes += bytes;
    this.#turnMs += ms;
    this.#behind = this.#turnMessages >= TURN_MESSAGES || this.#turnBytes >= TURN_BYTES || this.#turnMs >= TURN_MS;
  }

  #nextTurn(): void {
    this.#turn = undefined;
    this.#turnMessages = 0;
    this.#turnBytes = 0;
    this.#turnMs = 0;
    if (!this.#behind) return;
    this.#behind = false;
    this.#goOn();
  }

  #goOn(): void {
    if (this.#closed || this.#mayNot) return;
    this.#pump();
    this.#decoder.keep();
  }

  /** Counts a message against the second that it came in. */
  #takeFromSecond({ bytes, values }: DecodedFrame): void {
    const rate = this.#options.inRate;
    if (rate === undefined || this.#closed) return;
    this.#second ??= rate.clock.setTimer(SECOND_MS, () => this.#nextSecond());
    this.#inBytes += bytes;
    this.#inValues += values;
    this.#overRate = this.#inBytes > rate.bytesPerSecond || this.#inValues > rate.valuesPerSecond;
  }

  #nextSecond(): void {
    this.#second = undefined;
    this.#inBytes = 0;
    this.#inValues = 0;
    if (!this.#overRate) return;
    this.#overRate = false;
    this.#goOn();
  }

  #takeSteadily({ message, bytes }: DecodedFrame): void {
    if (this.#pace === undefined || this.#closed) return;
    if (this.#options.steadyRate!.kinds.has((message as { readonly t: string }).t)) this.#pace.take(bytes);
  }

  #shut(error: Error | undefined): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#flushing !== undefined) clearImmediate(this.#flushing);
    if (this.#turn !== undefined) clearImmediate(this.#turn);
    this.#second?.cancel();
    this.#pace?.end();
    this.#outgoing = [];
    this.#outgoingBytes = 0;
    this.#stream.destroy();
    this.#settleDrain();
    this.#options.onClose(error);
  }
}
