import type { Arrival } from './arrival.js';

/** Who sends this many bytes a second, or more, is taken to send in earnest. */
const EARNEST_BYTES_PER_MS = 64;

/** Requests that hold so much of the budget are chosen in one look, so that a flood pays one look for many. */
const CHOSEN_SHARE = 1 / 32;

/**
 * One budget of bytes for all requests that no handler has yet. When it is overdrawn, those pay that have kept up worst:
 * who stops, or trickles, falls behind his own arrival by the second, while who sends in earnest does not, however much he has
 * sent and however many connections the others came by. So neither size nor a number of connections buys room: only sending
 * does, and that ends with the message.
 */
export class Unfinished {
  readonly #maxBytes: number;
  readonly #cut: (arrival: Arrival) => void;
  /** In no order; a `Set` would keep what has left it (see `IdTable`). */
  readonly #open: Arrival[] = [];
  #bytes = 0;
  /** Who makes room next, the one that has kept up worst last; chosen for having kept up no better than `#chosenMs`. */
  #chosen: Arrival[] = [];
  #chosenMs = 0;

  /** `cut` ends a request; that it is released is seen to here. */
  constructor(maxBytes: number, cut: (arrival: Arrival) => void) {
    this.#maxBytes = maxBytes;
    this.#cut = cut;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get size(): number {
    return this.#open.length;
  }

  hold(arrival: Arrival, bytes: number): void {
    if (arrival.heldAt < 0) arrival.heldAt = this.#open.push(arrival) - 1;
    arrival.held += bytes;
    this.#bytes += bytes;
    if (this.#bytes > this.#maxBytes) this.#makeRoom();
  }

  /** `bytes` of a request that goes on have come. */
  progressed(arrival: Arrival, bytes: number, nowMs: number): void {
    arrival.keptUpMs = Math.min(nowMs, arrival.keptUpMs + bytes / EARNEST_BYTES_PER_MS);
  }

  /** Some of what a request holds comes again. */
  giveBack(arrival: Arrival, bytes: number): void {
    if (arrival.held === 0) return;
    arrival.held -= bytes;
    this.#bytes -= bytes;
  }

  /** A handler has the request, or it is gone. May be repeated. */
  release(arrival: Arrival): void {
    const at = arrival.heldAt;
    if (at < 0) return;
    this.#bytes -= arrival.held;
    arrival.held = 0;
    arrival.heldAt = -1;
    const last = this.#open.pop() as Arrival;
    if (last !== arrival) {
      this.#open[at] = last;
      last.heldAt = at;
    }
    if (this.#bytes < this.#maxBytes / 2) this.#chosen = [];
  }

  /** Ends as few as make room: to end a thousand at once would hold up everybody else. */
  #makeRoom(): void {
    while (this.#bytes > this.#maxBytes && this.#open.length > 0) {
      if (this.#chosen.length === 0) this.#choose();
      const arrival = this.#chosen.pop();
      // It is gone, or has caught up meanwhile; who was not chosen can only have kept up better.
      if (arrival === undefined || arrival.held === 0 || arrival.keptUpMs > this.#chosenMs) continue;
      this.release(arrival);
      this.#cut(arrival);
    }
  }

  #choose(): void {
    const behind = [...this.#open].sort((a, b) => a.keptUpMs - b.keptUpMs);
    let bytes = 0;
    let count = 0;
    while (count < behind.length && bytes <= this.#maxBytes * CHOSEN_SHARE) bytes += behind[count++]!.held;
    this.#chosenMs = behind[count - 1]!.keptUpMs;
    this.#chosen = behind.slice(0, count).reverse();
  }
}
