import { heldBytes } from '../lib/held-bytes.js';
import type { ConnectionInfo } from '../plugin-api/contexts.js';

/** A record with secrets that came with a call. Times are those of the daemon's clock, in milliseconds. */
interface Secretive {
  connection: ConnectionInfo | undefined;
  /** 0 where none ever came. */
  connectionUntilMs: number;
}

/**
 * Secrets that came with calls, by the record that holds them, oldest first. They leave at the end of their time, with their record,
 * and where all together would pass the bound, the oldest first.
 */
export class KeptSecrets<T extends Secretive> {
  readonly #bytesOf = new Map<T, number>();
  readonly #maxBytes: number;
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** The record holds secrets that have come just now. */
  add(record: T): void {
    this.delete(record);
    if (record.connection === undefined) return;
    const bytes = heldBytes(record.connection);
    this.#bytesOf.set(record, bytes);
    this.#bytes += bytes;
    for (const [oldest] of this.#bytesOf) {
      if (this.#bytes <= this.#maxBytes || oldest === record) break;
      // As if their time were over.
      oldest.connectionUntilMs = 1;
      this.drop(oldest);
    }
  }

  /** The record is gone, or is to hold its secrets by itself from here on. */
  delete(record: T): void {
    this.#bytes -= this.#bytesOf.get(record) ?? 0;
    this.#bytesOf.delete(record);
  }

  /** Takes the record's secrets away. */
  drop(record: T): void {
    record.connection = undefined;
    this.delete(record);
  }

  dropOld(nowMs: number): void {
    for (const [record] of this.#bytesOf) {
      if (record.connectionUntilMs > nowMs) break;
      this.drop(record);
    }
  }
}
