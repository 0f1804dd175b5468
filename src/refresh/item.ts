import type { TaskId } from '../model/attempt-key.js';
import type { PluginFailure } from '../model/plugin-call.js';
import type { HeapMember } from './heap.js';
import type { Missing, Wave } from './missing.js';
import type { FrozenMarks } from './outages.js';
import type { Bin, Pool } from './pool.js';
import type { TrackedFacts } from './types.js';

/** A tracked task. In at most one bin; in none while its read is in flight. Times in milliseconds since the epoch. */
export interface Item extends HeapMember {
  readonly id: TaskId;
  createdAtMs: number;
  lastReadAtMs: number | undefined;
  lastAskedAtMs: number;
  nextPollAfterMs: number | undefined;
  batchKey: string;
  quotaNamespace: string;

  /** Consecutive reads that count as failed. */
  failures: number;
  /** Consecutive reads that did not tell the state, for the back-off. */
  retries: number;
  failingSinceMs: number | undefined;
  /** The remote's frozen time when the failing began; that time does not count as failing. */
  frozenBefore: FrozenMarks;
  lastFailure: PluginFailure | undefined;
  lastFailedAtMs: number | undefined;
  /** How often its remote answered others between two of its failures. */
  outvoted: number;
  /** Whether it is counted among those that fail. */
  countedFailing: boolean;
  /** When a read last found the job. */
  seenAliveAtMs: number | undefined;
  missing: Missing | undefined;
  wave: Wave | undefined;
  /** Its next read is made for it alone. */
  alone: boolean;
  /** Items a batch with this one may carry: halved while whole batches with it fail, so that a culprit is found. */
  batchLimit: number;

  /** Age class it is counted in; -1 when it is counted among the unasked. */
  ageClass: number;
  /** How often the interval doubled since engines ceased to ask; 0 while they ask. */
  doublings: number;
  /** When its next read is due, as of the time it was queued; for the lag. */
  dueMs: number;
  bin: Bin | undefined;
  pool: Pool | undefined;
}

export function createItem(facts: TrackedFacts, nowMs: number): Item {
  return {
    id: facts.id,
    createdAtMs: facts.createdAtMs,
    lastReadAtMs: facts.lastReadAtMs,
    lastAskedAtMs: facts.lastAskedAtMs ?? nowMs,
    nextPollAfterMs: facts.nextPollAfterMs,
    batchKey: facts.batchKey ?? '',
    quotaNamespace: facts.quotaNamespace ?? '',
    failures: facts.failures ?? 0,
    retries: facts.failures ?? 0,
    failingSinceMs: facts.failingSinceMs,
    frozenBefore: { plugin: 0, group: 0 },
    lastFailure: undefined,
    lastFailedAtMs: undefined,
    outvoted: 0,
    countedFailing: false,
    seenAliveAtMs: undefined,
    missing: undefined,
    wave: undefined,
    alone: false,
    batchLimit: Number.POSITIVE_INFINITY,
    ageClass: 0,
    doublings: 0,
    dueMs: nowMs,
    bin: undefined,
    pool: undefined,
    key: 0,
    heapIndex: -1,
  };
}

/** Takes over what a second `track` of the same task says; what it leaves out stays. */
export function correctItem(item: Item, facts: TrackedFacts): void {
  item.createdAtMs = facts.createdAtMs;
  item.lastReadAtMs = facts.lastReadAtMs ?? item.lastReadAtMs;
  item.lastAskedAtMs = Math.max(item.lastAskedAtMs, facts.lastAskedAtMs ?? 0);
  item.nextPollAfterMs = facts.nextPollAfterMs;
  item.batchKey = facts.batchKey ?? '';
  item.quotaNamespace = facts.quotaNamespace ?? '';
}
