import type { Clock, Timer } from '../../lib/clock.js';
import { LinkedQueue } from '../../lib/linked-queue.js';

/** Items of a stream, with what came of the stream that goes the other way. */
export interface Ordered<T> {
  /** The number of the first of `items`; counts from 1 on. */
  readonly from: number;
  readonly items: readonly T[];
  /** All up to this number have come from the other side. */
  readonly through: number;
}

export interface OrderedLinkOptions<Out> {
  readonly clock: Clock;
  /** What was not acknowledged for so long is sent again. Milliseconds. */
  readonly resendMs: number;
  /** May lose it; must not call back before it returns. */
  readonly send: (message: Ordered<Out>) => void;
}

/** Items of one message, and of all that are sent and not acknowledged. */
const MOST_ITEMS = 500;

/**
 * One end of two streams over messages that may be lost, come twice, late, or in another order: what is pushed at one end comes out at the
 * other once, and in order. Both ends must begin together: a new partner is a new link. It keeps all that is not acknowledged: whoever pushes
 * without being asked to looks at `waiting`, or at `hasCome`.
 *
 * States: quiet; sending, soon (something was pushed, or came) or again (nothing acknowledges it); closed, for good.
 *
 * What was pushed in one turn goes in one message, once unless that is lost; what comes is acknowledged with what goes back, or alone.
 */
export class OrderedLink<Out, In> {
  readonly #options: OrderedLinkOptions<Out>;
  /** Not acknowledged yet; `#first` is the number of the first. */
  readonly #out = new LinkedQueue<Out>();
  #first = 1;
  /** The number of the last that was sent. */
  #sent = 0;
  #came = 0;
  #closed = false;
  #soon: Timer | undefined;
  #again: Timer | undefined;

  constructor(options: OrderedLinkOptions<Out>) {
    this.#options = options;
  }

  /** Items that are not acknowledged. */
  get waiting(): number {
    return this.#out.size;
  }

  /** Answers the item's number, for `hasCome`. */
  push(item: Out): number {
    if (!this.#closed) this.#out.push(item);
    this.#sendSoon();
    return this.#first + this.#out.size - 1;
  }

  /** Whether the other side is known to have all up to this number. */
  hasCome(number: number): boolean {
    return number < this.#first;
  }

  /** What has come by this message and not before, in order. */
  receive({ from, items, through }: Ordered<In>): readonly In[] {
    const before = this.#first;
    for (; through >= this.#first && this.#out.size > 0; this.#first += 1) this.#out.shift();
    if (this.#first > before) {
      this.#again?.cancel();
      this.#again = this.#resend();
      if (this.#sent < this.#first + this.#out.size - 1) this.#sendSoon();
    }
    // A partner sends from the first on that was not acknowledged, so that nothing is missing before it; one that began without us is no partner.
    const fresh = from > this.#came + 1 ? [] : items.slice(this.#came + 1 - from);
    this.#came += fresh.length;
    if (items.length > 0) this.#sendSoon();
    return fresh;
  }

  /** Sends nothing more. */
  close(): void {
    this.#closed = true;
    this.#soon?.cancel();
    this.#again?.cancel();
    while (this.#out.size > 0) this.#out.shift();
  }

  #sendSoon(): void {
    if (this.#closed) return;
    this.#soon ??= this.#options.clock.setTimer(0, () => this.#send(this.#sent + 1));
  }

  /** What was sent and is not acknowledged is taken for lost, with all that followed it: a partner takes nothing that has a gap before it. */
  #resend(): Timer | undefined {
    if (this.#out.size === 0) return undefined;
    const { clock, resendMs } = this.#options;
    return clock.setTimer(resendMs, () => {
      this.#again = undefined;
      this.#send(this.#first);
    });
  }

  #send(from: number): void {
    this.#soon?.cancel();
    this.#soon = undefined;
    const items = between(this.#out, from - this.#first, MOST_ITEMS);
    this.#sent = Math.max(this.#sent, from + items.length - 1);
    this.#again ??= this.#resend();
    this.#options.send({ from, items, through: this.#came });
  }
}

function between<T>(all: Iterable<T>, from: number, to: number): T[] {
  const found: T[] = [];
  let index = 0;
  for (const item of all) {
    if (index === to) break;
    if (index >= from) found.push(item);
    index += 1;
  }
  return found;
}
