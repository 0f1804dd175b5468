import { once, setMaxListeners } from 'node:events';
import type { OutgoingHttpHeaders } from 'node:http2';
import { type Metadata, status } from '@grpc/grpc-js';
import { HostError, messageOf } from '../errors/index.js';
import { IdTable, MAX_ID } from '../lib/id-table.js';
import type { PassedCall } from '../model/forwarding.js';
import { AGAIN_MS } from './again.js';
import { endOf, OwnerCall, type PassedEnd } from './owner-call.js';
import type { Peer } from './peer.js';

const same = (bytes: Buffer): Buffer => bytes;

/** The way of calls about one part to the replica that has it, for as long as that one does: `cut` ends what is under way. */
export class Route {
  readonly peer: Peer;
  /** Of an answer. */
  readonly #maxBytes: number;
  /** Under way. */
  readonly #calls = new IdTable<OwnerCall>();
  readonly #gone = new AbortController();
  #lastCall = 0;

  constructor(peer: Peer, maxBytes: number) {
    this.peer = peer;
    this.#maxBytes = maxBytes;
    // One listener a stream under way.
    setMaxListeners(0, this.#gone.signal);
  }

  unary(call: PassedCall, request: Buffer, metadata: OutgoingHttpHeaders, leftMs: number): Promise<Buffer | PassedEnd> {
    const { signal, path } = call;
    if (this.#gone.signal.aborted || signal.aborted) return Promise.resolve(cutBy(signal));
    const { authority } = this.peer;
    const parts = { path, authority, request, metadata, leftMs, maxBytes: this.#maxBytes };
    const connection = this.peer.connection();
    this.#lastCall = (this.#lastCall % MAX_ID) + 1;
    const id = this.#lastCall;
    return new Promise((resolve) => {
      const cut = () => passed?.cut(cutBy(signal));
      const told = (end: Buffer | PassedEnd) => {
        signal.removeEventListener('abort', cut);
        this.#calls.delete(id);
        resolve(end);
      };
      let passed: OwnerCall | undefined;
      try {
        passed = new OwnerCall(parts, (headers) => connection.request(headers), told);
        this.#calls.set(id, passed);
        signal.addEventListener('abort', cut);
      } catch (error) {
        resolve(endOf(status.UNAVAILABLE, messageOf(error)));
      }
    });
  }

  async *stream(
    call: PassedCall,
    requests: AsyncIterable<Buffer>,
    metadata: Metadata,
    leftMs: number,
  ): AsyncIterable<Buffer> {
    const options = Number.isFinite(leftMs) ? { deadline: wallDeadline(leftMs) } : {};
    const passed = this.peer.client().makeBidiStreamRequest(call.path, same, same, metadata, options);
    const over = new AbortController();
    passed.on('error', () => {});
    const release = this.#cutWith(call.signal, () => {
      passed.cancel();
      // The transport tells a cancelled call only once the other side has taken what was written, which it may never do.
      passed.destroy(new HostError('OWNER_AWAY', 'the stream was cut; open it again', { retryAfterMs: AGAIN_MS }));
    });
    const sending = (async () => {
      for await (const request of requests) {
        // What the owner does not take is not read from the caller either.
        if (!passed.write(request)) await once(passed, 'drain', { signal: over.signal });
      }
      passed.end();
    })();
    // The caller went: the signal says so.
    sending.catch(() => passed.cancel());
    try {
      for await (const answer of passed) yield answer as Buffer;
    } finally {
      release();
      over.abort();
      passed.cancel();
    }
  }

  cut(): void {
    this.#gone.abort();
    this.#calls.forEach((passed) => {
      passed.cut(endOf(status.CANCELLED, 'another replica has the part'));
    });
  }

  /** Cancels what is under way when its caller goes, or this owner does; answers how to end that. */
  #cutWith(signal: AbortSignal, cancel: () => void): () => void {
    const ended = new AbortController();
    for (const end of [signal, this.#gone.signal]) {
      if (end.aborted) cancel();
      else end.addEventListener('abort', cancel, { once: true, signal: ended.signal });
    }
    return () => ended.abort();
  }
}

/** grpc-js knows no other clock; what it sends is the time that is left. */
function wallDeadline(leftMs: number): Date {
  return new Date(Date.now() + leftMs);
}

/** Why a call is cut whose caller went, or whose owner did. */
function cutBy({ reason }: AbortSignal): PassedEnd {
  const late = HostError.is(reason) && reason.kind === 'deadline';
  return endOf(late ? status.DEADLINE_EXCEEDED : status.CANCELLED, 'the call was cut');
}
