import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { PhaseInfo } from '../../src/client/index.js';
import { isTerminal } from '../../src/plugin-api/phase.js';
import { type DaemonProcess, freePorts, statusWhere, until } from '../daemon/support.js';
import { sharedServer } from '../postgres/server.js';
import { Decisions } from '../support/decisions.js';
import { killDatabaseTwice, slowDatabaseDown } from './database-trouble.js';
import { USUAL } from './engines.js';
import { type Placed, Scene } from './scene.js';
import { clusterOf, eventsOf, LEASE_MS, ownerAmong } from './support.js';

/** Kills of a replica under load; more of them on demand. */
const KILLS = Number(process.env.REPLICA_KILLS ?? 8);
const SEED = Number(process.env.REPLICA_SEED ?? 1);
/** Each starts several daemons, and lets several leases pass. */
const BOUND = { timeout: 290_000 };

const shared = sharedServer('trouble');

const open = (t: TestContext) => Scene.open(t, shared);

/** With three replicas. */
async function three(t: TestContext): Promise<Scene> {
  const scene = await open(t);
  for (let i = 0; i < 3; i++) await scene.add();
  return scene;
}

test(`replicas are killed at random ${KILLS} times under load, and every task ends once, within limits and quota`, {
  timeout: 60_000 + KILLS * 20_000,
}, async (t) => {
  const dice = new Decisions(SEED).of('kills');
  const scene = await three(t);
  const engines = scene.engines();
  let owners = 0;
  for (let kill = 1; kill <= KILLS; kill++) {
    await sleep(dice.between(500, 4_000));
    const owner = await scene.owner();
    // The one that works at the least in every third, so that each run has its take-overs.
    const victim = kill % 3 === 0 ? owner : (scene.living[Math.floor(dice.next() * 3)] as DaemonProcess);
    if (victim === owner) owners += 1;
    await scene.end(victim, 'SIGKILL');
    await scene.add();
  }
  t.diagnostic(`seed ${SEED}, ${owners} of ${KILLS} kills met the one that worked; ${await engines.finish()}`);
  assert.ok(owners > 0);
});

test(
  'the database is killed and comes back after two leases, and the same replica goes on with every task',
  BOUND,
  async (t) => {
    const scene = await open(t);
    const first = await scene.add();
    for (let i = 0; i < 2; i++) await scene.add();
    const engines = scene.engines();
    await killDatabaseTwice(scene, engines, shared.server);
    assert.equal((await clusterOf(first)).role, 'owner');
    t.diagnostic(await engines.finish());
  },
);

test(
  'a slow database slows Creates down, one that is too slow for a lease stops the calls, and the same replica goes on',
  BOUND,
  async (t) => {
    const scene = await open(t);
    const placed: Placed[] = [];
    for (let i = 0; i < 3; i++) placed.push(await scene.addPlaced());
    const engines = scene.engines();
    await engines.progress();
    await slowDatabaseDown(engines, placed);
    assert.equal((await clusterOf((placed[0] as Placed).replica)).role, 'owner');
    t.diagnostic(await engines.finish());
  },
);

test(
  'a replica that is cut off from the database passes calls on while it stands by, and is replaced where it worked',
  BOUND,
  async (t) => {
    const scene = await open(t);
    const first = await scene.addPlaced();
    const second = await scene.addPlaced();
    const third = await scene.addPlaced();
    const engines = scene.engines();
    await engines.progress();

    second.database.cut();
    await sleep(2 * LEASE_MS);
    await second.replica.client.listPlugins();
    second.database.mend();
    await until('its row', async () => (await clusterOf(first.replica)).members.length === 3);
    assert.equal((await clusterOf(second.replica)).role, 'standby');

    // Engines go on asking it, also for tasks that the next one makes.
    first.database.cut();
    await until('the next one', () => ownerAmong([second.replica, third.replica]));
    const takenMs = performance.now();
    await engines.progress();
    assert.ok(first.remote.lastSentMs <= takenMs, 'the one that was replaced called the remote');
    assert.ok(eventsOf(first.replica).includes('cluster.lease_lapsed'));
    first.database.mend();
    scene.leave(first.replica);
    assert.equal((await first.replica.running.finished).code, 9);
    await scene.add();
    await engines.progress();
    t.diagnostic(await engines.finish({ limits: false }));
  },
);

test(
  'what was answered to Deletes holds when the replica that works is killed in their midst, and the rest are asked again',
  BOUND,
  async (t) => {
    const scene = await three(t);
    const owner = await scene.owner();
    const [standby] = scene.living.filter((one) => one !== owner) as [DaemonProcess];
    const names = Array.from({ length: 24 }, (_, i) => `d${i}`);
    const create = (generatedName: string) =>
      standby.client.create({ generatedName, template: { type: 'demo_hang' } }, { deadlineMs: 60_000 });
    // More than the quota of the scene lets run: some of them wait for their job.
    const made = await Promise.all(names.map(create));
    await until('jobs', () => scene.remote.created === USUAL.held.resourceQuotas.default);
    const hasJob = (name: string) => scene.remote.callsOf('create').some(({ names: [of] }) => of === name);
    const running = new Set(names.filter(hasJob));
    // No cancel is done before the kill.
    scene.remote.control.delayMs = 1_000;
    let answers = 0;
    const deleting = Promise.allSettled(
      made.map(async ({ handle }, i) => {
        await sleep(i * 10);
        await owner.client.delete(handle, { deadlineMs: 5_000 });
        answers += 1;
      }),
    );
    await until('answers', () => answers >= names.length / 3);
    await scene.end(owner, 'SIGKILL');
    const ends = await deleting;
    scene.remote.control.delayMs = 0;
    const unanswered = made.filter((_, i) => ends[i]?.status === 'rejected');
    t.diagnostic(`${answers} deletes were answered, ${unanswered.length} were not`);
    for (const { handle } of unanswered) await standby.client.delete(handle, { deadlineMs: 60_000 });
    await until('the end of every job', () => scene.remote.jobs().every(({ state }) => state === 'CANCELLED'));
    await sleep(LEASE_MS);
    assert.ok(scene.remote.jobs().every(({ state }) => state === 'CANCELLED'));
    const late = names.filter((name, i) => ends[i]?.status === 'fulfilled' && !running.has(name) && hasJob(name));
    assert.deepEqual(late, [], 'jobs of tasks that waited, and whose Delete was answered');
  },
);

test(
  'a Watch by way of a replica that stands by goes on over two changes of the owner, misses no end, and never tells a lower version',
  BOUND,
  async (t) => {
    const scene = await three(t);
    const first = await scene.owner();
    const [standby] = scene.living.filter((one) => one !== first) as [DaemonProcess];
    const watching = new AbortController();
    const last = new Map<string, Pick<PhaseInfo, 'version' | 'phase'>>();
    const faults: string[] = [];
    let lagged = 0;
    const handles: Buffer[] = [];
    /** What is asked for may be newer than what the stream has on its way. */
    const asked = new Map<string, PhaseInfo>();
    const told = (handle: Buffer, { version, phase }: PhaseInfo) => {
      const key = handle.toString('hex');
      const before = last.get(key);
      if (before !== undefined && (version < before.version || (isTerminal(before.phase) && phase !== before.phase))) {
        faults.push(`${before.phase}.${before.version} and then ${phase}.${version}`);
      }
      last.set(key, { version, phase });
    };
    const watch = (async () => {
      for await (const update of standby.client.watch({ includeCurrent: true }, { signal: watching.signal })) {
        if (update.kind === 'change' && !update.deleted) told(update.handle, update.status.phaseInfo);
        // The ring of who was killed is gone: what has ended meanwhile is asked for.
        if (update.kind === 'lagged') {
          lagged += 1;
          for (const handle of handles) {
            asked.set(handle.toString('hex'), (await standby.client.status(handle)).phaseInfo);
          }
        }
      }
    })();
    watch.catch((error: unknown) => {
      if (!watching.signal.aborted) faults.push(String(error));
    });
    const create = (generatedName: string, type: string) =>
      standby.client.create({ generatedName, template: { type, custom: { seconds: 1 } } }, { deadlineMs: 60_000 });
    const kept = await create('kept', 'demo_hang');
    for (let change = 0; change < 2; change++) {
      // Their ends come before the change, in its midst and after it.
      for (let i = 0; i < 6; i++) {
        handles.push((await create(`w${change}-${i}`, 'demo_sleep')).handle);
        await sleep(200);
      }
      // The watch’s own replica may be the next one that works, and is to stay.
      const owner = await scene.owner();
      if (owner !== standby) await scene.end(owner, change === 0 ? 'SIGKILL' : 'SIGTERM');
      await scene.owner();
      await scene.add();
    }
    const isEnded = (key: string) => [last, asked].some((known) => known.get(key)?.phase === 'SUCCESS');
    await until('every end', () => handles.every((handle) => isEnded(handle.toString('hex'))));
    assert.equal(last.get(kept.handle.toString('hex'))?.phase, 'RUNNING');
    watching.abort();
    await watch.catch(() => undefined);
    t.diagnostic(`told ${lagged} times that changes were missed`);
    assert.deepEqual(faults, []);
  },
);

test(
  'replicas are frozen for two leases under load and woken, the one that works and one that stands by',
  BOUND,
  async (t) => {
    const scene = await three(t);
    const engines = scene.engines();
    await engines.progress();
    const owner = await scene.owner();
    const standby = scene.living.find((one) => one !== owner) as DaemonProcess;
    for (const frozen of [standby, owner]) {
      frozen.running.child.kill('SIGSTOP');
      await sleep(2 * LEASE_MS);
      frozen.running.child.kill('SIGCONT');
      await engines.progress();
    }
    assert.equal((await owner.running.finished).code, 9);
    scene.leave(owner);
    await until('its row', async () => (await clusterOf(await scene.owner())).members.length === 2);
    t.diagnostic(await engines.finish());
  },
);

test(
  'a replica is added and another one taken away under load, and nobody else takes anything over',
  BOUND,
  async (t) => {
    const scene = await open(t);
    const first = await scene.add();
    const second = await scene.add();
    const engines = scene.engines();
    await engines.progress();
    await scene.add();
    await engines.progress();
    assert.equal(await scene.end(second, 'SIGTERM'), 0);
    await engines.progress();
    assert.equal((await clusterOf(first)).role, 'owner');
    assert.equal(await scene.end(first, 'SIGTERM'), 0);
    await scene.owner();
    await engines.progress();
    t.diagnostic(await engines.finish());
  },
);

test(
  'a replica that alone cannot reach the remote ends nothing, and its tasks go on elsewhere once it is stopped',
  BOUND,
  async (t) => {
    const scene = await open(t);
    const first = await scene.addPlaced();
    const second = await scene.addPlaced();
    const engines = scene.engines();
    await engines.progress();

    second.remote.cut();
    await engines.progress();
    second.remote.mend();

    const task = { generatedName: 'kept', template: { type: 'demo_sleep', custom: { seconds: 1 } } };
    const { handle } = await second.replica.client.create(task);
    await statusWhere(second.replica.client, handle, 'RUNNING', ({ phaseInfo }) => phaseInfo.phase === 'RUNNING');
    first.remote.cut();
    await sleep(3 * LEASE_MS);
    assert.equal((await second.replica.client.status(handle)).phaseInfo.phase, 'RUNNING');
    assert.equal(await scene.end(first.replica, 'SIGTERM'), 0);
    await statusWhere(second.replica.client, handle, 'SUCCESS', ({ phaseInfo }) => phaseInfo.phase === 'SUCCESS');
    await engines.progress();
    t.diagnostic(await engines.finish({ limits: false }));
  },
);

test(
  'a replica that the others alone cannot reach passes calls on while it stands by; where it works, they say so, and engines that ask it go on',
  BOUND,
  async (t) => {
    const scene = await open(t);
    // Packets to its place are answered by nobody's port.
    const [nowhere] = (await freePorts(1)) as [number];
    const first = await scene.add();
    const apart = await scene.add({ advertise: `127.0.0.1:${nowhere}` });
    const engines = scene.engines();
    await engines.progress();
    assert.equal((await clusterOf(first)).role, 'owner');
    const kept = { generatedName: 'kept', template: { type: 'demo_hang' } };
    const { handle } = await apart.client.create(kept, { deadlineMs: 30_000 });

    assert.equal(await scene.end(first, 'SIGTERM'), 0);
    await scene.owner();
    const third = await scene.add();
    await engines.progress();
    assert.equal((await clusterOf(apart)).role, 'owner');
    await assert.rejects(third.client.status(handle, { deadlineMs: 10_000 }), { code: 'OWNER_AWAY' });
    assert.equal((await apart.client.status(handle)).phaseInfo.phase, 'RUNNING');

    // Who can be reached takes over as from any other.
    assert.equal(await scene.end(apart, 'SIGTERM'), 0);
    await until('the third', async () => (await clusterOf(third)).role === 'owner');
    await statusWhere(third.client, handle, 'RUNNING', ({ phaseInfo }) => phaseInfo.phase === 'RUNNING');
    await third.client.delete(handle, { deadlineMs: 30_000 });
    await engines.progress();
    t.diagnostic(await engines.finish({ limits: false }));
  },
);
