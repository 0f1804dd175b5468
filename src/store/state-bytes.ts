import type { PhaseState } from '../model/phase-state.js';

/** About what a state holds in memory, in bytes; at least 1, as lru-cache wants it. For states that are over only. */
export function stateBytes({ outputs, reason, error, logs, customInfo, externalResources }: PhaseState): number {
  const literals = outputs.kind === 'inline' ? outputs.literalMap.length : 0;
  const texts = reason.length + (error?.message.length ?? 0) + jsonLength(logs) + jsonLength(externalResources);
  return 512 + literals + 2 * (texts + (customInfo === undefined ? 0 : JSON.stringify(customInfo).length));
}

function jsonLength(list: readonly unknown[]): number {
  return list.length === 0 ? 0 : JSON.stringify(list).length;
}
