import type { Clock, Timer } from '../../lib/clock.js';
import type { Connection } from './connections.js';

/** How often connections are looked at. */
const LOOK_MS = 50;
/** What a connection may bring at once that comes to nothing; honest ones have some KiB of it beside the largest answers. */
const MOST_BYTES = 256 * 1024;
/** And lastingly. */
const BYTES_PER_MS = 64;
/** Of so many bytes that are sent to it a peer may say one: it tells what it has taken, for the stream and for the connection. */
const SENT_FOR_ONE = 64;

interface Heard {
  /** What had come to nothing at the last look; below zero where headers were packed well. */
  noise: number;
  /** Of MOST_BYTES, so much is used up. */
  level: number;
}

/**
 * Connections whose bytes come to nothing: headers that are too many, pings, settings, frames that are empty. The transport takes them
 * without a word to anybody, and as much in one turn as has come, so that no share of a turn can be kept; what does show is that more
 * was read than calls account for. Who goes on so is cut.
 *
 * States: still while no connection is open, else looking now and then.
 */
export class Noise {
  readonly #clock: Clock;
  readonly #cut: (connection: Connection) => void;
  readonly #open = new Map<Connection, Heard>();
  #timer: Timer | undefined;
  #lookedMs = 0;

  constructor(clock: Clock, cut: (connection: Connection) => void) {
    this.#clock = clock;
    this.#cut = cut;
  }

  opened(connection: Connection): void {
    this.#open.set(connection, { noise: noiseOf(connection), level: 0 });
    if (this.#timer === undefined) this.#later();
  }

  gone(connection: Connection): void {
    this.#open.delete(connection);
    if (this.#open.size > 0) return;
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #later(): void {
    this.#lookedMs = this.#clock.now();
    this.#timer = this.#clock.setTimer(LOOK_MS, () => this.#look());
  }

  #look(): void {
    const drained = (this.#clock.now() - this.#lookedMs) * BYTES_PER_MS;
    for (const [connection, heard] of this.#open) {
      const noise = noiseOf(connection);
      heard.level = Math.max(0, heard.level + noise - heard.noise - drained);
      heard.noise = noise;
      if (heard.level <= MOST_BYTES) continue;
      this.#open.delete(connection);
      this.#cut(connection);
    }
    if (this.#open.size > 0) this.#later();
    else this.#timer = undefined;
  }
}

/** A socket that is gone has read nothing any more. */
const noiseOf = ({ socket, accounted }: Connection): number =>
  (socket.bytesRead ?? 0) - accounted - (socket.bytesWritten ?? 0) / SENT_FOR_ONE;
