import type { Socket } from 'node:net';
import { PassingSet } from '../../lib/passing.js';
import type { Connection } from './connections.js';

/** What one connection brings in a turn before it is read no further, in bytes of header text; honest calls have some hundred each. */
const OF_ONE_BYTES = 64 * 1024;
/** What all bring before only those are still read that brought little when they were last heard; and before none is. */
const OF_OTHERS_BYTES = 512 * 1024;
const OF_ALL_BYTES = 1024 * 1024;
/** Who brought no more in the turn in which it was last heard goes on with the next turn, whoever else waits. */
const LITTLE_BYTES = 16 * 1024;
/** Others that are read again in one turn: each may bring the share of one before it is stopped. */
const RESUMED_PER_TURN = 8;

interface Handle {
  readStop(): unknown;
  readStart(): unknown;
}

/** What is known of a connection as a reader sees it. */
interface Reader {
  readonly connection: Connection;
  /** Brought in this turn. */
  bytes: number;
  /** It has brought something in this turn. */
  heard: boolean;
  /** Brought when it was last heard, in another turn; undefined where it never was. */
  before: number | undefined;
}

/**
 * How much is read in one turn of the event loop. A socket that has more is read on and on within a turn, some MiB of it, and each
 * of a thousand: calls of as much metadata as passes would hold the loop for seconds before anybody else is heard. So a connection that
 * has brought its share is not read until its turn comes again, and where all together have brought theirs nobody is; the
 * rest waits in the kernel, and then with its sender. With the next turn those go on who bring little, and some of the others, first
 * stopped first.
 *
 * A session starts reading by itself once it has written, so that a stop may not last as long as it is meant to: what holds is the
 * share of all.
 *
 * States of a connection: read; stopped, and in line, once it or all have brought their share of a turn, until its turn comes or
 * it is gone.
 */
export class Reading {
  readonly #readers = new Map<Connection, Reader>();
  /** Each once; emptied with every turn, where a `Set` would make a table anew (see `IdTable`). */
  readonly #heard: Reader[] = [];
  readonly #line = new PassingSet<Reader>();
  #bytes = 0;
  #scheduled = false;

  opened(connection: Connection): void {
    this.#readers.set(connection, { connection, bytes: 0, heard: false, before: undefined });
  }

  /** The connection has brought what costs as much as so many bytes of header text. */
  brought(connection: Connection, bytes: number): void {
    const reader = this.#readers.get(connection);
    if (reader === undefined) return;
    const all = this.#bytes;
    this.#bytes += bytes;
    reader.bytes += bytes;
    if (!reader.heard) this.#heard.push(reader);
    reader.heard = true;
    if (reader.bytes > OF_ONE_BYTES) this.#stop(reader);
    if (all <= OF_OTHERS_BYTES && this.#bytes > OF_OTHERS_BYTES) this.#stopAll((one) => !bringsLittle(one));
    if (all <= OF_ALL_BYTES && this.#bytes > OF_ALL_BYTES) this.#stopAll(() => true);
    this.#schedule();
  }

  gone(connection: Connection): void {
    const reader = this.#readers.get(connection);
    if (reader === undefined) return;
    this.#readers.delete(connection);
    this.#line.delete(reader);
  }

  #stopAll(which: (reader: Reader) => boolean): void {
    for (const reader of this.#readers.values()) if (which(reader)) this.#stop(reader);
  }

  #stop(reader: Reader): void {
    this.#line.add(reader);
    handleOf(reader.connection.socket)?.readStop();
  }

  #goOn(reader: Reader): void {
    this.#line.delete(reader);
    handleOf(reader.connection.socket)?.readStart();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => this.#next());
  }

  #next(): void {
    this.#scheduled = false;
    this.#bytes = 0;
    for (const reader of this.#heard) {
      reader.before = reader.bytes;
      reader.bytes = 0;
      reader.heard = false;
    }
    this.#heard.length = 0;
    // These first: whoever is ready first is read first.
    for (const reader of this.#line) if (bringsLittle(reader)) this.#goOn(reader);
    let left = RESUMED_PER_TURN;
    for (const reader of this.#line) {
      if (left-- === 0) break;
      this.#goOn(reader);
    }
    if (this.#line.size > 0) this.#schedule();
  }
}

function bringsLittle({ bytes, before }: Reader): boolean {
  return before !== undefined && before <= LITTLE_BYTES && bytes <= LITTLE_BYTES;
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
