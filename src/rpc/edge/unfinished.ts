import type { Arrival } from './arrival.js';
import type { Connection } from './connections.js';

/**
 * One budget of bytes for all requests that no handler has yet. When it is overdrawn, the connection that holds the most pays
 * with its oldest request: who sends slowly, or stops, is older than who sends in earnest.
 */
export class Unfinished {
  readonly #maxBytes: number;
  readonly #cut: (arrival: Arrival) => void;
  readonly #connections = new Set<Connection>();
  #bytes = 0;

  /** `cut` ends a request; that it is released is seen to here. */
  constructor(maxBytes: number, cut: (arrival: Arrival) => void) {
    this.#maxBytes = maxBytes;
    this.#cut = cut;
  }

  get bytes(): number {
    return this.#bytes;
  }

  hold(arrival: Arrival, bytes: number): void {
    const { connection } = arrival;
    if (arrival.held === 0) {
      if (connection.unfinished.size === 0) this.#connections.add(connection);
      connection.unfinished.add(arrival);
    }
    arrival.held += bytes;
    connection.unfinishedBytes += bytes;
    this.#bytes += bytes;
    if (this.#bytes > this.#maxBytes) this.#makeRoom();
  }

  /** A handler has the request, or it is gone. May be repeated. */
  release(arrival: Arrival): void {
    if (arrival.held === 0) return;
    const { connection } = arrival;
    this.#bytes -= arrival.held;
    connection.unfinishedBytes -= arrival.held;
    arrival.held = 0;
    connection.unfinished.delete(arrival);
    if (connection.unfinished.size === 0) this.#connections.delete(connection);
  }

  #makeRoom(): void {
    while (this.#bytes > this.#maxBytes) {
      let most: Connection | undefined;
      for (const connection of this.#connections) {
        if (most === undefined || connection.unfinishedBytes > most.unfinishedBytes) most = connection;
      }
      const [oldest] = most?.unfinished ?? [];
      if (oldest === undefined) return;
      this.release(oldest);
      this.#cut(oldest);
    }
  }
}
