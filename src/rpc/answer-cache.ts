import type { TaskRecord } from '../model/task-record.js';

/** What all answers of one protocol may take, in bytes and in number. An answer larger than a quarter of that is not kept. */
const MAX_BYTES = 64 * 1024 * 1024;
const MAX_ANSWERS = 65_536;

/** Up to this an answer is kept as text of one byte a character: a Buffer costs two objects and some 300 bytes beside its own. */
const MAX_TEXT = 4_096;

interface Answer {
  readonly revision: number;
  readonly kept: string | Buffer;
}

/**
 * Encoded answers about tasks, for as long as nothing visible changed. Bounded: the one that was made first goes first, and
 * what is gone is encoded anew. A large answer has memory of its own, since a piece of Node's pool would keep the whole pool alive.
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
    if (known !== undefined && known.revision === task.revision) return bytesOf(known.kept);
    if (known !== undefined) this.#drop(task, known);
    return this.#keep(task, encode());
  }

  /** The answer about the task as it is now, if it is kept. */
  peek(task: TaskRecord): Buffer | undefined {
    const known = this.#answers.get(task);
    return known?.revision === task.revision ? bytesOf(known.kept) : undefined;
  }

  #keep(task: TaskRecord, made: Buffer): Buffer {
    if (made.length > this.#bounds.bytes / 4) return made;
    this.#answers.set(task, { revision: task.revision, kept: keptOf(made) });
    this.#bytes += made.length;
    for (const [oldest, answer] of this.#answers) {
      if (this.#answers.size <= this.#bounds.answers && this.#bytes <= this.#bounds.bytes) break;
      this.#drop(oldest, answer);
    }
    return made;
  }

  #drop(task: TaskRecord, { kept }: Answer): void {
    this.#answers.delete(task);
    this.#bytes -= kept.length;
  }
}

function keptOf(made: Buffer): string | Buffer {
  if (made.length <= MAX_TEXT) return made.toString('latin1');
  const own = Buffer.allocUnsafeSlow(made.length);
  made.copy(own);
  return own;
}

function bytesOf(kept: string | Buffer): Buffer {
  return typeof kept === 'string' ? Buffer.from(kept, 'latin1') : kept;
}
