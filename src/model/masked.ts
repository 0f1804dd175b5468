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
  let found = false;
  const see: Mask = (text) => {
    const masked = mask(text);
    if (masked !== text) found = true;
    return masked;
  };
  const { error, customInfo } = state;
  const shown = {
    reason: see(state.reason),
    remotePhase: see(state.remotePhase),
    error: error && { ...error, code: see(error.code), message: see(error.message) },
    customInfo: customInfo && maskedJson(customInfo, see),
    logs: maskedLogs(state.logs, see),
    externalResources: state.externalResources.map((item) => maskedExternal(item, see)),
  };
  return found ? phaseState(state.phase, { ...state, ...shown }) : state;
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
