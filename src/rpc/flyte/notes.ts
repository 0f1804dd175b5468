import type { PluginReport } from '../../model/plugin-report.js';
import { listed } from './metadata-service.js';

/** Something an operator of a Flyte has to know or do, in plain words. `warn` where a task would go astray without it. */
export interface FlyteNote {
  readonly level: 'info' | 'warn';
  readonly message: string;
}

/** What Flyte 1 cannot route, what Flyte 2 must have configured, and how many replicas there may be. Said at start-up. */
export function flyteNotes(reports: readonly PluginReport[], isReplica = false): FlyteNote[] {
  const notes: FlyteNote[] = [];
  const versions = new Map<string, Set<number>>();
  for (const { taskTypes } of listed(reports)) {
    for (const { name, versions: own } of taskTypes) {
      const all = versions.get(name) ?? new Set();
      for (const version of own.length === 0 ? [0] : own) all.add(version);
      versions.set(name, all);
    }
  }
  for (const [name, found] of versions) {
    if (found.size < 2) continue;
    notes.push({
      level: 'warn',
      message:
        `task type ${name} is served in the versions ${[...found].sort((a, b) => a - b).join(', ')}; Flyte 1 routes only ` +
        'the last one listed and sends the others to its default connector: make this daemon the default connector',
    });
  }
  if (versions.size > 0) {
    notes.push({
      level: 'info',
      message: `Flyte 2 routes by its own configuration only: list these under connector-service.supportedTaskTypes: ${[...versions.keys()].join(', ')}`,
    });
  }
  const sync = listed(reports).filter(({ kind }) => kind === 'sync');
  if (sync.length > 0) {
    notes.push({
      level: 'info',
      message: `Flyte 2 has no sync service; it runs the tasks of ${sync.map(({ id }) => id).join(', ')} as async ones`,
    });
  }
  // Replicas that know each other share both.
  if (isReplica) return notes;
  notes.push({
    level: 'warn',
    message:
      'run exactly one replica (Deployment with replicas: 1 and strategy Recreate): a second one would poll the same tasks again and spend the limits of the remote twice; docs/scaling.md has several',
  });
  return notes;
}
