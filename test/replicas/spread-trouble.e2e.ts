import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '../../src/client/index.js';
import { partitionOf, partOf } from '../../src/model/handle.js';
import { type DaemonProcess, startDemoRemote, statusWhere, until } from '../daemon/support.js';
import { sharedServer } from '../postgres/server.js';
import { Decisions } from '../support/decisions.js';
import { killDatabaseTwice, slowDatabaseDown } from './database-trouble.js';
import { USUAL } from './engines.js';
import { restartInTurn } from './policy-load.js';
import { type Placed, Scene } from './scene.js';
import { holderOf, movesOf, partOfTask } from './shares.js';
import { clusterOf, eventsOf, LEASE_MS, onRemote, replicaConfig } from './support.js';

/** Kills of a replica under load; more of them on demand. */
const KILLS = Number(process.env.REPLICA_KILLS ?? 8);
const SEED = Number(process.env.REPLICA_SEED ?? 1);
const PARTS = 8;
/** Each starts several daemons, and lets several leases pass. */
const BOUND = { timeout: 290_000 };
/** A death is seen, and its parts are loaded; a second of it is the test's own. Milliseconds. */
const TAKEN_MS = LEASE_MS + 3_000;

const shared = sharedServer('spread_trouble');

/** A task as those of the engines. */
const brief = (generatedName: string) => ({
  generatedName,
  template: { type: 'demo_sleep', custom: { seconds: USUAL.jobS } },
});

/** Three replicas that have even shares, under load, and whose ways can be disturbed. */
async function three(t: TestContext) {
  const scene = await Scene.open(t, shared, PARTS);
  const placed: Placed[] = [];
  for (let i = 0; i < 3; i++) placed.push(await scene.addPlaced());
  const shares = await scene.even();
  const engines = scene.engines();
  await engines.progress();
  const hasLimits = holderOf(shares, partOf(partitionOf('demo'), PARTS));
  const owner = placed.find(({ replica }) => replica === hasLimits) as Placed;
  const others = placed.filter((one) => one !== owner) as [Placed, Placed];
  return { scene, engines, shares, all: placed, owner, others };
}

test(`any of three replicas that share the work is killed, ${KILLS} times under load, and every task ends once, within limits and quota`, {
  timeout: 60_000 + KILLS * 20_000,
}, async (t) => {
  const dice = new Decisions(SEED).of('kills');
  const { scene, engines } = await three(t);
  for (let kill = 1; kill <= KILLS; kill++) {
    await sleep(dice.between(500, 4_000));
    await scene.end(scene.living[Math.floor(dice.next() * 3)] as DaemonProcess, 'SIGKILL');
    await scene.add();
  }
  await scene.even();
  await engines.progress();
  t.diagnostic(`seed ${SEED}; ${await engines.finish()}`);
});

test(
  'replicas that share the work are frozen for two leases and woken: nothing that they send or write counts, and they end with 9',
  BOUND,
  async (t) => {
    const { scene, engines, owner, others } = await three(t);
    for (const [i, { replica: frozen }] of [others[0], owner].entries()) {
      frozen.running.child.kill('SIGSTOP');
      await sleep(2 * LEASE_MS);
      // Sent to the frozen one, which wakes with them before it, some of parts that were its own.
      const names = Array.from({ length: 8 }, (_, n) => `late${i}-${n}`);
      const create = (client: Client, name: string) => client.create(brief(name), { deadlineMs: 8_000 });
      const late = names.map((name) => create(frozen.client, name).catch(() => undefined));
      scene.leave(frozen);
      frozen.running.child.kill('SIGCONT');
      assert.equal((await frozen.running.finished).code, 9);
      assert.ok(eventsOf(frozen).includes('cluster.replaced'));
      const answered = await Promise.all(late);
      for (const [n, name] of names.entries()) {
        const { handle } = await engines.balancer.call((client) => create(client, name));
        // What it did answer had gone on to whoever has the part.
        if (answered[n] !== undefined) assert.ok(answered[n].handle.equals(handle), name);
        await engines.balancer.call(async (client) => {
          await client.waitForEnd(handle, { timeoutMs: 30_000 });
          await client.delete(handle);
        });
        const jobs = scene.remote.callsOf('create').filter(({ names: [of], status }) => of === name && status === 201);
        assert.equal(jobs.length, 1, name);
      }
      await scene.add();
      await scene.even();
      await engines.progress();
    }
    t.diagnostic(await engines.finish());
  },
);

test(
  'the database is killed and comes back after two leases: nobody calls past the lease, and all go on with the parts that they had',
  BOUND,
  async (t) => {
    const { scene, engines, shares } = await three(t);
    await killDatabaseTwice(scene, engines, shared.server);
    assert.deepEqual(await scene.even(), shares);
    t.diagnostic(await engines.finish());
  },
);

test(
  'a slow database slows Creates down, one that is too slow for a lease stops the calls, and the replicas go on with what they had',
  BOUND,
  async (t) => {
    const { scene, engines, shares, all } = await three(t);
    await slowDatabaseDown(engines, all);
    assert.deepEqual(await scene.even(), shares);
    t.diagnostic(await engines.finish());
  },
);

test(
  'a replica that alone is cut off from the database calls nothing once its parts are worked on elsewhere, passes calls on meanwhile, and ends with 9',
  BOUND,
  async (t) => {
    const {
      scene,
      engines,
      shares,
      others: [cut],
    } = await three(t);
    const itsParts = shares.get(cut.replica) ?? [];
    cut.database.cut();
    const cutMs = Date.now();
    const living = scene.living.filter((replica) => replica !== cut.replica);
    const takenMs = (part: number) => Math.max(...living.map((one) => movesOf(one, 'part.taken').get(part) ?? 0));
    await until('its parts elsewhere', () => itsParts.every((part) => takenMs(part) > cutMs));
    const tookMs = Math.max(...itsParts.map(takenMs)) - cutMs;
    t.diagnostic(`taken over after ${tookMs} ms`);
    assert.ok(tookMs < TAKEN_MS, `${tookMs} ms`);
    const sinceMs = performance.now();
    await engines.progress();
    assert.ok(cut.remote.lastSentMs <= sinceMs, 'the one that was replaced called the remote');
    assert.ok(eventsOf(cut.replica).includes('cluster.lease_lapsed'));
    cut.database.mend();
    scene.leave(cut.replica);
    assert.equal((await cut.replica.running.finished).code, 9);
    await scene.add();
    await scene.even();
    await engines.progress();
    t.diagnostic(await engines.finish());
  },
);

test(
  'a replica that the others cannot reach, and then all that cannot reach each other, stay within limits and quota, end nothing, and go on once they can',
  BOUND,
  async (t) => {
    const { scene, engines, shares, all, owner, others } = await three(t);
    for (const apart of [[others[0]], [owner], all]) {
      for (const { peers } of apart) peers.cut();
      await sleep(2 * LEASE_MS);
      for (const { peers } of apart) peers.mend();
      await engines.progress();
    }
    assert.deepEqual(await scene.even(), shares, 'nothing moves because of it');
    t.diagnostic(await engines.finish());
  },
);

test(
  'a rolling restart of replicas that share the work fails no call of an engine with the retry policy of docs/flyte.md',
  BOUND,
  async (t) => {
    const remote = await startDemoRemote(t);
    const parts = { state: { parts: PARTS } };
    const config = replicaConfig(shared.server.port, shared.newSchema(), onRemote(remote), parts);
    t.diagnostic(await restartInTurn(t, remote, config, 4));
  },
);

test('a replica that alone cannot reach the remote ends nothing, and its tasks go on elsewhere', BOUND, async (t) => {
  const { scene, engines, others } = await three(t);
  const [cut, other] = others;
  const tasks = await Promise.all(
    Array.from({ length: 16 }, async (_, i) => {
      const kept = { generatedName: `kept${i}`, template: { type: 'demo_sleep', custom: { seconds: 2 } } };
      return (await cut.replica.client.create(kept, { deadlineMs: 30_000 })).handle;
    }),
  );
  const shares = await scene.even();
  const itsParts = shares.get(cut.replica) ?? [];
  assert.ok(tasks.some((handle) => itsParts.includes(partOfTask(handle, PARTS))));
  cut.remote.cut();
  for (const handle of tasks) {
    await statusWhere(other.replica.client, handle, 'SUCCESS', ({ phaseInfo }) => phaseInfo.phase === 'SUCCESS');
  }
  await engines.progress();
  cut.remote.mend();
  await engines.progress();
  assert.equal((await clusterOf(cut.replica)).members.length, 3);
  t.diagnostic(await engines.finish({ limits: false }));
});
