import { LinkedQueue, type QueueNode } from '../lib/linked-queue.js';
import type { TaskRecord } from '../model/task-record.js';

/** What all answers of one protocol may take, in bytes and in number. An answer larger than a quarter of that is not kept. */
const MAX_BYTES = 64 * 1024 * 1024;
const MAX_ANSWERS = 65_536;

/** Up to this an answer is kept as text of one byte a character: a Buffer costs two objects and some 300 bytes beside its own. */
const MAX_TEXT = 4_096;

interface Answer {
  readonly revision: number;
  /** Undefined once it gave way. */
  kept: string | Buffer | undefined;
  /** Among all that are kept; undefined with it. */
  place: QueueNode<Answer> | undefined;
}

/**
 * Encoded answers about tasks, for as long as nothing visible changed. Bounded: the one that was made first goes first, and
 * what is gone is encoded anew. It holds no task: a record that has left the store leaves memory, whatever was answered about it. A
 * large answer has memory of its own, since a piece of Node's pool would keep the whole pool alive.
 */
export class AnswerCache {
  readonly #byTask = new WeakMap<TaskRecord, Answer>();
  /**
   * What is kept, the oldest first; also of tasks that have left. A set would be walked, each time that its first one gives way, over
   * all that gave way before it.
   */
  readonly #kept = new LinkedQueue<Answer>();
  readonly #bounds: { readonly bytes: number; readonly answers: number };
  #bytes = 0;

  constructor(bounds = { bytes: MAX_BYTES, answers: MAX_ANSWERS }) {
    this.#bounds = bounds;
  }

  get size(): number {
    return this.#kept.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** The answer about the task as it is now; `encode` makes it where there is none. */
  of(task: TaskRecord, encode: () => Buffer): Buffer {
    const known = this.#byTask.get(task);
    if (known?.kept !== undefined && known.revision === task.revision) return bytesOf(known.kept);
    if (known !== undefined) this.#drop(known);
    return this.#keep(task, encode());
  }

  /** The answer about the task as it is now, if it is kept. */
  peek(task: TaskRecord): Buffer | undefined {
    const known = this.#byTask.get(task);
    return known?.kept !== undefined && known.revision === task.revision ? bytesOf(known.kept) : undefined;
  }

  #keep(task: TaskRecord, made: Buffer): Buffer {
    if (made.length > this.#bounds.bytes / 4) return made;
    const answer: Answer = { revision: task.revision, kept: keptOf(made), place: undefined };
    answer.place = this.#kept.push(answer);
    this.#byTask.set(task, answer);
    this.#bytes += made.length;
    while (this.#kept.size > this.#bounds.answers || this.#bytes > this.#bounds.bytes) this.#drop(this.#kept.peek()!);
    return made;
  }

  #drop(answer: Answer): void {
    if (answer.place === undefined) return;
    this.#kept.remove(answer.place);
    this.#bytes -= answer.kept?.length ?? 0;
    answer.kept = undefined;
    answer.place = undefined;
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
