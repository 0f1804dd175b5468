import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { attemptKeyOf } from '../../src/model/attempt-key.js';
import { decodeHandle, encodeHandle, partitionOf, partitionOfHandle, partOf } from '../../src/model/handle.js';
import { tempFolder } from '../support/temp.js';
import {
  configOf,
  type DaemonProcess,
  demoEntry,
  logOf,
  spawnServe,
  startDemoRemote,
  startServe,
  statusWhere,
  until,
} from './support.js';

/** Each starts several daemons, one after the other. */
const BOUND = { timeout: 290_000 };
const PARTS = 8;

const task = (generatedName: string, type: string, custom: Record<string, number> = {}) => ({
  generatedName,
  template: { type, custom },
});

/** Names of tasks that lie in a part. */
function namesIn(part: number): string[] {
  const names = Array.from({ length: 200 }, (_, at) => `task ${at}`);
  return names.filter((name) => partOf(partitionOf(attemptKeyOf({ name, executionId: '' })), PARTS) === part);
}

test(
  'a state in eight parts is one for callers: tasks of all of them are known after a kill, listed in order, watched, and end once',
  BOUND,
  async (t) => {
    const remote = await startDemoRemote(t);
    const state = { dir: path.join(tempFolder(t), 'state'), parts: PARTS };
    const config = configOf({ demo: demoEntry(remote.url) }, { state });
    const first = await startServe(t, config);
    const names = Array.from({ length: 40 }, (_, at) => `task ${at}`);
    const handles: Buffer[] = [];
    for (const name of names) handles.push(Buffer.from((await first.client.create(task(name, 'demo_hang'))).handle));
    const parts = new Set(handles.map((handle) => partOf(partitionOfHandle(handle), PARTS)));
    assert.equal(parts.size, PARTS, 'so many tasks lie in all parts');
    for (const handle of handles) {
      await statusWhere(first.client, handle, 'RUNNING', ({ phaseInfo }) => phaseInfo.phase === 'RUNNING');
    }
    assert.equal((await first.plugin('demo')).liveTasks, 40);
    first.running.child.kill('SIGKILL');
    await first.running.finished;

    const second = await startServe(t, config);
    const loaded = logOf(second.running).filter(({ event }) => event === 'state.loaded');
    assert.deepEqual(
      loaded.map(({ tasks }) => tasks),
      [40],
    );
    for (const [at, name] of names.entries()) {
      const again = await second.client.create(task(name, 'demo_hang'));
      assert.deepEqual(Buffer.from(again.handle), handles[at], name);
    }
    assert.equal(remote.created, 40);
    for (const handle of handles) await second.client.delete(handle);
    await until('all deletes', () => remote.jobs().every(({ state: now }) => now === 'CANCELLED') || undefined);
    second.running.child.kill('SIGTERM');
    await second.running.finished;

    const refused = spawnServe(t, { ...config, state: { ...state, parts: 4 } });
    const { code, stderr } = await refused.finished;
    assert.notEqual(code, 0);
    assert.match(stderr, /STATE_FOREIGN: the state is not divided into 4 parts/);
    const undivided = spawnServe(t, { ...config, state: { ...state, parts: 1 } });
    assert.match(
      (await undivided.finished).stderr,
      /STATE_FOREIGN: the state is divided into 8 parts; set state.parts to 8/,
    );
  },
);

test('after a kill who waits in one part for a token gets none that a job of another part holds', BOUND, async (t) => {
  const remote = await startDemoRemote(t);
  const state = { dir: path.join(tempFolder(t), 'state'), parts: PARTS };
  const demo = demoEntry(remote.url);
  const quota = { ...(demo.config as object), resourceQuotas: { small: 2 } };
  const config = configOf({ demo: { ...demo, config: quota } }, { state });
  const hang = (name: string) => ({
    generatedName: name,
    template: { type: 'demo_hang', custom: { quota: 'small' } },
  });
  const first = await startServe(t, config);
  const holders = namesIn(PARTS - 1).slice(0, 2);
  const waiters = namesIn(0).slice(0, 3);
  for (const name of holders) {
    const { handle } = await first.client.create(hang(name));
    await statusWhere(first.client, handle, 'RUNNING', ({ phaseInfo }) => phaseInfo.phase === 'RUNNING');
  }
  for (const name of waiters) {
    const { status } = await first.client.create(hang(name), { deadlineMs: 3_000 });
    assert.equal(status.phaseInfo.phase, 'WAITING_FOR_RESOURCES');
  }
  first.running.child.kill('SIGKILL');
  await first.running.finished;

  const second = await startServe(t, config);
  const small = (await second.plugin('demo')).quotas.find(({ namespace }) => namespace === 'small');
  assert.deepEqual([small?.used, small?.waiting, remote.created], [2, 3, 2]);
  await second.client.delete((await second.client.create(hang(holders[0] as string))).handle);
  await until('the first in line', () => remote.created === 3);
});

test(
  'after a kill a handle in one part takes no second token for a job that a task of another part has one for',
  BOUND,
  async (t) => {
    const remote = await startDemoRemote(t);
    const state = { dir: path.join(tempFolder(t), 'state'), parts: PARTS };
    const demo = demoEntry(remote.url);
    const quota = { ...(demo.config as object), resourceQuotas: { small: 3 } };
    const config = configOf({ demo: { ...demo, config: quota } }, { state });
    const [[holder], [other, last]] = [namesIn(PARTS - 1), namesIn(0)] as [[string], [string, string]];
    const first = await startServe(t, config);
    const task = { generatedName: holder, template: { type: 'demo_hang', custom: { quota: 'small' } } };
    const handle = Buffer.from((await first.client.create(task)).handle);
    await statusWhere(first.client, handle, 'RUNNING', ({ phaseInfo }) => phaseInfo.phase === 'RUNNING');
    const { identity, meta } = decodeHandle(handle);
    const key = attemptKeyOf({ name: other, executionId: '' });
    const again = encodeHandle({ identity: { ...identity, key }, meta });
    await statusWhere(first.client, again, 'RUNNING', ({ phaseInfo }) => phaseInfo.phase === 'RUNNING');
    const used = async ({ plugin }: DaemonProcess) =>
      (await plugin('demo')).quotas.find(({ namespace }) => namespace === 'small')?.used;
    assert.equal(await used(first), 1);
    // What is accepted after it is safe with it.
    await first.client.create({ generatedName: last, template: { type: 'demo_hang' } });
    first.running.child.kill('SIGKILL');
    await first.running.finished;
    const second = await startServe(t, config);
    assert.deepEqual([(await second.plugin('demo')).liveTasks, await used(second)], [3, 1]);
  },
);
