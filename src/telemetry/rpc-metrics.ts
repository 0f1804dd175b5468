import type { RpcMethodName, RpcMethodObserver, RpcMetrics } from '../model/events/rpc.js';
import type { MetricSet, Sample } from './metric-set.js';
import { HistogramTally } from './tallies.js';

/** The numbers of one RPC; every method is a few additions, since Status and GetTask go through it. */
class RpcMethodStats implements RpcMethodObserver {
  readonly labels: Readonly<Record<string, string>>;
  startedCount = 0;
  receivedCount = 0;
  sentCount = 0;
  readonly handling: HistogramTally;
  readonly codes = new Map<string, { count: number }>();
  readonly #ok = { count: 0 };

  constructor({ service, method, type }: RpcMethodName) {
    this.labels = { grpc_type: type, grpc_service: service, grpc_method: method };
    this.handling = new HistogramTally('grpc_server_handling_seconds', this.labels);
    this.codes.set('OK', this.#ok);
  }

  started(): void {
    this.startedCount++;
  }

  received(): void {
    this.receivedCount++;
  }

  sent(): void {
    this.sentCount++;
  }

  handled(code: string, seconds: number): void {
    if (code === 'OK') this.#ok.count++;
    else {
      const entry = this.codes.get(code);
      if (entry === undefined) this.codes.set(code, { count: 1 });
      else entry.count++;
    }
    this.handling.observe(seconds);
  }
}

/**
 * The standard gRPC server metrics. Answers a function that makes the observer of one RPC; call it once for each, at
 * registration, with names from the served descriptors.
 */
export function createRpcMetrics(set: MetricSet): RpcMetrics {
  const all: RpcMethodStats[] = [];
  const each = (value: (stats: RpcMethodStats) => number) => () =>
    all.map((stats): Sample => ({ labels: stats.labels, value: value(stats) }));
  set.collected(
    'grpc_server_started_total',
    each((stats) => stats.startedCount),
  );
  set.collected(
    'grpc_server_msg_received_total',
    each((stats) => stats.receivedCount),
  );
  set.collected(
    'grpc_server_msg_sent_total',
    each((stats) => stats.sentCount),
  );
  set.collected('grpc_server_handled_total', () =>
    all.flatMap((stats) =>
      [...stats.codes].map(([code, { count }]) => ({ labels: { ...stats.labels, grpc_code: code }, value: count })),
    ),
  );
  set.collected('grpc_server_handling_seconds', () => all.flatMap(({ handling }) => handling.samples()));
  return (method) => {
    const stats = new RpcMethodStats(method);
    all.push(stats);
    return stats;
  };
}
