import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { it, type TestContext } from 'node:test';
import type { DemoRemote } from '../../plugins/demo/remote.js';
import type { Client } from '../../src/client/index.js';
import {
  configOf,
  type DaemonProcess,
  demoEntry,
  logOf,
  runs,
  spawnServe,
  startDemoRemote,
  startServe,
  statusWhere,
  until,
} from '../daemon/support.js';
import { start } from '../support/spawn.js';
import { tempFolder } from '../support/temp.js';

/** What troubles a disk has, played on a whole daemon. Needs strace and root. */

const BOUND = { timeout: 240_000 };

const demoOn = (remote: DemoRemote, dir: string) => configOf({ demo: demoEntry(remote.url) }, { state: { dir } });

const create = async (client: Client, generatedName: string): Promise<Buffer> =>
  (await client.create({ generatedName, template: { type: 'demo_hang' } }, { deadlineMs: 30_000 })).handle;

const isRunning = (client: Client, handle: Buffer) =>
  statusWhere(client, handle, 'RUNNING', ({ phaseInfo }) => phaseInfo.phase === 'RUNNING');

/** What the daemon says of itself while it cannot write, and what it serves all the same. */
async function isDegraded(daemon: DaemonProcess, code: string, known: Buffer): Promise<void> {
  await until(`state.degraded with ${code}`, () =>
    logOf(daemon.running).some((line) => line.event === 'state.degraded' && line.code === code),
  );
  const { status, body } = await daemon.http('/readyz');
  assert.equal(status, 200, 'degraded is not unready');
  assert.match(body, new RegExp(code));
  const metrics = await daemon.http('/metrics');
  assert.match(metrics.body, new RegExp(`pluginhost_state_degraded\\{code="${code}"\\} 1`));
  assert.equal((await daemon.client.status(known)).phaseInfo.phase, 'RUNNING');
  assert.equal((await daemon.client.get(known)).phaseInfo.phase, 'RUNNING');
}

const refused = (code: string) => (error: { code?: string; retryable?: boolean }) => {
  assert.equal(error.code, code);
  return true;
};

const isMended = (daemon: DaemonProcess) =>
  until('the state to be mended', () => logOf(daemon.running).some(({ event }) => event === 'state.mended'));

/** Kills the daemon and starts it again: all that was acknowledged is there, and nothing else was made of it. */
async function nothingLost(
  t: TestContext,
  daemon: DaemonProcess,
  config: ReturnType<typeof configOf>,
  remote: DemoRemote,
  handles: readonly Buffer[],
): Promise<void> {
  daemon.running.child.kill('SIGKILL');
  await daemon.running.finished;
  const next = await startServe(t, config);
  for (const handle of handles) await isRunning(next.client, handle);
  assert.equal(remote.created, handles.length);
}

/** The system's answer to every sync of a process from here on, until `end`. */
async function syncs(t: TestContext, pid: number, what: string): Promise<{ end(): Promise<void> }> {
  const calls = 'trace=fsync,fdatasync';
  const args = ['-f', '-q', '-o', '/dev/null', '-e', calls, '-e', `inject=fsync,fdatasync:${what}`, '-p', String(pid)];
  const tracer = start(t, 'strace', args);
  await until('strace to be attached', () => {
    if (!runs(tracer.child.pid as number)) throw new Error(`strace ended: ${tracer.output()}`);
    return !/^TracerPid:\s+0$/m.test(readFileSync(`/proc/${pid}/status`, 'latin1'));
  });
  return {
    async end() {
      tracer.child.kill('SIGINT');
      await tracer.finished;
    },
  };
}

it('a daemon whose disk is full refuses what is new, serves reads, and goes on with nothing lost', BOUND, async (t) => {
  const remote = await startDemoRemote(t);
  const volume = mkdtempSync(path.join(os.tmpdir(), 'plugin-host-disk-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=24m', 'tmpfs', volume]);
  t.after(() => {
    execFileSync('umount', ['-l', volume]);
    rmSync(volume, { recursive: true });
  });
  const config = demoOn(remote, path.join(volume, 'state'));
  const daemon = await startServe(t, config);
  const handle = await create(daemon.client, 'before');
  await isRunning(daemon.client, handle);
  const ballast = path.join(volume, 'ballast');
  const free = () => Number(execFileSync('df', ['--output=avail', '-B1', volume], { encoding: 'utf8' }).split('\n')[1]);
  writeFileSync(ballast, Buffer.alloc(free()));
  const made = [handle];
  let code: string | undefined;
  // What the database has reserved takes some more.
  for (let i = 0; i < 5_000 && code === undefined; i++) {
    try {
      made.push(await create(daemon.client, `full-${i}`));
    } catch (error) {
      code = (error as { code?: string }).code;
    }
  }
  assert.equal(code, 'STATE_DISK_FULL');
  await isDegraded(daemon, 'STATE_DISK_FULL', handle);
  await assert.rejects(daemon.client.delete(handle, { deadlineMs: 3_000 }));
  rmSync(ballast);
  await isMended(daemon);
  made.push(await create(daemon.client, 'after'));
  for (const one of made.slice(1)) await isRunning(daemon.client, one);
  daemon.running.child.kill('SIGKILL');
  await daemon.running.finished;
  const next = await startServe(t, config);
  for (const one of made.slice(1)) await isRunning(next.client, one);
});

for (const [what, error, code] of [
  ['an I/O error', 'EIO', 'STATE_UNWRITABLE'],
  ['a file system that has become read-only', 'EROFS', 'STATE_READ_ONLY'],
] as const) {
  it(`a daemon to which every sync answers ${what} is degraded, serves reads, and mends itself`, BOUND, async (t) => {
    const remote = await startDemoRemote(t);
    const config = demoOn(remote, path.join(tempFolder(t), 'state'));
    const daemon = await startServe(t, config);
    const handle = await create(daemon.client, 'before');
    await isRunning(daemon.client, handle);
    const trouble = await syncs(t, daemon.pid, `error=${error}`);
    await assert.rejects(create(daemon.client, 'during'), refused(code));
    await isDegraded(daemon, code, handle);
    await trouble.end();
    await isMended(daemon);
    const during = await create(daemon.client, 'during');
    await nothingLost(t, daemon, config, remote, [handle, during]);
  });
}

it('a daemon whose disk takes seconds for a sync says so, and tells nothing before it is safe', BOUND, async (t) => {
  const remote = await startDemoRemote(t);
  const config = demoOn(remote, path.join(tempFolder(t), 'state'));
  const daemon = await startServe(t, config);
  const handle = await create(daemon.client, 'before');
  await isRunning(daemon.client, handle);
  const trouble = await syncs(t, daemon.pid, 'delay_enter=6000000');
  const during = create(daemon.client, 'during');
  await isDegraded(daemon, 'STATE_SLOW', handle);
  const made = await during;
  await trouble.end();
  await isMended(daemon);
  await nothingLost(t, daemon, config, remote, [handle, made]);
});

/** A folder as a killed daemon leaves it. */
async function killedState(
  t: TestContext,
): Promise<{ dir: string; config: (dir: string) => ReturnType<typeof configOf> }> {
  const remote = await startDemoRemote(t);
  const dir = path.join(tempFolder(t), 'state');
  const config = (of: string) => demoOn(remote, of);
  const daemon = await startServe(t, config(dir));
  for (let i = 0; i < 5; i++) await isRunning(daemon.client, await create(daemon.client, `task-${i}`));
  daemon.running.child.kill('SIGKILL');
  await daemon.running.finished;
  return { dir, config };
}

it(
  'a daemon does not start on a state that is torn, of another, newer, or read-only, says why, and touches nothing',
  BOUND,
  async (t) => {
    const { dir, config } = await killedState(t);
    const database = path.join('db', readdirSync(path.join(dir, 'db')).find((name) => name.endsWith('.log')) as string);
    const marker = 'state.json';
    const troubles: readonly [code: string, spoil: (copy: string) => void][] = [
      ['STATE_DAMAGED', (copy) => truncateSync(path.join(copy, database), 200)],
      ['STATE_DAMAGED', (copy) => flip(path.join(copy, database))],
      ['STATE_DAMAGED', (copy) => rmSync(path.join(copy, database))],
      ['STATE_FOREIGN', (copy) => rmSync(path.join(copy, marker))],
      [
        'STATE_FORMAT_NEWER',
        (copy) =>
          writeFileSync(
            path.join(copy, marker),
            readFileSync(path.join(copy, marker), 'utf8').replace(/"format":\s*1/, '"format": 99'),
          ),
      ],
    ];
    for (const [n, [code, spoil]] of troubles.entries()) {
      const copy = path.join(tempFolder(t), `copy-${n}`);
      cpSync(dir, copy, { recursive: true });
      spoil(copy);
      const { code: exit, stderr, stdout } = await spawnServe(t, config(copy)).finished;
      assert.equal(exit, 5, `${code}: ${stdout}${stderr}`);
      assert.match(stderr, new RegExp(code));
    }
    const foreign = path.join(tempFolder(t), 'foreign');
    mkdirSync(foreign);
    writeFileSync(path.join(foreign, 'thesis.txt'), 'mine');
    const other = await spawnServe(t, config(foreign)).finished;
    assert.equal(other.code, 5);
    assert.match(other.stderr, /STATE_FOREIGN/);
    assert.deepEqual(readdirSync(foreign), ['thesis.txt']);

    execFileSync('mount', ['--bind', dir, dir]);
    try {
      execFileSync('mount', ['-o', 'remount,bind,ro', dir]);
      const readOnly = await spawnServe(t, config(dir)).finished;
      assert.equal(readOnly.code, 5);
      assert.match(readOnly.stderr, /STATE_READ_ONLY/);
    } finally {
      execFileSync('umount', ['-l', dir]);
    }
  },
);

function flip(file: string): void {
  const bytes = readFileSync(file);
  const at = Math.floor(bytes.length / 2);
  bytes[at] = (bytes[at] as number) ^ 0xff;
  writeFileSync(file, bytes);
}
