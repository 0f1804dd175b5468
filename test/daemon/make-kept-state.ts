import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { filesBelow } from '../support/files.js';
import { fromRoot } from '../support/paths.js';
import { tempFolder } from '../support/temp.js';
import { type KeptState, keptConfig, type Told, task, toldOf, withOutputs } from './kept-state.js';
import { startDemoRemote, startServe, statusWhere } from './support.js';

/**
 * Run as a command with a version: has a daemon of this release live through everything that a state may hold, kills it and
 * writes what it left to test/fixtures/daemon-state/VERSION.json. Done once for each release; never again for an old one.
 */
const [version = ''] = process.argv.slice(2);
if (!/^\d+\.\d+\.\d+$/.test(version)) throw new Error('expected the version of the release, such as 0.1.0');

it('leaves a state', async (t) => {
  const remote = await startDemoRemote(t);
  const dir = path.join(tempFolder(t), 'state');
  const { client, running } = await startServe(t, keptConfig(remote.url, dir));
  const handles = new Map<string, Buffer>();
  const create = async (input: ReturnType<typeof task>, name = input.generatedName) => {
    const { handle } = await client.create(input, { deadlineMs: 8_000 });
    handles.set(name, handle);
    return handle;
  };
  const runs = async (handle: Buffer) =>
    statusWhere(client, handle, 'RUNNING', ({ phaseInfo }) => phaseInfo.phase === 'RUNNING');

  await client.waitForEnd(await create(withOutputs('over with outputs', 'kept')), { timeoutMs: 60_000 });
  await client.waitForEnd(await create(task('over and failed', 'demo_fail', { seconds: 0.05 })), { timeoutMs: 60_000 });
  const deletedAfter = await create(withOutputs('over and deleted', 'kept as well'));
  await client.waitForEnd(deletedAfter, { timeoutMs: 60_000 });
  await client.delete(deletedAfter);
  const again = await create(task('created anew', 'demo_hang'), 'deleted before it ended');
  await runs(again);
  await client.delete(again);
  await runs(await create(task('created anew', 'demo_hang')));
  await client.do(task('done within the call', 'demo_sync'));
  await runs(await create(task('live', 'demo_hang', { quota: 'small' })));
  await runs(await create(task('live with a token', 'demo_hang', { quota: 'small' })));
  const waiting = { ...task('accepted and waits', 'demo_hang', { quota: 'small', note: 'n'.repeat(20_000) }) };
  await create(waiting);
  const owed = await create(task('delete owed', 'demo_hang'));
  await runs(owed);
  remote.control.delayMs = 1_000;
  await client.create(task('never delivered', 'demo_hang'), { deadlineMs: 400 }).catch(() => undefined);
  await sleep(1_500);
  remote.control.delayMs = 0;
  remote.control.down = true;
  await client.delete(owed);
  handles.delete('delete owed');
  handles.delete('deleted before it ended');
  remote.control.delayMs = 4_000;
  await create(task('being created', 'demo_hang'));
  const tasks: Record<string, Told> = {};
  for (const [name, handle] of handles) tasks[name] = await toldOf(client, handle);
  running.child.kill('SIGKILL');
  await running.finished;
  const files = filesBelow(dir).filter((file) => !/(LOCK|LOG|LOG\.old|holder\.json)$/.test(file));
  const content: KeptState = {
    files: Object.fromEntries(files.map((file) => [file, readFileSync(path.join(dir, file)).toString('base64')])),
    tasks,
    owed: 1,
  };
  writeFileSync(
    fromRoot('test', 'fixtures', 'daemon-state', `${version}.json`),
    `${JSON.stringify(content, null, 2)}\n`,
  );
});
