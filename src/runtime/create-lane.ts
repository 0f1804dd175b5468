import type { Clock, Timer } from '../lib/clock.js';
import { createDeferred, type Deferred } from '../lib/deferred.js';
import { LinkedQueue, type QueueNode } from '../lib/linked-queue.js';
import type { TaskId } from '../model/attempt-key.js';
import type { CreateLaneEvents } from '../model/events/creates.js';
import { outcomeRule } from '../model/outcomes.js';
import type { PhaseState } from '../model/phase-state.js';
import type { CreateAnswer, PluginOutcome } from '../model/plugin-call.js';
import { CreateOutage, type ProbeKind } from './create-outage.js';

export interface CreateLaneOptions {
  readonly clock: Clock;
  /** In [0, 1). */
  readonly random: () => number;
  readonly graceMs: number;
  readonly events: CreateLaneEvents;
}

/** Time that a create has been tried for, without what an outage took of it. */
export interface CreateBudget {
  spentMs(): number;
}

interface Waiter {
  readonly id: TaskId;
  readonly admitted: Deferred<boolean>;
}

/**
 * The way of one plugin's creates to its gate. Free while the remote takes creates; else they stand in line, first in,
 * first out, those never tried and those tried in lines of their own that take turns, and one at a time is let through
 * as a probe (`CreateOutage` says when). Invariant: while the state holds, at most one create that was let through as a
 * probe is without an outcome.
 */
export class CreateLane {
  readonly #clock: Clock;
  readonly #events: CreateLaneEvents;
  readonly #outage: CreateOutage;
  readonly #lines: Readonly<Record<ProbeKind, LinkedQueue<Waiter>>> = {
    fresh: new LinkedQueue<Waiter>(),
    tried: new LinkedQueue<Waiter>(),
  };
  #probe: TaskId | undefined;
  #turn: ProbeKind = 'fresh';
  #timer: Timer | undefined;

  constructor({ clock, random, graceMs, events }: CreateLaneOptions) {
    this.#clock = clock;
    this.#events = events;
    this.#outage = new CreateOutage({ random, graceMs });
  }

  /** Whether creates are probes now and budgets stand still. */
  get holds(): boolean {
    return this.#outage.holds(this.#clock.now());
  }

  /** When creates were taken to be down; undefined while they are not, also where reads alone hold them up. */
  get downSinceMs(): number | undefined {
    return this.#outage.downSinceMs;
  }

  /** Creates that stand in line. */
  get waiting(): number {
    return this.#lines.fresh.size + this.#lines.tried.size;
  }

  /** What a create in line waits for, in words. */
  get reason(): string {
    const what = this.#outage.downSinceMs === undefined ? 'reads fail at the remote' : 'creates fail at the remote';
    return `${what}; waiting creates are tried in turn, one at a time, until one succeeds`;
  }

  /**
   * Resolves to true when the create may be sent; then `learn` must follow. False once the signal is aborted. `tried`: a
   * create call was made for it before.
   */
  async pass(id: TaskId, tried: boolean, signal: AbortSignal): Promise<boolean> {
    if (signal.aborted) return false;
    this.#outage.enter(id, tried);
    if (!this.holds) return true;
    const waiter = { id, admitted: createDeferred<boolean>() };
    const line = this.#lines[this.#outage.kindOf(id)];
    const place = line.push(waiter);
    const giveUp = () => this.#giveUp(line, place);
    signal.addEventListener('abort', giveUp, { once: true });
    this.#pump();
    try {
      return await waiter.admitted.promise;
    } finally {
      signal.removeEventListener('abort', giveUp);
    }
  }

  /** The outcome of a create call that was let through. */
  learn(id: TaskId, outcome: PluginOutcome<CreateAnswer | PhaseState>): void {
    const now = this.#clock.now();
    const { downSinceMs } = this.#outage;
    const failure = outcome.ok ? undefined : outcome.failure;
    const told = failure === undefined ? 'up' : outcomeRule('create', failure.kind).remote;
    const entered = this.#outage.learn(id, told, failure && { code: failure.code, message: failure.message }, now);
    if (this.#probe === id) this.#probe = undefined;
    if (entered === 'down') this.#events.createsDown?.({ failure: this.#outage.failure });
    if (entered === 'up') this.#events.createsUp?.({ downMs: now - (downSinceMs ?? now) });
    this.#pump();
  }

  /** The task is created or given up. May be called twice. */
  leave(id: TaskId): void {
    const now = this.#clock.now();
    const { downSinceMs } = this.#outage;
    if (this.#probe === id) this.#probe = undefined;
    if (this.#outage.leave(id, now) === 'up') this.#events.createsUp?.({ downMs: now - (downSinceMs ?? now) });
    this.#pump();
  }

  /** A budget that runs from now on. */
  budget(): CreateBudget {
    const startMs = this.#clock.now();
    const frozenBefore = this.#outage.frozenTotalMs(startMs);
    return {
      spentMs: () => {
        const now = this.#clock.now();
        return Math.max(0, now - startMs - (this.#outage.frozenTotalMs(now) - frozenBefore));
      },
    };
  }

  readsDown(): void {
    this.#outage.readsDown(this.#clock.now());
    this.#pump();
  }

  readsUp(): void {
    this.#outage.readsUp(this.#clock.now());
    this.#pump();
  }

  #giveUp(line: LinkedQueue<Waiter>, place: QueueNode<Waiter>): void {
    if (!line.remove(place)) return;
    place.value.admitted.resolve(false);
    this.#pump();
  }

  /** Lets through whoever may go now, and arms the timer for who may go next. */
  #pump(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    const now = this.#clock.now();
    if (!this.#outage.holds(now)) {
      for (const kind of ['fresh', 'tried'] as const) {
        for (let next = this.#lines[kind].shift(); next !== undefined; next = this.#lines[kind].shift()) {
          next.admitted.resolve(true);
        }
      }
      return;
    }
    if (this.waiting === 0) return;
    const kind = this.#probe === undefined ? this.#nextKind(now) : undefined;
    const next = kind === undefined ? undefined : this.#lines[kind].shift();
    if (kind !== undefined && next !== undefined) {
      this.#probe = next.id;
      this.#turn = kind === 'fresh' ? 'tried' : 'fresh';
      next.admitted.resolve(true);
    }
    this.#arm(now);
  }

  /** The line whose first create may be sent now; the one whose turn it is, where both may. */
  #nextKind(now: number): ProbeKind | undefined {
    const due = (kind: ProbeKind) => this.#lines[kind].size > 0 && this.#outage.probeAtMs(kind) <= now;
    if (due(this.#turn)) return this.#turn;
    return (['fresh', 'tried'] as const).find(due);
  }

  #arm(now: number): void {
    const probes = (['fresh', 'tried'] as const)
      .filter((kind) => this.#probe === undefined && this.#lines[kind].size > 0)
      .map((kind) => this.#outage.probeAtMs(kind));
    const atMs = Math.min(this.#outage.lapsesAtMs, ...probes);
    if (this.waiting === 0 || atMs === Number.POSITIVE_INFINITY) return;
    this.#timer = this.#clock.setTimer(Math.ceil(Math.max(1, atMs - now)), () => this.#pump());
  }
}
