import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { credentials, Client as GrpcClient, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import type { TaskStatus } from '../../src/client/index.js';
import {
  type DaemonProcess,
  logOf,
  spawnServe,
  startDemoRemote,
  startServe,
  statusWhere,
  until,
} from '../daemon/support.js';
import { sharedServer } from '../postgres/server.js';
import { fromRoot } from '../support/paths.js';
import { restartInTurn } from './policy-load.js';
import {
  clusterOf,
  eventsOf,
  LEASE_MS,
  mostBeyond,
  onRemote,
  ownerAmong,
  RoundRobin,
  replicaConfig,
  startReplicas,
} from './support.js';

/** Each starts several daemons. */
const BOUND = { timeout: 290_000 };

const shared = sharedServer('replicas');

const task = (generatedName: string, type: string, custom: Record<string, number> = {}) => ({
  generatedName,
  template: { type, custom },
});

const isRunning = ({ phaseInfo }: TaskStatus) => phaseInfo.phase === 'RUNNING';

function configFor(plugins: Record<string, unknown>, parts: Record<string, unknown> = {}) {
  return replicaConfig(shared.server.port, shared.newSchema(), plugins, parts);
}

/** Replicas of which the first one works, with a job that runs on. */
async function withAJob(t: TestContext, count: number) {
  const remote = await startDemoRemote(t);
  const [first, second] = (await startReplicas(t, configFor(onRemote(remote)), count)) as [
    DaemonProcess,
    DaemonProcess,
  ];
  const { handle } = await first.client.create(task('kept', 'demo_hang'));
  await statusWhere(first.client, handle, 'RUNNING', isRunning);
  return { remote, first, second, handle };
}

test('any replica takes any call, one of them calls the remote, and each job is made once', BOUND, async (t) => {
  const remote = await startDemoRemote(t);
  const replicas = await startReplicas(t, configFor(onRemote(remote)));
  const [owner, second, third] = replicas as [DaemonProcess, DaemonProcess, DaemonProcess];
  assert.deepEqual(await Promise.all(replicas.map(async (one) => (await clusterOf(one)).role)), [
    'owner',
    'standby',
    'standby',
  ]);
  const seen: string[] = [];
  const watching = new AbortController();
  const watch = (async () => {
    for await (const update of third.client.watch({}, { signal: watching.signal })) {
      if (update.kind === 'change') seen.push(update.status.phaseInfo.phase);
    }
  })().catch(() => undefined);
  const made = await second.client.create(task('one', 'demo_hang'));
  const again = await third.client.create(task('one', 'demo_hang'));
  assert.deepEqual(again.handle, made.handle, 'a repeat of the attempt at another replica');
  for (const { client } of replicas) await statusWhere(client, made.handle, 'RUNNING', isRunning);
  await until('the watch', () => seen.includes('RUNNING'));
  assert.equal((await third.client.get(made.handle)).phaseInfo.phase, 'RUNNING');
  assert.equal((await second.client.listPlugins())[0]?.state, 'SERVING');
  await third.client.delete(made.handle);
  await until('the delete', () => eventsOf(owner).includes('delete.done'));
  await assert.rejects(second.client.status(Buffer.from('nonsense')), { code: 'HANDLE_MALFORMED' });
  watching.abort();
  await watch;
  assert.equal(remote.created, 1);
  const figures = (await second.http('/metrics')).body;
  assert.match(figures, /pluginhost_cluster_role\{role="standby"\} 1/);
  assert.match(figures, /pluginhost_cluster_forwarded_total\{grpc_code="OK"\} [1-9]/);
});

test('a call that was passed on is passed on no further', BOUND, async (t) => {
  const [, standby] = await startReplicas(t, configFor({}), 2);
  const client = new GrpcClient((standby as DaemonProcess).grpc, credentials.createInsecure());
  t.after(() => client.close());
  const metadata = new Metadata();
  metadata.set('plugin-host-hop', 'somebody');
  const same = (bytes: Buffer) => bytes;
  const error = await new Promise<ServiceError | null>((resolve) => {
    client.makeUnaryRequest('/pluginhost.v1.PluginHost/ListPlugins', same, same, Buffer.alloc(0), metadata, (end) =>
      resolve(end),
    );
  });
  assert.equal(error?.code, status.UNAVAILABLE);
  assert.match(error?.details ?? '', /passed the call on to this one/);
});

test(
  'when the replica that works is killed, another one goes on within a lease and two seconds, within the limit, and every task ends once',
  BOUND,
  async (t) => {
    const remote = await startDemoRemote(t);
    const writes = { qps: 20, burst: 5 };
    const reads = { qps: 60, burst: 10 };
    const limits = { config: { readRateLimiter: reads, writeRateLimiter: writes } };
    const replicas = await startReplicas(t, configFor(onRemote(remote, limits)));
    const living = [...replicas];
    const balancer = new RoundRobin(() => living.map(({ client }) => client));
    const names = Array.from({ length: 120 }, (_, i) => `t${i}`);
    const creating = names.map(async (name, i) => {
      await sleep(i * 60);
      return balancer.call((client) =>
        client.create(task(name, 'demo_sleep', { seconds: 0.5 }), { deadlineMs: 20_000 }),
      );
    });
    await until('some jobs', () => remote.created >= 30);
    const [killed] = living.splice(0, 1);
    killed?.running.child.kill('SIGKILL');
    const killedMs = performance.now();
    const next = await until('the next one', () => ownerAmong(living));
    const tookMs = performance.now() - killedMs;
    assert.ok(tookMs < LEASE_MS + 2_000 + 1_000, `${Math.round(tookMs)} ms, of which a second is this test's own`);
    const handles = (await Promise.all(creating)).map(({ handle }) => handle);
    for (const handle of handles) {
      await until('the end', async () => {
        const { phaseInfo } = await balancer.call((client) => client.status(handle));
        return phaseInfo.phase === 'SUCCESS';
      });
    }
    assert.equal(remote.created, names.length, 'jobs');
    assert.equal(new Set(remote.jobs().map(({ token }) => token)).size, names.length);
    const at = (kinds: readonly string[]) =>
      remote.calls.filter(({ kind }) => kinds.includes(kind)).map(({ atMs }) => atMs);
    // A busy machine holds calls up between their send and their arrival, and lets go of them together: of half a second here.
    const written = mostBeyond(at(['create', 'cancel']), writes);
    assert.ok(written <= writes.qps / 2, `${written} writes too many`);
    const read = mostBeyond(at(['read', 'readMany']), reads);
    assert.ok(read <= reads.qps / 2, `${read} reads too many`);
    assert.ok(
      logOf(next.running).some(({ event, from }) => event === 'cluster.owner' && String(from).includes('process')),
    );
  },
);

test(
  'a Do that was passed on is run anew where the replica that works is killed in its midst, and ends the call that asked for it',
  BOUND,
  async (t) => {
    const remote = await startDemoRemote(t);
    const sync = { source: fromRoot('dist', 'plugins', 'demo', 'sync.js'), settings: { url: remote.url } };
    const replicas = await startReplicas(t, configFor({ 'demo-sync': sync }));
    const [owner, standby, other] = replicas as [DaemonProcess, DaemonProcess, DaemonProcess];
    remote.control.delayMs = 1_000;
    const asked = standby.client.do(task('ran', 'demo_sync'), { deadlineMs: 60_000 });
    await until('its call', () => remote.callsOf('run').length === 1);
    owner.running.child.kill('SIGKILL');
    assert.equal((await asked).phase, 'SUCCESS');
    assert.equal((await other.client.do(task('ran', 'demo_sync'), { deadlineMs: 60_000 })).phase, 'SUCCESS');
    assert.equal(remote.callsOf('run').length, 2, 'its result is answered again');
  },
);

test(
  'a rolling restart under load fails no call of an engine with the retry policy of docs/flyte.md, and makes each job once',
  BOUND,
  async (t) => {
    const remote = await startDemoRemote(t);
    t.diagnostic(await restartInTurn(t, remote, configFor(onRemote(remote)), 1));
  },
);

test(
  'a replica that is frozen for two leases and woken sends and writes nothing, and ends with 9',
  BOUND,
  async (t) => {
    const { remote, first, second, handle } = await withAJob(t, 2);
    first.running.child.kill('SIGSTOP');
    await until('the second to work', async () => (await clusterOf(second)).role === 'owner');
    assert.equal((await second.client.status(handle)).phaseInfo.phase, 'RUNNING');
    await sleep(LEASE_MS);
    // Sent to the frozen one, which wakes with it before it.
    const late = first.client.create(task('late', 'demo_hang'), { deadlineMs: 20_000 }).catch(() => undefined);
    first.running.child.kill('SIGCONT');
    assert.equal((await first.running.finished).code, 9);
    await late;
    assert.ok(eventsOf(first).includes('cluster.replaced'));
    assert.equal((await second.client.status(handle)).phaseInfo.phase, 'RUNNING');
    assert.ok(remote.created <= 2, 'the late one at most once, by way of the second');
  },
);

test(
  'a plugin’s process that was frozen with a call before it, and wakes when another replica has the work, does not send that',
  BOUND,
  async (t) => {
    const { remote, first, second, handle } = await withAJob(t, 2);
    const processes = first.children();
    for (const pid of processes) process.kill(pid, 'SIGSTOP');
    await first.client.delete(handle);
    const sent = /pluginhost_limit_in_flight\{plugin="demo",lane="write"\} 1/;
    await until('the cancel to be sent', async () => sent.test((await first.http('/metrics')).body));
    first.running.child.kill('SIGSTOP');
    await until('the second to work', async () => (await clusterOf(second)).role === 'owner');
    await until('its cancel', () => eventsOf(second).includes('delete.done'));
    for (const pid of processes) process.kill(pid, 'SIGCONT');
    await sleep(500);
    first.running.child.kill('SIGCONT');
    assert.equal((await first.running.finished).code, 9);
    assert.equal(remote.callsOf('cancel').length, 1);
  },
);

test(
  'without its database the replica that works calls nothing past its lease, and goes on when it is back',
  BOUND,
  async (t) => {
    const { remote, first: owner, handle } = await withAJob(t, 1);
    await shared.server.kill();
    await until('the end of the lease', () => eventsOf(owner).includes('cluster.lease_lapsed'));
    const polls = remote.callsFor('kept');
    await sleep(1_000);
    assert.ok(remote.callsFor('kept') <= polls + 1, 'one may have been under way');
    assert.equal((await owner.client.status(handle)).phaseInfo.phase, 'RUNNING', 'memory answers');
    await shared.server.run();
    await until('the lease', () => eventsOf(owner).includes('cluster.lease_renewed'));
    await until('polls', () => remote.callsFor('kept') > polls + 3);
  },
);

test(
  'a replica that others could not reach, and one without a shared state, do not start, and say why',
  BOUND,
  async (t) => {
    const config = configFor({});
    const refused = async (changes: Record<string, unknown>) => {
      const { code, stderr } = await spawnServe(t, { ...config, ...changes }).finished;
      return { code, stderr };
    };
    const loopback = await refused({ cluster: { enabled: true, advertise: '127.0.0.1' } });
    assert.equal(loopback.code, 3);
    assert.match(loopback.stderr, /other replicas do not reach a port that listens on loopback/);
    const alone = await refused({ state: { dir: './state' } });
    assert.equal(alone.code, 3);
    assert.match(alone.stderr, /set state.engine to postgres/);
    const nowhere = await refused({ cluster: { enabled: true, loopback: 'for-tests-on-one-machine' } });
    assert.equal(nowhere.code, 5);
    assert.match(nowhere.stderr, /CLUSTER_ADDRESS_UNUSABLE: nothing says where/);
  },
);

test(
  'a daemon that is no replica does not start on the state of replicas, nor replicas on its own',
  BOUND,
  async (t) => {
    const schema = shared.newSchema();
    const config = replicaConfig(shared.server.port, schema, {});
    const alone = { ...config, cluster: {} };
    const [replica] = (await startReplicas(t, config, 1)) as [DaemonProcess];
    const refused = await spawnServe(t, alone).finished;
    assert.equal(refused.code, 5);
    assert.match(refused.stderr, /STATE_LOCKED/);
    replica.running.child.kill('SIGTERM');
    assert.equal((await replica.running.finished).code, 0);
    const only = await startServe(t, alone);
    const waiting = spawnServe(t, config);
    await waiting.waitFor(/cluster\.joined/);
    await sleep(2 * LEASE_MS);
    assert.ok(!/daemon\.ready/.test(waiting.output()), 'nobody could take its calls');
    assert.equal((await only.client.listPlugins()).length, 0);
    only.running.child.kill('SIGTERM');
    await only.running.finished;
    await waiting.waitFor(/daemon\.ready/);
  },
);
