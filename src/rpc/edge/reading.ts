import type { Socket } from 'node:net';
import type { Connection } from './connections.js';

/** Header text that one connection brings in a turn before it is read no further; honest calls bring some hundred bytes each. */
const PER_TURN_BYTES = 64 * 1024;
/** Connections that are read again in one turn: each may bring as much once more before it is stopped. */
const RESUMED_PER_TURN = 8;

interface Handle {
  readStop(): unknown;
  readStart(): unknown;
}

/**
 * How much of headers is read in one turn of the event loop. A socket that has more is read on and on within a turn, some MiB of
 * it, and each of a thousand: calls of as much metadata as passes would hold the loop for seconds before anybody else is
 * heard. So a connection that has brought its share is not read until its turn comes again; the rest waits in the kernel, and
 * then with its sender.
 */
export class Reading {
  readonly #turn = new Map<Connection, number>();
  readonly #line = new Set<Connection>();
  #scheduled = false;

  /** A call of the connection has come with so many bytes of header text. */
  came(connection: Connection, bytes: number): void {
    const sum = (this.#turn.get(connection) ?? 0) + bytes;
    this.#turn.set(connection, sum);
    if (sum > PER_TURN_BYTES) {
      this.#line.add(connection);
      handleOf(connection.socket)?.readStop();
    }
    this.#schedule();
  }

  gone(connection: Connection): void {
    this.#turn.delete(connection);
    this.#line.delete(connection);
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => this.#next());
  }

  #next(): void {
    this.#scheduled = false;
    this.#turn.clear();
    let left = RESUMED_PER_TURN;
    for (const connection of this.#line) {
      if (left-- === 0) break;
      this.#line.delete(connection);
      handleOf(connection.socket)?.readStart();
    }
    if (this.#line.size > 0) this.#schedule();
  }
}

/**
 * What reads the socket. Its session has it, and takes nothing by `pause`; to stop the handle is what the session does by itself
 * while it writes.
 */
export function handleOf(socket: Socket): Handle | undefined {
  const handle = (socket as unknown as { _handle?: Partial<Handle> | null })._handle;
  const fits = typeof handle?.readStop === 'function' && typeof handle.readStart === 'function';
  return fits ? (handle as Handle) : undefined;
}
