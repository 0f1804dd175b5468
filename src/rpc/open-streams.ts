import { HostError } from '../errors/index.js';
import { PassingSet } from '../lib/passing.js';
import { statusOf } from './status.js';

/** What is needed here of a streaming call of grpc-js. */
export interface OpenStream {
  end(): void;
  emit(event: 'error', error: unknown): boolean;
  once(event: 'cancelled', listener: () => void): unknown;
}

/**
 * The open streams of a service that grpc-js serves without our dispatch (reflection): their peers would keep
 * them for ever, so they are counted, and ended when the server drains.
 *
 * States: open → `end` → ended. Of a stream: admitted, until its peer goes or it is ended; or refused.
 */
export class OpenStreams {
  readonly #what: string;
  readonly #max: number;
  readonly #streams = new PassingSet<OpenStream>();
  #ended = false;

  /** `what` names the streams in messages. */
  constructor(what: string, max: number) {
    this.#what = what;
    this.#max = max;
  }

  /** Lets `serve` answer the stream, or refuses it with TOO_MANY_STREAMS. */
  admit(stream: OpenStream, serve: () => void): void {
    if (this.#streams.size >= this.#max) {
      const seen = `${this.#max} ${this.#what} streams are open, which is the bound; end one or raise maxStreams`;
      stream.emit('error', statusOf(new HostError('TOO_MANY_STREAMS', seen, { retryAfterMs: 5000 })));
      return;
    }
    this.#streams.add(stream);
    stream.once('cancelled', () => this.#streams.delete(stream));
    serve();
    if (this.#ended) stream.end();
  }

  /** Ends the streams; new ones are answered and ended. */
  end(): void {
    this.#ended = true;
    for (const stream of this.#streams) stream.end();
  }
}
