import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BOUND, configOf, demoEntry, logOf, startDemoRemote, startServe, statusWhere, until } from './support.js';

/** A line for the end, or for the delete, and two to spare. */
const HANDFUL = 3;

test(
  'a task logs a handful of lines at info over its life, however it goes, and none of them is missing',
  BOUND,
  async (t) => {
    const remote = await startDemoRemote(t);
    const daemon = await startServe(t, configOf({ demo: demoEntry(remote.url) }, { log: { level: 'info' } }));
    const { client } = daemon;
    const create = (generatedName: string, type: string, custom: Record<string, number> = {}) =>
      client.create({ generatedName, template: { type, custom } });
    const before = () => logOf(daemon.running).filter((line) => typeof line.task === 'string').length;
    const lines = async (count: number, at: number) => {
      await until('the lines of the task', () => before() >= at + count);
      return logOf(daemon.running)
        .filter((line) => typeof line.task === 'string')
        .slice(at);
    };

    let at = before();
    const good = await create('good', 'demo_sleep', { seconds: 0.05 });
    await client.waitForEnd(good.handle, { timeoutMs: 60_000 });
    const ended = await lines(1, at);
    assert.ok(ended.length <= HANDFUL, JSON.stringify(ended));
    assert.ok(ended.some(({ event, phase }) => event === 'task.ended' && phase === 'SUCCESS'));

    at = before();
    const bad = await create('bad', 'demo_fail', { seconds: 0.05 });
    await client.waitForEnd(bad.handle, { timeoutMs: 60_000 });
    assert.ok((await lines(1, at)).length <= HANDFUL);

    at = before();
    const hung = await create('hung', 'demo_hang');
    await statusWhere(client, hung.handle, 'RUNNING', ({ phaseInfo }) => phaseInfo.phase === 'RUNNING');
    await client.delete(hung.handle);
    await until('the line of the delete', async () =>
      (await lines(1, at)).some(({ event }) => event === 'delete.done'),
    );
    const deleted = await lines(1, at);
    assert.ok(deleted.length <= HANDFUL, JSON.stringify(deleted));
    assert.ok(deleted.some(({ event }) => event === 'delete.done'));

    at = before();
    remote.control.down = true;
    const late = await client.create(
      { generatedName: 'late', template: { type: 'demo_sleep', custom: { seconds: 0.05 } } },
      { deadlineMs: 6_000 },
    );
    assert.equal(late.status.phaseInfo.phase, 'WAITING_FOR_RESOURCES');
    remote.control.down = false;
    await client.waitForEnd(late.handle, { timeoutMs: 60_000 });
    const retried = await lines(1, at);
    assert.ok(retried.length <= HANDFUL, JSON.stringify(retried));
  },
);
