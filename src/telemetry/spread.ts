import type { AdapterParts } from './adapters.js';

/** A replica as log lines name it. */
interface Named {
  readonly name: string;
  readonly address?: string | undefined;
}

/** What a replica tells of tasks that are spread: parts that come and go, limits that are shared. As metrics and log lines. */
export function spreadAdapter({ set, log, label }: Pick<AdapterParts, 'set' | 'log' | 'label'>) {
  const taken = set.counter('pluginhost_cluster_parts_taken_total');
  const seconds = set.histogram('pluginhost_cluster_part_take_seconds');
  const given = set.counter('pluginhost_cluster_parts_given_total');
  const refused = set.counter('pluginhost_cluster_parts_refused_total');
  return {
    taken(from: string | undefined, tookMs: number, part: number) {
      taken.inc({ after: from === undefined ? 'stop' : 'crash' });
      seconds.observe({}, tookMs / 1000);
      if (from !== undefined) log.emit('part.taken_over', { part, from });
    },
    gives(part: number, why: string) {
      given.inc({ why });
      log.emit('part.gives', { part, why });
    },
    refused(part: number, error: string) {
      refused.inc();
      log.emit('part.refused', { part, error });
    },
    owner: (owner: Named | undefined, part: number) =>
      log.emit('part.owner_seen', { part, name: owner?.name ?? '', address: owner?.address ?? '' }),
    limits: (plugin: string, owner: Named | 'here' | undefined) =>
      log.emit('limits.owner', {
        plugin: label(plugin),
        here: owner === 'here',
        name: owner === 'here' ? '' : (owner?.name ?? ''),
      }),
    rests: (plugin: string, owner: string, servedBy: readonly string[]) =>
      log.emit('limits.unserved', { plugin: label(plugin), name: owner, servedBy }),
    linkOpened: (name: string) => log.emit('limits.link_opened', { name }),
    linkBroke: (name: string, { code, message }: { readonly code: string; readonly message: string }) =>
      log.emit('limits.link_broke', { name, code, error: message }),
  };
}
