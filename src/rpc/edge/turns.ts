import { getOrMake } from '../../lib/get-or-make.js';
import type { Arrival } from './arrival.js';
import type { Connection } from './connections.js';

/** A call that may be answered; `start` hands it on. */
export interface Waiting {
  readonly arrival: Arrival;
  start(): void;
}

/**
 * Starts so many calls in one turn of the event loop; the others wait, and connections take turns. One read of a socket may
 * bring hundreds of calls, which would all be worked off before anybody else is heard; and who resets them in the next
 * read has them dropped unworked.
 *
 * States of a call: started at once where the turn has room (`admits`); else waiting (`wait`) in its connection's line, until it is
 * started or has been reset. A turn is under way as long as calls were started in the last one, or wait.
 */
export class Turns {
  readonly #perTurn: number;
  /** Of each connection that has ever waited; a map in which lines came and went would keep what has left it (see `IdTable`). */
  readonly #lines = new WeakMap<Connection, Waiting[]>();
  /** Those in which somebody waits, the one whose turn it is first. */
  readonly #turnOf: Waiting[][] = [];
  #started = 0;
  #scheduled = false;

  constructor(perTurn: number) {
    this.#perTurn = perTurn;
  }

  /** Whether a call may start at once; it is counted then. Otherwise it must `wait`. */
  admits(): boolean {
    // Between turns nobody waits while a turn has room.
    if (this.#started >= this.#perTurn) return false;
    this.#started += 1;
    this.#schedule();
    return true;
  }

  wait(waiting: Waiting): void {
    const line = getOrMake(this.#lines, waiting.arrival.connection, (): Waiting[] => []);
    if (line.push(waiting) === 1) this.#turnOf.push(line);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => this.#turn());
  }

  #turn(): void {
    this.#scheduled = false;
    this.#started = 0;
    while (this.#turnOf.length > 0 && this.#started < this.#perTurn) {
      const line = this.#turnOf.shift() as Waiting[];
      const first = firstOpen(line);
      if (first === undefined) continue;
      if (line.length > 0) this.#turnOf.push(line);
      this.#started += 1;
      first.start();
    }
    if (this.#started > 0 || this.#turnOf.length > 0) this.#schedule();
  }
}

/** Takes the first call from the line that is still there; those before it are dropped. */
function firstOpen(line: Waiting[]): Waiting | undefined {
  for (;;) {
    const first = line.shift();
    if (first === undefined || !(first.arrival.stream.destroyed || first.arrival.stream.closed)) return first;
  }
}
