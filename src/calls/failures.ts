import { messageOf } from '../errors/index.js';
import { MAX_PAUSE_MS } from '../limits/token-bucket.js';
import type { PluginFailure, PluginOutcome } from '../model/plugin-call.js';
import { type FailedCall, failedCall } from '../model/plugin-failure.js';

/** The channel broke its promise not to reject. */
export function channelThrew(thrown: unknown): FailedCall {
  return failedCall('unknown', 'PLUGIN_THREW_UNKNOWN', `the channel to the plugin failed: ${messageOf(thrown)}`);
}

/**
 * The outcome with no wait above MAX_PAUSE_MS: whoever repeats a call waits as long as the lane rests, and a mistaken
 * Retry-After must not put off one create or delete for years.
 */
export function withBoundedWaits<T>(outcome: PluginOutcome<T>): PluginOutcome<T> {
  if (!outcome.ok) return withBoundedWait(outcome);
  if (!Array.isArray(outcome.value)) return outcome;
  const items = outcome.value as readonly PluginOutcome<unknown>[];
  if (!items.some(isFailed)) return outcome;
  return { ok: true, value: items.map((item) => (item.ok ? item : withBoundedWait(item))) as T };
}

function withBoundedWait<F extends { readonly failure: PluginFailure }>(outcome: F): F {
  const { failure } = outcome;
  // Not a number is no wait at all, and above nothing.
  if (failure.retryAfterMs === undefined || !(failure.retryAfterMs > MAX_PAUSE_MS)) return outcome;
  return { ...outcome, failure: { ...failure, retryAfterMs: MAX_PAUSE_MS } };
}

/**
 * Whether the remote throttled a call, and for how long it asked; the longest of a batch. `retryAfterMs` is undefined
 * where it gave no usable time.
 */
export function throttleOf(outcome: PluginOutcome<unknown>): { retryAfterMs: number | undefined } | undefined {
  const failures = outcome.ok ? failuresOfItems(outcome.value) : [outcome.failure];
  const throttles = failures.filter((failure) => failure.kind === 'throttled');
  if (throttles.length === 0) return undefined;
  const hints = throttles.map((failure) => failure.retryAfterMs ?? 0).filter((ms) => ms > 0 && Number.isFinite(ms));
  return { retryAfterMs: hints.length === 0 ? undefined : Math.max(...hints) };
}

const isFailed = (item: PluginOutcome<unknown>): boolean => !item.ok;

function failuresOfItems(value: unknown): PluginFailure[] {
  if (!Array.isArray(value)) return [];
  const items = value as readonly PluginOutcome<unknown>[];
  if (!items.some(isFailed)) return [];
  return items.flatMap((item) => (item.ok ? [] : [item.failure]));
}
