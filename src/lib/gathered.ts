/** A first piece may lie in so much memory that is not its own, or in as much again as it has bytes. */
const SPARE_BYTES = 16 * 1024;
/** Where pieces begin to be put together. */
const FIRST_BYTES = 256;

/**
 * What comes in pieces, put together as it comes: a list of pieces would hold, for each of them, many times what its bytes count, and with
 * it all that was read in one go with it. Holds at most three times its bytes and some 16 KiB, and moves every byte a bounded number of times,
 * also where they come one by one. What comes in one piece is not moved at all.
 *
 * States: empty → one piece, where it came or a copy of it → put together, in memory of its own.
 */
export class Gathered {
  #memory: Buffer | undefined;
  #bytes = 0;
  /** The memory is ours to write into. */
  #owned = false;
  /** The memory is a copy of the one piece. */
  #copied = false;

  get bytes(): number {
    return this.#bytes;
  }

  /** What has come is a copy of just its size, and keeps nothing else in memory. */
  get isCopied(): boolean {
    return this.#copied || (this.#owned && this.#memory!.length === this.#bytes);
  }

  /** `most` is what will be there in the end, where that is known: no room is made beyond it. */
  add(piece: Uint8Array, most = Number.POSITIVE_INFINITY): void {
    const from = this.#bytes;
    this.#bytes += piece.length;
    if (this.#memory === undefined) {
      this.#copied = keepsMuch(piece);
      this.#memory = this.#copied ? Buffer.from(piece) : asBuffer(piece);
    } else {
      if (!this.#owned || this.#bytes > this.#memory.length) this.#grow(from, most);
      this.#memory.set(piece, from);
    }
  }

  byte(at: number): number | undefined {
    return at < this.#bytes ? this.#memory![at] : undefined;
  }

  /** A number of four bytes, the highest first; they must be there. */
  uint32(at: number): number {
    return this.#memory!.readUInt32BE(at);
  }

  /** All that has come, in memory that may be written into when more comes. */
  all(): Buffer {
    const memory = this.#memory ?? Buffer.alloc(0);
    return memory.length === this.#bytes ? memory : memory.subarray(0, this.#bytes);
  }

  #grow(held: number, most: number): void {
    const room = Math.max(this.#bytes, Math.min(most, Math.max(FIRST_BYTES, 2 * this.#bytes)));
    const memory = Buffer.allocUnsafeSlow(room);
    this.#memory!.copy(memory, 0, 0, held);
    this.#memory = memory;
    this.#owned = true;
    this.#copied = false;
  }
}

/** Whether a piece would keep much more than itself in memory. */
function keepsMuch({ buffer, length }: Uint8Array): boolean {
  const others = buffer.byteLength - length;
  return others > SPARE_BYTES && others > length;
}

function asBuffer(piece: Uint8Array): Buffer {
  return Buffer.isBuffer(piece) ? piece : Buffer.from(piece.buffer, piece.byteOffset, piece.length);
}
