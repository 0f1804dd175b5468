import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { credentials, Client as GrpcClient } from '@grpc/grpc-js';
import { taskMessage } from '../../src/client/convert.js';
import type { TaskStatus } from '../../src/client/index.js';
import { loadPluginHost, PLUGIN_HOST_SERVICE } from '../../src/idl/load.js';
import { attemptKeyOf } from '../../src/model/attempt-key.js';
import { isTerminal } from '../../src/plugin-api/phase.js';
import { flyteAttempt, flyteNode, taskExecutionIdOf } from '../../src/rpc/task-metadata.js';
import { type DaemonProcess, statusWhere, until } from '../daemon/support.js';
import { sharedServer } from '../postgres/server.js';
import {
  createRequest,
  decode,
  encode,
  executionMetadata,
  PROTOCOLS,
  type Protocol,
  template,
} from '../rpc/flyte/support.js';
import { rawCall } from '../rpc/support.js';
import { countOf, free, heldBy, holders, LONG_LEASE_MS, named, timed, waitingIn } from './away.js';
import { type Placed, Scene } from './scene.js';
import { clusterOf } from './support.js';

/** Each starts several daemons. */
const BOUND = { timeout: 290_000 };
const DEADLINE_MS = 60_000;
/** Of a call that nobody but the owner may answer. */
const SHORT_MS = 3_000;
/** What a run takes that the part changes hands in. */
const SLOW_MS = 8_000;

const shared = sharedServer('stand_in');

const task = (generatedName: string, type: string, custom: Record<string, number> = {}) => ({
  generatedName,
  template: { type, custom },
});
const keyOf = (name: string) => attemptKeyOf({ name, executionId: '' });

const texts = (ms: readonly number[]) => ms.map(Math.round).join(', ');

const isRunning = ({ phaseInfo }: TaskStatus) => phaseInfo.phase === 'RUNNING';
const isOver = ({ phaseInfo }: TaskStatus) => isTerminal(phaseInfo.phase);

/** Three replicas that stand in for each other. */
async function three(t: TestContext, parts: number) {
  const scene = await Scene.open(t, shared, parts, LONG_LEASE_MS);
  const placed: Placed[] = [];
  for (let i = 0; i < 3; i++) placed.push(await scene.addPlaced({ inbox: true, sync: true }));
  return { scene, placed, holder: await holders(scene) };
}

type Fleet = Awaited<ReturnType<typeof three>>;

/** The one that is to be away: who has the limits of the plugins, or another one, whose tasks rest while that one cannot reach it. */
async function without({ scene, placed, holder }: Fleet, which: 'with limits' | 'without') {
  const withLimits = holder('demo');
  const away = placed.find(({ replica }) => (replica === withLimits) === (which === 'with limits')) as Placed;
  const others = placed.filter((one) => one !== away) as [Placed, Placed];
  const isIts = (key: string) => holder(key) === away.replica;
  const { epoch } = await clusterOf(away.replica);
  return { scene, away, epoch, others, isIts };
}

type Away = Awaited<ReturnType<typeof without>>;

/** Calls of one replica by one of Flyte's protocols, as its engine makes them. */
function flyteAt(t: TestContext, { grpc }: DaemonProcess, protocol: Protocol) {
  const client = new GrpcClient(grpc, credentials.createInsecure());
  t.after(() => client.close());
  const call = async (method: string, request: Buffer): Promise<Buffer> => {
    const { error, bytes } = await rawCall(client, `/${protocol.asyncService}/${method}`, request, DEADLINE_MS);
    if (error !== undefined) throw error;
    return bytes;
  };
  const about = (method: string, resourceMeta: Buffer) =>
    call(
      `${method}Task`,
      encode(protocol, `${method}TaskRequest`, { taskCategory: { name: 'demo_hang' }, resourceMeta }),
    );
  return {
    create: async (node: string, type: string): Promise<Buffer> => {
      const of = attemptOf(protocol, node);
      const answer = await call(
        'CreateTask',
        createRequest(protocol, { ...of, template: template(protocol, { type }) }),
      );
      return decode(protocol, 'CreateTaskResponse', answer).resourceMeta as Buffer;
    },
    phase: async (meta: Buffer): Promise<string> =>
      String(decode(protocol, 'GetTaskResponse', await about('Get', meta)).resource.phase),
    delete: (meta: Buffer) => about('Delete', meta),
  };
}

/** The first attempt of a node. */
const attemptOf = (protocol: Protocol, node: string) => ({
  outputPrefix: `s3://b/v${protocol.version}/${node}/0`,
  taskExecutionMetadata: executionMetadata(protocol),
});

function flyteNames(protocol: Protocol, node: string) {
  const { outputPrefix, taskExecutionMetadata } = attemptOf(protocol, node);
  const id = taskExecutionIdOf(taskExecutionMetadata.taskExecutionId as never);
  return { node: flyteNode(outputPrefix, id).nodeKey, job: attemptKeyOf(flyteAttempt(outputPrefix, id)) };
}

/** An engine of Flyte's that has a task at the owner; answers what it does once that is dead. */
async function flyteEngine(t: TestContext, { scene, away, others, isIts }: Away, protocol: Protocol) {
  const [second, third] = others.map(({ replica }) => flyteAt(t, replica, protocol));
  assert.ok(second !== undefined && third !== undefined);
  const node = (tag: string) => named(tag, (name) => isIts(flyteNames(protocol, name).node));
  const [kept, fresh] = [node('kept'), node('fresh')];
  const keptMeta = await flyteAt(t, away.replica, protocol).create(kept, 'demo_hang');
  await until('its job', async () => (await second.phase(keptMeta)) === 'RUNNING');
  const jobs = (name: string, kind: 'create' | 'cancel') =>
    scene.remote.callsOf(kind).filter(({ names }) => names[0] === flyteNames(protocol, name).job).length;
  return {
    whileAway: async () => {
      const [[meta, createMs], [phase, phaseMs]] = await Promise.all([
        timed(second.create(fresh, 'demo_sleep')),
        timed(third.phase(keptMeta)),
      ]);
      assert.equal(phase, 'RUNNING', 'as it was known last');
      const [[again, againMs], [atFirst, atFirstMs], [, deleteMs]] = await Promise.all([
        timed(third.create(fresh, 'demo_sleep')),
        timed(third.phase(meta)),
        timed(second.delete(keptMeta)),
      ]);
      assert.deepEqual(again, meta, 'the resource meta is the first one for ever');
      assert.equal(atFirst, 'WAITING_FOR_RESOURCES');
      const tookMs = [createMs, phaseMs, againMs, atFirstMs, deleteMs];
      t.diagnostic(`Flyte ${protocol.version}: ${texts(tookMs)} ms`);
      return async () => {
        await until('its end', async () => (await third.phase(meta)) === 'SUCCEEDED');
        assert.deepEqual(await second.create(fresh, 'demo_sleep'), meta, 'the next owner answers it as well');
        await until('the cancel', () => jobs(kept, 'cancel') === 1);
        assert.deepEqual([jobs(kept, 'create'), jobs(fresh, 'create'), jobs(fresh, 'cancel')], [1, 1, 0]);
      };
    },
  };
}

/** What is promised while the owner lives, and others cannot reach it: it may have told clients more than they know. */
async function cutOff(t: TestContext, { scene, away, others, isIts }: Away): Promise<void> {
  const [second, third] = others.map(({ replica }) => replica) as [DaemonProcess, DaemonProcess];
  const name = (tag: string) => named(tag, (one) => isIts(keyOf(one)));
  const create = ({ client }: DaemonProcess, deadlineMs = DEADLINE_MS) =>
    client.create(task(name('made'), 'demo_sleep', { seconds: 0.1 }), { deadlineMs });
  const { handle: kept } = await second.client.create(task(name('kept'), 'demo_hang'));
  await statusWhere(second.client, kept, 'RUNNING', isRunning);
  const before = await heldBy(shared.server, scene);

  away.peers.breakOff();
  const [, deleteMs] = await timed(third.client.delete(kept, { reason: 'nobody waits for it' }));
  t.diagnostic(`promised, and taken in, in ${texts([deleteMs])} ms`);
  assert.equal(await waitingIn(shared.server, scene), 0, 'it has taken it in before it was told');
  assert.equal(await countOf(away.replica, 'pluginhost_inbox_taken_in_total'), 1);
  // It may be given a later attempt of the node by somebody who reaches it.
  await assert.rejects(create(second, SHORT_MS), { status: /UNAVAILABLE|DEADLINE_EXCEEDED/ });
  const made = await create(away.replica);
  const end = await statusWhere(away.replica.client, made.handle, 'an end', isOver);
  assert.equal(end.phaseInfo.phase, 'SUCCESS');
  await until('the cancel', () => scene.remote.callsOf('cancel').length === 1);
  const onlyIts = [third.client.status(made.handle, { deadlineMs: SHORT_MS }), create(third, SHORT_MS)];
  await Promise.all(onlyIts.map((call) => assert.rejects(call, { status: /UNAVAILABLE|DEADLINE_EXCEEDED/ })));
  assert.equal(await heldBy(shared.server, scene), before, 'nobody has taken anything from it');

  away.peers.mend();
  for (const one of [second, third]) assert.deepEqual((await create(one)).handle, made.handle);
  assert.equal(scene.remote.created, 2);
}

/** A caller of the native API that has a task at the owner; answers what it does once that is dead. */
async function nativeCaller(t: TestContext, { scene, away, others, isIts }: Away) {
  const [second, third] = others.map(({ replica }) => replica) as [DaemonProcess, DaemonProcess];
  const idl = loadPluginHost();
  const name = (tag: string) => named(tag, (one) => isIts(keyOf(one)));
  const { path = '' } = idl.rawService(PLUGIN_HOST_SERVICE).Create ?? {};
  const input = task(name('native'), 'demo_hang');
  const created = async ({ grpc }: DaemonProcess): Promise<Buffer> => {
    const client = new GrpcClient(grpc, credentials.createInsecure());
    t.after(() => client.close());
    const request = idl.codec('pluginhost.v1.CreateRequest').encode({ task: taskMessage(idl, input) });
    const { error, bytes } = await rawCall(client, path, request, DEADLINE_MS);
    if (error !== undefined) throw error;
    return bytes;
  };
  const { handle: kept } = await away.replica.client.create(task(name('native-kept'), 'demo_hang'));
  await statusWhere(second.client, kept, 'RUNNING', isRunning);
  return {
    whileAway: async () => {
      const [one, other, { phaseInfo }] = await Promise.all([
        created(second),
        created(third),
        second.client.status(kept),
      ]);
      assert.ok(one.equals(other), 'the same bytes, whoever of two that are asked at once has put it');
      assert.equal(phaseInfo.phase, 'RUNNING', 'as its row says');
      const { handle } = idl.codec('pluginhost.v1.CreateResponse').decode(one) as { handle: Buffer };
      assert.equal((await third.client.status(handle)).phaseInfo.phase, 'WAITING_FOR_RESOURCES');
      return async () => {
        await statusWhere(third.client, handle, 'RUNNING', isRunning);
        const jobs = scene.remote.callsOf('create').filter(({ names }) => names[0] === input.generatedName);
        assert.equal(jobs.length, 1);
        for (const one of [handle, kept]) await second.client.delete(one);
      };
    },
  };
}

/** An engine's Do while the owner is dead; answers what is to be seen of it afterwards. */
async function ranAway(t: TestContext, { scene, others, isIts }: Away): Promise<() => Promise<void>> {
  const name = named('ran', (one) => isIts(keyOf(one)));
  const run = ({ replica }: Placed) => replica.client.do(task(name, 'demo_sync'), { deadlineMs: DEADLINE_MS });
  const runs = () => scene.remote.callsOf('run').filter(({ names }) => names[0] === name).length;
  const both = await Promise.all(others.map((one) => timed(run(one))));
  for (const [{ phase }] of both) assert.equal(phase, 'SUCCESS');
  t.diagnostic(`Do: ${texts(both.map(([, ms]) => ms))} ms`);
  assert.equal(runs(), 1);
  return async () => {
    for (const one of others) assert.equal((await run(one)).phase, 'SUCCESS');
    assert.equal(runs(), 1, 'the next owner tells its end again');
  };
}

/** A Do that a stand-in runs on while the part gets its next owner. */
async function runsOn({ scene, epoch, others, isIts }: Away): Promise<void> {
  const [second, third] = others as [Placed, Placed];
  const name = named('slow', (one) => isIts(keyOf(one)));
  const run = ({ replica }: Placed) => replica.client.do(task(name, 'demo_sync'), { deadlineMs: DEADLINE_MS });
  const runs = () => scene.remote.callsOf('run').filter(({ names }) => names[0] === name).length;
  const { control } = scene.remote;
  control.delayMs = SLOW_MS;
  const first = run(second);
  await until('its call', () => runs() === 1);
  control.delayMs = 0;
  await free(shared.server, scene, epoch);
  await until('the next owners', async () => (await heldBy(shared.server, scene)).split(',').every(Boolean));
  const told = await Promise.all([first, run(second), run(third)]);
  for (const { phase } of told) assert.equal(phase, 'SUCCESS');
  assert.equal(runs(), 1, 'the next owners wait for its end');
}

for (const parts of [1, 8]) {
  test(`three replicas of a state of ${parts} part(s) answer for one that is away`, BOUND, async (t) => {
    const fleet = await three(t, parts);
    const { scene } = fleet;
    await t.test(
      'an owner that lives, and cannot be reached, takes in what others promise before they tell it, and alone accepts tasks',
      async () => cutOff(t, await without(fleet, 'with limits')),
    );
    await t.test(
      'any caller gets answers at once while the owner is dead, and the same from the next one',
      async () => {
        const away = await without(fleet, parts === 1 ? 'with limits' : 'without');
        const before = await heldBy(shared.server, scene);
        const engines = await Promise.all([
          nativeCaller(t, away),
          ...PROTOCOLS.map((protocol) => flyteEngine(t, away, protocol)),
        ]);
        away.away.peers.close();
        await scene.end(away.away.replica, 'SIGKILL');
        const whileAway = engines.map((engine) => engine.whileAway());
        if (parts > 1) whileAway.push(ranAway(t, away));
        const afterwards = await Promise.all(whileAway);
        assert.equal(await heldBy(shared.server, scene), before, 'nobody has taken its parts over yet');
        if (parts > 1) await runsOn(away);
        else await free(shared.server, scene, away.epoch);
        await Promise.all(afterwards.map((check) => check()));
        await until('an empty inbox', async () => (await waitingIn(shared.server, scene)) === 0);
      },
    );
  });
}
