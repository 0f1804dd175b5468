import type { Duplex } from 'node:stream';
import { createDeferred, type Deferred } from '../../lib/deferred.js';
import { ChannelError } from './channel-error.js';
import { type EncodedFrame, encodeFrame, FrameDecoder } from './frame.js';

export interface ChannelOptions {
  /** Largest message that may come in, and that may be sent; bytes. */
  readonly maxInBytes: number;
  readonly maxOutBytes: number;
  /** Bytes waiting to be sent above which `writable` is false. */
  readonly highWaterBytes: number;
  /** Called once per message, in order. What it throws closes the channel as GARBAGE. */
  readonly onMessage: (message: unknown) => void;
  /** Called once, after which nothing is sent or received. `error` is undefined when the other side just ended. */
  readonly onClose: (error: Error | undefined) => void;
}

/** Messages and bytes handled in one turn of the event loop, so that a flooding sender cannot stall its receiver. */
const TURN_MESSAGES = 256;
const TURN_BYTES = 1024 * 1024;

/**
 * Messages over a byte stream, used by both ends. What is sent within one turn of the event loop leaves in one write.
 *
 * States: open (sends and receives) and closed (entered once, by `close`, by the other side, or by an error). While
 * the receiver is behind its budget the stream is paused, so the sender's pipe fills up: nothing is buffered here
 * beyond one frame.
 */
export class Channel {
  readonly #stream: Duplex;
  readonly #options: ChannelOptions;
  readonly #decoder: FrameDecoder;
  #outgoing: EncodedFrame[] = [];
  #outgoingBytes = 0;
  #flushing: NodeJS.Immediate | undefined;
  #pumping: NodeJS.Immediate | undefined;
  #blocked = false;
  #closed = false;
  #drain: Deferred<void> | undefined;

  constructor(stream: Duplex, options: ChannelOptions) {
    this.#stream = stream;
    this.#options = options;
    this.#decoder = new FrameDecoder(options.maxInBytes);
    stream.on('data', (chunk: Buffer) => {
      this.#decoder.push(chunk);
      if (this.#pumping === undefined) this.#pump();
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
    const frame = encodeFrame(message, this.#options.maxOutBytes);
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

  /** Handles messages up to the budget of a turn; what is left waits for the next turn with the stream paused. */
  #pump(): void {
    let messages = 0;
    let bytes = 0;
    try {
      while (!this.#closed) {
        const next = this.#decoder.next();
        if (next === undefined) {
          if (this.#stream.isPaused()) this.#stream.resume();
          return;
        }
        this.#options.onMessage(next.message);
        messages++;
        bytes += next.bytes;
        if (messages >= TURN_MESSAGES || bytes >= TURN_BYTES) {
          this.#stream.pause();
          this.#pumping = setImmediate(() => {
            this.#pumping = undefined;
            this.#pump();
          });
          return;
        }
      }
    } catch (error) {
      this.#shut(error instanceof Error ? error : new ChannelError('GARBAGE', String(error)));
    }
  }

  #shut(error: Error | undefined): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#flushing !== undefined) clearImmediate(this.#flushing);
    if (this.#pumping !== undefined) clearImmediate(this.#pumping);
    this.#outgoing = [];
    this.#outgoingBytes = 0;
    this.#stream.destroy();
    this.#settleDrain();
    this.#options.onClose(error);
  }
}
