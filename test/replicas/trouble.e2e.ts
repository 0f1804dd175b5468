import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type DaemonProcess, statusWhere, until } from '../daemon/support.js';
import { sharedServer } from '../postgres/server.js';
import { Decisions } from '../support/decisions.js';
import { type Placed, Scene } from './scene.js';
import { clusterOf, eventsOf, LEASE_MS, ownerAmong } from './support.js';

/** Kills of a replica under load; more of them on demand. */
const KILLS = Number(process.env.REPLICA_KILLS ?? 8);
const SEED = Number(process.env.REPLICA_SEED ?? 1);
/** Each starts several daemons, and lets several leases pass. */
const BOUND = { timeout: 290_000 };

const shared = sharedServer('trouble');

const open = (t: TestContext) => Scene.open(t, shared.server.port, shared.newSchema());

test(`replicas are killed at random ${KILLS} times under load, and every task ends once, within limits and quota`, {
  timeout: 60_000 + KILLS * 20_000,
}, async (t) => {
  const dice = new Decisions(SEED).of('kills');
  const scene = await open(t);
  for (let i = 0; i < 3; i++) await scene.add();
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
    for (let round = 1; round <= 2; round++) {
      await engines.progress();
      await shared.server.kill();
      const overMs = performance.timeOrigin + performance.now() + LEASE_MS;
      await sleep(2 * LEASE_MS);
      const late = scene.remote.calls.filter(({ atMs }) => atMs > overMs + 300).length;
      assert.equal(late, 0, 'calls past the lease');
      await shared.server.run();
      await until(
        'the lease',
        () => eventsOf(first).filter((event) => event === 'cluster.lease_renewed').length === round,
      );
    }
    await engines.progress();
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
    const slow = (delayMs: number) => {
      for (const { database } of placed) database.delayMs = delayMs;
    };
    slow(120);
    await engines.progress(20);
    slow(LEASE_MS / 2);
    await sleep(2 * LEASE_MS);
    slow(0);
    await engines.progress(20);
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
  'replicas are frozen for two leases under load and woken, the one that works and one that stands by',
  BOUND,
  async (t) => {
    const scene = await open(t);
    for (let i = 0; i < 3; i++) await scene.add();
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
