import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { credentials, Client as GrpcClient } from '@grpc/grpc-js';
import { taskMessage } from '../../src/client/convert.js';
import type { Client, TaskStatus } from '../../src/client/index.js';
import { loadPluginHost, PLUGIN_HOST_SERVICE } from '../../src/idl/load.js';
import { partitionOf, partOf } from '../../src/model/handle.js';
import { type DaemonProcess, freePorts, startDemoRemote, startServe, statusWhere, until } from '../daemon/support.js';
import { sharedServer } from '../postgres/server.js';
import { tempFolder } from '../support/temp.js';
import { comparedWithOne } from './comparison.js';
import { PolicyLoad } from './policy-load.js';
import { evenShares, holderOf, movesOf, partOfTask, type Shares } from './shares.js';
import { LEASE_MS, onRemote, replicaConfig } from './support.js';

/** Tasks whose calls are compared with those of a single daemon; more of them on demand. */
const TASKS = Number(process.env.REPLICA_TASKS ?? 300);
const PARTS = 8;
/** So many that each part has some. */
const NAMES = Array.from({ length: 32 }, (_, i) => `t${i}`);
/** Each starts several daemons. */
const BOUND = { timeout: 290_000 };
/** What a stop or a death may take beyond a lease, and what of that is the test's own. */
const HANDOVER_MS = 2_000;
const OWN_MS = 1_000;

const shared = sharedServer('spread');

const hang = (generatedName: string) => ({ generatedName, template: { type: 'demo_hang' } });
const isRunning = ({ phaseInfo }: TaskStatus) => phaseInfo.phase === 'RUNNING';

/** With three replicas, whose limits are in nobody's way. */
async function three(t: TestContext) {
  const remote = await startDemoRemote(t);
  const schema = shared.newSchema();
  const config = replicaConfig(shared.server.port, schema, onRemote(remote), { state: { parts: PARTS } });
  const living: DaemonProcess[] = [];
  const ports = await freePorts(4);
  const even = () => until('parts that lie evenly', () => evenShares(living, PARTS, shared.server, schema));
  const add = async (): Promise<DaemonProcess> => {
    const replica = await startServe(t, { ...config, grpc: { port: ports[living.length] } }, tempFolder(t));
    living.push(replica);
    return replica;
  };
  const end = async (replica: DaemonProcess, signal: 'SIGTERM' | 'SIGKILL'): Promise<number | null> => {
    living.splice(living.indexOf(replica), 1);
    replica.running.child.kill(signal);
    return (await replica.running.finished).code;
  };
  for (let i = 0; i < 3; i++) await add();
  return { remote, living, ports, add, end, even };
}

/** Tasks whose jobs run on, by name, each created at the next one of the replicas. */
async function running(replicas: readonly DaemonProcess[], names: readonly string[]): Promise<Map<string, Buffer>> {
  const made = names.map(async (name, i) => {
    const { client } = replicas[i % replicas.length] as DaemonProcess;
    const { handle } = await client.create(hang(name), { deadlineMs: 60_000 });
    await statusWhere(client, handle, 'RUNNING', isRunning);
    return [name, handle] as const;
  });
  return new Map(await Promise.all(made));
}

/** What a replica answers to a Create, to its bytes. */
function createdAt(t: TestContext, replica: DaemonProcess, generatedName: string): Promise<Buffer> {
  const idl = loadPluginHost();
  const client = new GrpcClient(replica.grpc, credentials.createInsecure());
  t.after(() => client.close());
  const { path = '' } = idl.rawService(PLUGIN_HOST_SERVICE).Create ?? {};
  const request = idl.codec('pluginhost.v1.CreateRequest').encode({ task: taskMessage(idl, hang(generatedName)) });
  const same = (bytes: Buffer) => bytes;
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(path, same, same, request, (error, answer) => {
      if (error !== null || answer === undefined) reject(error ?? new Error('no answer'));
      else resolve(answer);
    });
  });
}

/** Ids of the tasks that a replica lists. */
async function listedAt(replica: DaemonProcess): Promise<string[]> {
  const headers = { authorization: 'Bearer a-token-of-some-length' };
  const { body } = await replica.http('/v1/tasks?limit=1000', { headers });
  return (JSON.parse(body) as { tasks: { id: string }[] }).tasks.map(({ id }) => id);
}

/** What a Watch tells, by handle. */
function watched(t: TestContext, client: Client) {
  const watching = new AbortController();
  const phases = new Map<string, string>();
  const watch = (async () => {
    for await (const update of client.watch({ includeCurrent: true }, { signal: watching.signal })) {
      if (update.kind !== 'change') continue;
      const { handle, status, deleted } = update;
      phases.set(handle.toString('hex'), deleted ? 'deleted' : status.phaseInfo.phase);
    }
  })().catch(() => undefined);
  t.after(async () => {
    watching.abort();
    await watch;
  });
  return {
    allIn: (phase: string, handles: Iterable<Buffer>) =>
      [...handles].every((one) => phases.get(one.toString('hex')) === phase),
  };
}

/** Tasks created at their remote by way of each replica. */
async function createdBy(replica: DaemonProcess): Promise<number> {
  const { body } = await replica.http('/metrics');
  return Number(/pluginhost_tasks_created_total\{plugin="demo"\} (\d+)/.exec(body)?.[1] ?? 0);
}

test(
  'parts lie evenly over three replicas, each with one owner, as the rows and every replica say',
  BOUND,
  async (t) => {
    const { living, even } = await three(t);
    const fromMs = performance.now();
    const shares = await even();
    t.diagnostic(`${Math.round(performance.now() - fromMs)} ms after the last one was ready`);
    const counts = [...shares.values()].map(({ length }) => length).sort();
    assert.deepEqual(counts, [2, 3, 3]);
    for (const replica of living) {
      const given = movesOf(replica, 'part.given');
      const here = [...movesOf(replica, 'part.taken').keys()].filter((part) => !given.has(part));
      assert.deepEqual(here.sort(), [...(shares.get(replica) ?? [])].sort(), 'what it works on is what it owns');
    }
  },
);

test(`${TASKS} tasks spread over three replicas each end once within limits and quota, all three work on them, and they cost the remote the calls of a single daemon`, {
  timeout: 120_000 + TASKS * 300,
}, async (t) => {
  const { replicas, stop } = await comparedWithOne(t, shared, { tasks: TASKS, parts: PARTS });
  const created = await Promise.all(replicas.map(createdBy));
  t.diagnostic(`created at the remote by each: ${created.join(', ')}`);
  for (const count of created) assert.ok(count > TASKS / 8, 'each has two parts of eight at the least');
  await stop();
});

test(
  'any replica takes any call about any task, repeats an answer to its bytes, and its Watch tells of all',
  BOUND,
  async (t) => {
    const { remote, living, even } = await three(t);
    const [first, second, third] = living as [DaemonProcess, DaemonProcess, DaemonProcess];
    const before = watched(t, second.client);
    const tasks = await running(living, NAMES);
    await even();
    for (const [name, handle] of tasks) {
      // It has the state as of the last read, which may come between two of them.
      const answer = await until(`one answer about ${name}`, async () => {
        const [one, ...others] = await Promise.all(living.map((replica) => createdAt(t, replica, name)));
        return others.every((other) => one?.equals(other)) ? one : undefined;
      });
      assert.ok(answer.includes(handle), 'of the first answer as well');
      for (const { client } of living) {
        assert.equal((await client.status(handle)).phaseInfo.phase, 'RUNNING');
        assert.equal((await client.get(handle)).phaseInfo.phase, 'RUNNING');
      }
    }
    assert.equal(remote.created, NAMES.length);
    const after = watched(t, third.client);
    for (const watch of [before, after]) await until('all of them', () => watch.allIn('RUNNING', tasks.values()));
    const lists = await Promise.all(living.map(listedAt));
    assert.equal(lists.flat().length, NAMES.length, 'each is listed by whoever has it');
    assert.equal(new Set(lists.flat()).size, NAMES.length);
    assert.ok(lists.every((ids) => ids.length > 0));
    for (const [i, handle] of [...tasks.values()].entries()) await living[i % 3]?.client.delete(handle);
    for (const watch of [before, after]) await until('every delete', () => watch.allIn('deleted', tasks.values()));
    await until('every cancel', () => remote.jobs().every(({ state }) => state === 'CANCELLED'));
    assert.equal(remote.callsOf('cancel').length, NAMES.length);
    assert.equal((await first.client.listPlugins())[0]?.state, 'SERVING');
  },
);

test(
  'a replica that comes takes its share, one that stops hands over within two seconds, no call of an engine with the retry policy of docs/flyte.md fails, and nothing is repeated',
  BOUND,
  async (t) => {
    const { remote, living, ports, add, end, even } = await three(t);
    await even();
    const load = new PolicyLoad(t, ports, 4);
    await load.progress(20);
    const fourth = await add();
    const shares = await even();
    assert.deepEqual(shares.get(fourth)?.length, 2);
    await load.progress(40);
    const leaving = living[1] as DaemonProcess;
    assert.equal(await end(leaving, 'SIGTERM'), 0);
    await even();
    await load.progress(40);
    t.diagnostic(await load.finish(remote));
    const given = movesOf(leaving, 'part.given');
    const took = (shares.get(leaving) ?? []).map((part) => {
      const takenMs = living.map((replica) => movesOf(replica, 'part.taken').get(part) ?? 0);
      return Math.max(...takenMs) - (given.get(part) ?? 0);
    });
    t.diagnostic(`handed over in ${took.join(', ')} ms`);
    for (const ms of took) assert.ok(ms >= 0 && ms <= HANDOVER_MS, `${ms} ms`);
  },
);

/** The one that has the limits of the plugin, and one that has not. */
function byLimits(shares: Shares): { readonly owner: DaemonProcess; readonly other: DaemonProcess } {
  const owner = holderOf(shares, partOf(partitionOf('demo'), PARTS));
  const other = [...shares.keys()].find((replica) => replica !== owner) as DaemonProcess;
  return { owner, other };
}

test(
  'when one of three replicas is killed, the tasks of the others go on meanwhile, and its own within a lease and two seconds',
  BOUND,
  async (t) => {
    const { remote, living, end, even } = await three(t);
    const shares = await even();
    const tasks = await running(living, NAMES);
    const { other: killed } = byLimits(shares);
    const itsParts = shares.get(killed) ?? [];
    const isIts = (name: string) => itsParts.includes(partOfTask(tasks.get(name) as Buffer, PARTS));
    const [its, others] = [NAMES.filter(isIts), NAMES.filter((name) => !isIts(name))];
    assert.ok(its.length > 0 && others.length > 0);
    const readSince = (name: string, sinceMs: number) =>
      remote.calls.some(({ kind, names, atMs }) => kind.startsWith('read') && atMs > sinceMs && names.includes(name));
    await end(killed, 'SIGKILL');
    const killedMs = performance.timeOrigin + performance.now();
    await until('reads of the others', () => others.every((name) => readSince(name, killedMs)));
    await until('reads of its own', () => its.every((name) => readSince(name, killedMs + 100)));
    const nowMs = performance.timeOrigin + performance.now();
    t.diagnostic(`${Math.round(nowMs - killedMs)} ms`);
    assert.ok(nowMs - killedMs < LEASE_MS + HANDOVER_MS + OWN_MS, `${Math.round(nowMs - killedMs)} ms`);
    for (const handle of tasks.values()) {
      for (const { client } of living) assert.equal((await client.status(handle)).phaseInfo.phase, 'RUNNING');
    }
    await even();
    assert.equal(remote.callsOf('create').length, NAMES.length);
  },
);

test(
  'when the one that has the limits of a plugin is killed, calls are answered within a lease and two seconds, and the plugin goes on',
  BOUND,
  async (t) => {
    const { remote, living, end, even } = await three(t);
    const shares = await even();
    const tasks = await running(living, NAMES);
    const { owner } = byLimits(shares);
    await end(owner, 'SIGKILL');
    const killedMs = performance.now();
    for (const handle of tasks.values()) {
      assert.equal((await living[0]?.client.status(handle, { deadlineMs: 30_000 }))?.phaseInfo.phase, 'RUNNING');
    }
    const answeredMs = performance.now() - killedMs;
    assert.ok(answeredMs < LEASE_MS + HANDOVER_MS + OWN_MS, `${Math.round(answeredMs)} ms`);
    const polls = new Map(NAMES.map((name) => [name, remote.callsFor(name)]));
    await until('reads of each', () => NAMES.every((name) => remote.callsFor(name) > (polls.get(name) ?? 0) + 1));
    t.diagnostic(
      `answered after ${Math.round(answeredMs)} ms, read after ${Math.round(performance.now() - killedMs)} ms`,
    );
    await sleep(LEASE_MS);
    assert.equal(remote.callsOf('create').length, NAMES.length);
  },
);
