import type { Arrival } from './arrival.js';

/** Who sends this many bytes a second, or more, is taken to send in earnest. */
const EARNEST_BYTES_PER_MS = 64;

/** How much of the budget is free after it was overdrawn, so that a flood pays one look for many. */
const ROOM_SHARE = 1 / 32;

/**
 * One budget of bytes for all requests that no handler has yet. When it is overdrawn, those pay that have kept up worst:
 * who stops, or trickles, falls behind his own arrival by the second, while who sends in earnest does not, however much he has
 * sent and however many connections the others came by. So neither size nor a number of connections buys room: only sending
 * does, and that ends with the message.
 */
export class Unfinished {
  readonly #maxBytes: number;
  readonly #cut: (arrival: Arrival) => void;
  readonly #open = new Set<Arrival>();
  #bytes = 0;

  /** `cut` ends a request; that it is released is seen to here. */
  constructor(maxBytes: number, cut: (arrival: Arrival) => void) {
    this.#maxBytes = maxBytes;
    this.#cut = cut;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get size(): number {
    return this.#open.size;
  }

  hold(arrival: Arrival, bytes: number): void {
    if (arrival.held === 0) this.#open.add(arrival);
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
    if (arrival.held === 0) return;
    this.#bytes -= arrival.held;
    arrival.held = 0;
    this.#open.delete(arrival);
  }

  #makeRoom(): void {
    const behind = [...this.#open].sort((a, b) => a.keptUpMs - b.keptUpMs);
    const enough = this.#maxBytes * (1 - ROOM_SHARE);
    for (const arrival of behind) {
      if (this.#bytes <= enough) return;
      this.release(arrival);
      this.#cut(arrival);
    }
  }
}
