import { createDeferred, type Deferred } from '../lib/deferred.js';
import type { WatchEvent, WatchReader } from '../model/watch.js';

/** Between the positions of a joined token; none of a ring has it. */
const BETWEEN = '-';

/** The position of each of so many readers. What comes of other readers, or of another number of them, is another run's to each. */
export function positionsOf(token: string, readers: number): readonly string[] {
  const positions = token.split(BETWEEN);
  return positions.length === readers ? positions : Array.from({ length: readers }, () => positions[0] as string);
}

interface Side {
  readonly reader: WatchReader;
  /** The position after what was handed on of it. */
  token: string;
  /** It was asked for its next event, which is not handed on yet. */
  asked: boolean;
  /** Came, and is not handed on yet. */
  event: WatchEvent | undefined;
  /** Nothing comes of it any more. */
  ended: boolean;
}

/**
 * Several readers as one, whose token holds a position for each. Of each reader one event is held at a time, so that a slow caller costs
 * as many, and a position counts once its event was handed on.
 *
 * States: reading → each side ends, by its draining bookmark or its close → ended. The draining bookmark comes once, when all have told
 * theirs.
 */
export class JoinedWatch implements WatchReader {
  readonly #sides: readonly Side[];
  /** Whose turn it is to be looked at first, so that a busy one keeps no other from being told. */
  #turn = 0;
  #drained = false;
  #closed = false;
  #waiting: Deferred<void> | undefined;
  #failed: { readonly error: unknown } | undefined;

  constructor(readers: readonly WatchReader[]) {
    this.#sides = readers.map((reader) => {
      const token = reader.bookmark().resumeToken;
      return { reader, token, asked: false, event: undefined, ended: false };
    });
  }

  async next(): Promise<WatchEvent | undefined> {
    for (;;) {
      if (this.#failed !== undefined) throw this.#failed.error;
      if (this.#closed) return undefined;
      for (const side of this.#sides) this.#ask(side);
      const event = this.#handOn();
      if (event !== undefined) return event;
      if (this.#sides.every(({ ended }) => ended)) return this.#end();
      this.#waiting = createDeferred<void>();
      await this.#waiting.promise;
    }
  }

  bookmark(): WatchEvent {
    // One that has nothing to tell may have passed over what was not wanted.
    for (const side of this.#sides) {
      if (side.event === undefined && !side.ended) side.token = side.reader.bookmark().resumeToken;
    }
    return { kind: 'bookmark', resumeToken: this.#token, draining: false };
  }

  close(): void {
    this.#closed = true;
    for (const { reader } of this.#sides) reader.close();
    this.#waiting?.resolve();
  }

  get #token(): string {
    return this.#sides.map(({ token }) => token).join(BETWEEN);
  }

  #ask(side: Side): void {
    if (side.asked || side.ended) return;
    side.asked = true;
    side.reader.next().then(
      (event) => {
        const over = event === undefined || (event.kind === 'bookmark' && event.draining);
        if (over) {
          side.ended = true;
          if (event !== undefined) {
            side.token = event.resumeToken;
            this.#drained = true;
          }
        } else side.event = event;
        this.#waiting?.resolve();
      },
      (error: unknown) => {
        this.#failed = { error };
        this.#waiting?.resolve();
      },
    );
  }

  #handOn(): WatchEvent | undefined {
    for (let looked = 0; looked < this.#sides.length; looked++) {
      const side = this.#sides[(this.#turn + looked) % this.#sides.length] as Side;
      const { event } = side;
      if (event === undefined) continue;
      this.#turn = (this.#turn + looked + 1) % this.#sides.length;
      side.event = undefined;
      side.asked = false;
      side.token = event.resumeToken;
      return { ...event, resumeToken: this.#token };
    }
    return undefined;
  }

  #end(): WatchEvent | undefined {
    if (!this.#drained) return undefined;
    this.close();
    return { kind: 'bookmark', resumeToken: this.#token, draining: true };
  }
}
