import http2, {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  constants,
  type OutgoingHttpHeaders,
} from 'node:http2';
import { messageOf } from '../errors/index.js';
import { type BackoffOptions, backoffMs } from '../lib/backoff.js';
import type { Clock, Timer } from '../lib/clock.js';
import { leaveNoStreamsBehind } from '../lib/http2-streams.js';

export interface OwnerConnectionOptions {
  /** `host:port`. */
  readonly address: string;
  readonly clock: Clock;
  readonly random: () => number;
  /** What a connection that is made now shows, and trusts; undefined for plain text. Throws for what is no PEM. */
  readonly tls: () => http2.SecureClientSessionOptions | undefined;
  /** For how long none is tried after one that could not be made. */
  readonly backoff: BackoffOptions;
  /** With calls under way the owner is asked for a sign of life so often; milliseconds. */
  readonly keepaliveMs: number;
  /** Without one for so long the connection is cut; milliseconds. */
  readonly keepaliveTimeoutMs: number;
}

/** No connection can be had now. */
class NotConnected extends Error {}

/** Ids of streams end at twice this. */
const MAX_CALLS = 2 ** 29;

/**
 * One connection to an owner, for calls without grpc-js: made when a call needs it, and anew when it is gone.
 *
 * States: none → connecting (calls are taken, and wait) → open → leaving (the owner said GOAWAY: calls under way go on, and the next
 * one begins another connection) → none. Where none could be made it rests for a time, in which calls are refused. `close` ends it for good.
 */
export class OwnerConnection {
  readonly #options: OwnerConnectionOptions;
  /** With those that are leaving. */
  readonly #sessions = new Set<Session>();
  #session: Session | undefined;
  #failures = 0;
  #restsUntilMs = 0;
  #why = '';
  #refused = false;
  #closed = false;

  constructor(options: OwnerConnectionOptions) {
    this.#options = options;
  }

  /** The owner has spoken on it, and it is not gone. */
  get isMade(): boolean {
    return this.#session?.isMade === true;
  }

  /** Nothing listened at the address when it was tried last. */
  get isRefused(): boolean {
    return this.#refused;
  }

  /** Opens a call. Throws NotConnected with the reason. */
  request(headers: OutgoingHttpHeaders): ClientHttp2Stream {
    const session = this.#session;
    return (session?.takesCalls === true ? session : this.#connect()).request(headers);
  }

  /** Cuts it, once what was said in this turn of the event loop has left. */
  close(): void {
    this.#closed = true;
    setImmediate(() => {
      for (const session of this.#sessions) session.destroy();
    });
  }

  #connect(): Session {
    const { clock } = this.#options;
    if (this.#closed) throw new NotConnected('the connection is closed');
    if (clock.now() < this.#restsUntilMs) throw new NotConnected(this.#why);
    const session = new Session(this.#options, (made, why, refused) => {
      this.#sessions.delete(session);
      this.#refused = refused;
      if (made) this.#failures = 0;
      else this.#rest(why);
    });
    this.#sessions.add(session);
    this.#session = session;
    return session;
  }

  #rest(why: string): void {
    const { clock, backoff, random } = this.#options;
    this.#failures += 1;
    this.#why = why;
    this.#restsUntilMs = clock.now() + backoffMs(this.#failures, backoff, random);
  }
}

/**
 * An HTTP/2 session, from the attempt at its connection to its end.
 *
 * States: connecting → made, once the owner has spoken → leaving, after its GOAWAY → over, which is told once; from each at once to over.
 */
class Session {
  readonly #options: OwnerConnectionOptions;
  readonly #session: ClientHttp2Session;
  /** The owner has spoken. */
  #made = false;
  #calls = 0;
  #begun = 0;
  #timer: Timer | undefined;

  /** `over` is told whether it was ever made, why it ended, and whether that was since nothing listens there. */
  constructor(options: OwnerConnectionOptions, over: (made: boolean, why: string, refused: boolean) => void) {
    this.#options = options;
    const { address, tls } = options;
    const secure = tls();
    this.#session = http2.connect(`${secure === undefined ? 'http' : 'https'}://${address}`, {
      ...secure,
      settings: { enablePush: false },
      // What waits to be taken counts, and the largest request has to pass.
      maxSessionMemory: Number.MAX_SAFE_INTEGER,
    });
    leaveNoStreamsBehind(this.#session);
    let why = `no connection to ${address}`;
    let refused = false;
    this.#session.once('remoteSettings', () => {
      this.#made = true;
    });
    this.#session.on('error', (error: NodeJS.ErrnoException) => {
      why = messageOf(error);
      refused = error.code === 'ECONNREFUSED';
    });
    this.#session.once('close', () => {
      this.#timer?.cancel();
      over(this.#made, why, refused);
    });
    this.#watch();
  }

  get isMade(): boolean {
    return this.#made && !this.#session.destroyed;
  }

  get takesCalls(): boolean {
    return !this.#session.closed && !this.#session.destroyed && this.#begun < MAX_CALLS;
  }

  request(headers: OutgoingHttpHeaders): ClientHttp2Stream {
    const stream = this.#session.request(headers);
    this.#calls += 1;
    this.#begun += 1;
    stream.once('close', () => {
      this.#calls -= 1;
    });
    if (this.#begun === MAX_CALLS) this.#session.close();
    return stream;
  }

  destroy(): void {
    this.#session.destroy(new NotConnected('the connection is closed'), constants.NGHTTP2_CANCEL);
  }

  /** Looks now and then whether who has calls of ours is still there; one that is leaving is asked nothing more. */
  #watch(): void {
    const { clock, keepaliveMs, keepaliveTimeoutMs } = this.#options;
    this.#timer = clock.setTimer(keepaliveMs, () => {
      if (this.#calls === 0 || this.#session.closed) {
        this.#watch();
        return;
      }
      this.#timer = clock.setTimer(keepaliveTimeoutMs, () => {
        this.#session.destroy(new Error('no sign of life'), constants.NGHTTP2_CANCEL);
      });
      // Fails at once where the connection is not made yet, which then has as long.
      this.#session.ping((error) => {
        if (error !== null) return;
        this.#timer?.cancel();
        this.#watch();
      });
    });
  }
}
