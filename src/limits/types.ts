import type { TaskId } from '../model/attempt-key.js';
import type { RateLimiterConfig } from '../plugin-api/config.js';
import type { ResourceConstraints } from '../plugin-api/plugin.js';

/** What a lane asks before it sends: a bucket of its own, or grants of the bucket's owner. */
export interface RateLimiter {
  /** Takes the right to one call; undefined where there is none now, or a pause is in force. */
  take(): Taken | undefined;
  /** Calls that could be made now; 0 during a pause. */
  available(): number;
  /** Milliseconds until the last of so many calls could be made; 0 when all are possible now. A guess where it is told what is wanted. */
  msUntil(count: number): number;
  /** Nothing is taken until `untilMs` of the clock. Extends a pause in force and never shortens it. */
  pause(untilMs: number): void;
  /** End of the pause in force, in milliseconds since the epoch; undefined when there is none. */
  pausedUntilMs(): number | undefined;
  reconfigure(config: RateLimiterConfig): void;
  snapshot(): BucketSnapshot;
  /**
   * Only where rights are granted by somebody else, who then says when there are more: calls that would be made now if they could, those
   * included that could be. What is not about to be made is not to be wanted.
   */
  want?(count: number): void;
  /** Where `want` is: to be called once for each call that was taken, when it has ended. */
  ended?(): void;
}

/** What a call was taken from. */
export interface Taken {
  /** The tenancy of the limits; undefined where they are this daemon's alone. */
  readonly epoch: string | undefined;
  /** The call is begun before that or not at all, by the boot clock. */
  readonly endsAtMs: number;
}

/**
 * The state of a token bucket as it is kept over a restart. It is only true until the next take: keep it when nothing
 * will be taken any more (clean stop), and drop it once a bucket was made from it, or a crash would restore tokens that
 * were spent.
 */
export interface BucketSnapshot {
  /** Tokens in the bucket at `atMs`; may be fractional. */
  readonly level: number;
  /** Milliseconds since the epoch. */
  readonly atMs: number;
  /** End of a pause that was in force, in milliseconds since the epoch. */
  readonly pausedUntilMs?: number | undefined;
}

/** What a runtime asks about the tokens of its plugin: a ledger of its own, or the one of another replica. */
export interface Quotas {
  /** Grants a token now, or puts the task in the line. A task that holds or awaits one already gets that answer. */
  acquire(request: QuotaRequest): QuotaAnswer;
  /** Takes a token for the job of a task that is known from a handle alone. Whether it holds one by now. */
  adopt(request: QuotaRequest, job: string): boolean;
  /** Records the token that a task took before, as its fact says. */
  hold(request: QuotaRequest): void;
  /** Hands the token of an adopted task on to the one that a create made for the same attempt. False where it holds none. */
  handOver(from: TaskId, request: QuotaRequest): boolean;
  /** Frees the task's token; false when it holds none (any more). A waiting task leaves the line. */
  release(taskId: TaskId): boolean;
  /** Takes a task out of the line; false when it was not in it. Its promise resolves to false. */
  cancel(taskId: TaskId): boolean;
  /** Nothing that has a total is granted before then, on the clock: who held some is not known yet. */
  closeUntil(untilMs: number): void;
  /** To be called once the job of a task has come to be known. */
  identify(taskId: TaskId): void;
  /** Looks at all tokens for their jobs, before many are adopted. */
  seeAllJobs(): void;
  reconfigure(limits: QuotaLimits): void;
  holds(taskId: TaskId): boolean;
  /** Whether anybody waits, here or elsewhere, for what a token of this quota namespace takes. */
  hasWaiters(quotaNamespace: string): boolean;
  /** By name; of this replica's tasks where the ledger is another one's. */
  snapshot(): readonly QuotaNamespaceSnapshot[];
  /**
   * The tenancy that has to count still when the fact is committed by which the task has its token; undefined where its fact has it
   * already, or nobody else could grant it.
   */
  epochOf(taskId: TaskId): string | undefined;
  /** That fact is safe. */
  kept(taskId: TaskId): void;
  /** Another tenancy counts by then: the token is none. It may be asked for again. */
  lapse(taskId: TaskId): void;
  /**
   * Another replica has the task now, and speaks for its token. `isWritten`: false where what this one wrote last of it may still come to
   * be a fact.
   */
  handAway(taskId: TaskId, isWritten: boolean): void;
}

export interface QuotaLimits {
  /** Tokens of each quota namespace; one that is not listed is unlimited. */
  readonly quotas: Readonly<Record<string, number>>;
  /** Tokens over all namespaces together: the live tasks a plugin may hold (`caching.size`, rule 11). */
  readonly capacity: number;
}

/** What one task asks of the quota ledger. Names are compared whole and never joined into one text. */
export interface QuotaRequest {
  readonly taskId: TaskId;
  /** The quota namespace, a key of `resourceQuotas`; one that is not listed there has no total. */
  readonly quotaNamespace: string;
  readonly project: string;
  /** The engine's namespace. */
  readonly namespace: string;
  readonly constraints?: ResourceConstraints;
}

/** Which scope a waiting task lacks room in: all live tasks of the plugin, the quota namespace, or a constraint. */
export type QuotaScope = 'capacity' | 'quota' | 'project' | 'namespace';

/**
 * `granted`: the token is recorded already. `waiting`: `granted` resolves to true when the token is recorded, to false
 * when the task left the line without one. `full`: the line is at its bound, nothing was recorded.
 */
export type QuotaAnswer =
  | { readonly status: 'granted' }
  | { readonly status: 'waiting'; readonly lacks: QuotaScope; readonly granted: Promise<boolean> }
  | { readonly status: 'full' };

/** One row of a quota namespace in the load report. */
export interface QuotaUsage {
  readonly name: string;
  readonly used: number;
  readonly waiting: number;
}

export interface QuotaNamespaceSnapshot {
  readonly quotaNamespace: string;
  /** undefined means unlimited. */
  readonly total: number | undefined;
  /** Tokens held, those granted over quota included. */
  readonly used: number;
  readonly waiting: number;
  readonly byProject: readonly QuotaUsage[];
  readonly byNamespace: readonly QuotaUsage[];
}
