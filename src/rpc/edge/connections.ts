import type { ServerHttp2Session } from 'node:http2';
import type { Socket } from 'node:net';
import { networkOf, type Peer } from '../../access/peer.js';
import type { Clock, Timer } from '../../lib/clock.js';
import { getOrMake } from '../../lib/get-or-make.js';

interface AtAddress {
  count: number;
  /** The longest idle one without a call. */
  idle: Connection | undefined;
}

/**
 * One accepted connection. States: greeting (no session yet, and with TLS no handshake), then idle (no call, since `idleSinceMs`; it may give way to a
 * newcomer) and busy in turns, until either side closes it. `timer` closes one that greets or is idle for too long.
 */
export class Connection {
  /** What is spoken on: of a connection by TLS the socket within, once it has entered. */
  socket: Socket;
  readonly address: string;
  /** Whom it counts with: `networkOf` the address. */
  readonly network: string;
  /** Who is there; known once it has entered. */
  peer: Peer | undefined;
  session: ServerHttp2Session | undefined;
  /** Streams that are open; a connection that has one never gives way. */
  calls = 0;
  /** Since when it has no call. */
  idleSinceMs: number;
  timer: Timer | undefined;
  /** Calls in a row that were ended for the budget of unfinished requests. */
  overdrawn = 0;
  /** Bytes that it brought of calls: text of headers, and what followed. */
  accounted = 0;

  constructor(socket: Socket, nowMs: number) {
    this.socket = socket;
    this.address = socket.remoteAddress ?? '';
    this.network = networkOf(this.address);
    this.idleSinceMs = nowMs;
  }

  entered(socket: Socket, peer: Peer): void {
    this.socket = socket;
    this.peer = peer;
  }

  /** Closes it now. A peer that speaks HTTP/2 is told by GOAWAY, so that it opens another one at its next call. */
  destroy(): void {
    if (this.session === undefined || this.session.destroyed) this.socket.destroy();
    else this.session.destroy();
  }
}

/**
 * Why a connection was closed: no preface and SETTINGS in time, no call for long, it gave way to a newcomer, nothing but calls
 * that overdrew the budget of unfinished requests, lasting noise that comes to no call; or was not taken, with as many open as there may be and each with calls.
 */
export type ConnectionCut = 'handshake' | 'idle' | 'gave_way' | 'overdrawn' | 'noise' | 'no_room';

export interface ConnectionBounds {
  readonly maxConnections: number;
  /** Within this time after it was accepted a connection must have sent its preface and SETTINGS. */
  readonly handshakeTimeoutMs: number;
  /** A connection without calls for so long is closed. */
  readonly maxConnectionIdleMs: number;
}

/**
 * The open connections. At the bound, and only there, the longest idle one without a call gives way to a newcomer: one of the
 * address that has the most. When all have calls the newcomer is dropped.
 */
export class Connections {
  readonly #bounds: ConnectionBounds;
  readonly #clock: Clock;
  readonly #told: (reason: ConnectionCut) => void;
  readonly #open = new Set<Connection>();
  readonly #overdrawn: Connection[] = [];

  constructor(bounds: ConnectionBounds, clock: Clock, told: (reason: ConnectionCut) => void = () => {}) {
    this.#bounds = bounds;
    this.#clock = clock;
    this.#told = told;
  }

  get size(): number {
    return this.#open.size;
  }

  /** Takes a connection on; undefined, and the socket is destroyed, where there is no room. */
  add(socket: Socket): Connection | undefined {
    if (this.#open.size >= this.#bounds.maxConnections && !this.#makeRoom()) {
      this.#told('no_room');
      socket.destroy();
      return undefined;
    }
    const connection = new Connection(socket, this.#clock.now());
    this.#open.add(connection);
    connection.timer = this.#clock.setTimer(this.#bounds.handshakeTimeoutMs, () => this.#cut(connection, 'handshake'));
    socket.once('close', () => this.#forget(connection));
    return connection;
  }

  /** The peer has said its preface and SETTINGS: from now on only idleness ends it. */
  greeted(connection: Connection): void {
    if (!this.#open.has(connection)) return;
    this.#watchIdle(connection, this.#bounds.maxConnectionIdleMs);
  }

  /** Closes it: its calls only cost others their room. One a turn of the event loop, since each may have a thousand calls to end. */
  overdrawn(connection: Connection): void {
    // Its session may be in the midst of what it has read.
    if (this.#overdrawn.push(connection) === 1) setImmediate(() => this.#cutOverdrawn());
  }

  /** Closes it: what it brings comes to nothing. */
  noisy(connection: Connection): void {
    if (this.#open.has(connection)) this.#cut(connection, 'noise');
  }

  #cutOverdrawn(): void {
    const connection = this.#overdrawn[0];
    if (connection !== undefined && this.#open.has(connection)) this.#cut(connection, 'overdrawn');
    this.#overdrawn.shift();
    if (this.#overdrawn.length > 0) setImmediate(() => this.#cutOverdrawn());
  }

  callOpened(connection: Connection): void {
    connection.calls += 1;
  }

  callClosed(connection: Connection): void {
    connection.calls -= 1;
    if (connection.calls === 0) connection.idleSinceMs = this.#clock.now();
  }

  /** Looks again when it may be idle for long enough; calls themselves touch no timer. */
  #watchIdle(connection: Connection, waitMs: number): void {
    connection.timer?.cancel();
    connection.timer = this.#clock.setTimer(waitMs, () => {
      const { maxConnectionIdleMs } = this.#bounds;
      const idleMs = connection.calls > 0 ? 0 : this.#clock.now() - connection.idleSinceMs;
      if (idleMs < maxConnectionIdleMs) this.#watchIdle(connection, maxConnectionIdleMs - idleMs);
      else this.#cut(connection, 'idle');
    });
  }

  #cut(connection: Connection, reason: ConnectionCut): void {
    this.#told(reason);
    connection.destroy();
  }

  #makeRoom(): boolean {
    const victim = this.#victim();
    if (victim === undefined) return false;
    this.#forget(victim);
    this.#cut(victim, 'gave_way');
    return true;
  }

  #victim(): Connection | undefined {
    const byAddress = new Map<string, AtAddress>();
    for (const connection of this.#open) {
      const entry = getOrMake(byAddress, connection.network, (): AtAddress => ({ count: 0, idle: undefined }));
      entry.count += 1;
      if (connection.calls > 0) continue;
      if (entry.idle === undefined || connection.idleSinceMs < entry.idle.idleSinceMs) entry.idle = connection;
    }
    let most: { count: number; idle: Connection } | undefined;
    for (const { count, idle } of byAddress.values()) {
      if (idle === undefined) continue;
      const more = most === undefined || count > most.count;
      if (more || (count === most!.count && idle.idleSinceMs < most!.idle.idleSinceMs)) most = { count, idle };
    }
    return most?.idle;
  }

  #forget(connection: Connection): void {
    connection.timer?.cancel();
    this.#open.delete(connection);
  }
}
