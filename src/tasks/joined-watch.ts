import { createDeferred, type Deferred } from '../lib/deferred.js';
import type { WatchEvent, WatchReader } from '../model/watch.js';
import { partedToken } from '../model/watch-token.js';

interface Side {
  readonly part: number;
  readonly reader: WatchReader;
  /** It was asked for its next event, which is not handed on yet. */
  asked: boolean;
  /** Came, and is not handed on yet. */
  event: WatchEvent | undefined;
  /** Nothing comes of it any more. */
  ended: boolean;
}

/**
 * Several readers as one, whose token holds a position for each. Of each reader one event is held at a time, so that a slow caller costs
 * as many, and a position counts once its event was handed on. Of a part that is not here the token keeps the position that it came with.
 *
 * States: reading → each side ends, by its draining bookmark or its close → ended; or → `end`, which needs not wait for what sides hold,
 * since the token says that it was not told. The draining bookmark comes once, when all have told theirs.
 */
export class JoinedWatch implements WatchReader {
  readonly #sides: Side[] = [];
  /** In each part, after what was handed on of it. */
  readonly #positions: Map<number, string>;
  /** Whose turn it is to be looked at first, so that a busy one keeps no other from being told. */
  #turn = 0;
  #drained = false;
  #ends = false;
  #closed = false;
  readonly #onClose: () => void;
  #waiting: Deferred<void> | undefined;
  #failed: { readonly error: unknown } | undefined;

  /** `positions`: in parts that have no reader; `closed` is told once. */
  constructor(
    readers: ReadonlyMap<number, WatchReader>,
    positions: ReadonlyMap<number, string> = new Map(),
    closed: () => void = () => {},
  ) {
    this.#positions = new Map(positions);
    this.#onClose = closed;
    for (const [part, reader] of readers) this.add(part, reader);
  }

  has(part: number): boolean {
    return this.#sides.some((side) => side.part === part);
  }

  /** A part that came. */
  add(part: number, reader: WatchReader): void {
    this.#positions.set(part, reader.bookmark().resumeToken);
    this.#sides.push({ part, reader, asked: false, event: undefined, ended: false });
    this.#waiting?.resolve();
  }

  /** Its reader gets the draining bookmark next, and goes on elsewhere with its token. */
  end(): void {
    this.#ends = true;
    this.#drained = true;
    this.#waiting?.resolve();
  }

  async next(): Promise<WatchEvent | undefined> {
    for (;;) {
      if (this.#failed !== undefined) throw this.#failed.error;
      if (this.#closed) return undefined;
      if (this.#ends) {
        // What a reader was about to answer has come then, and counts as not told.
        await new Promise((resolve) => setImmediate(resolve));
        this.#passOver();
        return this.#end();
      }
      for (const side of this.#sides) this.#ask(side);
      const event = this.#handOn();
      if (event !== undefined) return event;
      if (this.#sides.length > 0 && this.#sides.every(({ ended }) => ended)) return this.#end();
      this.#waiting = createDeferred<void>();
      await this.#waiting.promise;
    }
  }

  bookmark(): WatchEvent {
    this.#passOver();
    return { kind: 'bookmark', resumeToken: this.#token, draining: false };
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#onClose();
    for (const { reader } of this.#sides) reader.close();
    this.#waiting?.resolve();
  }

  /** One that has nothing to tell may have passed over what was not wanted. */
  #passOver(): void {
    for (const side of this.#sides) {
      if (side.event === undefined && !side.ended) this.#positions.set(side.part, side.reader.bookmark().resumeToken);
    }
  }

  get #token(): string {
    return partedToken(this.#positions);
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
            this.#positions.set(side.part, event.resumeToken);
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
      this.#positions.set(side.part, event.resumeToken);
      return { ...event, resumeToken: this.#token };
    }
    return undefined;
  }

  #end(): WatchEvent | undefined {
    this.close();
    if (!this.#drained) return undefined;
    return { kind: 'bookmark', resumeToken: this.#token, draining: true };
  }
}
