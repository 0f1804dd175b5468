import { type OutcomePlace, outcomeRule } from '../model/outcomes.js';
import type { PluginFailure, PluginOutcome } from '../model/plugin-call.js';
import type { Item } from './item.js';
import type { Outage } from './outages.js';
import type { Again } from './schedule.js';
import type { RefreshConfig, Verdict } from './types.js';

/** Shortest time until a read that was not sent, or was throttled, is tried again. */
const SOON_MS = 100;

export interface Judgement {
  readonly verdict: Verdict | undefined;
  /** When to read again, should the task go on. */
  readonly again: Again;
}

export interface Read {
  readonly outcome: PluginOutcome<unknown>;
  readonly place: OutcomePlace;
  readonly startedAtMs: number;
  readonly nowMs: number;
}

/**
 * What one outcome means for one task, by the outcome table: moves the item's counts and says whether it ends (rule 4).
 * Must be called after the remote's state has learnt of the same outcome, so that the failure that shows an outage is
 * not counted either.
 */
export function judge(item: Item, read: Read, outage: Outage, config: RefreshConfig): Judgement {
  const { outcome, nowMs } = read;
  if (outcome.ok) {
    clear(item, nowMs);
    return { verdict: undefined, again: { kind: 'interval' } };
  }
  const { failure } = outcome;
  const rule = outcomeRule(read.place, failure.kind);
  if (rule.retry === 'pause' || rule.retry === 'turn') {
    const ms = Math.max(failure.retryAfterMs ?? 0, failure.kind === 'throttled' ? config.minIntervalMs : SOON_MS);
    return { verdict: undefined, again: { kind: 'after', ms: Math.min(ms, config.maxIntervalMs) } };
  }
  item.lastReadAtMs = nowMs;
  item.lastFailure = failure;
  // An outage that is probed is no fault of the task: once it is over, nobody pays for it with a long back-off.
  item.retries = outage.probed(nowMs) ? Math.max(1, item.retries) : item.retries + 1;
  const verdict = endsAtOnce(item, read, failure, config) ?? endsPastBound(item, read, failure, outage, config);
  return { verdict, again: { kind: 'backoff' } };
}

function clear(item: Item, nowMs: number): void {
  item.lastReadAtMs = nowMs;
  item.failures = 0;
  item.retries = 0;
  item.failingSinceMs = undefined;
  item.lastFailure = undefined;
  item.batchLimit = Number.POSITIVE_INFINITY;
}

function endsAtOnce(item: Item, read: Read, failure: PluginFailure, config: RefreshConfig): Verdict | undefined {
  const { ends, endsWhen } = outcomeRule(read.place, failure.kind);
  if (ends === undefined) return undefined;
  if (endsWhen === 'visible' && read.startedAtMs - item.createdAtMs < config.visibilityGraceMs) return undefined;
  const lost = ends.code === 'RESOURCE_LOST';
  return {
    phase: ends.phase,
    code: ends.code === 'plugin' ? failure.code : ends.code,
    message: lost ? `the remote does not know the job any more: ${failure.message}` : failure.message,
    faultKind: lost ? 'SYSTEM' : failure.faultKind,
    oweDelete: !lost,
  };
}

function endsPastBound(
  item: Item,
  { nowMs, place }: Read,
  failure: PluginFailure,
  outage: Outage,
  config: RefreshConfig,
): Verdict | undefined {
  const { counted, endsPastBound: end } = outcomeRule(place, failure.kind);
  if (end === undefined) return undefined;
  if (item.failingSinceMs === undefined) {
    item.failingSinceMs = nowMs;
    item.frozenBefore = outage.marks(nowMs);
  }
  if (outage.frozen(nowMs)) return undefined;
  if (counted === 'yes') item.failures += 1;
  const failingMs = nowMs - item.failingSinceMs - outage.frozenSince(item.frozenBefore, nowMs);
  const pastBound =
    counted === 'yes'
      ? item.failures > config.maxSystemFailures && failingMs >= config.minFailingMs
      : // Several reads, so that one crash before and one after a long pause of the plugin end nothing.
        item.retries > config.maxSystemFailures && failingMs >= config.outageGraceMs;
  if (!pastBound) return undefined;
  const seconds = Math.round((nowMs - item.failingSinceMs) / 1_000);
  return {
    phase: end.phase,
    code: outage.down ? 'REMOTE_OUTAGE' : end.code,
    message: `reads failed for ${seconds} s in a row, ${item.failures} of them counted; the last error: [${failure.code}] ${failure.message}`,
    faultKind: 'SYSTEM',
    oweDelete: true,
  };
}
