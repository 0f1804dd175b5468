/** What a heap member carries for the heap: its key and where it lies. A member is in one heap at a time. */
export interface HeapMember {
  /** Read by the heap when the member comes, and when it is told that the key changed. */
  key: number;
  /** Position in the heap; -1 outside. Written by the heap alone. */
  heapIndex: number;
}

/**
 * Children of one place. Four make half as many steps as two, and their keys lie beside each other; what costs in a heap of a hundred
 * thousand members is to look at members all over memory.
 */
const WIDTH = 4;

/** A heap, smallest key first, whose members can be taken out from anywhere in logarithmic time. */
export class IndexedHeap<T extends HeapMember> {
  readonly #members: T[] = [];
  /** Of the members, in their order, so that comparing looks at no member. */
  readonly #keys: number[] = [];

  get size(): number {
    return this.#members.length;
  }

  peek(): T | undefined {
    return this.#members[0];
  }

  push(member: T): void {
    const at = this.#members.length;
    this.#members.push(member);
    this.#keys.push(member.key);
    this.#up(at);
  }

  remove(member: T): void {
    const at = member.heapIndex;
    const last = this.#members.pop() as T;
    const key = this.#keys.pop() as number;
    member.heapIndex = -1;
    if (last === member) return;
    this.#put(last, key, at);
    this.#settle(at);
  }

  /** Restores the order after the member's key was changed. */
  moved(member: T): void {
    this.#keys[member.heapIndex] = member.key;
    this.#settle(member.heapIndex);
  }

  /** Restores the order after any number of keys were changed. */
  rebuild(): void {
    for (let at = 0; at < this.#members.length; at++) this.#keys[at] = (this.#members[at] as T).key;
    for (let at = Math.floor((this.#members.length - 2) / WIDTH); at >= 0; at--) this.#down(at);
  }

  /** How many members have a key of at most `bound`; looks at these and their neighbours only. */
  countUpTo(bound: number): number {
    const stack = [0];
    let count = 0;
    for (let at = stack.pop(); at !== undefined; at = stack.pop()) {
      if (at >= this.#keys.length || (this.#keys[at] as number) > bound) continue;
      count += 1;
      for (let child = WIDTH * at + 1; child <= WIDTH * at + WIDTH; child++) stack.push(child);
    }
    return count;
  }

  *[Symbol.iterator](): Iterator<T> {
    yield* this.#members;
  }

  #put(member: T, key: number, at: number): void {
    this.#members[at] = member;
    this.#keys[at] = key;
    member.heapIndex = at;
  }

  #settle(at: number): void {
    const member = this.#members[at] as T;
    this.#up(at);
    if (member.heapIndex === at) this.#down(at);
  }

  #up(from: number): void {
    let at = from;
    const member = this.#members[at] as T;
    const key = this.#keys[at] as number;
    while (at > 0) {
      const parent = (at - 1) >> 2;
      const parentKey = this.#keys[parent] as number;
      if (parentKey <= key) break;
      this.#put(this.#members[parent] as T, parentKey, at);
      at = parent;
    }
    this.#put(member, key, at);
  }

  #down(from: number): void {
    const { length } = this.#keys;
    let at = from;
    const member = this.#members[at] as T;
    const key = this.#keys[at] as number;
    for (let first = WIDTH * at + 1; first < length; first = WIDTH * at + 1) {
      let least = first;
      let leastKey = this.#keys[first] as number;
      for (let child = first + 1; child < Math.min(first + WIDTH, length); child++) {
        const childKey = this.#keys[child] as number;
        if (childKey < leastKey) {
          least = child;
          leastKey = childKey;
        }
      }
      if (key <= leastKey) break;
      this.#put(this.#members[least] as T, leastKey, at);
      at = least;
    }
    this.#put(member, key, at);
  }
}
