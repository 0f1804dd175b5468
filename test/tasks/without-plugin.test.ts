import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostError } from '../../src/errors/index.js';
import { created, type Harness, HINTS, makeHarness, ok, running, settle, success } from './harness.js';
import { Machine } from './machine.js';

/** What is told, and taken, of tasks whose plugin does not run here. */

const coded = (code: string) => (error: unknown) => HostError.is(error) && error.code === code;

function serves({ plugin }: Harness): void {
  plugin.on.create = () => created();
  plugin.on.get = () => running();
  plugin.on.delete = () => ok({});
}

const create = async (h: Harness, name: string) =>
  (await settle(h.clock, h.tasks.create(h.spec(name), h.scope(3_000)))).handle;
const remove = (h: Harness, handle: Buffer) => settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
const status = async (h: Harness, handle: Buffer) =>
  (await settle(h.clock, h.tasks.status(handle, HINTS, h.scope()))).state;

function isAnother(plugin: Harness['plugin']): void {
  (plugin as { id: string }).id = 'another';
}

/** A daemon with a live, a waiting and an ended task, killed, and started again without their plugin. */
async function abandoned() {
  const machine = new Machine();
  const config = { resourceQuotas: { default: 1 } };
  const first = await machine.start({ config });
  serves(first);
  const over = await create(first, 'over');
  first.plugin.on.get = () => success();
  await first.clock.advance(60_000);
  first.plugin.on.get = () => running();
  const [live, waiting] = [await create(first, 'live'), await create(first, 'waiting')];
  await first.clock.advance(1_000);
  machine.kill();
  // It is not about to come either.
  const h = await machine.start({ config, plugin: isAnother });
  return { machine, h, handles: { over, live, waiting } };
}

test('a task of a plugin that is gone can be deleted: what waits leaves the line, what runs is owed, what is over is taken', async () => {
  const { machine, h, handles } = await abandoned();
  assert.deepEqual(
    [
      (await status(h, handles.live)).phase,
      (await status(h, handles.waiting)).phase,
      (await status(h, handles.over)).phase,
    ],
    ['RUNNING', 'WAITING_FOR_RESOURCES', 'SUCCESS'],
  );
  for (const handle of Object.values(handles)) for (let i = 0; i < 2; i++) await remove(h, handle);
  assert.deepEqual([h.store.unfinished, h.store.owed.size], [0, 1]);
  assert.deepEqual(
    [(await status(h, handles.live)).error?.code, (await status(h, handles.over)).phase],
    ['TASK_DELETED', 'SUCCESS'],
  );
  await h.clock.advance(60_000);
  assert.equal([...h.store.owed.listed()][0]?.lastError?.code, 'PLUGIN_NOT_SERVING', 'it is said why it stays');
  machine.kill();
});

test('how a task ended is told before its plugin is loaded, also where its mark alone remembers it', async () => {
  const machine = new Machine();
  const options = { finished: { maxCount: 1, maxBytes: 2_000 } };
  const first = await machine.start(options);
  serves(first);
  first.plugin.on.create = () => created('{}', undefined);
  const handles: Buffer[] = [];
  for (const name of ['a', 'b', 'c']) {
    handles.push(await create(first, name));
    first.plugin.on.get = () => success();
    await first.clock.advance(60_000);
  }
  machine.kill();
  const h = await machine.start({ ...options, starts: true });
  for (const handle of handles) await remove(h, handle);
  assert.deepEqual([h.store.owed.size, h.faults], [0, []]);
  machine.kill();
});

test('a stopping daemon without a state refuses a Delete that nobody would carry out, and takes those with nothing to do', async () => {
  const h = await makeHarness();
  serves(h);
  const deleted = await create(h, 'deleted');
  await remove(h, deleted);
  const over = await create(h, 'over');
  h.plugin.on.get = () => success();
  await h.clock.advance(60_000);
  h.plugin.on.get = () => running();
  const live = await create(h, 'live');
  await h.clock.advance(1_000);
  h.tasks.drain();
  const before = await create(h, 'before').catch(coded('DAEMON_DRAINING'));
  assert.equal(before, true);
  await settle(h.clock, h.tasks.stop());
  await assert.rejects(remove(h, live), coded('DAEMON_DRAINING'));
  for (const handle of [deleted, over]) await remove(h, handle);
  assert.equal(h.store.unfinished, 1);
  await h.stop();
});

test('with a state a stopping daemon takes a Delete, which the next start carries out', async () => {
  const machine = new Machine();
  const first = await machine.start();
  serves(first);
  const live = await create(first, 'live');
  first.tasks.drain();
  await settle(first.clock, first.tasks.stop());
  await remove(first, live);
  machine.kill();
  const h = await machine.start();
  serves(h);
  await h.clock.advance(5_000);
  assert.deepEqual([h.plugin.count('delete'), h.store.owed.size], [1, 0]);
  machine.kill();
});
