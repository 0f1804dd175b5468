import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type DaemonProcess, startDemoRemote, startServe, statusWhere, until } from '../daemon/support.js';
import { sharedServer } from '../postgres/server.js';
import { tempFolder } from '../support/temp.js';
import { Relay } from './relay.js';
import { clusterOf, onRemote, replicaConfig } from './support.js';

const PARTS = 8;
const TASKS = 32;
/** So long a replica that cannot reach a remote leaves it at that; docs/scaling.md. Milliseconds. */
const BELIEVED_MS = 60_000;

const HELD = { writeRateLimiter: { qps: 50, burst: 20 }, readRateLimiter: { qps: 50, burst: 20 } };

const shared = sharedServer('spread_reach');

interface ShownParts {
  readonly epoch: string;
  readonly parts: readonly { readonly part: number; readonly owner: string | null }[];
  readonly members: readonly {
    readonly epoch: string;
    readonly parts: readonly number[];
    readonly unreachable: readonly string[];
  }[];
}

const shownBy = async (replica: DaemonProcess) => (await clusterOf(replica)) as unknown as ShownParts;

/** How many parts each has, by its epoch, as one of them sees it; undefined while one has no owner. */
async function countsOf(replica: DaemonProcess): Promise<ReadonlyMap<string, number> | undefined> {
  const { parts, members } = await shownBy(replica);
  if (parts.some(({ owner }) => owner === null)) return undefined;
  return new Map(members.map(({ epoch, parts: theirs }) => [epoch, theirs.length]));
}

const isEven = (counts: ReadonlyMap<string, number> | undefined) =>
  counts?.size === 3 && [...counts.values()].every((count) => count >= 2 && count <= 3);

test('a replica that alone cannot reach a remote gives its parts to those that do, ends nothing, and has its share again once it does', {
  timeout: 290_000,
}, async (t) => {
  const remote = await startDemoRemote(t);
  const relay = await Relay.start(t, Number(new URL(remote.url).port));
  const schema = shared.newSchema();
  const add = (url: string) => {
    const plugins = onRemote({ ...remote, url } as typeof remote, { callTimeout: '2s', config: HELD });
    const config = replicaConfig(shared.server.port, schema, plugins);
    const state = { ...(config.state as object), parts: PARTS };
    return startServe(t, { ...config, state }, tempFolder(t));
  };
  const cut = await add(`http://127.0.0.1:${relay.port}`);
  const others = [await add(remote.url), await add(remote.url)] as const;
  const [other] = others;
  await until('parts that lie evenly', async () => isEven(await countsOf(other)) || undefined);
  const handles: Buffer[] = [];
  for (let at = 0; at < TASKS; at++) {
    const { handle } = await other.client.create({
      generatedName: `task ${at}`,
      template: { type: 'demo_hang', custom: {} },
    });
    handles.push(Buffer.from(handle));
  }
  for (const handle of handles) {
    await statusWhere(other.client, handle, 'RUNNING', ({ phaseInfo }) => phaseInfo.phase === 'RUNNING');
  }
  // What each part needs is written by then.
  await sleep(PARTS * 1_000);
  const { epoch } = await shownBy(cut);
  assert.ok(((await countsOf(other))?.get(epoch) ?? 0) >= 2);

  relay.cut();
  const startMs = performance.now();
  await until('its parts elsewhere', async () => (await countsOf(other))?.get(epoch) === 0 || undefined);
  t.diagnostic(`handed over after ${Math.round(performance.now() - startMs)} ms`);
  const { members } = await shownBy(other);
  assert.deepEqual(
    members.filter(({ unreachable }) => unreachable.length > 0).map((member) => [member.epoch, member.unreachable]),
    [[epoch, ['demo']]],
  );
  for (const handle of handles) assert.equal((await cut.client.status(handle)).phaseInfo.phase, 'RUNNING');

  relay.mend();
  const mendedMs = performance.now();
  await sleep(BELIEVED_MS);
  await until('its share again', async () => isEven(await countsOf(other)) || undefined);
  t.diagnostic(`back after ${Math.round(performance.now() - mendedMs)} ms`);
  assert.equal(remote.created, TASKS);
  for (const handle of handles) assert.equal((await cut.client.status(handle)).phaseInfo.phase, 'RUNNING');
});
