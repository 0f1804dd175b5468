import { once, setMaxListeners } from 'node:events';
import type { OutgoingHttpHeaders } from 'node:http2';
import { Client, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { type ClosableCredentials, closeSoon } from '../client/close.js';
import {
  authorityOf,
  type ChangingTls,
  channelCredentials,
  channelName,
  connectionTls,
} from '../client/credentials.js';
import { HostError, messageOf } from '../errors/index.js';
import { decodeRpcStatus } from '../idl/rpc-status.js';
import type { Clock } from '../lib/clock.js';
import { createDeferred } from '../lib/deferred.js';
import { IdTable, MAX_ID } from '../lib/id-table.js';
import { settledBefore, sleep } from '../lib/wait.js';
import { type Elsewhere, EndedElsewhere, HOP, type PassedCall } from '../model/forwarding.js';
import { endOf, OwnerCall, type PassedEnd } from './owner-call.js';
import { OwnerConnection } from './owner-connection.js';
import type { Seat } from './seat.js';

/** What is shown to another replica's port, and trusted there. */
export type ReplicaTls = ChangingTls;

export interface ForwarderOptions {
  readonly seat: Pick<Seat, 'role' | 'epoch' | 'owner' | 'onChange'>;
  readonly clock: Clock;
  /** How long a call waits for an owner at most; it takes a lease to see that one is dead. */
  readonly patienceMs: number;
  readonly maxReceiveBytes: number;
  readonly maxSendBytes: number;
  /** How the port of an owner is spoken to, asked for each of them; plain text unless given. */
  readonly tls?: (() => ReplicaTls | undefined) | undefined;
  /** Told of each call that was passed on, with the name of its status. */
  readonly passed?: (code: string) => void;
}

/** What goes along besides: who calls, and the trace. */
const KEPT = ['authorization', 'traceparent', 'tracestate'] as const;
const DETAILS = 'grpc-status-details-bin';
/** Each has its own share of the owner's attention. */
const CONNECTIONS = 4;
/** Between two tries of a call. Milliseconds. */
const AGAIN_MS = 100;
/** An answer needs this long to get back within the caller's deadline. Milliseconds. */
const MARGIN_MS = 250;
/** Of requests that wait for an owner, or for its answer. */
const MAX_HELD_BYTES = 256 * 1024 * 1024;
const KEEPALIVE_MS = 10_000;
const KEEPALIVE_TIMEOUT_MS = 5_000;

/** Between two attempts at a connection. */
const RECONNECT = { initialMs: AGAIN_MS, maxMs: 1_000 };

const same = (bytes: Buffer): Buffer => bytes;

/**
 * Passes calls on to the replica that has the state. All of them may be made twice (a Create answers the same bytes, a Do is replayed), so that
 * a call whose owner went away is made anew at the next one, within its deadline.
 *
 * It has no states of its own but `close`, after which calls end with OWNER_AWAY; connections are those of the owner that was seen last.
 */
export class Forwarder implements Elsewhere {
  readonly #options: ForwarderOptions;
  readonly #unlisten: () => void;
  #peer: Peer | undefined;
  #heldBytes = 0;
  #closed = false;
  /** Settles at the next change of the owner. */
  #change = createDeferred<void>();

  constructor(options: ForwarderOptions) {
    this.#options = options;
    this.#unlisten = options.seat.onChange(() => this.#changed());
  }

  away(): boolean {
    return this.#options.seat.role !== 'owner';
  }

  async unary(call: PassedCall, request: Buffer): Promise<Buffer | undefined> {
    this.#assertFirstHop(call);
    this.#hold(request.length);
    const untilMs = this.#untilMs(call);
    let atOnce = CONNECTIONS;
    try {
      for (;;) {
        const peer = this.#known() ?? (await this.#owner(call, untilMs));
        if (peer === undefined) return undefined;
        const end = await peer.unary(call, request, this.#kept(call), this.#leftMs(call));
        if (Buffer.isBuffer(end)) return this.#answered(end);
        if (call.signal.aborted || !mayPass(end)) throw this.#ended(end);
        // It was not looked at, as by an owner whose connection ends: another connection takes it.
        if (end.refused && atOnce-- > 0) continue;
        await sleep(this.#options.clock, AGAIN_MS, call.signal);
        if (this.#options.clock.now() >= untilMs) throw this.#ended(end);
      }
    } finally {
      this.#heldBytes -= request.length;
    }
  }

  async stream(call: PassedCall, requests: AsyncIterable<Buffer>): Promise<AsyncIterable<Buffer> | undefined> {
    this.#assertFirstHop(call);
    const peer = await this.#owner(call, this.#untilMs(call));
    return peer && this.#answersOf(peer.stream(call, requests, this.#metadata(call), this.#leftMs(call)));
  }

  close(): void {
    this.#closed = true;
    this.#unlisten();
    this.#peer?.close();
    this.#peer = undefined;
    this.#change.resolve();
  }

  async *#answersOf(answers: AsyncIterable<Buffer>): AsyncIterable<Buffer> {
    try {
      yield* answers;
      this.#options.passed?.('OK');
    } catch (error) {
      throw isServiceError(error) ? this.#ended(endOfService(error)) : error;
    }
  }

  /** The owner that was seen last, while it is that still. */
  #known(): Peer | undefined {
    const { seat } = this.#options;
    const peer = this.#peer;
    return !this.#closed && seat.role !== 'owner' && peer?.epoch === seat.owner?.epoch ? peer : undefined;
  }

  /** Who has the state; undefined once that is this replica. Throws OWNER_AWAY. */
  async #owner({ signal }: PassedCall, untilMs: number): Promise<Peer | undefined> {
    const { seat, clock } = this.#options;
    while (!this.#closed && !signal.aborted) {
      if (seat.role === 'owner') return undefined;
      this.#follow();
      if (this.#peer !== undefined) return this.#peer;
      if (clock.now() >= untilMs) break;
      await settledBefore(clock, this.#change.promise, untilMs, signal);
    }
    throw new HostError('OWNER_AWAY', 'no replica that has the state was seen in time; try again', {
      retryAfterMs: 1_000,
    });
  }

  #follow(): void {
    const { seat } = this.#options;
    const { owner } = seat;
    const to = owner?.address === undefined ? undefined : owner;
    if (to?.epoch === this.#peer?.epoch) return;
    this.#peer?.close();
    this.#peer = to?.address === undefined ? undefined : new Peer(to.epoch, to.address, this.#options);
  }

  #changed(): void {
    this.#follow();
    const change = this.#change;
    this.#change = createDeferred<void>();
    change.resolve();
  }

  /** Where a call waits for an owner until. */
  #untilMs({ deadlineMs }: PassedCall): number {
    const { clock, patienceMs } = this.#options;
    return Math.min(deadlineMs - MARGIN_MS, clock.now() + patienceMs);
  }

  #leftMs({ deadlineMs }: PassedCall): number {
    return Math.max(0, deadlineMs - this.#options.clock.now());
  }

  #assertFirstHop(call: PassedCall): void {
    const by = call.header(HOP);
    if (by === undefined) return;
    const seen = `replica ${by.slice(0, 40)} passed the call on to this one, which has the state no more, or not yet`;
    throw new HostError('OWNER_AWAY', `${seen}; try again`, { retryAfterMs: AGAIN_MS });
  }

  #hold(bytes: number): void {
    if (this.#heldBytes + bytes > MAX_HELD_BYTES) {
      throw new HostError(
        'OWNER_AWAY',
        'requests of too many bytes wait for the replica that has the state; try later',
        {
          retryAfterMs: 1_000,
        },
      );
    }
    this.#heldBytes += bytes;
  }

  #kept(call: PassedCall): Record<string, string> {
    const kept: Record<string, string> = { [HOP]: this.#options.seat.epoch };
    for (const name of KEPT) {
      const value = call.header(name);
      if (value !== undefined) kept[name] = value;
    }
    return kept;
  }

  #metadata(call: PassedCall): Metadata {
    const metadata = new Metadata();
    for (const [name, value] of Object.entries(this.#kept(call))) metadata.set(name, value);
    return metadata;
  }

  #answered(answer: Buffer): Buffer {
    this.#options.passed?.('OK');
    return answer;
  }

  /** A connection that broke tells the caller nothing of the daemon: it is told which part is away. */
  #ended({ code, message, details }: PassedEnd): Error {
    this.#options.passed?.(status[code] ?? 'UNKNOWN');
    if (details === undefined && code !== status.DEADLINE_EXCEEDED) {
      return new HostError('OWNER_AWAY', `the replica that has the state could not be asked: ${message}`, {
        retryAfterMs: 1_000,
      });
    }
    return new EndedElsewhere(code, message, details);
  }
}

/** Connections to one owner, which are cut once another one is seen: for unary calls by HTTP/2 itself, for streams by grpc-js. */
class Peer {
  readonly epoch: string;
  readonly #address: string;
  readonly #authority: string;
  readonly #options: ForwarderOptions;
  readonly #connections: OwnerConnection[];
  /** Under way. */
  readonly #calls = new IdTable<OwnerCall>();
  #lastCall = 0;
  readonly #clients: Client[] = [];
  readonly #tls: ReplicaTls | undefined;
  #credentials: ClosableCredentials | undefined;
  readonly #gone = new AbortController();
  #turn = 0;

  constructor(epoch: string, address: string, options: ForwarderOptions) {
    this.epoch = epoch;
    this.#address = address;
    this.#options = options;
    // One listener a stream under way.
    setMaxListeners(0, this.#gone.signal);
    const tls = options.tls?.();
    this.#tls = tls;
    this.#authority = authorityOf(tls, address);
    const connection = {
      address,
      clock: options.clock,
      random: Math.random,
      tls: () => tls && connectionTls(tls, address),
      backoff: RECONNECT,
      keepaliveMs: KEEPALIVE_MS,
      keepaliveTimeoutMs: KEEPALIVE_TIMEOUT_MS,
    };
    this.#connections = Array.from({ length: CONNECTIONS }, () => new OwnerConnection(connection));
  }

  unary(call: PassedCall, request: Buffer, metadata: OutgoingHttpHeaders, leftMs: number): Promise<Buffer | PassedEnd> {
    const { signal, path } = call;
    if (this.#gone.signal.aborted || signal.aborted) return Promise.resolve(cutBy(signal));
    // What the owner may send.
    const maxBytes = this.#options.maxSendBytes;
    const parts = { path, authority: this.#authority, request, metadata, leftMs, maxBytes };
    const connection = this.#connections[this.#next()] as OwnerConnection;
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
    const passed = this.#client().makeBidiStreamRequest(call.path, same, same, metadata, options);
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

  close(): void {
    this.#gone.abort();
    this.#calls.forEach((passed) => {
      passed.cut(endOf(status.CANCELLED, 'another replica has the state'));
    });
    for (const connection of this.#connections) connection.close();
    const credentials = this.#credentials;
    if (credentials !== undefined) for (const client of this.#clients) closeSoon(client, credentials);
  }

  #next(): number {
    this.#turn = (this.#turn + 1) % CONNECTIONS;
    return this.#turn;
  }

  /** Of grpc-js, made when the first stream needs one. */
  #client(): Client {
    const { maxReceiveBytes, maxSendBytes } = this.#options;
    const tls = this.#tls;
    const at = this.#next();
    if (this.#clients.length > 0) return this.#clients[at] as Client;
    const credentials = channelCredentials(tls, this.#address);
    this.#credentials = credentials;
    const options = {
      ...(tls && channelName(tls, this.#address)),
      // What the owner may send, and what a caller may have sent here.
      'grpc.max_receive_message_length': maxSendBytes,
      'grpc.max_send_message_length': maxReceiveBytes,
      'grpc.use_local_subchannel_pool': 1,
      'grpc.initial_reconnect_backoff_ms': RECONNECT.initialMs,
      'grpc.max_reconnect_backoff_ms': RECONNECT.maxMs,
      'grpc.keepalive_time_ms': KEEPALIVE_MS,
      'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
      'grpc.enable_retries': 0,
      'grpc.enable_channelz': 0,
    };
    for (let index = 0; index < CONNECTIONS; index++) {
      this.#clients.push(new Client(this.#address, credentials, options));
    }
    return this.#clients[at] as Client;
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

function endOfService({ code, details, metadata }: ServiceError): PassedEnd {
  const [bytes] = metadata?.get(DETAILS) ?? [];
  return endOf(code, details, Buffer.isBuffer(bytes) ? bytes : undefined);
}

/** Why a call is cut whose caller went, or whose owner did. */
function cutBy({ reason }: AbortSignal): PassedEnd {
  const late = HostError.is(reason) && reason.kind === 'deadline';
  return endOf(late ? status.DEADLINE_EXCEEDED : status.CANCELLED, 'the call was cut');
}

function isServiceError(error: unknown): error is ServiceError {
  return typeof (error as { code?: unknown } | null)?.code === 'number';
}

/** Whether another try, here or at another owner, may end otherwise: nobody answered, or one that is no owner. */
function mayPass({ code, details }: PassedEnd): boolean {
  if (details === undefined) {
    return [status.UNAVAILABLE, status.CANCELLED, status.INTERNAL, status.UNKNOWN].includes(code);
  }
  try {
    return decodeRpcStatus(details).errorInfo?.reason === 'OWNER_AWAY';
  } catch {
    return false;
  }
}
