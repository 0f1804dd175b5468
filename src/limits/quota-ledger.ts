import type { Clock } from '../lib/clock.js';
import { createDeferred } from '../lib/deferred.js';
import { getOrMake } from '../lib/get-or-make.js';
import type { TaskId } from '../model/attempt-key.js';
import type { QuotaEvents } from '../model/events/quotas.js';
import { HeldJobs } from './held-jobs.js';
import { byArrival, QuotaLine } from './quota-line.js';
import { QuotaUsageCounts, quotaRows } from './quota-usage.js';
import type { QuotaAnswer, QuotaLimits, QuotaNamespaceSnapshot, QuotaRequest, QuotaScope, Quotas } from './types.js';

export interface QuotaLedgerOptions extends QuotaLimits {
  readonly clock: Clock;
  /** Most tasks that may wait. */
  readonly maxWaiting: number;
  /** Names the job that the token of a task stands for, where that is known. */
  readonly jobOf: (taskId: TaskId) => string | undefined;
  readonly events?: QuotaEvents;
}

/**
 * Scopes that an earlier waiter keeps from later ones during one look at the line. Capacity and quota are none of them: while an
 * earlier waiter lacks one, so does everybody whom it concerns.
 */
class Closed {
  readonly #project = new Map<string, Set<string>>();
  readonly #namespace = new Map<string, Set<string>>();

  /** The scope in which `request` stands behind an earlier waiter. */
  blocks(request: QuotaRequest): QuotaScope | undefined {
    if (this.#project.get(request.quotaNamespace)?.has(request.project)) return 'project';
    return this.#namespace.get(request.quotaNamespace)?.has(request.namespace) ? 'namespace' : undefined;
  }

  /**
   * `request` waits for `lacks`. It keeps its place in the narrow scopes that constrain it in any case, and in the
   * wide ones only when these are what it lacks: a task that waits for its own project must not hold up the others.
   */
  close(request: QuotaRequest, lacks: QuotaScope): void {
    const { quotaNamespace, constraints } = request;
    if (lacks === 'project' || constraints?.project !== undefined) {
      into(this.#project, quotaNamespace).add(request.project);
    }
    if (lacks === 'namespace' || constraints?.namespace !== undefined) {
      into(this.#namespace, quotaNamespace).add(request.namespace);
    }
  }
}

/** Quota namespaces that handles alone may bring into the ledger. */
const MAX_ADOPTED_NAMESPACES = 1_000;

/** Tokens that one `adopt` goes through at most: some milliseconds. */
const JOBS_A_LOOK = 10_000;

function into(sets: Map<string, Set<string>>, name: string): Set<string> {
  return getOrMake(sets, name, () => new Set());
}

/**
 * The scopes that a token was granted under; one for all tokens that come one after the other under the same, since half a million may be
 * out.
 */
interface Grant {
  readonly quotaNamespace: string;
  readonly project: string;
  readonly namespace: string;
  readonly adopted: boolean;
}

/**
 * Who holds which allocation token of one plugin, and who waits for one (rule 10).
 *
 * A task is in one of three states: it has nothing here; it *waits* in the line (entered by `acquire`; left by a grant, `cancel`
 * or `release`); it *holds* a token (entered by a grant, `adopt` or `handOver`; left by `release`).
 *
 * Invariants: a token is recorded once per task id with the scopes it was granted under, and those same scopes are
 * credited at release; a grant checks and records in one step; every waiter lacks room in some scope or stands behind
 * an earlier one that competes for it. Nothing here is asynchronous except the promise a waiter is told by.
 */
export class QuotaLedger implements Quotas {
  readonly #clock: Clock;
  readonly #maxWaiting: number;
  readonly #events: QuotaEvents;
  readonly #jobOf: QuotaLedgerOptions['jobOf'];
  readonly #held = new Map<TaskId, Grant>();
  readonly #usage = new QuotaUsageCounts();
  /** Of these, the tokens of tasks that are known from a handle alone. */
  readonly #adopted = new QuotaUsageCounts();
  /** From the first time that somebody looks for one on. */
  #jobs: HeldJobs | undefined;
  readonly #line = new QuotaLine();
  #lastGrant: Grant | undefined;
  #quotas: ReadonlyMap<string, number>;
  #capacity: number;
  #sequence = 0;
  /** Until then nobody is granted a token of a namespace that has a total. */
  #closedUntilMs = 0;

  constructor(options: QuotaLedgerOptions) {
    this.#clock = options.clock;
    this.#maxWaiting = options.maxWaiting;
    this.#jobOf = options.jobOf;
    this.#events = options.events ?? {};
    this.#quotas = new Map(Object.entries(options.quotas));
    this.#capacity = options.capacity;
  }

  /** Grants a token now, or puts the task in the line. A task that holds or awaits one already gets that answer. */
  acquire(request: QuotaRequest): QuotaAnswer {
    if (this.#held.has(request.taskId)) return { status: 'granted' };
    const waiter = this.#line.get(request.taskId);
    if (waiter !== undefined) {
      // Only of the first of a group it is known what they lack by now; those behind wait for the same.
      const { lacks } = this.#line.headOfGroup(waiter.request) ?? waiter;
      return { status: 'waiting', lacks, granted: waiter.granted.promise };
    }
    const lacks = this.#lacksNow(request);
    if (lacks === undefined) {
      this.#record(request, 0, 'granted');
      return { status: 'granted' };
    }
    if (this.#line.size >= this.#maxWaiting) return { status: 'full' };
    const granted = createDeferred<boolean>();
    this.#line.add({ request, sequence: this.#sequence++, sinceMs: this.#clock.now(), lacks, granted });
    return { status: 'waiting', lacks, granted: granted.promise };
  }

  /**
   * Records a token for the job of a task that is known from a handle alone, past whoever waits. Anybody can make up
   * handles: so there is one token a job, never more of them in a quota namespace than its total, nor in all than the
   * capacity. Leaves the line if it was in it. False where the task gets none for now.
   */
  adopt(request: QuotaRequest, job: string): boolean {
    const { taskId, quotaNamespace } = request;
    if (this.#held.has(taskId)) return true;
    const adopted = this.#adopted.of(quotaNamespace)?.used ?? 0;
    const total = this.#quotas.get(quotaNamespace);
    if (total !== undefined && adopted >= total) return false;
    if (this.#adopted.all >= this.#capacity) return false;
    this.#jobs ??= new HeldJobs(this.#held.keys(), this.#jobOf);
    if (!this.#jobs.see(JOBS_A_LOOK) || this.#jobs.has(job)) return false;
    // One that nobody uses or configured has no total to keep; made-up names must not fill the ledger.
    const known = this.#quotas.has(quotaNamespace) || this.#usage.of(quotaNamespace) !== undefined;
    if (!known && this.#usage.size >= MAX_ADOPTED_NAMESPACES) return false;
    const waiter = this.#line.remove(taskId);
    this.#record(request, waiter === undefined ? 0 : this.#clock.now() - waiter.sinceMs, 'adopted');
    this.#jobs.name(taskId, job);
    waiter?.granted.resolve(true);
    if (waiter !== undefined) this.#advance();
    return true;
  }

  /** Records the token that a task took before a restart, over its quota if need be, past whoever waits. */
  hold(request: QuotaRequest): void {
    if (this.#held.has(request.taskId)) return;
    this.cancel(request.taskId);
    this.#record(request, 0, 'held');
  }

  /**
   * Grants no token of a namespace that has a total before then: who held some is not known yet. Whoever asks meanwhile stands
   * in the line.
   */
  closeUntil(untilMs: number): void {
    const now = this.#clock.now();
    if (untilMs <= Math.max(now, this.#closedUntilMs)) return;
    this.#closedUntilMs = untilMs;
    this.#clock.setTimer(untilMs - now, () => this.#advance());
  }

  /** To be called once the job of a task has come to be known. */
  identify(taskId: TaskId): void {
    const job = this.#jobs !== undefined && this.#held.has(taskId) ? this.#jobOf(taskId) : undefined;
    if (job !== undefined) this.#jobs?.name(taskId, job);
  }

  /** Looks at all tokens for their jobs, as `adopt` does at some each time it is called, and refuses until it is through. */
  seeAllJobs(): void {
    this.#jobs ??= new HeldJobs(this.#held.keys(), this.#jobOf);
    this.#jobs.see(Number.POSITIVE_INFINITY);
  }

  /** Hands the token of an adopted task on to the one that a create made for the same attempt. False where it holds none. */
  handOver(from: TaskId, request: QuotaRequest): boolean {
    const grant = this.#held.get(from);
    if (grant?.adopted !== true || grant.quotaNamespace !== request.quotaNamespace) return false;
    const job = this.#jobs?.of(from);
    this.#drop(from, grant);
    this.#record(request, 0, 'granted');
    if (job !== undefined) this.#jobs?.name(request.taskId, job);
    return true;
  }

  /** Frees the task's token; false when it holds none (any more). A waiting task leaves the line. */
  release(taskId: TaskId): boolean {
    const grant = this.#held.get(taskId);
    if (grant === undefined) {
      this.cancel(taskId);
      return false;
    }
    this.#drop(taskId, grant);
    this.#advance();
    return true;
  }

  /** Takes a task out of the line; false when it was not in it. Its promise resolves to false. */
  cancel(taskId: TaskId): boolean {
    const waiter = this.#line.remove(taskId);
    if (waiter === undefined) return false;
    waiter.granted.resolve(false);
    this.#advance();
    return true;
  }

  /** Takes new totals. Tokens that are out stay out, also over a smaller total. */
  reconfigure(limits: QuotaLimits): void {
    this.#quotas = new Map(Object.entries(limits.quotas));
    this.#capacity = limits.capacity;
    this.#advance();
  }

  holds(taskId: TaskId): boolean {
    return this.#held.has(taskId);
  }

  /** Whether anybody waits for what a token of this quota namespace takes: its quota, or the capacity that all of them share. */
  hasWaiters(quotaNamespace: string): boolean {
    return this.#line.hasNamespace(quotaNamespace) || (this.#line.size > 0 && this.#usage.all >= this.#capacity);
  }

  /** The namespaces for which anybody waits, and whether that is what all of them share. */
  waited(): { readonly namespaces: readonly string[]; readonly all: boolean } {
    return {
      namespaces: [...this.#line.namespaces()],
      all: this.#line.size > 0 && this.#usage.all >= this.#capacity,
    };
  }

  /** Nobody else grants what is recorded here. */
  epochOf(_taskId: TaskId): undefined {
    return undefined;
  }

  kept(_taskId: TaskId): void {
    // It has been since it was recorded.
  }

  lapse(taskId: TaskId): void {
    this.release(taskId);
  }

  handAway(taskId: TaskId, _isWritten: boolean): void {
    this.release(taskId);
  }

  /** Every namespace that is configured, in use or waited for, by name. */
  snapshot(): readonly QuotaNamespaceSnapshot[] {
    const waiting = new QuotaUsageCounts();
    for (const row of this.#line.counts()) waiting.add(row, row.waiting);
    return quotaRows(Object.fromEntries(this.#quotas), this.#usage, waiting);
  }

  /** The scope without room for one more token, the widest first. */
  #lacksRoom(request: QuotaRequest): QuotaScope | undefined {
    if (this.#usage.all >= this.#capacity) return 'capacity';
    const total = this.#quotas.get(request.quotaNamespace);
    const closed = this.#clock.now() < this.#closedUntilMs;
    if (total !== undefined && (closed || (this.#usage.of(request.quotaNamespace)?.used ?? 0) >= total)) return 'quota';
    const { project, namespace } = request.constraints ?? {};
    if (project !== undefined && this.#usage.project(request) >= project) return 'project';
    return namespace !== undefined && this.#usage.namespace(request) >= namespace ? 'namespace' : undefined;
  }

  /** What a newcomer lacks: room, or precedence over those who wait. */
  #lacksNow(request: QuotaRequest): QuotaScope | undefined {
    const room = this.#lacksRoom(request);
    if (room !== undefined || this.#line.size === 0) return room;
    const closed = new Closed();
    for (const head of this.#line.heads()) closed.close(head.request, head.lacks);
    return closed.blocks(request);
  }

  /** Grants to whom it can, in order of arrival. Called after every change that may have made room. */
  #advance(): void {
    if (this.#line.size === 0) return;
    const closed = new Closed();
    const heads = this.#line.heads();
    for (let next = heads.shift(); next !== undefined; next = heads.shift()) {
      const lacks = this.#lacksRoom(next.request) ?? closed.blocks(next.request);
      if (lacks !== undefined) {
        next.lacks = lacks;
        closed.close(next.request, lacks);
        continue;
      }
      this.#line.remove(next.request.taskId);
      this.#record(next.request, this.#clock.now() - next.sinceMs, 'granted');
      next.granted.resolve(true);
      const follower = this.#line.headOfGroup(next.request);
      if (follower !== undefined) {
        heads.push(follower);
        heads.sort(byArrival);
      }
    }
  }

  #drop(taskId: TaskId, grant: Grant): void {
    this.#held.delete(taskId);
    this.#jobs?.drop(taskId);
    this.#usage.subtract(grant);
    if (grant.adopted) this.#adopted.subtract(grant);
  }

  /** `adopted` and `held`: past whoever waits, for a task that is known from a handle alone, or that had it before a restart. */
  #record(request: QuotaRequest, waitMs: number, how: 'granted' | 'adopted' | 'held'): void {
    const { taskId, quotaNamespace } = request;
    const adopted = how === 'adopted';
    this.#held.set(taskId, this.#grantOf(request, adopted));
    this.#usage.add(request);
    if (adopted) this.#adopted.add(request);
    this.#events.granted?.({ quotaNamespace, waitMs, forced: how !== 'granted' });
  }

  #grantOf({ quotaNamespace, project, namespace }: QuotaRequest, adopted: boolean): Grant {
    const last = this.#lastGrant;
    if (last !== undefined && last.quotaNamespace === quotaNamespace && last.adopted === adopted) {
      if (last.project === project && last.namespace === namespace) return last;
    }
    this.#lastGrant = { quotaNamespace, project, namespace, adopted };
    return this.#lastGrant;
  }
}
