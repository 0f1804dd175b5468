import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { it, type TestContext } from 'node:test';
import { HostError } from '../../src/errors/index.js';
import { systemClock } from '../../src/lib/clock.js';
import { EmbeddedEngine, inspectState, openFolderForInspection } from '../../src/state/index.js';
import { compiled } from '../support/paths.js';
import { start } from '../support/spawn.js';
import { tempFolder } from '../support/temp.js';
import { encoded } from './sample-facts.js';

/** What the state does to a real disk, seen by tracing, and what a real file system does to it. Needs strace and root. */
it('has synced a commit before it says that it is safe', async (t) => {
  const folder = tempFolder(t);
  const trace = path.join(folder, 'trace');
  const writer = [process.execPath, compiled('test/state/lone-writer.ts'), path.join(folder, 'state'), '25', 'end'];
  const traced = start(t, 'strace', [
    '-f',
    '-y',
    '-s',
    '40',
    '-e',
    'trace=fsync,fdatasync,write',
    '-o',
    trace,
    ...writer,
  ]);
  assert.equal((await traced.finished).code, 0, traced.output());
  let syncs = 0;
  let syncsAtLast = 0;
  let told = 0;
  for (const line of readFileSync(trace, 'utf8').split('\n')) {
    // A call that another thread interrupted is over where it is resumed.
    if (/(fdatasync|fsync)(\(.*\/db\/\d+\.log>\)| resumed>\)) += 0/.test(line)) syncs += 1;
    if (!/write\(.*"safe (\d+)\\n"/.test(line)) continue;
    told += 1;
    assert.ok(syncs > syncsAtLast, `"safe ${told}" was said after ${syncs} syncs, as many as before it`);
    syncsAtLast = syncs;
  }
  assert.equal(told, 25);
});

/** A file system of its own, gone when the test ends; hooks run in the order they are registered in. */
function fileSystem(t: TestContext, size: string): string {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'plugin-host-disk-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', folder]);
  t.after(() => {
    execFileSync('umount', ['-l', folder]);
    rmSync(folder, { recursive: true });
  });
  return folder;
}

async function opened(t: TestContext, dir: string): Promise<EmbeddedEngine> {
  const engine = new EmbeddedEngine({ dir, clock: systemClock });
  await engine.open();
  t.after(() => engine.close());
  return engine;
}

const fact = (n: number, bytes = 100_000): Map<string, Buffer> => new Map([[`do/${n}`, Buffer.alloc(bytes, n)]]);

async function trouble(commit: Promise<void>): Promise<string | undefined> {
  try {
    await commit;
    return undefined;
  } catch (error) {
    return HostError.is(error) ? error.code : String(error);
  }
}

it('says that the disk is full, and goes on, with nothing lost, once there is room', async (t) => {
  const folder = fileSystem(t, '24m');
  const ballast = path.join(folder, 'ballast');
  const dir = path.join(folder, 'state');
  const engine = await opened(t, dir);
  await engine.commit(fact(0), []);
  writeFileSync(ballast, Buffer.alloc(12e6));
  let code: string | undefined;
  let n = 0;
  while (code === undefined && n < 1_000) code = await trouble(engine.commit(fact(++n), []));
  assert.equal(code, 'STATE_DISK_FULL');
  assert.equal(await trouble(engine.commit(fact(n), [])), 'STATE_DISK_FULL', 'and again');
  rmSync(ballast);
  assert.equal(await trouble(engine.commit(fact(n), [])), undefined);
  let facts = 0;
  for await (const batch of engine.load()) facts += batch.length;
  assert.equal(facts, n + 1);
});

it('says that the file system is read-only, and goes on once it is not', async (t) => {
  const folder = fileSystem(t, '24m');
  const engine = await opened(t, path.join(folder, 'state'));
  await engine.commit(fact(0, 100), []);
  await engine.close();
  execFileSync('mount', ['-o', 'remount,ro', folder]);
  const later = new EmbeddedEngine({ dir: path.join(folder, 'state'), clock: systemClock });
  assert.equal(await trouble(later.open()), 'STATE_READ_ONLY');
  execFileSync('mount', ['-o', 'remount,rw', folder]);
  await later.open();
  await later.commit(fact(1, 100), []);
  await later.close();
});

it('is opened on a full disk as little as on one that cannot be written, and says why', async (t) => {
  const folder = fileSystem(t, '1m');
  writeFileSync(path.join(folder, 'ballast'), Buffer.alloc(1024 * 1024));
  const engine = new EmbeddedEngine({ dir: path.join(folder, 'state'), clock: systemClock });
  assert.equal(await trouble(engine.open()), 'STATE_DISK_FULL');
});

it('begins a state where a first start found no room, once there is some', async (t) => {
  const folder = fileSystem(t, '1m');
  const ballast = path.join(folder, 'ballast');
  const dir = path.join(folder, 'state');
  mkdirSync(dir);
  // The last page goes to the folder's own entry: files can be made, and nothing fits in them.
  writeFileSync(ballast, Buffer.alloc(1024 * 1024));
  assert.equal(await trouble(new EmbeddedEngine({ dir, clock: systemClock }).open()), 'STATE_DISK_FULL');
  rmSync(ballast);
  const engine = await opened(t, dir);
  assert.equal(await trouble(engine.commit(fact(0, 100), [])), undefined);
});

it('says that its state is gone also where the new one could not be opened at the first try', async (t) => {
  const folder = fileSystem(t, '24m');
  const ballast = path.join(folder, 'ballast');
  const dir = path.join(folder, 'state');
  const engine = await opened(t, dir);
  await engine.commit(fact(0), []);
  const { bavail, bsize } = statfsSync(folder);
  writeFileSync(ballast, Buffer.alloc(bavail * bsize));
  assert.equal(await trouble(engine.commit(fact(1, 2_000_000), [])), 'STATE_DISK_FULL');
  renameSync(dir, `${dir}-gone`);
  // Room for the marker, and none for the database.
  truncateSync(ballast, (bavail - 1) * bsize);
  assert.equal(await trouble(engine.commit(fact(1), [])), 'STATE_DISK_FULL');
  assert.ok(existsSync(path.join(dir, 'db', 'LOCK')), 'and a new one was begun');
  rmSync(ballast);
  assert.equal(await trouble(engine.commit(fact(1), [])), 'STATE_LOST', 'so that all of it is written anew');
  assert.equal(await trouble(engine.commit(fact(1), [])), undefined);
});

it('is opened on a volume that is another user’s, and given to the daemon by its group', async (t) => {
  const dir = path.join(fileSystem(t, '24m'), 'volume');
  mkdirSync(dir);
  chownSync(dir, 0, 2_000);
  chmodSync(dir, 0o2775);
  for (let round = 0; round < 2; round++) {
    const daemon = [process.execPath, compiled('test/state/lone-writer.ts'), dir, '3', 'end'];
    const writer = start(t, 'setpriv', ['--reuid=10001', '--regid=2000', '--clear-groups', ...daemon]);
    assert.equal((await writer.finished).code, 0, writer.output());
    assert.match(writer.output(), /^safe 3$/m);
  }
});

it('is opened by its own user after root has checked it, and after root has copied a state into its folder', async (t) => {
  const dir = path.join(fileSystem(t, '24m'), 'state');
  mkdirSync(dir);
  chownSync(dir, 10_001, 10_001);
  const asDaemon = async () => {
    const daemon = [process.execPath, compiled('test/state/lone-writer.ts'), dir, '3', 'end'];
    const writer = start(t, 'setpriv', ['--reuid=10001', '--regid=10001', '--clear-groups', ...daemon]);
    assert.equal((await writer.finished).code, 0, writer.output());
  };
  const copied = await opened(t, dir);
  await copied.commit(fact(0, 100), []);
  await copied.close();
  await asDaemon();
  await inspectState(await openFolderForInspection(dir));
  await asDaemon();
});

it('is checked where nothing can be written to it', async (t) => {
  const folder = fileSystem(t, '24m');
  const engine = await opened(t, path.join(folder, 'state'));
  await engine.commit(encoded(), []);
  await engine.close();
  execFileSync('mount', ['-o', 'remount,ro', folder]);
  assert.deepEqual((await inspectState(await openFolderForInspection(path.join(folder, 'state')))).problems, []);
});
