import type { Clock, Timer } from '../../src/lib/clock.js';
import { IndexedHeap } from '../../src/refresh/heap.js';

interface Event {
  key: number;
  heapIndex: number;
  readonly fn: () => void;
}

/** A clock whose time goes from timer to timer, as fast as what they call returns. */
export class VirtualClock implements Clock {
  readonly #events = new IndexedHeap<Event>();
  #nowMs = 0;

  now(): number {
    return this.#nowMs;
  }

  setTimer(delayMs: number, fn: () => void): Timer {
    const event: Event = { key: this.#nowMs + Math.max(0, delayMs), heapIndex: -1, fn };
    this.#events.push(event);
    return {
      cancel: () => {
        if (event.heapIndex >= 0) this.#events.remove(event);
      },
    };
  }

  /** Lets this much time pass. What a timer's function leaves to promises is done before the next timer. */
  async pass(ms: number): Promise<void> {
    const untilMs = this.#nowMs + ms;
    for (let next = this.#events.peek(); next !== undefined && next.key <= untilMs; next = this.#events.peek()) {
      this.#events.remove(next);
      this.#nowMs = next.key;
      next.fn();
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.#nowMs = untilMs;
  }
}
