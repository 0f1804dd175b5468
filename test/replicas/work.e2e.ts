import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { type DaemonProcess, startDemoRemote, startServe } from '../daemon/support.js';
import { sharedServer } from '../postgres/server.js';
import { Engines, type Work } from './engines.js';
import { onRemote, replicaConfig, startReplicas } from './support.js';

const TASKS = Number(process.env.REPLICA_TASKS ?? 2_000);
/** Of what a single daemon asks of the remote, what replicas may ask more or less. */
const APART = 0.05;

/** Quota and writes bind; reads come by the age of each task, so that their number follows from the tasks. */
const WORK: Work = {
  held: {
    writeRateLimiter: { qps: 30, burst: 10 },
    readRateLimiter: { qps: 200, burst: 20 },
    resourceQuotas: { default: 50 },
  },
  open: 100,
  jobS: 2,
  pollMs: 1_000,
  tasks: TASKS,
};

const shared = sharedServer('work');

/** Where the tasks go, and the remote that their jobs run on. */
interface Site {
  readonly what: string;
  readonly remote: Awaited<ReturnType<typeof startDemoRemote>>;
  readonly daemons: readonly DaemonProcess[];
}

async function site(t: TestContext, what: string, start: (config: object) => Promise<DaemonProcess[]>): Promise<Site> {
  const remote = await startDemoRemote(t);
  const entry = { config: WORK.held, settings: { url: remote.url, batch: false } };
  const parts = { refresh: { minInterval: '1s' } };
  const config = replicaConfig(shared.server.port, shared.newSchema(), onRemote(remote, entry), parts);
  return { what, remote, daemons: await start(config) };
}

/** All tasks from their Create to their Delete; answers how often the remote was called. */
async function work(t: TestContext, { what, remote, daemons }: Site): Promise<number> {
  const engines = new Engines(remote, () => daemons.map(({ client }) => client), WORK);
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

test(`${TASKS} tasks over three replicas each end once within limits and quota, and cost the remote the calls of a single daemon`, {
  timeout: 120_000 + TASKS * 150,
}, async (t) => {
  const sites = [
    await site(t, 'a single daemon', async (config) => [await startServe(t, { ...config, cluster: {} })]),
    await site(t, 'three replicas', (config) => startReplicas(t, { ...config })),
  ];
  // Beside each other, so that a machine that is slow for a while is slow for both.
  const [single = 0, several = 0] = await Promise.all(sites.map((one) => work(t, one)));
  const apart = several / single - 1;
  t.diagnostic(`${(apart * 100).toFixed(2)} % more calls over three replicas`);
  assert.ok(Math.abs(apart) <= APART, `${several} calls, of a single daemon ${single}`);
  for (const { running } of sites.flatMap(({ daemons }) => [...daemons].reverse())) {
    running.child.kill('SIGTERM');
    assert.equal((await running.finished).code, 0);
  }
});
