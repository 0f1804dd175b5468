import type { Clock } from '../../lib/clock.js';
import { createDeferred, type Deferred } from '../../lib/deferred.js';
import type { TaskId } from '../../model/attempt-key.js';
import { QuotaUsageCounts, quotaRows } from '../quota-usage.js';
import type { QuotaAnswer, QuotaLimits, QuotaNamespaceSnapshot, QuotaRequest, QuotaScope, Quotas } from '../types.js';
import { OrderedLink } from './ordered-link.js';
import type { QuotaAsk, QuotaMessage, QuotaSaid } from './quota-messages.js';

export interface QuotaDrawerOptions {
  /** The epoch of this member. */
  readonly drawer: string;
  readonly clock: Clock;
  readonly resendMs: number;
  /** After so long a wish is repeated for which the owner's line was full. Milliseconds. */
  readonly retryMs: number;
  /** Most tasks of this replica that may wait. */
  readonly maxWaiting: number;
  /** Goes up whenever the task comes to be another replica's: the tenure of its part. */
  readonly turnOf: (taskId: TaskId) => number;
  /** Names the job that the token of a task stands for, where that is known. */
  readonly jobOf: (taskId: TaskId) => string | undefined;
  /** The totals, to be shown; undefined: unlimited. */
  readonly limits: QuotaLimits;
  /**
   * Where more items wait for an owner that cannot be reached, beside twice what a new link begins with, the link is given up for one: so to
   * begin anew costs each of them a share.
   */
  readonly mostWaiting: number;
  /** Sends to whoever owns the limits now, this replica itself included. May lose it; must not call back before it returns. */
  readonly send: (message: QuotaMessage<QuotaAsk>) => void;
}

interface Waiter {
  readonly request: QuotaRequest;
  readonly granted: Deferred<boolean>;
  /** Of the task's part, as of a token's. */
  turn: number;
  ask: number;
  lacks: QuotaScope;
}

interface Token {
  readonly request: QuotaRequest;
  /** Of the task's part, which stays as it is while the token is held: it goes with the part. 0 while that is not known. */
  turn: number;
  /** The tenancy that granted it; undefined where the fact of the task has it. */
  epoch: string | undefined;
  readonly adopted: boolean;
}

const NOBODY = { namespaces: new Set<string>(), all: false };

/**
 * One replica's side of a plugin's quotas that another one owns (rule 10, design 7), asked as a `QuotaLedger` is. What it knows itself is what
 * its own tasks hold and which of them wait; whether there is room the owner says, so `acquire` answers `waiting` where it would have
 * answered `granted`, and `adopt` false until the owner has said that there is a token.
 *
 * A token is granted by a tenancy of an owner, and counts for good once the fact of its task says so: the commit that marks the use of it
 * compares `epochOf` with the tenancy that counts, in the same statement. `kept` is to be called when that is safe, `lapse` when another
 * tenancy counts by then. A new owner is told what is kept; what was granted and not kept is asked for anew by whoever wanted it. The same
 * owner is told of that, too, where a link to it was given up.
 *
 * Its load report is of its own tasks. States: without an owner, following one.
 */
export class QuotaDrawer implements Quotas {
  readonly #options: QuotaDrawerOptions;
  readonly #held = new Map<TaskId, Token>();
  readonly #waiting = new Map<TaskId, Waiter>();
  readonly #adopting = new Map<TaskId, QuotaRequest>();
  #link: OrderedLink<QuotaAsk, QuotaSaid> | undefined;
  /** The tenancy that is followed; undefined while nobody is known to own the limits. */
  #epoch: string | undefined;
  /** The tenancy at the other end of the link: the one followed, or followed last. */
  #linked: string | undefined;
  /** Which link to that tenancy. */
  #number = 0;
  /** Tasks whose tokens were handed away in this tenancy while a fact of them may still come to be. */
  readonly #unwritten = new Set<TaskId>();
  #asks = 0;
  #limits: QuotaLimits;
  /** Who waits anywhere, as the owner said last. */
  #waited: { readonly namespaces: ReadonlySet<string>; readonly all: boolean } = NOBODY;
  #closedUntilMs = 0;

  constructor(options: QuotaDrawerOptions) {
    this.#options = options;
    this.#limits = options.limits;
  }

  /** Asks this tenancy of an owner from now on; undefined while nobody is known to own the limits. */
  follow(epoch: string | undefined): void {
    this.#epoch = epoch;
    // An owner that was not seen for a while and is again goes on where it was, and so does the link.
    if (epoch === undefined || epoch === this.#linked) return;
    this.#linked = epoch;
    this.#number = 0;
    this.#unwritten.clear();
    this.#begin(epoch);
  }

  /** All that is to be told goes over a new link. */
  #begin(epoch: string): void {
    const { clock, resendMs, send, drawer } = this.#options;
    this.#link?.close();
    const link = ++this.#number;
    this.#adopting.clear();
    this.#waited = NOBODY;
    this.#link = new OrderedLink({ clock, resendMs, send: (message) => send({ ...message, epoch, drawer, link }) });
    for (const taskId of this.#unwritten) this.#say({ kind: 'unwritten', taskId });
    for (const token of this.#held.values()) {
      if (token.epoch === undefined || token.epoch === epoch) this.#sayHeld(token);
    }
    this.#sayClosed();
    this.#say({ kind: 'told' });
    this.#adoptAnew();
    for (const waiter of this.#waiting.values()) this.#want(waiter);
  }

  /** A message of an owner. */
  receive(message: QuotaMessage<QuotaSaid>): void {
    if (message.epoch !== this.#epoch || message.link !== this.#number || this.#link === undefined) return;
    for (const said of this.#link.receive(message)) this.#hear(said);
  }

  /** Whether the tenancy that is followed has taken what was said to it first. */
  get isHeard(): boolean {
    return this.#epoch !== undefined && this.#link?.hasCome(1) === true;
  }

  /** Puts the task in the owner's line, unless it holds a token. `full`: too many of this replica wait. */
  acquire(request: QuotaRequest): QuotaAnswer {
    const { taskId } = request;
    if (this.#held.has(taskId)) return { status: 'granted' };
    const known = this.#waiting.get(taskId);
    if (known !== undefined) return { status: 'waiting', lacks: known.lacks, granted: known.granted.promise };
    if (this.#waiting.size >= this.#options.maxWaiting) return { status: 'full' };
    const waiter: Waiter = { request, granted: createDeferred<boolean>(), turn: 0, ask: 0, lacks: 'quota' };
    this.#waiting.set(taskId, waiter);
    this.#want(waiter);
    return { status: 'waiting', lacks: waiter.lacks, granted: waiter.granted.promise };
  }

  /** Asks for a token for the job of a task that is known from a handle alone. Whether it holds one by now. */
  adopt(request: QuotaRequest, job: string): boolean {
    const { taskId } = request;
    if (this.#held.has(taskId)) return true;
    if (this.#link !== undefined && !this.#adopting.has(taskId)) this.#sayAdopted(request, job);
    return false;
  }

  /** Tells of the token that a task took before this replica had it, as its fact says. */
  hold(request: QuotaRequest): void {
    if (this.#held.has(request.taskId)) return;
    this.#leave(request.taskId, true);
    const token = this.#tokenOf(request, undefined, false);
    this.#held.set(request.taskId, token);
    this.#sayHeld(token);
  }

  closeUntil(untilMs: number): void {
    if (untilMs <= this.#closedUntilMs) return;
    this.#closedUntilMs = untilMs;
    this.#sayClosed();
  }

  identify(taskId: TaskId): void {
    const job = this.#held.has(taskId) ? this.#options.jobOf(taskId) : undefined;
    if (job !== undefined) this.#say({ kind: 'job', taskId, job });
  }

  /** The owner is told of each, and looks. */
  seeAllJobs(): void {
    // Nothing is to be done here.
  }

  /** The owner goes by its own; these are shown. */
  reconfigure(limits: QuotaLimits): void {
    this.#limits = limits;
  }

  /** Hands the token of an adopted task on to the one that a create made for the same attempt. False where it holds none. */
  handOver(from: TaskId, request: QuotaRequest): boolean {
    const token = this.#held.get(from);
    if (token?.adopted !== true || token.request.quotaNamespace !== request.quotaNamespace) return false;
    this.#held.delete(from);
    this.#adopting.delete(from);
    const handed = this.#tokenOf(request, token.epoch, false);
    this.#held.set(request.taskId, handed);
    this.#say({ kind: 'handOver', turn: handed.turn, from, request });
    return true;
  }

  /** Gives the task's token back; false when it holds none (any more). A waiting task leaves the line. */
  release(taskId: TaskId): boolean {
    this.#adopting.delete(taskId);
    if (!this.#held.delete(taskId)) {
      this.cancel(taskId);
      return false;
    }
    this.#say({ kind: 'gone', taskId });
    return true;
  }

  /** Takes a task out of the line; false when it was not in it. Its promise resolves to false. */
  cancel(taskId: TaskId): boolean {
    if (!this.#leave(taskId, false)) return false;
    // It may have been granted meanwhile, which says the same.
    this.#say({ kind: 'gone', taskId });
    return true;
  }

  holds(taskId: TaskId): boolean {
    return this.#held.has(taskId);
  }

  hasWaiters(quotaNamespace: string): boolean {
    // Of an owner that is none by now nothing is known.
    const { namespaces, all } = this.#epoch === undefined ? NOBODY : this.#waited;
    if (all || namespaces.has(quotaNamespace)) return true;
    for (const { request } of this.#waiting.values()) if (request.quotaNamespace === quotaNamespace) return true;
    return false;
  }

  snapshot(): readonly QuotaNamespaceSnapshot[] {
    const used = new QuotaUsageCounts();
    for (const { request } of this.#held.values()) used.add(request);
    const waiting = new QuotaUsageCounts();
    for (const { request } of this.#waiting.values()) waiting.add(request);
    return quotaRows(this.#limits.quotas, used, waiting);
  }

  /** The tenancy that must count when the use of the task's token is committed; undefined where its fact has it already, or it holds none. */
  epochOf(taskId: TaskId): string | undefined {
    return this.#held.get(taskId)?.epoch;
  }

  /** The fact that the task holds its token is safe. */
  kept(taskId: TaskId): void {
    const token = this.#held.get(taskId);
    if (token === undefined) return;
    const { epoch } = token;
    token.epoch = undefined;
    // The owner that counts by now was told nothing of it if it is another one.
    if (epoch !== this.#linked) this.#sayHeld(token);
  }

  /** The task's token counts for nothing: another tenancy counts. It may be asked for again. */
  lapse(taskId: TaskId): void {
    const token = this.#held.get(taskId);
    if (token === undefined) return;
    this.#held.delete(taskId);
    if (token.epoch === this.#linked) this.#say({ kind: 'gone', taskId });
  }

  /**
   * Another replica has the task now, and tells of its token: nothing is given back here. What is said to be away is free where the facts
   * do not have it by then: so nothing is said of a token while a fact of it may still come to be (`isWritten` is false). That one stays
   * taken until who has the task speaks, or until this member is gone or the limits move, which doubt all that nobody speaks for.
   */
  handAway(taskId: TaskId, isWritten: boolean): void {
    this.#adopting.delete(taskId);
    if (!this.#held.delete(taskId)) this.cancel(taskId);
    else if (isWritten) this.#say({ kind: 'away', taskId });
    else this.#unwritten.add(taskId);
  }

  close(): void {
    this.#link?.close();
    this.#link = undefined;
    this.#epoch = undefined;
    this.#linked = undefined;
  }

  /** What handles alone told of, no fact has: an owner that did not grant it knows nothing of it. */
  #adoptAnew(): void {
    for (const [taskId, { request, adopted }] of this.#held) {
      const job = adopted ? this.#options.jobOf(taskId) : undefined;
      if (job !== undefined) this.#sayAdopted(request, job);
    }
  }

  #sayAdopted(request: QuotaRequest, job: string): void {
    this.#adopting.set(request.taskId, request);
    this.#say({ kind: 'adopt', turn: this.#options.turnOf(request.taskId), request, job });
  }

  #want(waiter: Waiter): void {
    waiter.ask = ++this.#asks;
    const { ask, request } = waiter;
    waiter.turn ||= this.#options.turnOf(request.taskId);
    this.#say({ kind: 'want', ask, turn: waiter.turn, request });
  }

  #sayHeld(token: Token): void {
    const { turnOf, jobOf } = this.#options;
    const { request } = token;
    // To look for the part of each token whenever the limits move takes long where there are many of both.
    token.turn ||= turnOf(request.taskId);
    this.#say({ kind: 'hold', turn: token.turn, request, job: jobOf(request.taskId) });
  }

  #tokenOf(request: QuotaRequest, epoch: string | undefined, adopted: boolean): Token {
    return { request, turn: this.#options.turnOf(request.taskId), epoch, adopted };
  }

  #sayClosed(): void {
    const forMs = this.#closedUntilMs - this.#options.clock.now();
    if (forMs > 0) this.#say({ kind: 'close', forMs });
  }

  /** What it tells must be so by now: it may be told by a new link. */
  #say(ask: QuotaAsk): void {
    if (this.#link === undefined || this.#linked === undefined) return;
    this.#link.push(ask);
    const { mostWaiting } = this.#options;
    const anew = this.#unwritten.size + this.#held.size + this.#waiting.size;
    if (this.#link.waiting > mostWaiting + 2 * anew) this.#begin(this.#linked);
  }

  #leave(taskId: TaskId, granted: boolean): boolean {
    const waiter = this.#waiting.get(taskId);
    if (waiter === undefined) return false;
    this.#waiting.delete(taskId);
    waiter.granted.resolve(granted);
    return true;
  }

  #hear(said: QuotaSaid): void {
    if (said.kind === 'waited') {
      this.#waited = { namespaces: new Set(said.namespaces), all: said.all };
      return;
    }
    if (said.kind === 'adopted') {
      this.#adoptedOne(said.taskId, said.granted);
      return;
    }
    const waiter = this.#waiting.get(said.taskId);
    // Of a wish that was given up, of which the owner hears next.
    if (waiter === undefined || waiter.ask !== said.ask) return;
    if (said.kind === 'lacks') waiter.lacks = said.lacks;
    else if (said.kind === 'full') this.#wantLater(waiter);
    else {
      const { request, turn } = waiter;
      this.#held.set(said.taskId, { request, turn, epoch: this.#epoch, adopted: false });
      this.#leave(said.taskId, true);
    }
  }

  #wantLater(waiter: Waiter): void {
    const { ask } = waiter;
    this.#options.clock.setTimer(this.#options.retryMs, () => {
      if (this.#waiting.get(waiter.request.taskId) === waiter && waiter.ask === ask) this.#want(waiter);
    });
  }

  #adoptedOne(taskId: TaskId, granted: boolean): void {
    const request = this.#adopting.get(taskId);
    this.#adopting.delete(taskId);
    const token = this.#held.get(taskId);
    if (token !== undefined) {
      // The owner before granted it; this one may have no room for it.
      if (!granted && token.adopted) this.#held.delete(taskId);
      else if (token.adopted) token.epoch = this.#epoch;
      return;
    }
    if (!granted) return;
    // It was given up meanwhile.
    if (request === undefined) this.#say({ kind: 'gone', taskId });
    else {
      this.#leave(taskId, true);
      this.#held.set(taskId, this.#tokenOf(request, this.#epoch, true));
    }
  }
}
