import { LRUCache } from 'lru-cache';
import type { Clock } from '../lib/clock.js';
import type { TaskId } from '../model/attempt-key.js';
import type { TaskIdentity } from '../model/handle.js';
import type { PhaseState } from '../model/phase-state.js';
import type { TaskRecord } from '../model/task-record.js';
import { aging } from './aging.js';
import { stateBytes } from './state-bytes.js';

export interface FinishedTasksOptions {
  readonly clock: Clock;
  readonly maxCount: number;
  readonly maxBytes: number;
  readonly ttlMs: number;
}

/** What is remembered of a finished task that gave way to others. */
export interface FinishedTrace {
  readonly identity: TaskIdentity;
  readonly meta: Buffer | undefined;
  readonly outputPrefix: string;
  readonly answeredHandle: Buffer;
  readonly phaseVersion: number;
  /** The engine deleted the task after its end. */
  readonly deleted: boolean;
  /** Undefined where the answer carried outputs: they are read again. */
  readonly state: PhaseState | undefined;
}

/**
 * Bytes are kept as text, as an `Entry` keeps them: a Buffer of their size lies in a slab of 8 KiB, all of which it would keep alive.
 *
 * States: its task is over → `deleted` by its engine as well.
 */
class Trace implements FinishedTrace {
  readonly identity: TaskIdentity;
  readonly outputPrefix: string;
  readonly phaseVersion: number;
  readonly state: PhaseState | undefined;
  deleted: boolean;
  readonly #meta: string | undefined;
  readonly #handle: string;

  constructor(task: TaskRecord & { readonly known: PhaseState }, answeredHandle: Buffer) {
    this.identity = task.identity;
    this.outputPrefix = task.outputPrefix;
    this.phaseVersion = task.phaseVersion;
    this.deleted = task.deleted;
    const { known } = task;
    this.state =
      known.outputs.kind === 'inline' ? undefined : { ...known, customInfo: undefined, externalResources: [] };
    this.#handle = answeredHandle.toString('latin1');
    this.#meta = task.meta?.toString('latin1');
  }

  get meta(): Buffer | undefined {
    return this.#meta === undefined ? undefined : Buffer.from(this.#meta, 'latin1');
  }

  get answeredHandle(): Buffer {
    return Buffer.from(this.#handle, 'latin1');
  }

  /** About what it holds in memory. */
  get bytes(): number {
    return (
      512 + (this.#meta?.length ?? 0) + this.#handle.length + (this.state === undefined ? 0 : stateBytes(this.state))
    );
  }
}

/** Traces may take this part of what the tasks themselves may. */
const TRACES_SHARE = 1 / 4;

/**
 * Finished tasks for late questions: an LRU bounded by count, bytes and age (rule 11). One that gives way for room leaves a
 * trace, bounded by bytes and age, so that a late question is still answered the same and a repeated create makes no second
 * job. A task larger than the whole bound is held alone, until the next one comes.
 */
export class FinishedTasks<T extends TaskRecord & { readonly known: PhaseState }> {
  readonly #tasks: LRUCache<TaskId, T>;
  readonly #traces: LRUCache<TaskId, Trace>;

  /** `left` is told of every record that is no longer held. */
  constructor(options: FinishedTasksOptions, left: (task: T) => void) {
    const { clock, maxCount, maxBytes, ttlMs } = options;
    this.#traces = new LRUCache({
      ...aging(clock, ttlMs),
      maxSize: Math.ceil(maxBytes * TRACES_SHARE),
      sizeCalculation: (trace) => trace.bytes,
    });
    this.#tasks = new LRUCache({
      ...aging(clock, ttlMs),
      max: maxCount,
      maxSize: maxBytes,
      sizeCalculation: (task) => Math.min(maxBytes, 1024 + stateBytes(task.known) + (task.meta?.length ?? 0)),
      dispose: (task, id, reason) => {
        if (reason === 'evict') this.#remember(id, task);
        left(task);
      },
    });
  }

  get size(): number {
    return this.#tasks.size;
  }

  has(id: TaskId): boolean {
    return this.#tasks.has(id);
  }

  /** Counts as use. */
  get(id: TaskId): T | undefined {
    return this.#tasks.get(id);
  }

  /** Does not count as use. */
  peek(id: TaskId): T | undefined {
    return this.#tasks.peek(id);
  }

  /** `endedAtMs`: of a task that an earlier run saw end. */
  set(id: TaskId, task: T, endedAtMs?: number): void {
    this.#traces.delete(id);
    this.#tasks.set(id, task, endedAtMs === undefined ? {} : { start: endedAtMs });
  }

  /** Lets go of what is past its time, which nobody may ever ask for. */
  dropOld(): void {
    this.#tasks.purgeStale();
    this.#traces.purgeStale();
  }

  /** The task of this trace was deleted. */
  markDeleted(id: TaskId): void {
    const trace = this.#traces.peek(id);
    if (trace === undefined) return;
    trace.deleted = true;
    // Its time begins anew.
    this.#traces.set(id, trace);
  }

  trace(id: TaskId): FinishedTrace | undefined {
    return this.#traces.get(id);
  }

  /** A task that nobody was given a handle of is asked for by nobody. */
  #remember(id: TaskId, task: T): void {
    const { answeredHandle } = task;
    if (answeredHandle !== undefined) this.#traces.set(id, new Trace(task, answeredHandle));
  }
}
