import { type OutcomePlace, outcomeRule } from '../model/outcomes.js';
import type { PluginFailure, PluginOutcome } from '../model/plugin-call.js';
import type { Item } from './item.js';
import type { MissingTasks, Population } from './missing.js';
import type { Outage } from './outages.js';
import type { Again } from './schedule.js';
import type { RefreshConfig, Verdict } from './types.js';

/** Shortest time until a read that was not sent, or was throttled, is tried again. */
const SOON_MS = 100;
/** Bounds the back-off of a task that is not found to some seconds. */
const MISSING_RETRIES = 4;

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
  readonly population: Population;
  /** The longest interval that asked tasks have now. */
  readonly intervalMs: number;
}

/** What is known beyond the task. */
export interface Around {
  readonly outage: Outage;
  readonly missing: MissingTasks;
}

/**
 * What one outcome means for one task, by the outcome table: moves the item's counts and says whether it ends (rule 4).
 * Must be called after the remote's state has learnt of the same outcome, so that the failure that shows an outage is
 * not counted either.
 */
export function judge(item: Item, read: Read, { outage, missing }: Around, config: RefreshConfig): Judgement {
  const { outcome, nowMs } = read;
  if (outcome.ok) {
    found(item, missing, nowMs);
    return { verdict: undefined, again: IN_ITS_INTERVAL };
  }
  const { failure } = outcome;
  const rule = outcomeRule(read.place, failure.kind);
  if (rule.retry === 'pause' || rule.retry === 'turn') {
    const ms = Math.max(failure.retryAfterMs ?? 0, failure.kind === 'throttled' ? config.minIntervalMs : SOON_MS);
    return { verdict: undefined, again: { kind: 'after', ms: Math.min(ms, config.maxIntervalMs) } };
  }
  item.readBadly(failure, nowMs);
  const lost = sighted(item, read, { outage, missing }, config);
  // An outage that is probed is no fault of the task: once it is over, nobody pays for it with a long back-off.
  item.retries = outage.probed(nowMs) ? Math.max(1, item.retries) : item.retries + 1;
  // A job that is not found may be again at any time: it is looked for about as often as others are read.
  if (item.missing !== undefined) item.retries = Math.min(item.retries, MISSING_RETRIES);
  const verdict = endsAtOnce(item, read, failure, lost) ?? endsPastBound(item, read, failure, outage, config);
  return { verdict, again: { kind: 'backoff' } };
}

/** The first part of `judge`, for a read that told the state: nearly every one. */
export function found(item: Item, missing: MissingTasks, nowMs: number): void {
  missing.found(item, nowMs);
  item.readWell(nowMs);
}

export const IN_ITS_INTERVAL: Again = Object.freeze({ kind: 'interval' });

/** What NotFound, or an answer that is none, makes of the task; true where it is lost. An outage loses none. */
function sighted(item: Item, read: Read, { outage, missing }: Around, config: RefreshConfig): boolean {
  const { outcome, place, nowMs } = read;
  if (outcome.ok || outcomeRule(place, outcome.failure.kind).endsWhen !== 'confirmed') {
    missing.doubted(item);
    return false;
  }
  const alone = place !== 'getManyItem';
  return missing.sighted(item, { ...read, alone }, config) && !outage.frozen(nowMs);
}

function endsAtOnce(item: Item, read: Read, failure: PluginFailure, lost: boolean): Verdict | undefined {
  const { ends, endsWhen } = outcomeRule(read.place, failure.kind);
  if (ends === undefined || (endsWhen === 'confirmed' && !lost)) return undefined;
  const { missing } = item;
  const seconds = missing === undefined ? 0 : Math.round((read.nowMs - missing.sinceMs) / 1_000);
  const told = `the remote does not know the job any more: ${missing?.reads ?? 0} reads in a row over ${seconds} s did not find it: ${failure.message}`;
  return {
    phase: ends.phase,
    code: ends.code === 'plugin' ? failure.code : ends.code,
    message: lost ? told : failure.message,
    faultKind: lost ? 'SYSTEM' : failure.faultKind,
    // A job that the remote does not find may run all the same.
    oweDelete: true,
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
  if (item.lastFailedAtMs !== undefined && outage.answeredAtMs > item.lastFailedAtMs) item.outvoted += 1;
  item.lastFailedAtMs = nowMs;
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
