import assert from 'node:assert/strict';
import { test } from 'node:test';
import { partOfLimits } from '../../src/model/limits-tenancy.js';
import {
  type DaemonProcess,
  demoEntry,
  logOf,
  startDemoRemote,
  startServe,
  statusWhere,
  until,
} from '../daemon/support.js';
import { sharedServer } from '../postgres/server.js';
import { libfaketime } from '../support/faketime.js';
import { tempFolder } from '../support/temp.js';
import { clusterOf, LEASE_MS, onRemote, replicaConfig } from './support.js';

/** Replicas that differ, in their options or in what time they think it is. */
const BOUND = { timeout: 290_000 };
/** With several, each replica works on some, and all are left to the last one. */
const PARTS = Number(process.env.REPLICA_PARTS ?? 1);

const shared = sharedServer('unlike');

const hang = (generatedName: string) => ({ generatedName, template: { type: 'demo_hang' } });

const limitsPartOf = (plugin: string) => partOfLimits(plugin, 8);

const quotaOf = async (replica: DaemonProcess): Promise<string> => {
  const [, quota = ''] = /"resourceQuotas":(\{[^}]*\})/.exec(JSON.stringify(await replica.plugin('demo'))) ?? [];
  return quota;
};

test(
  'a replica that is started again with other options is told of by both, stands by under those of the one that works, and has its own once it works',
  BOUND,
  async (t) => {
    const remote = await startDemoRemote(t);
    const schema = shared.newSchema();
    const limited = (tokens: number) =>
      replicaConfig(shared.server.port, schema, onRemote(remote, { config: { resourceQuotas: { default: tokens } } }));
    const first = await startServe(t, limited(1));
    const before = await startServe(t, limited(1));
    before.running.child.kill('SIGTERM');
    assert.equal((await before.running.finished).code, 0);
    const second = await startServe(t, limited(2));
    for (const replica of [first, second]) {
      const told = () => logOf(replica.running).find(({ event }) => event === 'cluster.config_differs');
      assert.match(JSON.stringify(await until('what differs', told)), /resourceQuotas\.default: [12] here, [12] there/);
    }
    const made = await Promise.all(
      ['one', 'two'].map((name) => second.client.create(hang(name), { deadlineMs: 6_000 })),
    );
    const waits = async () => {
      const all = await Promise.all(made.map(({ handle }) => second.client.status(handle)));
      return all.filter(({ phaseInfo }) => phaseInfo.phase === 'WAITING_FOR_RESOURCES').length === 1;
    };
    await until('a job, and a task that waits', async () => remote.created > 0 && (await waits()));
    assert.equal(remote.created, 1, 'the quota of the one that works');
    const asShown = await quotaOf(first);
    assert.equal(await quotaOf(second), asShown, 'its effective options, whoever is asked');
    first.running.child.kill('SIGKILL');
    await until('the second to work', async () => (await clusterOf(second)).role === 'owner');
    for (const { handle } of made) {
      await statusWhere(second.client, handle, 'RUNNING', ({ phaseInfo }) => phaseInfo.phase === 'RUNNING');
    }
    assert.notEqual(await quotaOf(second), asShown);
  },
);

test(
  'replicas whose wall clocks are hours apart take each other’s work over within a lease, and no task ends for it',
  BOUND,
  async (t) => {
    const remote = await startDemoRemote(t);
    const parts = { state: { parts: PARTS } };
    const config = replicaConfig(shared.server.port, shared.newSchema(), onRemote(remote), parts);
    const start = (wall: string) =>
      startServe(t, config, tempFolder(t), {
        LD_PRELOAD: libfaketime(),
        FAKETIME: wall,
        FAKETIME_NO_CACHE: '1',
        DONT_FAKE_MONOTONIC: '1',
      });
    const replicas = [await start('+3h'), await start('-3h'), await start('+0')] as DaemonProcess[];
    const last = replicas[2] as DaemonProcess;
    const kept = await last.client.create(hang('kept'));
    const gone = await last.client.create(hang('gone'));
    const over = await last.client.create({ generatedName: 'over', template: { type: 'demo_sleep' } });
    await statusWhere(last.client, over.handle, 'SUCCESS', ({ phaseInfo }) => phaseInfo.phase === 'SUCCESS');
    for (const owner of replicas.slice(0, 2)) {
      await statusWhere(last.client, kept.handle, 'RUNNING', ({ phaseInfo }) => phaseInfo.phase === 'RUNNING');
      owner.running.child.kill('SIGKILL');
      const killedMs = performance.now();
      // Whoever is next answers by way of it.
      assert.equal((await last.client.status(kept.handle)).phaseInfo.phase, 'RUNNING');
      const tookMs = performance.now() - killedMs;
      assert.ok(tookMs < 2 * LEASE_MS + 2_000, `${Math.round(tookMs)} ms`);
      assert.equal((await last.client.status(over.handle)).phaseInfo.phase, 'SUCCESS');
      if (PARTS === 1 && (await clusterOf(last)).role === 'owner') break;
    }
    await last.client.delete(gone.handle);
    await until('its cancel', () => remote.callsOf('cancel').length === 1);
    const anew = await last.client.create(hang('gone'));
    await statusWhere(last.client, anew.handle, 'RUNNING', ({ phaseInfo }) => phaseInfo.phase === 'RUNNING');
    await last.client.delete(gone.handle);
    assert.equal((await last.client.create(hang('kept'))).handle.equals(kept.handle), true);
    const polls = remote.callsFor('kept');
    await until('reads', () => remote.callsFor('kept') > polls + 3);
    assert.deepEqual([remote.created, remote.callsOf('cancel').length], [4, 1]);
  },
);

test(
  'of two plugins whose limits lie in one part, each served by one replica alone, it is said which rests, where and why, until one serves both',
  BOUND,
  async (t) => {
    const remote = await startDemoRemote(t);
    const other = Array.from({ length: 200 }, (_, i) => `other${i}`).find(
      (id) => limitsPartOf(id) === limitsPartOf('demo'),
    ) as string;
    const schema = shared.newSchema();
    // Only for who serves both.
    const defaultForTaskTypes = { demo_sleep: 'demo', demo_fail: 'demo', demo_hang: 'demo' };
    const start = (...ids: string[]) => {
      const own = Object.fromEntries(ids.map((id) => [id, demoEntry(remote.url)]));
      const more = ids.length > 1 ? { defaultForTaskTypes } : {};
      return startServe(
        t,
        replicaConfig(shared.server.port, schema, own, { state: { parts: 8 }, ...more }),
        tempFolder(t),
      );
    };
    const first = await start('demo');
    const second = await start(other);
    const told = () => logOf(second.running).filter(({ event }) => event === 'limits.unserved');
    const [line] = await until('what rests', () => (told().length > 0 ? told() : undefined));
    assert.equal(line?.plugin, other);
    assert.match(JSON.stringify(line), /process \d+, without demo/);
    const restsAt = async (replica: DaemonProcess) =>
      (await clusterOf(replica)).limits?.filter(({ rests }) => rests !== undefined).map(({ plugin }) => plugin);
    assert.deepEqual([await restsAt(first), await restsAt(second)], [[other], [other]]);
    const tasks = await Promise.all(
      Array.from({ length: 8 }, (_, i) => second.client.create(hang(`task${i}`), { deadlineMs: 6_000 })),
    );
    const states = () => Promise.all(tasks.map(({ handle }) => second.client.status(handle)));
    assert.ok((await states()).some(({ phaseInfo }) => phaseInfo.phase === 'WAITING_FOR_RESOURCES'));
    const third = await start('demo', other);
    await until('all tasks to run', async () =>
      (await states()).every(({ phaseInfo }) => phaseInfo.phase === 'RUNNING'),
    );
    for (const replica of [first, second, third]) assert.deepEqual(await restsAt(replica), []);
    assert.equal(told().length, 1);
    assert.equal(
      logOf(first.running).some(({ event }) => event === 'limits.unserved'),
      false,
    );
  },
);
