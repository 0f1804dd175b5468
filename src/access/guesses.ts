/** Different wrong tokens that one address may send at once, and how fast that fills up again. */
const BURST = 10;
const REFILL_MS = 2_000;
/** Addresses that are remembered; the one that was heard of least recently is forgotten first. */
const MAX_ADDRESSES = 10_000;
/** Tokens that are remembered of an address, right ones and wrong ones. */
const MAX_KNOWN = 8;

interface Peer {
  left: number;
  atMs: number;
  readonly good: Set<string>;
  readonly bad: Set<string>;
}

/**
 * Bounds how fast an address may guess tokens; who sends the same wrong one again guesses nothing. Tokens are named by their digests. Whose bound is used up is refused without a word about what it sent; but what
 * was right before goes on, so that who guesses beside an honest client locks nobody out.
 */
export class Guesses {
  readonly #now: () => number;
  readonly #peers = new Map<string, Peer>();

  constructor(now: () => number) {
    this.#now = now;
  }

  /** Milliseconds until the address may try a token that it has not used rightly before; 0 for now. */
  waitMs(address: string, token: string): number {
    const peer = this.#peers.get(address);
    if (peer === undefined || peer.good.has(token) || peer.bad.has(token)) return 0;
    this.#refill(peer);
    return peer.left >= 1 ? 0 : Math.ceil((1 - peer.left) * REFILL_MS);
  }

  wrong(address: string, token: string): void {
    const peer = this.#peer(address);
    if (peer.bad.has(token)) return;
    this.#refill(peer);
    peer.left = Math.max(0, peer.left - 1);
    remember(peer.bad, token);
  }

  right(address: string, token: string): void {
    const known = this.#peers.get(address);
    if (known?.good.has(token)) return;
    const peer = this.#peer(address);
    // It was wrong till now.
    peer.bad.delete(token);
    remember(peer.good, token);
  }

  #refill(peer: Peer): void {
    const now = this.#now();
    peer.left = Math.min(BURST, peer.left + (now - peer.atMs) / REFILL_MS);
    peer.atMs = now;
  }

  #peer(address: string): Peer {
    const peer = this.#peers.get(address) ?? {
      left: BURST,
      atMs: this.#now(),
      good: new Set<string>(),
      bad: new Set<string>(),
    };
    this.#peers.delete(address);
    this.#peers.set(address, peer);
    for (const oldest of this.#peers.keys()) {
      if (this.#peers.size <= MAX_ADDRESSES) break;
      this.#peers.delete(oldest);
    }
    return peer;
  }
}

function remember(known: Set<string>, token: string): void {
  known.add(token);
  for (const oldest of known) {
    if (known.size <= MAX_KNOWN) break;
    known.delete(oldest);
  }
}
