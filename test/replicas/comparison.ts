import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { type DaemonProcess, startDemoRemote, startServe, until } from '../daemon/support.js';
import type { SharedServer } from '../postgres/server.js';
import { Engines, type Work } from './engines.js';
import { evenShares } from './shares.js';
import { onRemote, replicaConfig, startReplicas } from './support.js';

/** Of what a single daemon asks of the remote, what replicas may ask more or less; and so many calls, where there are few tasks. */
const APART = 0.05;
const APART_CALLS = 20;

/** Quota and writes bind; each job is read twice, whatever a busy machine leaves of polls that nobody needs. */
const WORK = {
  held: {
    writeRateLimiter: { qps: 30, burst: 10 },
    readRateLimiter: { qps: 200, burst: 20 },
    resourceQuotas: { default: 100 },
  },
  open: 200,
  jobS: 7.5,
  pollMs: 1_000,
} satisfies Work;
/** An interval comes up to a fifth early: the second read finds the end. */
const POLLS = { entry: { caching: { resyncInterval: '5s' } }, refresh: { pollShare: 0 } };

/** Where the tasks go, and the remote that their jobs run on. */
interface Site {
  readonly what: string;
  readonly remote: Awaited<ReturnType<typeof startDemoRemote>>;
  readonly daemons: readonly DaemonProcess[];
}

interface Compared {
  readonly tasks: number;
  /** Into how many the state of the replicas is divided. */
  readonly parts: number;
}

/** The same tasks on a single daemon and on three replicas, each on a remote of its own, until all have ended; answers the replicas. */
export async function comparedWithOne(t: TestContext, shared: SharedServer, compared: Compared) {
  const { tasks, parts } = compared;
  const sites = [
    await site(t, shared, 'a single daemon', async (config) => [await startServe(t, { ...config, cluster: {} })]),
    await site(t, shared, 'three replicas', (config) => startReplicas(t, { ...config }), parts),
  ];
  // Beside each other, so that a machine that is slow for a while is slow for both.
  const [single = 0, several = 0] = await Promise.all(sites.map((one) => work(t, one, tasks)));
  t.diagnostic(`${((several / single - 1) * 100).toFixed(2)} % more calls over three replicas`);
  assert.ok(
    Math.abs(several - single) <= single * APART + APART_CALLS,
    `${several} calls, of a single daemon ${single}`,
  );
  return {
    replicas: sites[1]?.daemons ?? [],
    async stop(): Promise<void> {
      for (const { running } of sites.flatMap(({ daemons }) => [...daemons].reverse())) {
        running.child.kill('SIGTERM');
        assert.equal((await running.finished).code, 0);
      }
    },
  };
}

async function site(
  t: TestContext,
  shared: SharedServer,
  what: string,
  start: (config: object) => Promise<DaemonProcess[]>,
  parts = 1,
): Promise<Site> {
  const remote = await startDemoRemote(t);
  const entry = {
    config: { ...WORK.held, ...POLLS.entry },
    settings: { url: remote.url, batch: false },
  };
  const schema = shared.newSchema();
  const daemons = await start(
    replicaConfig(shared.server.port, schema, onRemote(remote, entry), {
      refresh: POLLS.refresh,
      state: { parts },
    }),
  );
  if (parts > 1) await until('parts that lie evenly', () => evenShares(daemons, parts, shared.server, schema));
  return { what, remote, daemons };
}

/** All tasks from their Create to their Delete; answers how often the remote was called. */
async function work(t: TestContext, { what, remote, daemons }: Site, tasks: number): Promise<number> {
  const engines = new Engines(remote, () => daemons.map(({ client }) => client), { ...WORK, tasks });
  const fromMs = performance.now();
  await engines.all();
  const took = ((performance.now() - fromMs) / 1000).toFixed(1);
  const said = await engines.finish();
  const kinds = new Map<string, number>();
  for (const { kind } of remote.calls) kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
  const calls = [...kinds].map(([kind, count]) => `${kind} ${count}`).join(', ');
  t.diagnostic(`${what}: ${took} s; ${calls}; ${said}`);
  return remote.calls.length;
}
