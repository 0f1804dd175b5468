import { networkOf } from './peer.js';

/** Different wrong tokens that one address may send at once, and how fast that fills up again. */
const BURST = 10;
const REFILL_MS = 2_000;
/** Addresses that are remembered; the one that was heard of least recently is forgotten first. */
const MAX_ADDRESSES = 10_000;
/** Wrong tokens that are remembered of an address. */
const MAX_BAD = 8;
/** Right ones, of which those are forgotten then that are good no more. */
const MANY_GOOD = 8;

interface Peer {
  left: number;
  atMs: number;
  readonly good: Set<string>;
  readonly bad: Set<string>;
}

/**
 * Bounds how fast an address may guess tokens; who sends the same wrong one again guesses nothing. Tokens are named by their marks.
 * Whose bound is used up is refused without a word about what it sent; but what was right before goes on, so that who guesses beside
 * honest clients (all of them come from one address behind a proxy) locks nobody out.
 */
export class Guesses {
  readonly #now: () => number;
  readonly #isGood: (token: string) => boolean;
  readonly #peers = new Map<string, Peer>();

  /** `isGood` says of a token whether it is one of those that are configured now; there are not many. */
  constructor(now: () => number, isGood: (token: string) => boolean) {
    this.#now = now;
    this.#isGood = isGood;
  }

  /** Milliseconds until the address may try a token that it has not used rightly before; 0 for now. */
  waitMs(address: string, token: string): number {
    const peer = this.#peers.get(networkOf(address));
    if (peer === undefined || peer.good.has(token) || peer.bad.has(token)) return 0;
    this.#refill(peer);
    return peer.left >= 1 ? 0 : Math.ceil((1 - peer.left) * REFILL_MS);
  }

  wrong(address: string, token: string): void {
    const peer = this.#peer(address);
    if (peer.bad.has(token)) return;
    this.#refill(peer);
    peer.left = Math.max(0, peer.left - 1);
    peer.bad.add(token);
    for (const oldest of peer.bad) {
      if (peer.bad.size <= MAX_BAD) break;
      peer.bad.delete(oldest);
    }
  }

  right(address: string, token: string): void {
    const peer = this.#peer(address);
    if (peer.good.has(token)) return;
    // It was wrong till now.
    peer.bad.delete(token);
    peer.good.add(token);
    if (peer.good.size <= MANY_GOOD) return;
    for (const one of peer.good) if (one !== token && !this.#isGood(one)) peer.good.delete(one);
  }

  #refill(peer: Peer): void {
    const now = this.#now();
    peer.left = Math.min(BURST, peer.left + (now - peer.atMs) / REFILL_MS);
    peer.atMs = now;
  }

  /** It is the one that was heard of last from here on. */
  #peer(address: string): Peer {
    const network = networkOf(address);
    const peer = this.#peers.get(network) ?? {
      left: BURST,
      atMs: this.#now(),
      good: new Set<string>(),
      bad: new Set<string>(),
    };
    this.#peers.delete(network);
    this.#peers.set(network, peer);
    for (const oldest of this.#peers.keys()) {
      if (this.#peers.size <= MAX_ADDRESSES) break;
      this.#peers.delete(oldest);
    }
    return peer;
  }
}
