import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { TaskStatus } from '../../src/client/index.js';
import { attemptKeyOf } from '../../src/model/attempt-key.js';
import { isTerminal } from '../../src/plugin-api/phase.js';
import { type DaemonProcess, statusWhere, until } from '../daemon/support.js';
import { sharedServer } from '../postgres/server.js';
import { everPutIn, heldBy } from './away.js';
import { Scene } from './scene.js';
import { LEASE_MS } from './support.js';

/** Each starts several daemons. */
const BOUND = { timeout: 290_000 };
/** Within which a call that finds no owner is answered: nobody takes the part before a lease is over. Milliseconds. */
const SOON_MS = 2_500;

const shared = sharedServer('inbox');

const task = (generatedName: string, type: string, custom: Record<string, number> = {}) => ({
  generatedName,
  template: { type, custom },
});

const isRunning = ({ phaseInfo }: TaskStatus) => phaseInfo.phase === 'RUNNING';
const isOver = ({ phaseInfo }: TaskStatus) => isTerminal(phaseInfo.phase);

/** Names whose tasks one replica has: those of the owner of the first one's part. */
async function ownedBy(scene: Scene, owner: DaemonProcess, tag: string): Promise<string> {
  for (let at = 0; ; at++) {
    const name = `${tag}-${at}`;
    if ((await scene.holder(attemptKeyOf({ name, executionId: '' }))) === owner) return name;
  }
}

async function threeOf(t: TestContext, parts: number) {
  const scene = await Scene.open(t, shared, parts);
  for (let i = 0; i < 3; i++) await scene.add({ inbox: true });
  const owner = await scene.holder(attemptKeyOf({ name: 'kept', executionId: '' }));
  const others = scene.living.filter((one) => one !== owner) as [DaemonProcess, DaemonProcess];
  return { scene, owner, others };
}

for (const parts of [1, 8]) {
  test(
    `what was promised for an owner of ${parts} part(s) is kept by replicas that are to promise nothing themselves`,
    BOUND,
    async (t) => {
      const { scene, owner, others } = await threeOf(t, parts);
      const left = () => Number(shared.server.sql(`SELECT count(*) FROM ${scene.schema}.inbox`));
      const kept = task(await ownedBy(scene, owner, 'kept'), 'demo_sleep', { seconds: 0.1 });
      await scene.end(owner, 'SIGKILL');
      const asked = others[0].client.create(kept).catch(() => undefined);
      await until('the promise', () => left() === 1);
      await Promise.all(others.map((one) => scene.end(one, 'SIGKILL')));
      await asked;
      assert.equal(left(), 1, 'nobody has taken it in');
      const next = await scene.add({ inbox: false });
      await until('its job', () => scene.remote.jobs().length === 1);
      await until('the end of its row', () => left() === 0);
      const { handle } = await next.client.create(kept);
      const end = await statusWhere(next.client, handle, 'an end', isOver);
      assert.equal(end.phaseInfo.phase, 'SUCCESS');
      assert.equal(scene.remote.jobs().length, 1);
    },
  );
}

for (const parts of [1, 8]) {
  test(
    `what an owner of ${parts} part(s) is asked while it is dead is promised at once, and done once by the next one`,
    BOUND,
    async (t) => {
      const { scene, owner, others } = await threeOf(t, parts);
      const [second, third] = others;
      const { handle: kept } = await owner.client.create(task('kept', 'demo_hang'));
      await statusWhere(owner.client, kept, 'RUNNING', isRunning);
      const [one, two] = [await ownedBy(scene, owner, 'one'), await ownedBy(scene, owner, 'two')];
      await scene.end(owner, 'SIGKILL');
      const killedMs = performance.now();
      const [made, atBoth] = await Promise.all([
        second.client.create(task(one, 'demo_sleep', { seconds: 0.1 })),
        Promise.all([second.client.create(task(two, 'demo_hang')), third.client.create(task(two, 'demo_hang'))]),
        second.client.delete(kept, { reason: 'nobody waits for it' }),
      ]);
      const tookMs = performance.now() - killedMs;
      assert.ok(tookMs < Math.min(SOON_MS, LEASE_MS), `${tookMs} ms`);
      assert.deepEqual(atBoth[1].handle, atBoth[0].handle, 'the first one that promised it');
      const again = await third.client.create(task(one, 'demo_sleep', { seconds: 0.1 }));
      assert.deepEqual(again.handle, made.handle);
      const end = await statusWhere(second.client, made.handle, 'an end', isOver);
      assert.equal(end.phaseInfo.phase, 'SUCCESS');
      await statusWhere(third.client, atBoth[0].handle, 'RUNNING', isRunning);
      const repeated = await third.client.create(task(one, 'demo_sleep', { seconds: 0.1 }));
      assert.deepEqual(repeated.handle, made.handle, 'the next owner answers the same bytes');
      await until('the cancel', () => scene.remote.jobs().filter(({ state }) => state === 'CANCELLED').length === 1);
      assert.equal(scene.remote.jobs().length, 3, 'each job is made once');
    },
  );
}

test('where no replica is to promise anything, calls wait for the next owner, and nothing is put', BOUND, async (t) => {
  const scene = await Scene.open(t, shared);
  const owner = await scene.add({ inbox: false });
  const others = [await scene.add({ inbox: false }), await scene.add({ inbox: false })];
  const { handle: kept } = await owner.client.create(task('kept', 'demo_hang'));
  await statusWhere(owner.client, kept, 'RUNNING', isRunning);
  const before = await heldBy(shared.server, scene);
  await scene.end(owner, 'SIGKILL');
  const answers = others.map(async ({ client }, at) => {
    await Promise.all([client.create(task(`made ${at}`, 'demo_hang')), client.status(kept)]);
    assert.notEqual(await heldBy(shared.server, scene), before, 'it waits for the next owner');
  });
  await Promise.all(answers);
  await others[1]?.client.delete(kept);
  await until('the cancel', () => scene.remote.callsOf('cancel').length === 1);
  assert.equal(await everPutIn(shared.server, scene), 0);
  assert.equal(scene.remote.created, 3);
});
