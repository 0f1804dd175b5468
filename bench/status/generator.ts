import { H2Connection, type PreparedCall, prepareCall, type RoundCounts } from '../lib/h2-client.js';
import { cpuSeconds, serve } from '../lib/processes.js';
import type { GeneratorRequest, RoundResult } from './messages.js';

interface Target {
  readonly calls: readonly PreparedCall[];
  readonly connections: readonly H2Connection[];
}

const targets = new Map<number, Target>();

/** Steps through the handles so that neighbours in memory are not asked for one after the other. */
const STRIDE = 7919;

async function load(request: GeneratorRequest & { kind: 'load' }): Promise<void> {
  const { port, path, requests, connections, streams } = request;
  targets.set(port, {
    calls: requests.map((message) => prepareCall(path, `127.0.0.1:${port}`, message)),
    connections: await Promise.all(Array.from({ length: connections }, () => H2Connection.open(port, streams))),
  });
}

async function round(request: GeneratorRequest & { kind: 'round' }): Promise<RoundResult> {
  const target = targets.get(request.port);
  if (target === undefined) throw new Error(`port ${request.port} was not loaded`);
  const { calls, connections } = target;
  const cpuBefore = cpuSeconds();
  const startedAt = performance.now();
  const until = startedAt + request.seconds * 1000;
  let index = 0;
  const next = (): PreparedCall | undefined => {
    if (performance.now() >= until) return undefined;
    index = (index + STRIDE) % calls.length;
    return calls[index];
  };
  const counts = await Promise.all(connections.map((connection) => connection.run(next)));
  const sum = (pick: (one: RoundCounts) => number) => counts.reduce((total, one) => total + pick(one), 0);
  return {
    calls: sum((one) => one.calls),
    errors: sum((one) => one.errors),
    seconds: (performance.now() - startedAt) / 1000,
    cpuSeconds: cpuSeconds() - cpuBefore,
  };
}

serve((request: GeneratorRequest) => (request.kind === 'load' ? load(request) : round(request)));
