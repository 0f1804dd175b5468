import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type ListenOptions } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { assertPassedOn } from '../../src/host/process/confinement.js';
import { systemClock } from '../../src/lib/clock.js';
import type { WrittenPluginEntry } from '../../src/model/options/plugin.js';
import { section } from '../support/markdown.js';
import { compiled, fromRoot } from '../support/paths.js';
import { tempFolder } from '../support/temp.js';
import { fixture, resourceArgs, startHost, type TestHost } from './support.js';

const BOUND = { timeout: 300_000 };
/** Several processes start at a time here, on a machine that may be busy. */
const PATIENT = { loadTimeout: '4m' };
const IS_ROOT = process.getuid?.() === 0;
const ON_LINUX = process.platform === 'linux';
/**
 * Nobody's, so that what the kernel counts of one is what its own test starts: a program that was killed counts until the
 * machine's process 1 takes note of it, which may be seconds.
 */
const ACCOUNT = String(2_000_000_000 + (process.pid % 100_000));
const CROWDED = String(2_000_100_000 + (process.pid % 100_000));
const HAS_PERMISSIONS = process.allowedNodeEnvironmentFlags.has('--permission');
const HAS_NETWORK_PERMISSION = process.allowedNodeEnvironmentFlags.has('--allow-net');

/** As many of them are taken, each by a process; more would take long. */
const MOST_INSTANCES = 1_024;
const INSTANCES = ON_LINUX ? Number(readFileSync('/proc/sys/fs/inotify/max_user_instances', 'utf8')) : 0;

/** Row of the table in docs/security.md -> what the intruder tries. */
const ROWS: Readonly<Record<string, string>> = {
  'reads files of the daemon: its state, its keys, its tokens': 'daemonFile',
  'reads them by a link that lies in its own folder': 'linkedFile',
  'makes a link to them and reads that': 'madeLink',
  'gives one of them another name and reads that': 'hardLink',
  'writes where the daemon may': 'outside',
  'writes there by SQLite': 'database',
  'sets flags of V8, some of which write files': 'engineFlags',
  'reads the environment of the daemon (`/proc/<pid>/environ`)': 'environment',
  'reads or changes the memory of the daemon': 'memory',
  'signals the daemon': 'signal',
  'asks the daemon for its debugger': 'debugger',
  'takes priority away from the daemon': 'priority',
  'starts programs': 'program',
  'becomes another program': 'become',
  'starts threads': 'thread',
  'loads native code': 'addon',
  'opens connections': 'network',
  'connects to a socket in the file system that belongs to the daemon': 'localSocket',
  'takes pseudo terminals, of which the machine has so many (`/dev/ptmx`)': 'terminal',
  'takes memory by files that are none on a disk (`/dev/shm`)': 'sharedMemory',
  'takes message queues (`/dev/mqueue`)': 'messageQueue',
};
/** The same of what the kernel counts for a user. */
const COUNTED_ROWS = {
  'the instances of inotify that the daemon’s user may have': 'watches',
  'the signals that may wait for processes of the daemon’s user': 'signals',
} as const;
/** What this Node or this machine may not have at all, or what would end the process that does it. */
const NOT_EVERYWHERE = ['database', 'memory', 'become', 'debugger', 'terminal', 'sharedMemory', 'messageQueue'];

// What the attempts that go on send here.
for (const signal of ['SIGWINCH', 'SIGUSR1'] as const) process.on(signal, () => undefined);

/** A place with a plugin of its own folder, and around it what it should not reach. */
async function makePlace(t: TestContext) {
  const folder = tempFolder(t);
  const at = (...parts: string[]) => path.join(folder, ...parts);
  for (const name of ['plugin', 'writable', 'outside', 'daemon']) mkdirSync(at(name));
  chmodSync(folder, 0o755);
  chmodSync(at('writable'), 0o777);
  copyFileSync(fixture('intruder.mjs'), at('plugin', 'intruder.mjs'));
  writeFileSync(at('daemon', 'key'), 'the key of the handles', { mode: 0o600 });
  symlinkSync('../daemon/key', at('plugin', 'link'));
  const listen = async (options: ListenOptions) => {
    const server = createServer((socket) => socket.destroy());
    t.after(() => void server.close());
    await new Promise<void>((resolve) => server.listen(options, resolve));
    return server.address();
  };
  await listen({ path: at('outside', 'socket') });
  const { port } = (await listen({ port: 0, host: '127.0.0.1' })) as AddressInfo;
  const prebuilt = fromRoot('node_modules', 'classic-level', 'prebuilds', `${process.platform}-${process.arch}`);
  const addons = readdirSync(prebuilt).map((name) => path.join(prebuilt, name));
  const settings = {
    secret: at('daemon', 'key'),
    link: at('plugin', 'link'),
    outside: at('outside'),
    writable: at('writable'),
    addon: addons.find((name) => !name.includes('musl')) ?? '',
    port,
    instances: INSTANCES,
  };
  return { at, settings, source: at('plugin', 'intruder.mjs') };
}

type Sandbox = NonNullable<WrittenPluginEntry['sandbox']>;

/** Intruders, by id, each held as it says. */
async function startIntruders(t: TestContext, held: Readonly<Record<string, Sandbox>>, guarded: string[] = []) {
  const { settings, source } = await makePlace(t);
  const entries = Object.entries(held).map(([id, sandbox]) => ({
    id,
    source,
    settings,
    ...PATIENT,
    sandbox: { write: [settings.writable], ...sandbox },
  }));
  const defaultForTaskTypes = { intruder: entries[0]?.id ?? '' };
  return { settings, ...(await startHost(t, entries, { defaultForTaskTypes, guarded })) };
}

async function attempt({ plugin }: TestHost, id: string, attempts: readonly string[]): Promise<Record<string, string>> {
  const outcome = await plugin(id).call('get', resourceArgs({ attempts }), { deadlineMs: systemClock.now() + 60_000 });
  assert.ok(outcome.ok, JSON.stringify(outcome));
  return outcome.value.customInfo as unknown as Record<string, string>;
}

/** Whether a process of that user can start here at all: a checkout may lie in a folder that is its owner's alone. */
function canBecomeOther(): boolean {
  if (!IS_ROOT || !ON_LINUX) return false;
  const args = ['--reuid', ACCOUNT, '--regid', ACCOUNT, '--clear-groups', process.execPath, '--check'];
  return spawnSync('/usr/bin/setpriv', [...args, compiled('src/sandbox/main.ts')]).status === 0;
}
const OTHER = { user: ACCOUNT, group: ACCOUNT };
const CROWD = { user: CROWDED, group: CROWDED, processes: 40 };

/** The cells of the table whose first row begins so, by row. */
function tableOf(document: string, beginning: string): Map<string, readonly string[]> {
  const lines = section(document, '## Plugins that can do less').split('\n');
  const from = lines.findIndex((line) => line.startsWith(`| ${beginning} `));
  const rows = lines.slice(from, lines.indexOf('', from)).map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
  return new Map(rows.filter((_, i) => i !== 1).map(([name = '', ...cells]) => [name, cells]));
}

const WAYS = ['`permissions`', 'with `network: false`', '`user` and `group`', '`dropPrivileges`'];

/** Id, column and options of each way to hold a plugin that this machine offers. */
function offeredColumns(): [string, number, Sandbox][] {
  const columns: [string, number, Sandbox, boolean][] = [
    ['permissions', 0, { permissions: true }, HAS_PERMISSIONS],
    ['alone', 1, { permissions: true, network: false }, HAS_NETWORK_PERMISSION],
    ['other', 2, OTHER, canBecomeOther()],
    ['dropped', 3, { dropPrivileges: true }, ON_LINUX],
  ];
  return columns.flatMap(([id, column, held, offered]) => (offered ? [[id, column, held]] : []));
}

test(
  'what stops a plugin that means harm, and what does not, is what the table in the documents says',
  BOUND,
  async (t) => {
    const table = tableOf(readFileSync(fromRoot('docs', 'security.md'), 'utf8'), 'A plugin that…');
    const header = table.get('A plugin that…');
    assert.deepEqual(header, WAYS);
    table.delete('A plugin that…');
    assert.deepEqual([...table.keys()].sort(), Object.keys(ROWS).sort());
    const tried = offeredColumns();
    const host = await startIntruders(t, { free: {}, ...Object.fromEntries(tried.map(([id, , held]) => [id, held])) });
    assert.deepEqual(host.report.results.map(({ error }) => error?.message).filter(Boolean), []);

    // Becoming another program ends the process, where nothing stops it.
    const attempts = Object.values(ROWS).filter((name) => name !== 'become');
    const free = await attempt(host, 'free', attempts);
    const possible = attempts.filter((name) => free[name] === 'done');
    const missing = attempts.filter((name) => !possible.includes(name) && !NOT_EVERYWHERE.includes(name));
    assert.deepEqual(
      missing.map((name) => `${name}: ${free[name]}`),
      [],
      'a plugin that nothing holds is stopped by nothing',
    );

    const wrong: string[] = [];
    for (const [id, column] of tried) {
      const stopped = (name: string) => table.get(Object.keys(ROWS).find((row) => ROWS[row] === name) ?? '')?.[column];
      const told = await attempt(host, id, [...attempts, ...(stopped('become') === 'stopped' ? ['become'] : [])]);
      for (const [name, what] of Object.entries(told)) {
        const cell = stopped(name);
        assert.match(cell ?? '', /^(stopped|goes on|stopped where the daemon is root)$/);
        const mustStop = cell === 'stopped' || (cell !== 'goes on' && IS_ROOT);
        const mustGoOn = cell === 'goes on' && possible.includes(name);
        if ((mustStop && what === 'done') || (mustGoOn && what !== 'done'))
          wrong.push(`${id}, ${name}: ${cell}, and ${what}`);
      }
    }
    assert.deepEqual(wrong, []);
    for (const [id] of tried) {
      const own = await attempt(host, id, ['ownFile', 'allowedFile', 'standardInput']);
      const allowed = { ownFile: 'done', allowedFile: 'done', standardInput: 'done' };
      assert.deepEqual(own, allowed, `${id} may do what it is allowed to`);
    }
  },
);

/** Whether the user of this process, which the daemon's is here, has lost what a plugin took. */
const LOST: Readonly<Record<(typeof COUNTED_ROWS)[keyof typeof COUNTED_ROWS], () => boolean>> = {
  // A process that has an instance is given no other.
  watches: () => spawnSync(process.execPath, ['-e', 'fs.watch("/").close()']).status !== 0,
  signals: () => Number(/^SigQ:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) >= 1_000,
};

test('what the kernel counts for a user is taken from the daemon by whom the documents say, and the daemon goes on without it', {
  ...BOUND,
  skip: !ON_LINUX || INSTANCES > MOST_INSTANCES,
}, async (t) => {
  const table = tableOf(readFileSync(fromRoot('docs', 'security.md'), 'utf8'), 'A plugin that uses up…');
  assert.deepEqual(table.get('A plugin that uses up…'), [...WAYS, 'What the daemon does then']);
  table.delete('A plugin that uses up…');
  assert.deepEqual([...table.keys()], Object.keys(COUNTED_ROWS));
  const tried = offeredColumns();
  const host = await startIntruders(t, { free: {}, ...Object.fromEntries(tried.map(([id, , held]) => [id, held])) });
  assert.deepEqual(host.report.results.map(({ error }) => error?.message).filter(Boolean), []);
  for (const [row, name] of Object.entries(COUNTED_ROWS)) {
    for (const [id, column] of [['free', undefined], ...tried] as const) {
      const cell = column === undefined ? 'goes on' : table.get(row)?.[column];
      const told = await attempt(host, id, [name]);
      assert.equal(LOST[name](), cell === 'goes on', `${id}: ${JSON.stringify(told)}`);
      // It has its own.
      if (id === 'other') assert.equal(told[name], 'done');
      if (id === 'free') {
        await host.host.reload('dropped');
        assert.equal(host.plugin('dropped').state, 'serving');
      }
      await attempt(host, id, ['letGo']);
      // The programs are killed, and the kernel takes back what each held when it comes to it.
      for (let looks = 0; LOST[name]() && looks < 600; looks++) await sleep(50);
      assert.equal(LOST[name](), false, 'what is let go of is there again');
    }
  }
});

test('each limit stops what it is for, and nothing without it; the kernel holds the process from its start', {
  ...BOUND,
  skip: !ON_LINUX,
}, async (t) => {
  const held: Sandbox = { openFiles: 128, fileSize: '1MiB', dataSize: '1GiB', coreDumps: false, dropPrivileges: true };
  const crowded = canBecomeOther();
  const host = await startIntruders(t, { free: {}, held, ...(crowded ? { crowd: CROWD } : {}) });
  const expected = { manyFiles: /EMFILE/, manyPorts: /EMFILE/, largeFile: /EFBIG/, muchMemory: /alloc/i };
  const told = await attempt(host, 'held', [...Object.keys(expected), 'ownFile']);
  for (const [name, words] of Object.entries(expected)) assert.match(told[name] ?? '', words);
  assert.equal(told.ownFile, 'done', 'it lives on');
  if (crowded) assert.match((await attempt(host, 'crowd', ['manyProcesses'])).manyProcesses ?? '', /^ some could not/);
  const attempts = [...Object.keys(expected), ...(crowded ? ['manyProcesses'] : [])];
  assert.deepEqual(await attempt(host, 'free', attempts), Object.fromEntries(attempts.map((name) => [name, 'done'])));

  const read = (id: string, name: string) => readFileSync(`/proc/${host.plugin(id).pid}/${name}`, 'utf8');
  const status = read('held', 'status');
  assert.match(status, /^NoNewPrivs:\s+1$/m);
  for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapAmb']) assert.match(status, new RegExp(`^${set}:\\s+0+$`, 'm'));
  assert.match(read('held', 'limits'), /^Max core file size\s+0\s+0\s/m);
  assert.match(read('held', 'limits'), /^Max open files\s+128\s+128\s/m);
  assert.match(read('free', 'status'), /^NoNewPrivs:\s+0$/m);
});

test('a plugin’s process gives way to the daemon in all of its threads, as far as it is told to', {
  ...BOUND,
  skip: !ON_LINUX,
}, async (t) => {
  const { plugin } = await startIntruders(t, { usual: {}, equal: { niceness: 0 } });
  const nicenesses = (id: string): number[] => {
    const tasks = `/proc/${plugin(id).pid}/task`;
    // What follows the name, which may hold spaces, begins with the third field; the nice value is the nineteenth.
    const fieldsOf = (tid: string) => readFileSync(`${tasks}/${tid}/stat`, 'utf8').split(') ').at(-1)?.split(' ');
    return [...new Set(readdirSync(tasks).map((tid) => Number(fieldsOf(tid)?.[16])))];
  };
  const own = os.getPriority();
  assert.deepEqual(nicenesses('equal'), [own]);
  assert.deepEqual(nicenesses('usual'), [Math.min(19, own + 10)]);
});

test(
  'what the system does not offer keeps a plugin from starting, in its own words, and no other',
  BOUND,
  async (t) => {
    const { report, plugin, host } = await startIntruders(t, {
      stranger: { user: 'nobody-of-this-name', group: '1' },
      free: {},
      ...(HAS_PERMISSIONS ? {} : { old: { permissions: true } }),
      ...(HAS_NETWORK_PERMISSION ? {} : { offline: { permissions: HAS_PERMISSIONS, network: false } }),
    });
    const told = new Map(report.results.map(({ pluginId, label, error }) => [pluginId ?? label, error]));
    for (const [id, words] of Object.entries({
      stranger: ON_LINUX ? /nobody-of-this-name/ : /setpriv/,
      ...(HAS_PERMISSIONS
        ? {}
        : { old: /sandbox\.permissions is true, and this is Node .* expected Node 22\.15 or newer/ }),
      ...(HAS_NETWORK_PERMISSION
        ? {}
        : { offline: HAS_PERMISSIONS ? /expected Node 25 or newer/ : /expected sandbox\.permissions/ }),
    })) {
      assert.equal(told.get(id)?.code, 'PLUGIN_SANDBOX_UNAVAILABLE', id);
      assert.match(told.get(id)?.message ?? '', words);
      assert.equal(plugin(id).state, 'failed');
    }
    assert.equal(plugin('free').state, 'serving');
    await assert.rejects(host.reload('stranger'), { code: 'PLUGIN_SANDBOX_UNAVAILABLE' });
  },
);

test('a variable that would be lost on the way to a process without network keeps it from starting', () => {
  const held = { command: [], flags: [], niceness: 0 };
  const env = { GOOD: '1', 'GROUP_my-key': '2' };
  assert.doesNotThrow(() => assertPassedOn({ ...held, channelFd: 3 }, env));
  assert.doesNotThrow(() => assertPassedOn({ ...held, channelFd: 0 }, { GOOD: '1', _x2: '' }));
  assert.throws(() => assertPassedOn({ ...held, channelFd: 0 }, env), {
    code: 'PLUGIN_SANDBOX_UNAVAILABLE',
    message: /passes on no variable "GROUP_my-key"/,
  });
});

test('a thread, and plugins of one process that differ, are refused', BOUND, async (t) => {
  const { source } = await makePlace(t);
  const { report } = await startHost(
    t,
    [
      { id: 'thread', source, isolation: 'worker', sandbox: { coreDumps: false } },
      { id: 'one', source, isolation: 'shared:g', sandbox: { dropPrivileges: true } },
      { id: 'two', source, isolation: 'shared:g', sandbox: {} },
    ],
    { defaultForTaskTypes: { intruder: 'one' } },
  );
  const [thread, one, two] = report.results.map(({ error }) => error);
  assert.match(thread?.message ?? '', /isolation is worker/);
  for (const error of [one, two]) assert.match(error?.message ?? '', /differ in sandbox\.dropPrivileges/);
  assert.deepEqual(new Set([thread, one, two].map((error) => error?.code)), new Set(['PLUGIN_SANDBOX_UNAVAILABLE']));
});

test('a plugin whose folder holds a file of the daemon is not started under the permission model', {
  ...BOUND,
  skip: !HAS_PERMISSIONS,
}, async (t) => {
  const { at, settings, source } = await makePlace(t);
  const entry = (id: string, sandbox: Sandbox) => ({ id, source, settings, sandbox, ...PATIENT });
  const { report } = await startHost(
    t,
    [
      entry('apart', { permissions: true }),
      entry('above', { permissions: true, read: [at()] }),
      entry('writes', { permissions: true, write: [at('daemon')] }),
    ],
    { guarded: [at('daemon', 'key'), at('daemon', 'not', 'there', 'yet')], defaultForTaskTypes: { intruder: 'apart' } },
  );
  assert.deepEqual(
    report.results.map(({ error, outcome }) => error?.code ?? outcome),
    ['loaded', 'PLUGIN_SANDBOX_LEAKS', 'PLUGIN_SANDBOX_LEAKS'],
  );
  assert.ok(report.results[1]?.error?.message.includes(at('daemon', 'key')));
});
