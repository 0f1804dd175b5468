import { HostError } from '../errors/index.js';
import type { LoadResult } from '../model/events/host.js';
import type { PluginEntry } from '../model/options/plugin.js';
import type { ResolvedEntry } from './load/entry.js';
import { resolveSource, sourceLabel, stripsTypes } from './load/source.js';
import { type Group, isStarved, type Member } from './process/group.js';
import type { PluginSlot } from './slot.js';
import type { LoadReport } from './types.js';

/** One configured entry on its way through loading; it ends with a slot, an error, or both. */
export interface Candidate {
  readonly entry: PluginEntry;
  /** The source as configured. */
  readonly label: string;
  resolved: ResolvedEntry | undefined;
  group: Group | undefined;
  member: Member | undefined;
  slot: PluginSlot | undefined;
  error: HostError | undefined;
}

/** Finds the module of an entry. Does not throw: what is wrong is the candidate's error. */
export function resolveCandidate(entry: PluginEntry, baseDir: string): Candidate {
  const candidate: Candidate = {
    entry,
    label: sourceLabel(entry.source),
    resolved: undefined,
    group: undefined,
    member: undefined,
    slot: undefined,
    error: undefined,
  };
  try {
    const resolved = resolveSource(entry.source, baseDir, stripsTypes());
    candidate.resolved = { ...entry, label: candidate.label, resolved };
  } catch (error) {
    candidate.error = asHostError(error);
  }
  return candidate;
}

export function reportOf(candidates: readonly Candidate[], routeErrors: readonly HostError[]): LoadReport {
  const results = candidates.map(({ slot, label, error, entry }): LoadResult => {
    const outcome = error === undefined ? 'loaded' : error.code === 'PLUGIN_SKIPPED' ? 'skipped' : 'failed';
    const { required } = entry;
    return { label: slot?.id ?? label, pluginId: slot?.id, source: label, required, outcome, error };
  });
  const missing = results.flatMap(({ required, outcome, error }) =>
    required && outcome === 'failed' && error !== undefined && !isStarved({ error }) ? [error] : [],
  );
  return { results, fatal: [...missing, ...routeErrors] };
}

export function asHostError(error: unknown): HostError {
  return HostError.is(error) ? error : new HostError('INTERNAL', String(error), { cause: error });
}
