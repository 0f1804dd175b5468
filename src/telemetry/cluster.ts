import type { AdapterParts } from './adapters.js';

/** What a replica tells of its seat among the others, as metrics and log lines. */
export function clusterAdapter({ set, log }: Pick<AdapterParts, 'set' | 'log'>) {
  const passed = set.counter('pluginhost_cluster_forwarded_total');
  const takeovers = set.counter('pluginhost_cluster_takeovers_total');
  return {
    joined: (address: string) => log.emit('cluster.joined', { address }),
    taken: (from: string | undefined, tookMs: number) => {
      takeovers.inc({ after: from === undefined ? 'stop' : 'crash' });
      log.emit('cluster.owner', { from: from ?? '', tookMs: Math.round(tookMs) });
    },
    owner: (owner: { readonly name: string; readonly address?: string | undefined } | undefined) =>
      log.emit('cluster.owner_seen', { name: owner?.name ?? '', address: owner?.address ?? '' }),
    sharesAddress: ({ name, address = '' }: { readonly name: string; readonly address?: string | undefined }) =>
      log.emit('cluster.address_shared', { name, address }),
    lapsed: () => log.emit('cluster.lease_lapsed', {}),
    renewed: () => log.emit('cluster.lease_renewed', {}),
    lost: ({ code, message }: { readonly code: string; readonly message: string }) =>
      log.emit('cluster.replaced', { code, error: message }),
    trouble: (error: string) => log.emit('cluster.trouble', { error }),
    differs: (name: string, differences: readonly { option: string; here: string; there: string }[]) =>
      log.emit('cluster.config_differs', {
        name,
        options: differences.map(({ option, here, there }) => `${option}: ${here} here, ${there} there`),
      }),
    tokensUnread: (error: string) => log.emit('cluster.tokens_unread', { error }),
    passedOn: (code: string) => passed.inc({ grpc_code: code }),
  };
}
