import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client, TaskInput } from '../../src/client/index.js';
import { attemptKeyOf } from '../../src/model/attempt-key.js';
import { flyteAttempt, flyteNode, taskExecutionIdOf } from '../../src/rpc/task-metadata.js';
import { type DaemonProcess, until } from '../daemon/support.js';
import { sharedServer } from '../postgres/server.js';
import { Decisions } from '../support/decisions.js';
import { Scene } from './scene.js';
import { RoundRobin } from './support.js';

/** Kills of the replica that works, each with nodes whose attempts are under way. */
const KILLS = Number(process.env.REPLICA_KILLS ?? 4);
const SEED = Number(process.env.REPLICA_SEED ?? 1);
/** With several each replica works on a share of the nodes, and any of them is killed. */
const PARTS = Number(process.env.REPLICA_PARTS ?? 1);
/** Nodes whose first attempts are asked for around one kill. */
const NODES = 8;
/** Of each the last one is waited for; those before are given up, each at another replica. */
const ATTEMPTS = 3;
/** The remote takes this long for each call, so that calls are caught under way. Milliseconds. */
const DELAY_MS = 300;
const PATIENCE_MS = 90_000;
/** Whatever a connection, or a deadline, may end with. */
const REPEATED = ['UNAVAILABLE', 'DEADLINE_EXCEEDED', 'CANCELLED', 'INTERNAL', 'UNKNOWN', 'RESOURCE_EXHAUSTED'];
const BOUND = { timeout: 290_000 };

const shared = sharedServer('attempts');

/** Only what is identified as Flyte does it is known to be an attempt of a node. */
const prefixOf = (node: string, attempt: number): string => `s3://bucket/${node}/${attempt}`;

const executionOf = (node: string, attempt: number) => ({
  retryAttempt: attempt,
  nodeExecutionId: { nodeId: node, executionId: { project: 'p', domain: 'development', name: 'attempts' } },
});

/** What the remote knows its job by. */
const nameOf = (node: string, attempt: number): string =>
  attemptKeyOf(flyteAttempt(prefixOf(node, attempt), taskExecutionIdOf(executionOf(node, attempt))));

const nodeKeyOf = (node: string): string =>
  flyteNode(prefixOf(node, 0), taskExecutionIdOf(executionOf(node, 0))).nodeKey;

/** An attempt of a node whose job never ends by itself. */
const attemptOf = (node: string, attempt: number): TaskInput => ({
  outputPrefix: prefixOf(node, attempt),
  template: { type: 'demo_hang' },
  metadata: { taskExecutionId: executionOf(node, attempt) },
});

async function openScene(t: TestContext): Promise<Scene> {
  const scene = await Scene.open(t, shared, PARTS);
  for (let i = 0; i < 3; i++) await scene.add();
  return scene;
}

/** When calls of a kind about an attempt reached the remote that it did as asked. */
function timesOf({ remote }: Scene, kind: 'create' | 'cancel', name: string): number[] {
  const done = remote.calls.filter((call) => call.kind === kind && call.names[0] === name && call.status < 300);
  return done.filter(({ status }) => kind === 'cancel' || status === 201).map(({ atMs }) => atMs);
}

/** That no job of a node began beside an earlier one; those whose handle an engine has are its own to end. */
function assertNeverBeside(scene: Scene, node: string, attempts: number, delivered = new Set<string>()): void {
  for (let later = 1; later < attempts; later++) {
    const [begunMs = Number.POSITIVE_INFINITY] = timesOf(scene, 'create', nameOf(node, later));
    for (let before = 0; before < later; before++) {
      const jobs = timesOf(scene, 'create', nameOf(node, before));
      if (jobs.length === 0 || delivered.has(nameOf(node, before))) continue;
      const [endMs = Number.POSITIVE_INFINITY] = timesOf(scene, 'cancel', nameOf(node, before));
      const text = `attempt ${before} of ${node} began at ${jobs.join()}, ended at ${endMs}; attempt ${later} began at ${begunMs}`;
      assert.equal(jobs.length, 1, text);
      assert.ok(jobs[0]! < begunMs, text);
      assert.ok(endMs < begunMs, text);
    }
  }
}

async function answered(client: Client, input: TaskInput, deadlineMs: number): Promise<Buffer | undefined> {
  return client.create(input, { deadlineMs }).then(
    ({ handle }) => handle,
    () => undefined,
  );
}

const createsAnswered = async (replica: DaemonProcess): Promise<number> => {
  const { body } = await replica.http('/metrics');
  const [, count = '0'] =
    /grpc_server_handled_total\{[^}]*grpc_method="Create"[^}]*grpc_code="OK"[^}]*\} (\d+)/.exec(body) ?? [];
  return Number(count);
};

test(
  'an attempt whose answer was lost with the replica that passed it on is cancelled before the next one starts by way of another replica',
  BOUND,
  async (t) => {
    const scene = await openScene(t);
    const owner = await scene.holder(nodeKeyOf('n'));
    const [asked, other] = scene.living.filter((replica) => replica !== owner) as [DaemonProcess, DaemonProcess];
    scene.remote.control.delayMs = DELAY_MS;
    const lost = answered(asked.client, attemptOf('n', 0), PATIENCE_MS);
    await until('the create at the remote', () => scene.remote.callsOf('create').length === 1);
    // The answer gets as far as this one, and no further.
    asked.running.child.kill('SIGSTOP');
    await until('the answer of the owner', async () => (await createsAnswered(owner)) === 1);
    await scene.end(asked, 'SIGKILL');
    assert.equal(await lost, undefined);
    assert.equal(scene.remote.jobs().filter(({ state }) => state === 'RUNNING').length, 1);
    const { handle } = await other.client.create(attemptOf('n', 1));
    await until('its job', () => timesOf(scene, 'create', nameOf('n', 1)).length === 1);
    assertNeverBeside(scene, 'n', 2);
    await other.client.delete(handle);
    await until('the end', () => scene.remote.jobs().every(({ state }) => state === 'CANCELLED'));
  },
);

test(`attempts that are given up around ${KILLS} kills of the replica that works are over before the next one of their node starts elsewhere`, {
  timeout: 60_000 + KILLS * 60_000,
}, async (t) => {
  const dice = new Decisions(SEED).of('attempts');
  const scene = await openScene(t);
  const balancer = new RoundRobin(() => scene.living.map(({ client }) => client), REPEATED);
  scene.remote.control.delayMs = DELAY_MS;
  const delivered = new Set<string>();
  /** As an engine: a handle that it has is deleted before the next attempt. */
  const work = async (node: string): Promise<void> => {
    for (let attempt = 0; attempt < ATTEMPTS - 1; attempt++) {
      const { client } = scene.living[Math.floor(dice.next() * scene.living.length)] as DaemonProcess;
      const handle = await answered(client, attemptOf(node, attempt), dice.between(20, 4 * DELAY_MS));
      if (handle === undefined) continue;
      delivered.add(nameOf(node, attempt));
      await balancer.call((one) => one.delete(handle, { deadlineMs: 6_000 }), PATIENCE_MS);
    }
    const last = attemptOf(node, ATTEMPTS - 1);
    const { handle } = await balancer.call((one) => one.create(last, { deadlineMs: 6_000 }), PATIENCE_MS);
    await until(`the last job of ${node}`, () => timesOf(scene, 'create', nameOf(node, ATTEMPTS - 1)).length > 0);
    await balancer.call((one) => one.delete(handle, { deadlineMs: 6_000 }), PATIENCE_MS);
  };
  const nodes: string[] = [];
  for (let kill = 0; kill < KILLS; kill++) {
    const round = Array.from({ length: NODES }, (_, i) => `k${kill}n${i}`);
    nodes.push(...round);
    const working = round.map(async (node) => {
      await sleep(dice.between(0, 2 * DELAY_MS));
      await work(node);
    });
    await sleep(dice.between(DELAY_MS, 4 * DELAY_MS));
    // With several parts, the one that has this round's first node.
    await scene.end(await scene.holder(nodeKeyOf(`k${kill}n0`)), 'SIGKILL');
    await scene.add();
    await Promise.all(working);
  }
  await until('the end', () => scene.remote.jobs().every(({ state }) => state === 'CANCELLED'));
  const given = nodes.flatMap((node) => Array.from({ length: ATTEMPTS - 1 }, (_, attempt) => nameOf(node, attempt)));
  const made = given.filter((name) => timesOf(scene, 'create', name).length > 0).length;
  t.diagnostic(
    `seed ${SEED}: ${given.length} attempts were given up, ${made} of them with a job; ${delivered.size} were answered`,
  );
  for (const node of nodes) assertNeverBeside(scene, node, ATTEMPTS, delivered);
  assert.ok(made > 0);
});
