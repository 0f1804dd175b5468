import type { Clock, Timer } from '../lib/clock.js';
import { createDeferred, type Deferred } from '../lib/deferred.js';
import { LinkedQueue, type QueueNode } from '../lib/linked-queue.js';
import { PassingMap } from '../lib/passing.js';
import { type Abortable, Stop } from '../lib/stop.js';
import type { CreateLaneEvents } from '../model/events/creates.js';
import type { KeptOutage } from '../model/kept-outage.js';
import { outcomeRule } from '../model/outcomes.js';
import type { PhaseState } from '../model/phase-state.js';
import type { CreateAnswer, PluginOutcome } from '../model/plugin-call.js';
import { CreateBudget } from './create-budget.js';
import { CreateOutage, type ProbeKind } from './create-outage.js';

export interface CreateLaneOptions {
  readonly clock: Clock;
  /** In [0, 1). */
  readonly random: () => number;
  readonly graceMs: number;
  readonly events: CreateLaneEvents;
  /** Of the outages of creates; without it their grace begins anew with each start. */
  readonly outage?: KeptOutage | undefined;
}

/** One run of a create, or one look for it: a part that went and came back has another one of a task whose first still ends. Described by the task. */
export type LaneRun = symbol;

interface Waiter {
  readonly run: LaneRun;
  readonly admitted: Deferred<boolean>;
}

/**
 * The way of one plugin's creates to its gate. Free while the remote takes creates; else they stand in line, first in,
 * first out, those never tried and those tried in lines of their own that take turns, and one at a time is let through
 * as a probe (`CreateOutage` says when). Invariant: while the state holds, at most one create that was let through as a
 * probe is without an outcome, and no other is sent: what still waits at the gate when the state begins is taken back.
 *
 * States of a create: in line (`pass`, while the state holds); let through, of right or as the probe, until its `send` is over or
 * taken back; in neither, from then until it passes again, or `leave`s for good. The timer is armed while somebody is in line and
 * nobody can go.
 */
export class CreateLane {
  readonly #clock: Clock;
  readonly #events: CreateLaneEvents;
  readonly #outage: CreateOutage<LaneRun>;
  readonly #lines: Readonly<Record<ProbeKind, LinkedQueue<Waiter>>> = {
    fresh: new LinkedQueue<Waiter>(),
    tried: new LinkedQueue<Waiter>(),
  };
  /** How to take those back that wait at the gate. */
  readonly #unsent = new PassingMap<LaneRun, () => void>();
  #probe: LaneRun | undefined;
  #turn: ProbeKind = 'fresh';
  #stopping = false;
  #timer: Timer | undefined;

  constructor({ clock, random, graceMs, events, outage }: CreateLaneOptions) {
    this.#clock = clock;
    this.#events = events;
    this.#outage = new CreateOutage<LaneRun>({ random, graceMs, kept: outage });
  }

  /** Whether creates are probes now and budgets stand still. */
  get holds(): boolean {
    return this.#outage.holds(this.#clock.now());
  }

  /** When creates were taken to be down; undefined while they are not, also where reads alone hold them up. */
  get downSinceMs(): number | undefined {
    return this.#outage.downSinceMs;
  }

  /** What creates tell of the remote: their first failure since one succeeded, and when one last did. */
  get sight(): Pick<CreateOutage<LaneRun>, 'downSinceMs' | 'firstFailureMs' | 'answeredAtMs'> {
    return this.#outage;
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
   * Resolves to true when the create may be sent; then `send` must follow. False once the signal is aborted. `tried`: a
   * create call was made for it before.
   */
  async pass(run: LaneRun, tried: boolean, signal: Abortable): Promise<boolean> {
    if (signal.aborted) return false;
    this.#outage.enter(run, tried);
    if (!this.holds) return true;
    const waiter = { run, admitted: createDeferred<boolean>() };
    const line = this.#lines[this.#outage.kindOf(run)];
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

  /**
   * Makes the call of a create that was let through: `call` hands it to the gate with this signal and says when it is sent.
   * Answers its outcome, or undefined where it was not sent since creates are held up meanwhile: it is to `pass` again.
   */
  async send<A extends CreateAnswer | PhaseState>(
    run: LaneRun,
    signal: Abortable,
    call: (signal: Abortable, sent: () => void) => Promise<PluginOutcome<A>>,
  ): Promise<PluginOutcome<A> | undefined> {
    if (this.holds && this.#probe !== run) return undefined;
    const atGate = new Stop();
    const giveUp = () => atGate.abort();
    let takenBack = false;
    let sent = false;
    this.#unsent.set(run, () => {
      takenBack = true;
      giveUp();
    });
    signal.addEventListener('abort', giveUp, { once: true });
    if (signal.aborted) giveUp();
    try {
      const outcome = await call(atGate, () => {
        sent = true;
        this.#unsent.delete(run);
      });
      if (takenBack) return undefined;
      this.#learn(run, outcome, sent);
      return outcome;
    } finally {
      this.#unsent.delete(run);
      signal.removeEventListener('abort', giveUp);
    }
  }

  #learn(run: LaneRun, outcome: PluginOutcome<unknown>, sent: boolean): void {
    const now = this.#clock.now();
    const { downSinceMs } = this.#outage;
    const failure = outcome.ok ? undefined : outcome.failure;
    const told = failure === undefined ? 'up' : outcomeRule('create', failure.kind).remote;
    const said = failure && { code: failure.code, message: failure.message };
    const entered = this.#outage.learn(run, told, said, now, sent);
    if (this.#probe === run) this.#probe = undefined;
    if (entered === 'down') this.#events.createsDown?.({ failure: this.#outage.failure });
    if (entered === 'up') this.#events.createsUp?.({ downMs: now - (downSinceMs ?? now) });
    this.#pump();
  }

  /** The task is created or given up. May be called twice. */
  leave(run: LaneRun): void {
    const now = this.#clock.now();
    const { downSinceMs } = this.#outage;
    if (this.#probe === run) this.#probe = undefined;
    if (!this.#stopping && this.#outage.leave(run, now) === 'up')
      this.#events.createsUp?.({ downMs: now - (downSinceMs ?? now) });
    this.#pump();
  }

  /** The daemon stops: that creates leave says nothing of the remote any more. */
  stops(): void {
    this.#stopping = true;
  }

  /** No create is left of those whom an outage of the last run concerned. */
  forgetBefore(): void {
    this.#outage.forgetBefore();
  }

  /** The budget of one create, of which so much is spent already. */
  budget(spentMs: number): CreateBudget {
    return new CreateBudget(this.#clock, (nowMs) => this.#outage.frozenTotalMs(nowMs), spentMs);
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
    this.#takeBack();
    if (this.waiting === 0) return;
    const kind = this.#probe === undefined ? this.#nextKind(now) : undefined;
    const next = kind === undefined ? undefined : this.#lines[kind].shift();
    if (kind !== undefined && next !== undefined) {
      this.#probe = next.run;
      this.#turn = kind === 'fresh' ? 'tried' : 'fresh';
      next.admitted.resolve(true);
    }
    this.#arm(now);
  }

  /** What was let through before creates were held up, and is not sent yet, comes back. */
  #takeBack(): void {
    for (const [run, back] of this.#unsent) {
      if (run === this.#probe) continue;
      this.#unsent.delete(run);
      back();
    }
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
