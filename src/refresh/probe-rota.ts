import type { Item } from './item.js';
import type { RemoteState } from './remote-state.js';
import type { Schedule } from './schedule.js';

/** What the next probe is of, or how long nothing is to be probed, in milliseconds. */
export interface NextProbe {
  readonly item: Item | undefined;
  readonly inMs: number;
}

/**
 * Who is read next while the remote is down. Tasks that were never read here take turns with all others, at distances of
 * their own, and of the others those that were read well, the one that was read last before all, with those that fail. So
 * neither a new job nor one that runs waits behind every job that cannot be read, and no task speaks for all.
 *
 * It has no states but whose turn is next: of the new against the others, and of those read well against those that fail.
 */
export class ProbeRota {
  readonly #schedule: Schedule;
  readonly #remote: RemoteState;
  #freshTurn = true;
  #wellTurn = true;

  constructor(schedule: Schedule, remote: RemoteState) {
    this.#schedule = schedule;
    this.#remote = remote;
  }

  next(nowMs: number): NextProbe {
    const freshDueMs = this.#schedule.firstDueMs('fresh');
    const freshAtMs = Math.max(freshDueMs ?? Number.POSITIVE_INFINITY, this.#remote.nextProbeAtMs('fresh'));
    const anyOther = ['well', 'failing'] as const;
    const others = anyOther.some((standing) => this.#schedule.firstDueMs(standing) !== undefined);
    const otherAtMs = others ? this.#remote.nextProbeAtMs('rotation') : Number.POSITIVE_INFINITY;
    const fresh = freshAtMs <= nowMs && (this.#freshTurn || otherAtMs > nowMs);
    if (!fresh && otherAtMs > nowMs) return { item: undefined, inMs: Math.min(freshAtMs, otherAtMs) - nowMs };
    this.#freshTurn = !fresh;
    return { item: fresh ? this.#schedule.takeFirst('fresh') : this.#other(), inMs: 0 };
  }

  #other(): Item | undefined {
    const order = this.#wellTurn ? (['well', 'failing'] as const) : (['failing', 'well'] as const);
    for (const standing of order) {
      const item = (standing === 'well' ? this.#lastAnswered() : undefined) ?? this.#schedule.takeFirst(standing);
      if (item === undefined) continue;
      this.#wellTurn = standing === 'failing';
      return item;
    }
    return undefined;
  }

  /** The likeliest to show that the remote is back, if it is queued and has not failed since. */
  #lastAnswered(): Item | undefined {
    const { answeredBy } = this.#remote;
    const item = answeredBy === undefined ? undefined : this.#schedule.get(answeredBy);
    if (item?.bin === undefined || item.retries > 0) return undefined;
    this.#schedule.take(item);
    return item;
  }
}
