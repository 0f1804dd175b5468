import type { TaskRecord } from '../model/task-record.js';

/** What all answers of one protocol may take, in bytes and in number. An answer larger than a quarter of that is not kept. */
const MAX_BYTES = 64 * 1024 * 1024;
const MAX_ANSWERS = 65_536;

interface Answer {
  readonly revision: number;
  readonly bytes: Buffer;
}

/**
 * Encoded answers about tasks, for as long as nothing visible changed. Bounded: the one that was made first goes first, and
 * what is gone is encoded anew. Each answer has memory of its own, since a piece of Node's pool would keep the whole pool alive.
 */
export class AnswerCache {
  readonly #answers = new Map<TaskRecord, Answer>();
  readonly #bounds: { readonly bytes: number; readonly answers: number };
  #bytes = 0;

  constructor(bounds = { bytes: MAX_BYTES, answers: MAX_ANSWERS }) {
    this.#bounds = bounds;
  }

  get size(): number {
    return this.#answers.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** The answer about the task as it is now; `encode` makes it where there is none. */
  of(task: TaskRecord, encode: () => Buffer): Buffer {
    const known = this.#answers.get(task);
    if (known !== undefined && known.revision === task.revision) return known.bytes;
    if (known !== undefined) this.#drop(task, known);
    return this.#keep(task, encode());
  }

  #keep(task: TaskRecord, made: Buffer): Buffer {
    if (made.length > this.#bounds.bytes / 4) return made;
    const bytes = Buffer.allocUnsafeSlow(made.length);
    made.copy(bytes);
    this.#answers.set(task, { revision: task.revision, bytes });
    this.#bytes += bytes.length;
    for (const [oldest, answer] of this.#answers) {
      if (this.#answers.size <= this.#bounds.answers && this.#bytes <= this.#bounds.bytes) break;
      this.#drop(oldest, answer);
    }
    return bytes;
  }

  #drop(task: TaskRecord, { bytes }: Answer): void {
    this.#answers.delete(task);
    this.#bytes -= bytes.length;
  }
}
