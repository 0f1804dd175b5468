import type { JsonObject, JsonValue } from '../lib/json.js';
import type { ExternalResource, TaskLog } from '../plugin-api/phase.js';
import { type PhaseState, phaseState } from './phase-state.js';
import type { PluginFailure } from './plugin-call.js';

/** Takes the secrets out of a text; answers the same text where there is none. */
export type Mask = (text: string) => string;

/**
 * A state with the secrets taken out of every text that is shown (rule 14). The outputs stay as they are, and the state is
 * the same object where there is nothing to take out, as nearly always.
 */
export function maskedState(state: PhaseState, mask: Mask): PhaseState {
  const { error, customInfo, logs, externalResources } = state;
  const holds = (value: unknown): boolean => holdsMasked(value, mask);
  const texts = holds(state.reason) || holds(state.remotePhase) || holds(error?.code) || holds(error?.message);
  // Every poll comes by here: nothing is copied to find out that there is nothing to take out.
  if (!texts && !holds(customInfo) && !holds(logs) && !holds(externalResources)) return state;
  return phaseState(state.phase, {
    ...state,
    reason: mask(state.reason),
    remotePhase: mask(state.remotePhase),
    error: error && { ...error, code: mask(error.code), message: mask(error.message) },
    customInfo: customInfo && maskedJson(customInfo, mask),
    logs: maskedLogs(logs, mask),
    externalResources: externalResources.map((item) => maskedExternal(item, mask)),
  });
}

/** Whether a text or a key of the data is masked. */
function holdsMasked(value: unknown, mask: Mask): boolean {
  if (typeof value === 'string') return mask(value) !== value;
  if (typeof value !== 'object' || value === null) return false;
  if (Array.isArray(value)) {
    for (const item of value) if (holdsMasked(item, mask)) return true;
    return false;
  }
  for (const key of Object.keys(value)) {
    if (mask(key) !== key || holdsMasked((value as Record<string, unknown>)[key], mask)) return true;
  }
  return false;
}

export function maskedFailure(failure: PluginFailure, mask: Mask): PluginFailure {
  const message = mask(failure.message);
  const code = mask(failure.code);
  return message === failure.message && code === failure.code ? failure : { ...failure, message, code };
}

/** The same data with every text and every key masked. */
export function maskedJson<T extends JsonValue>(value: T, mask: Mask): T {
  if (typeof value === 'string') return mask(value) as T;
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map((item) => maskedJson(item, mask)) as unknown as T;
  const entries = Object.entries(value as JsonObject);
  return Object.fromEntries(entries.map(([key, item]) => [mask(key), maskedJson(item, mask)])) as T;
}

function maskedLogs(logs: readonly TaskLog[], mask: Mask): readonly TaskLog[] {
  return logs.map((log) => ({
    ...log,
    uri: mask(log.uri),
    ...(log.name === undefined ? {} : { name: mask(log.name) }),
  }));
}

function maskedExternal(item: ExternalResource, mask: Mask): ExternalResource {
  return {
    ...item,
    externalId: mask(item.externalId),
    ...(item.logs === undefined ? {} : { logs: maskedLogs(item.logs, mask) }),
    ...(item.customInfo === undefined ? {} : { customInfo: maskedJson(item.customInfo as JsonObject, mask) }),
  };
}
