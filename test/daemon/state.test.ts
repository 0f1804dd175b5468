import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { statePlace } from '../../src/daemon/state-place.js';
import { DEFAULTS } from '../support/defaults.js';
import { tempFolder, writeTree } from '../support/temp.js';
import { configOf, demoEntry, logOf, spawnServe, startDemoRemote, startServe, statusWhere, until } from './support.js';

/** Each starts several daemons, one after the other. */
const BOUND = { timeout: 290_000 };

test(
  'a daemon that was killed knows its tasks, ends and owed deletes when it is started again, and its jobs run once',
  BOUND,
  async (t) => {
    const remote = await startDemoRemote(t);
    const config = configOf({ demo: demoEntry(remote.url) }, { state: { dir: path.join(tempFolder(t), 'state') } });
    const first = await startServe(t, config);
    const create = (generatedName: string, type: string, custom: Record<string, number> = {}) => ({
      generatedName,
      template: { type, custom },
    });
    const hung = await first.client.create(create('hung', 'demo_hang'));
    await statusWhere(first.client, hung.handle, 'RUNNING', ({ phaseInfo }) => phaseInfo.phase === 'RUNNING');
    const over = await first.client.create(create('over', 'demo_sleep', { seconds: 0.05 }));
    const ended = await first.client.waitForEnd(over.handle, { timeoutMs: 60_000 });
    assert.equal(ended.phaseInfo.phase, 'SUCCESS');
    remote.control.down = true;
    const waiting = await first.client.create(create('waiting', 'demo_sleep', { seconds: 0.05 }), {
      deadlineMs: 6_000,
    });
    first.running.child.kill('SIGKILL');
    await first.running.finished;

    const second = await startServe(t, config);
    const phaseOf = async (handle: Uint8Array) => (await second.client.status(handle)).phaseInfo.phase;
    assert.equal(await phaseOf(hung.handle), 'RUNNING');
    assert.equal(await phaseOf(over.handle), 'SUCCESS');
    assert.equal(await phaseOf(waiting.handle), 'WAITING_FOR_RESOURCES');
    const loaded = logOf(second.running).find(({ event }) => event === 'state.loaded');
    assert.equal(loaded?.tasks, 2);
    await second.client.delete(hung.handle);
    second.running.child.kill('SIGKILL');
    await second.running.finished;
    remote.control.down = false;

    const third = await startServe(t, config);
    await until('the owed delete', () => logOf(third.running).some(({ event }) => event === 'delete.done'));
    assert.equal((await third.client.waitForEnd(waiting.handle, { timeoutMs: 100_000 })).phaseInfo.phase, 'SUCCESS');
    const again = await third.client.create(create('over', 'demo_sleep', { seconds: 0.05 }));
    assert.deepEqual(again.handle, over.handle, 'the repeat of an attempt that is over');
  },
);

test(
  'a plugin that can no longer be imported has its tasks refused in its name, by each start after it',
  BOUND,
  async (t) => {
    const folder = tempFolder(t);
    const plugin = (id: string, more = '') =>
      `export default { id: '${id}', apiVersion: 1, taskTypes: ['of_${id}'], ${more}
      load: () => ({ async create() { return { resourceMeta: 1 }; }, async get() {}, async delete() {} }) };`;
    writeTree(folder, { 'a.mjs': plugin('a'), 'rest.mjs': plugin('rest', 'isDefault: true,') });
    const config = configOf({ a: { source: './a.mjs' }, rest: { source: './rest.mjs' } });
    const first = await startServe(t, config, folder);
    first.running.child.kill('SIGTERM');
    await first.running.finished;
    writeTree(folder, { 'a.mjs': `throw new Error('no good day')` });
    for (let again = 0; again < 2; again++) {
      const next = await startServe(t, config, folder);
      const refused = next.client.create({ generatedName: 'x', template: { type: 'of_a' } });
      await assert.rejects(
        refused,
        /plugin a serves this task type and has failed: .*no good day.*; mend and reload it/,
      );
      assert.deepEqual([(await next.plugin('rest')).waitingTasks, (await next.plugin('rest')).liveTasks], [0, 0]);
      next.running.child.kill('SIGKILL');
      await next.running.finished;
    }
  },
);

test('a second daemon on the folder of another ends with 5 and names it', BOUND, async (t) => {
  const config = configOf({}, { state: { dir: path.join(tempFolder(t), 'state') } });
  const first = await startServe(t, config);
  const second = await spawnServe(t, config).finished;
  assert.equal(second.code, 5);
  assert.match(second.stderr, new RegExp(`STATE_LOCKED: process ${first.pid} on .* has the state`));
});

test('a daemon whose folder is removed goes on, says so, and keeps there all that it knows', BOUND, async (t) => {
  const remote = await startDemoRemote(t);
  const dir = path.join(tempFolder(t), 'state');
  const config = configOf({ demo: demoEntry(remote.url) }, { state: { dir } });
  const first = await startServe(t, config);
  const { handle } = await first.client.create({ generatedName: 'a', template: { type: 'demo_hang' } });
  await statusWhere(first.client, handle, 'RUNNING', ({ phaseInfo }) => phaseInfo.phase === 'RUNNING');
  rmSync(dir, { recursive: true });
  await first.client.create({ generatedName: 'b', template: { type: 'demo_hang' } });
  assert.ok(logOf(first.running).some(({ event, code }) => event === 'state.degraded' && code === 'STATE_LOST'));
  await until('the state to be mended', () => logOf(first.running).some(({ event }) => event === 'state.mended'));
  first.running.child.kill('SIGKILL');
  await first.running.finished;
  const second = await startServe(t, config);
  assert.equal((await second.client.status(handle)).phaseInfo.phase, 'RUNNING');
  assert.equal(logOf(second.running).find(({ event }) => event === 'state.loaded')?.tasks, 2);
});

test('the folder of the state is the option’s, the service’s or the user’s, in this order, and nobody’s with port 0', () => {
  const config = (port: number, state: { dir?: string; engine?: 'embedded' | 'postgres' | 'none' } = {}) => ({
    ...DEFAULTS,
    grpc: { ...DEFAULTS.grpc, port },
    state: { ...DEFAULTS.state, ...state },
  });
  const env = { STATE_DIRECTORY: '/var/lib/x:/var/lib/y', XDG_STATE_HOME: '/xdg', HOME: '/u' };
  assert.deepEqual(statePlace(config(8000, { dir: '/own' }), env), { in: 'folder', dir: '/own' });
  assert.deepEqual(statePlace(config(0), env), { in: 'folder', dir: '/var/lib/x' });
  const ofUser = { in: 'folder', dir: '/xdg/webapi-plugin-host/8000' };
  assert.deepEqual(statePlace(config(8000), { ...env, STATE_DIRECTORY: undefined }), ofUser);
  assert.deepEqual(statePlace(config(8001), { HOME: '/u' }), {
    in: 'folder',
    dir: '/u/.local/state/webapi-plugin-host/8001',
  });
  assert.deepEqual(statePlace(config(8000, { dir: '/own', engine: 'none' }), env), { in: 'nowhere' });
  const nobodys = statePlace(config(0), { HOME: '/u' });
  assert.match((nobodys.in === 'nowhere' && nobodys.because) || '', /grpc\.port is 0/);
  const { postgres } = DEFAULTS.state;
  assert.deepEqual(statePlace(config(0, { dir: '/own', engine: 'postgres' }), {}), { in: 'postgres', place: postgres });
  for (const [port, engine, vars] of [
    [0, 'embedded', { HOME: '/u' }],
    [8000, undefined, {}],
    [8000, undefined, { HOME: 'relative', XDG_STATE_HOME: 'relative' }],
  ] as const) {
    const asked = engine === undefined ? {} : { engine };
    assert.throws(() => statePlace(config(port, asked), vars), { code: 'STATE_DIR_UNSET', message: /set state\.dir/ });
  }
});
