import { HostError } from '../errors/index.js';
import { backoffMs } from '../lib/backoff.js';

/**
 * - `starting`: a try to bring it up is under way, and nothing of it has ever served.
 * - `serving`: its process serves.
 * - `crashed`: its process ended, or did not come up again, or not in its time; the next try comes after a back-off.
 * - `quarantined`: it crashed too often; the next try comes after the quarantine.
 * - `starved`: the machine was too short of something to start it, which is no crash; the next try comes after a back-off.
 * - `trying`: a try is under way, of what has served before.
 * - `out`: nothing of it can serve until somebody reloads it.
 * - `stopped`: for good.
 */
export type LifeState = 'starting' | 'serving' | 'crashed' | 'quarantined' | 'starved' | 'trying' | 'out' | 'stopped';

/**
 * Of the turn it belongs to:
 * - `up`: the try brought up what serves from now on;
 * - `failed`: the try brought up nothing;
 * - `slow`: nor did it, since its time was over, as it is where the machine, or what it waits for, stood still;
 * - `short`: the machine had nothing left for the try;
 * - `ended`: the process that serves has ended;
 * - `due`: the wait is over.
 *
 * From outside:
 * - `replaced`: a reload brought up what serves from now on, beside what there was;
 * - `stop`.
 */
export type LifeEvent = 'up' | 'failed' | 'slow' | 'short' | 'ended' | 'due' | 'replaced' | 'stop';

/** `fall` counts a crash, and leads to `crashed` or `quarantined`; `again` leads to `trying`, or `starting` before the first service. */
type Target = LifeState | 'fall' | 'again';

/** Every pair that there is. What is not here cannot happen, but for events of an earlier turn, which are none. */
export const LIFE: Readonly<Record<LifeState, Readonly<Partial<Record<LifeEvent, Target>>>>> = {
  starting: { up: 'serving', failed: 'out', slow: 'fall', short: 'starved', replaced: 'serving', stop: 'stopped' },
  serving: { ended: 'fall', replaced: 'serving', stop: 'stopped' },
  crashed: { due: 'again', replaced: 'serving', stop: 'stopped' },
  quarantined: { due: 'again', replaced: 'serving', stop: 'stopped' },
  starved: { due: 'again', replaced: 'serving', stop: 'stopped' },
  trying: { up: 'serving', failed: 'fall', slow: 'fall', short: 'starved', replaced: 'serving', stop: 'stopped' },
  out: { replaced: 'serving', stop: 'stopped' },
  stopped: { stop: 'stopped' },
};

export interface Pacing {
  readonly restartInitialMs: number;
  readonly restartMaxMs: number;
  /** Crashes within `crashWindowMs` that lead to quarantine. */
  readonly maxCrashes: number;
  readonly crashWindowMs: number;
  readonly quarantineMs: number;
}

export interface LifeOptions extends Pacing {
  readonly now: () => number;
  readonly random: () => number;
}

export interface Move {
  readonly from: LifeState;
  readonly to: LifeState;
  /** Before the next try, in a state that waits for one. */
  readonly waitMs: number;
  /** Within the window; of a move that counted one. */
  readonly crashes: number;
}

/**
 * The life of what shares a process, over all its processes: a state, and what each event makes of it. Pure: what a
 * state needs (a try, a process, a timer, or nothing) its owner starts and ends, move by move.
 *
 * Each move begins a turn. What a state has set going belongs to its turn; when it tells of itself after the state was
 * left (a try that was given up, the process of before a reload), that is news of nobody and moves nothing.
 */
export class Life {
  readonly #options: LifeOptions;
  #state: LifeState = 'starting';
  #turn = 0;
  #hasServed = false;
  /** When, within the window. */
  #crashes: number[] = [];
  /** Tries in a row that the machine had nothing left for. */
  #shortages = 0;

  constructor(options: LifeOptions) {
    this.#options = options;
  }

  get state(): LifeState {
    return this.#state;
  }
  get turn(): number {
    return this.#turn;
  }

  /** What became of something that this turn set going; undefined, and nothing moves, where the turn is over. */
  happened(turn: number, event: Exclude<LifeEvent, 'replaced' | 'stop'>): Move | undefined {
    return turn === this.#turn ? this.#move(event) : undefined;
  }

  /** What somebody asked for. `replaced` forgets the crashes of what it replaces. Throws INTERNAL when it comes after a stop. */
  ordered(event: 'replaced' | 'stop'): Move {
    return this.#move(event);
  }

  #move(event: LifeEvent): Move {
    const from = this.#state;
    const target = LIFE[from][event];
    if (target === undefined) throw new HostError('INTERNAL', `a plugin's process that is ${from} cannot be ${event}`);
    if (event === 'replaced') this.#crashes = [];
    if (event !== 'short' && event !== 'due') this.#shortages = 0;
    const to = target === 'fall' ? this.#fall() : target === 'again' ? this.#again() : target;
    if (to === 'serving') this.#hasServed = true;
    if (to === 'starved') this.#shortages++;
    this.#state = to;
    this.#turn++;
    return { from, to, waitMs: this.#waitMs(), crashes: this.#crashes.length };
  }

  #fall(): LifeState {
    const { now, crashWindowMs, maxCrashes } = this.#options;
    const at = now();
    this.#crashes = [...this.#crashes.filter((before) => at - before < crashWindowMs), at];
    return this.#crashes.length >= maxCrashes ? 'quarantined' : 'crashed';
  }

  #again(): LifeState {
    return this.#hasServed ? 'trying' : 'starting';
  }

  #waitMs(): number {
    const { restartInitialMs: initialMs, restartMaxMs: maxMs, quarantineMs, random } = this.#options;
    if (this.#state === 'quarantined') return quarantineMs;
    if (this.#state === 'crashed') return backoffMs(this.#crashes.length, { initialMs, maxMs }, random);
    if (this.#state === 'starved') return backoffMs(this.#shortages, { initialMs, maxMs }, random);
    return 0;
  }
}
