import { HostError, messageOf } from '../errors/index.js';
import type { LoadResult } from '../model/events/host.js';
import type { PluginEntry } from '../model/options/plugin.js';
import type { ResolvedEntry } from './load/entry.js';
import { resolveSource, sourceLabel, stripsTypes } from './load/source.js';
import { type Group, isStarved, type Member } from './process/group.js';
import { starved } from './process/load-steps.js';
import { isShortage } from './process/shortage.js';
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

/**
 * Finds the modules of entries. Does not throw: what is wrong is the candidate's error. Where the machine is too short of
 * something to look, those that share a process with such a one wait with it.
 */
export function resolveCandidates(entries: readonly PluginEntry[], baseDir: string): Candidate[] {
  const candidates = entries.map((entry) => resolveCandidate(entry, baseDir));
  for (const { entry, error } of candidates.filter(isStarved)) {
    for (const other of sharing(candidates, entry)) if (other.resolved !== undefined) setAside(other, error);
  }
  return candidates;
}

function setAside(candidate: Candidate, error: HostError | undefined): void {
  candidate.resolved = undefined;
  candidate.error = error;
}

/** Those that are to run in the process of this entry; of the entry itself alone where it shares none. */
function sharing(candidates: readonly Candidate[], { isolation }: PluginEntry): readonly Candidate[] {
  return isolation.startsWith('shared:') ? candidates.filter(({ entry }) => entry.isolation === isolation) : [];
}

/** What is started together: each group, and what has none for itself, or with those it is to share a process with. */
export function unitsOf(candidates: readonly Candidate[]): Candidate[][] {
  const units = new Map<unknown, Candidate[]>();
  for (const candidate of candidates) {
    const { group, entry } = candidate;
    const key = group ?? (entry.isolation.startsWith('shared:') ? entry.isolation : candidate);
    units.set(key, [...(units.get(key) ?? []), candidate]);
  }
  return [...units.values()];
}

function resolveCandidate(entry: PluginEntry, baseDir: string): Candidate {
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
    candidate.error = isShortage(error)
      ? starved(`plugin ${candidate.label}`, `could not be looked for: ${messageOf(error)}`)
      : asHostError(error);
  }
  return candidate;
}

export function reportOf(candidates: readonly Candidate[], routeErrors: readonly HostError[]): LoadReport {
  const results = candidates.map(({ slot, label, error, entry }): LoadResult => {
    const outcome =
      error === undefined
        ? 'loaded'
        : error.code === 'PLUGIN_SKIPPED'
          ? 'skipped'
          : isStarved({ error })
            ? 'starved'
            : 'failed';
    const { required } = entry;
    return { label: slot?.id ?? label, pluginId: slot?.id, source: label, required, outcome, error };
  });
  const missing = results.flatMap(({ required, outcome, error }) =>
    required && outcome === 'failed' && error !== undefined ? [error] : [],
  );
  return { results, fatal: [...missing, ...routeErrors] };
}

export function asHostError(error: unknown): HostError {
  return HostError.is(error) ? error : new HostError('INTERNAL', String(error), { cause: error });
}
