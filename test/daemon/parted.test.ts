import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { partitionOfHandle, partOf } from '../../src/model/handle.js';
import { tempFolder } from '../support/temp.js';
import { configOf, demoEntry, logOf, spawnServe, startDemoRemote, startServe, statusWhere, until } from './support.js';

/** Each starts several daemons, one after the other. */
const BOUND = { timeout: 290_000 };
const PARTS = 8;

const task = (generatedName: string, type: string, custom: Record<string, number> = {}) => ({
  generatedName,
  template: { type, custom },
});

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
