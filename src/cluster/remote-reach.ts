import type { MemberSays } from '../state/index.js';

/**
 * A remote is down for so long before that is said, and answers for so long before it is taken back: where it is away from all, or comes back
 * for all, the others find the same within that time, and nothing moves. Milliseconds.
 */
const SETTLED_MS = 10_000;
/** So long it is believed of a remote that nothing is heard of; twice as long after each time that this was right. */
const FIRST_BELIEF_MS = 60_000;
const LONGEST_BELIEF_MS = 30 * 60_000;

/** What a member has seen of one remote. Milliseconds since the epoch. */
export interface RemoteSight {
  /** Its first failure since it last answered; undefined where none was. */
  readonly failingSinceMs: number | undefined;
  /** It is taken to be down. */
  readonly down: boolean;
  /** When it last answered any call; -Infinity where it never did. */
  readonly answeredAtMs: number;
}

interface Belief {
  said: 'doubted' | 'unreachable';
  /** When it failed, as far as was seen; since when it answers. */
  failedAtMs: number;
  answersSinceMs: number | undefined;
  /** So often in a row it was said to be unreachable. */
  times: number;
}

/**
 * Which remotes a member cannot reach. One that gave its tasks away makes no calls, and hears of no end: so each is believed for a time, and
 * then doubted, for which it is given a part that tries it (`nextMoves`). Pure: time is handed in.
 *
 * States of a remote: reached → doubted, as soon as it fails → unreachable, once it is down for a time → doubted, once it answers, or nothing
 * was heard of it for as long as it is believed → reached, once it has answered for a time. What was unreachable is so again as soon as it is down,
 * and is believed for twice as long. Nothing but an answer makes it reached: that its last task is gone says nothing.
 */
export class RemoteReach {
  readonly #beliefs = new Map<string, Belief>();

  saw(plugin: string, sight: RemoteSight, nowMs: number): void {
    const { failingSinceMs, down, answeredAtMs } = sight;
    const known = this.#beliefs.get(plugin);
    // A failure that came when its last task was gone already stays the last that is heard of it.
    const tells = down || known?.said !== 'unreachable';
    if (tells && failingSinceMs !== undefined && answeredAtMs <= failingSinceMs) {
      const belief: Belief = known ?? { said: 'doubted', failedAtMs: nowMs, answersSinceMs: undefined, times: 0 };
      this.#beliefs.set(plugin, belief);
      belief.failedAtMs = nowMs;
      belief.answersSinceMs = undefined;
      const isSettled = belief.times > 0 || nowMs - failingSinceMs >= SETTLED_MS;
      if (!down || !isSettled || belief.said === 'unreachable') return;
      belief.said = 'unreachable';
      belief.times += 1;
    } else if (known !== undefined) this.#recovers(plugin, known, answeredAtMs >= known.failedAtMs, nowMs);
  }

  #recovers(plugin: string, belief: Belief, answers: boolean, nowMs: number): void {
    const { times, failedAtMs } = belief;
    if (answers) {
      belief.said = 'doubted';
      belief.answersSinceMs ??= nowMs;
      if (times === 0 || nowMs - belief.answersSinceMs >= SETTLED_MS) this.#beliefs.delete(plugin);
    } else if (nowMs - failedAtMs >= beliefMs(times)) {
      belief.said = 'doubted';
      // It was never said to be unreachable.
      if (times === 0) this.#beliefs.delete(plugin);
    }
  }

  /** As it is told to the others. */
  get said(): Required<Pick<MemberSays, 'unreachable' | 'doubted'>> {
    const all = [...this.#beliefs].sort(([a], [b]) => (a < b ? -1 : 1));
    const those = (what: Belief['said']) => all.filter(([, { said }]) => said === what).map(([plugin]) => plugin);
    return { unreachable: those('unreachable'), doubted: those('doubted') };
  }
}

function beliefMs(times: number): number {
  return Math.min(LONGEST_BELIEF_MS, FIRST_BELIEF_MS * 2 ** Math.max(0, Math.min(times, 30) - 1));
}
