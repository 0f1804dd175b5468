import { readFileSync } from 'node:fs';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DemoRemote } from '../../plugins/demo/remote.js';
import { type Client, createClient, PluginHostError } from '../../src/client/index.js';
import { configOf, type DaemonProcess, demoEntry, logOf, startServe } from '../daemon/support.js';
import { fromRoot } from '../support/paths.js';
import { tempFolder } from '../support/temp.js';

export const LEASE_MS = 3_000;

type Json = { readonly [key: string]: unknown };

/** One of several replicas on one machine. */
export function replicaConfig(
  port: number,
  schema: string,
  plugins: Json,
  parts: Json = {},
  lease: number = LEASE_MS,
): Json {
  const place = { host: '127.0.0.1', port, database: 'postgres', user: 'tester', lease, schema };
  return configOf(plugins, {
    cluster: { enabled: true, advertise: '127.0.0.1', loopback: 'for-tests-on-one-machine' },
    ...parts,
    state: { engine: 'postgres', postgres: place, ...(parts.state as Json | undefined) },
    admin: { host: '127.0.0.1', port: 0, token: 'a-token-of-some-length', ...(parts.admin as Json | undefined) },
  });
}

export function onRemote(remote: DemoRemote, parts: Json = {}): Json {
  return { demo: demoEntry(remote.url, parts) };
}

/** Replicas that were started one after the other, so that the first one works. */
export async function startReplicas(t: TestContext, config: Json, count = 3): Promise<DaemonProcess[]> {
  const replicas: DaemonProcess[] = [];
  for (let i = 0; i < count; i++) replicas.push(await startServe(t, config, tempFolder(t)));
  return replicas;
}

export interface ShownCluster {
  readonly role: string;
  readonly epoch: string;
  readonly owner: string | null;
  readonly leaseLeftMs: number;
  readonly members: readonly { readonly epoch: string; readonly address: string; readonly owner: boolean }[];
  /** Who has each part, as this one sees it; only of a state of several. */
  readonly parts?: readonly { readonly part: number; readonly owner: string | null }[];
  readonly limits?: readonly { readonly plugin: string; readonly rests?: object }[];
}

export async function clusterOf(replica: DaemonProcess): Promise<ShownCluster> {
  const headers = { authorization: 'Bearer a-token-of-some-length' };
  const { status, body } = await replica.http('/v1/cluster', { headers });
  if (status !== 200) throw new Error(`${status}: ${body}`);
  return JSON.parse(body) as ShownCluster;
}

/** The one that works, as it says itself. */
export async function ownerAmong(replicas: readonly DaemonProcess[]): Promise<DaemonProcess | undefined> {
  for (const replica of replicas) {
    const seen = await clusterOf(replica).catch(() => undefined);
    if (seen?.role === 'owner') return replica;
  }
  return undefined;
}

export const eventsOf = (replica: DaemonProcess): string[] => logOf(replica.running).map(({ event }) => String(event));

/** What docs/flyte.md gives an engine to set. */
function serviceConfig(): string {
  const [, config] =
    /defaultServiceConfig: >-\n((?: {8,}.*\n)+)/.exec(readFileSync(fromRoot('docs', 'flyte.md'), 'utf8')) ?? [];
  if (config === undefined) throw new Error('docs/flyte.md has no service config');
  return JSON.stringify(JSON.parse(config));
}

/** An engine that spreads its calls over all replicas, and repeats them by the policy of the docs alone. */
export function engineOf(t: TestContext, ports: readonly number[]): Client {
  const address = `ipv4:${ports.map((port) => `127.0.0.1:${port}`).join(',')}`;
  const channelOptions = { 'grpc.service_config': serviceConfig(), 'grpc.use_local_subchannel_pool': 1 };
  const client = createClient({ address, deadlineMs: 20_000, channelOptions });
  t.after(() => client.close());
  return client;
}

/** An engine behind a balancer: a call goes to the next replica in turn, and what ends in one of these ways is tried at another one. */
export class RoundRobin {
  readonly #clients: () => readonly Client[];
  readonly #repeats: readonly string[];
  #turn = 0;
  /** Calls that were tried again, by their code. */
  readonly repeated = new Map<string, number>();

  constructor(clients: () => readonly Client[], repeats: readonly string[] = ['UNAVAILABLE']) {
    this.#clients = clients;
    this.#repeats = repeats;
  }

  /** Throws what is no matter of where a call goes, and what lasts for longer than `patienceMs`. */
  async call<T>(make: (client: Client) => Promise<T>, patienceMs = 30_000): Promise<T> {
    const end = performance.now() + patienceMs;
    for (;;) {
      const clients = this.#clients();
      const client = clients[this.#turn++ % clients.length];
      if (client === undefined) {
        await sleep(200);
        continue;
      }
      try {
        return await make(client);
      } catch (error) {
        if (!(error instanceof PluginHostError) || !this.#repeats.includes(error.status)) throw error;
        if (performance.now() > end) throw error;
        this.repeated.set(error.code, (this.repeated.get(error.code) ?? 0) + 1);
        await sleep(200);
      }
    }
  }
}

/** The most calls that a remote saw beyond what a bucket lets through in the same time, over all windows. */
export function mostBeyond(
  atMs: readonly number[],
  { qps, burst }: { readonly qps: number; readonly burst: number },
): number {
  const sorted = [...atMs].sort((a, b) => a - b);
  let most = Number.NEGATIVE_INFINITY;
  // Over the windows that begin and end with a call: the level of a bucket that is never fuller than empty.
  let level = 0;
  let lastMs = sorted[0] ?? 0;
  for (const at of sorted) {
    level = Math.max(0, level - ((at - lastMs) * qps) / 1000) + 1;
    lastMs = at;
    most = Math.max(most, level - burst);
  }
  return most;
}
