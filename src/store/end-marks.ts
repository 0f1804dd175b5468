import { LRUCache } from 'lru-cache';
import type { Clock } from '../lib/clock.js';
import { cutText } from '../lib/text.js';
import type { AttemptKey } from '../model/attempt-key.js';
import { type PhaseState, phaseState } from '../model/phase-state.js';
import { aging } from './aging.js';

export interface EndMarksOptions {
  readonly clock: Clock;
  /** Bound of the cache in units: one for each mark, and one for each 128 characters of a remembered end. */
  readonly max: number;
  /** The replay window: how long after its end an attempt is told from a new one. */
  readonly ttlMs: number;
}

/** How one incarnation of an attempt ended. */
export interface EndMark {
  /** The engine deleted it: the same key starts the next incarnation. */
  readonly deleted: boolean;
  /** It was over, deleted then or not. */
  readonly ended: boolean;
  /** Phase and error of one that failed, so that its handle goes on answering them. */
  readonly failure: PhaseState | undefined;
  /** The incarnation that took its place under the same handle. */
  readonly next: number | undefined;
}

const MAX_MESSAGE = 1_024;
/** No honest attempt is deleted and created anew so often. */
const MAX_INCARNATIONS = 1_000;

/**
 * The marks of one key. Hundreds of thousands are kept for an hour, most of them of one incarnation: that one stands here by itself, and
 * where there are several, all of them in a map.
 */
interface Marks {
  readonly incarnation: number;
  readonly mark: EndMark;
  readonly several: Map<number, EndMark> | undefined;
  readonly units: number;
  /** When the last of them was set, epoch milliseconds. */
  readonly atMs: number;
}

/**
 * Remembers for the replay window how the incarnations of an attempt ended, whatever becomes of their records (rule 8): so
 * a repeated create is told from a new one, a late call with an old handle touches nothing new, and an end is not
 * forgotten. Marks of one key are kept together and as long as the last of them.
 */
export class EndMarks {
  readonly #keys: LRUCache<AttemptKey, Marks>;
  readonly #clock: Clock;
  readonly #changed: (key: AttemptKey) => void;

  /** `changed` is told of every key whose marks are others now, or gone; `forgotten` when marks give way within their window. */
  constructor(
    { clock, max, ttlMs }: EndMarksOptions,
    changed: (key: AttemptKey) => void = () => {},
    forgotten: () => void = () => {},
  ) {
    this.#changed = changed;
    this.#clock = clock;
    this.#keys = new LRUCache({
      // A bound by size and not by count: for the latter the cache allocates its arrays in full, 34 MB for a million.
      maxSize: max,
      sizeCalculation: (marks) => marks.units,
      dispose: (marks, key, reason) => {
        if (reason !== 'set') this.#changed(key);
        if (reason === 'evict' && clock.now() - marks.atMs < ttlMs) forgotten();
      },
      ...aging(clock, ttlMs),
    });
  }

  /** Keys with marks. */
  get size(): number {
    return this.#keys.size;
  }

  get(key: AttemptKey, incarnation: number): EndMark | undefined {
    return markOf(this.#keys.get(key), incarnation);
  }

  /** All that is known of a key; does not count as use. */
  of(key: AttemptKey): { readonly byIncarnation: ReadonlyMap<number, EndMark>; readonly atMs: number } | undefined {
    const marks = this.#keys.peek(key);
    return marks && { byIncarnation: marks.several ?? new Map([[marks.incarnation, marks.mark]]), atMs: marks.atMs };
  }

  keys(): Iterable<AttemptKey> {
    return this.#keys.keys();
  }

  /** The incarnation that the handle of this one stands for by now. */
  follow(key: AttemptKey, incarnation: number): number {
    const next = this.get(key, incarnation)?.next;
    return next === undefined || next <= incarnation ? incarnation : this.follow(key, next);
  }

  /** Adds what is known to the mark of an incarnation. What it said stays true. */
  set(key: AttemptKey, incarnation: number, known: Partial<EndMark>): void {
    const marks = this.#keys.get(key);
    const before = markOf(marks, incarnation);
    const mark = shared({
      deleted: before?.deleted === true || known.deleted === true,
      ended: before?.ended === true || known.ended === true,
      failure: before?.failure ?? known.failure,
      next: before?.next ?? known.next,
    });
    let units = (marks?.units ?? 0) + unitsOf(mark) - (before === undefined ? 0 : unitsOf(before));
    let several = marks?.several;
    if (marks !== undefined && (several !== undefined || marks.incarnation !== incarnation)) {
      several ??= new Map([[marks.incarnation, marks.mark]]);
      several.set(incarnation, mark);
      for (const [oldest, dropped] of several) {
        if (several.size <= MAX_INCARNATIONS) break;
        several.delete(oldest);
        units -= unitsOf(dropped);
      }
    }
    // A new object each time: the cache does not measure the same one again.
    this.#keys.set(key, { incarnation, mark, several, units, atMs: this.#clock.now() });
    this.#changed(key);
  }

  /** Takes back the marks of a key that an earlier run wrote, as old as they are. */
  restore(key: AttemptKey, byIncarnation: Map<number, EndMark>, atMs: number): void {
    const known = [...byIncarnation].map(([incarnation, mark]) => ({ incarnation, mark: shared(mark) }));
    const first = known[0];
    if (first === undefined) return;
    const several = known.length === 1 ? undefined : byIncarnation;
    const units = known.reduce((sum, { mark }) => sum + unitsOf(mark), 0);
    const start = Math.min(atMs, this.#clock.now());
    this.#keys.set(key, { ...first, several, units, atMs: start }, { start });
  }

  /** Lets go of what is past its time. */
  dropOld(): void {
    this.#keys.purgeStale();
  }

  /** The first incarnation that was not deleted; one that ended is still the attempt's own. */
  firstOpen(key: AttemptKey): number {
    const marks = this.#keys.get(key);
    let incarnation = 1;
    while (markOf(marks, incarnation)?.deleted === true) incarnation += 1;
    return incarnation;
  }
}

function markOf(marks: Marks | undefined, incarnation: number): EndMark | undefined {
  if (marks?.several !== undefined) return marks.several.get(incarnation);
  return marks?.incarnation === incarnation ? marks.mark : undefined;
}

/** What most marks say, once for all of them. */
const PLAIN: readonly EndMark[] = [false, true].flatMap((deleted) =>
  [false, true].map((ended) => Object.freeze({ deleted, ended, failure: undefined, next: undefined })),
);

function shared(mark: EndMark): EndMark {
  const { deleted, ended, failure, next } = mark;
  if (failure !== undefined || next !== undefined) return mark;
  return PLAIN.find((plain) => plain.deleted === deleted && plain.ended === ended) ?? mark;
}

/** What a mark keeps of the end of a task: nothing that is large, and no outputs. */
export function endOf(state: PhaseState): Pick<EndMark, 'ended' | 'failure'> {
  if (state.phase === 'SUCCESS') return { ended: true, failure: undefined };
  const { error, reason, remotePhase } = state;
  const short = error === undefined ? undefined : { ...error, message: cutText(error.message, MAX_MESSAGE) };
  const parts = { reason: cutText(reason, MAX_MESSAGE), error: short, remotePhase: cutText(remotePhase, MAX_MESSAGE) };
  return { ended: true, failure: phaseState(state.phase, parts) };
}

function unitsOf({ failure }: EndMark): number {
  if (failure === undefined) return 1;
  return 2 + Math.ceil((failure.reason.length + (failure.error?.message.length ?? 0)) / 128);
}
