import { Client } from '@grpc/grpc-js';
import { type ClosableCredentials, closeSoon } from '../client/close.js';
import {
  authorityOf,
  type ChangingTls,
  channelCredentials,
  channelName,
  connectionTls,
} from '../client/credentials.js';
import type { Clock, Timer } from '../lib/clock.js';
import { AGAIN_MS } from './again.js';
import { OwnerConnection } from './owner-connection.js';

/** What is shown to another replica's port, and trusted there. */
export type ReplicaTls = ChangingTls;

export interface PeerOptions {
  readonly clock: Clock;
  readonly maxReceiveBytes: number;
  readonly maxSendBytes: number;
  /** How the port of another replica is spoken to, asked for each of them; plain text unless given. */
  readonly tls?: (() => ReplicaTls | undefined) | undefined;
}

/** Each has its own share of the peer's attention. */
export const CONNECTIONS = 4;
const KEEPALIVE_MS = 10_000;
const KEEPALIVE_TIMEOUT_MS = 5_000;
/** Between two attempts at a connection. */
const RECONNECT = { initialMs: AGAIN_MS, maxMs: 1_000 };

/**
 * Connections to one other replica: for unary calls by HTTP/2 itself, for streams by grpc-js.
 *
 * States: in use → resting, when nobody uses it any more → in use, or closed once it has rested for long; closed for good by `close`.
 */
export class Peer {
  readonly epoch: string;
  readonly authority: string;
  readonly #address: string;
  readonly #options: PeerOptions;
  readonly #connections: OwnerConnection[];
  readonly #clients: Client[] = [];
  readonly #tls: ReplicaTls | undefined;
  #credentials: ClosableCredentials | undefined;
  #turn = 0;
  #uses = 0;
  #replaced = false;
  #rest: Timer | undefined;

  constructor(epoch: string, address: string, options: PeerOptions) {
    this.epoch = epoch;
    this.#address = address;
    this.#options = options;
    const tls = options.tls?.();
    this.#tls = tls;
    this.authority = authorityOf(tls, address);
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

  use(): void {
    this.#uses += 1;
    this.#rest?.cancel();
  }

  /** The end of a use; after the last of them and so many milliseconds of rest it is closed, and `closed` is told. */
  unuse(restMs: number, closed: () => void): void {
    this.#uses -= 1;
    if (this.#uses > 0) return;
    const end = () => {
      this.close();
      closed();
    };
    if (restMs === 0) end();
    else this.#rest = this.#options.clock.setTimer(restMs, end);
  }

  close(): void {
    this.#rest?.cancel();
    for (const connection of this.#connections) connection.close();
    const credentials = this.#credentials;
    if (credentials !== undefined) for (const client of this.#clients) closeSoon(client, credentials);
  }

  /** Another replica answers at its address. */
  replaced(): void {
    this.#replaced = true;
  }

  /**
   * Another process has its address, or nothing listens there, as it is seen from here. One that does not answer may be frozen, and is none
   * of these.
   */
  get isClosed(): boolean {
    const connections = this.#connections;
    return (
      this.#replaced || (connections.some(({ isRefused }) => isRefused) && !connections.some(({ isMade }) => isMade))
    );
  }

  /** The one whose turn it is. */
  connection(): OwnerConnection {
    return this.#connections[this.#next()] as OwnerConnection;
  }

  /** Of grpc-js, made when the first stream needs one. */
  client(): Client {
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

  #next(): number {
    this.#turn = (this.#turn + 1) % CONNECTIONS;
    return this.#turn;
  }
}
