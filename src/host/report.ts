import { HostError } from '../errors/index.js';
import type { LoadResult } from '../model/events/host.js';
import type { Plugin } from './plugin.js';
import { isStarved } from './process/load-steps.js';
import type { LoadReport } from './types.js';

/** What became of every plugin at the start, where it ended like this. */
export function reportOf(
  plugins: readonly Plugin[],
  routeErrors: readonly HostError[],
  isStopped: boolean,
): LoadReport {
  const results = plugins.map((plugin): LoadResult => {
    const { id: label, known, source, required } = plugin;
    const error = isStopped ? (plugin.error ?? unloaded(plugin)) : plugin.error;
    return { label, pluginId: known ? label : undefined, source, required, outcome: outcomeOf(error), error };
  });
  const missing = results.flatMap(({ required, outcome, error }) =>
    required && outcome === 'failed' && error !== undefined ? [error] : [],
  );
  return { results, fatal: [...missing, ...routeErrors] };
}

function outcomeOf(error: HostError | undefined): LoadResult['outcome'] {
  if (error === undefined) return 'loaded';
  if (error.code === 'PLUGIN_SKIPPED') return 'skipped';
  return isStarved({ error }) ? 'starved' : 'failed';
}

function unloaded({ kind, source }: Plugin): HostError | undefined {
  if (kind !== undefined) return undefined;
  return new HostError('PLUGIN_NOT_SERVING', `plugin ${source}: stopped before it was loaded`);
}
