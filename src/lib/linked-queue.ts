/** A member's place in a LinkedQueue; made by `push`, good for one `remove`. */
export interface QueueNode<T> {
  readonly value: T;
}

interface Node<T> extends QueueNode<T> {
  previous: Node<T> | undefined;
  next: Node<T> | undefined;
  owner: LinkedQueue<T> | undefined;
}

/**
 * First in, first out, with removal from anywhere; every operation takes constant time, also after many removals.
 *
 * A node is in its queue from `push` until `shift` or `remove`; it has no other state.
 */
export class LinkedQueue<T> implements Iterable<T> {
  #first: Node<T> | undefined;
  #last: Node<T> | undefined;
  #size = 0;
  /** Walks under way, and what was removed meanwhile: they find their way on by its links. */
  #walks = 0;
  readonly #left: Node<T>[] = [];

  get size(): number {
    return this.#size;
  }

  peek(): T | undefined {
    return this.#first?.value;
  }

  push(value: T): QueueNode<T> {
    const node: Node<T> = { value, previous: this.#last, next: undefined, owner: this };
    if (this.#last === undefined) this.#first = node;
    else this.#last.next = node;
    this.#last = node;
    this.#size += 1;
    return node;
  }

  shift(): T | undefined {
    const node = this.#first;
    if (node === undefined) return undefined;
    this.remove(node);
    return node.value;
  }

  /** False when the member is not in this queue (any more). */
  remove(place: QueueNode<T>): boolean {
    const node = place as Node<T>;
    if (node.owner !== this) return false;
    node.owner = undefined;
    if (node.previous === undefined) this.#first = node.next;
    else node.previous.next = node.next;
    if (node.next === undefined) this.#last = node.previous;
    else node.next.previous = node.previous;
    this.#size -= 1;
    if (this.#walks > 0) this.#left.push(node);
    else unlink(node);
    return true;
  }

  /** In order; members may be removed meanwhile, the one just seen included. */
  *[Symbol.iterator](): Iterator<T> {
    this.#walks += 1;
    try {
      for (let node = this.#first; node !== undefined; ) {
        const next = node.next;
        yield node.value;
        node = next;
      }
    } finally {
      this.#walks -= 1;
      if (this.#walks === 0) for (const node of this.#left.splice(0)) unlink(node);
    }
  }
}

/** One that has left refers to no other, or each would be kept by those that left before it (as in the tables of `IdTable`). */
function unlink(node: Node<unknown>): void {
  node.previous = undefined;
  node.next = undefined;
}
