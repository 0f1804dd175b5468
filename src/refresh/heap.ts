/** What a heap member carries for the heap: its key and where it lies. A member is in one heap at a time. */
export interface HeapMember {
  key: number;
  /** Position in the heap; -1 outside. Written by the heap alone. */
  heapIndex: number;
}

/** A binary heap, smallest key first, whose members can be taken out from anywhere in logarithmic time. */
export class IndexedHeap<T extends HeapMember> {
  readonly #members: T[] = [];

  get size(): number {
    return this.#members.length;
  }

  peek(): T | undefined {
    return this.#members[0];
  }

  push(member: T): void {
    member.heapIndex = this.#members.length;
    this.#members.push(member);
    this.#up(member.heapIndex);
  }

  pop(): T | undefined {
    const first = this.#members[0];
    if (first !== undefined) this.remove(first);
    return first;
  }

  remove(member: T): void {
    const at = member.heapIndex;
    const last = this.#members.pop() as T;
    member.heapIndex = -1;
    if (last === member) return;
    this.#put(last, at);
    this.#up(at);
    this.#down(last.heapIndex);
  }

  /** Restores the order after the member's key was changed. */
  moved(member: T): void {
    this.#up(member.heapIndex);
    this.#down(member.heapIndex);
  }

  /** Restores the order after any number of keys were changed. */
  rebuild(): void {
    for (let i = (this.#members.length >> 1) - 1; i >= 0; i--) this.#down(i);
  }

  /** How many members have a key of at most `bound`; looks at these and their neighbours only. */
  countUpTo(bound: number): number {
    const stack = [0];
    let count = 0;
    for (let at = stack.pop(); at !== undefined; at = stack.pop()) {
      const member = this.#members[at];
      if (member === undefined || member.key > bound) continue;
      count += 1;
      stack.push(2 * at + 1, 2 * at + 2);
    }
    return count;
  }

  *[Symbol.iterator](): Iterator<T> {
    yield* this.#members;
  }

  #put(member: T, at: number): void {
    this.#members[at] = member;
    member.heapIndex = at;
  }

  #up(from: number): void {
    let at = from;
    const member = this.#members[at] as T;
    while (at > 0) {
      const parentAt = (at - 1) >> 1;
      const parent = this.#members[parentAt] as T;
      if (parent.key <= member.key) break;
      this.#put(parent, at);
      at = parentAt;
    }
    this.#put(member, at);
  }

  #down(from: number): void {
    let at = from;
    const member = this.#members[at] as T;
    for (;;) {
      const left = this.#members[2 * at + 1];
      if (left === undefined) break;
      const right = this.#members[2 * at + 2];
      const child = right !== undefined && right.key < left.key ? right : left;
      if (child.key >= member.key) break;
      const childAt = child.heapIndex;
      this.#put(child, at);
      at = childAt;
    }
    this.#put(member, at);
  }
}
