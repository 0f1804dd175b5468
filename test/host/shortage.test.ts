import assert from 'node:assert/strict';
import childProcess, { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs, { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { type TestContext, test } from 'node:test';
import type { HostError } from '../../src/errors/index.js';
import { diesWithParent, judge } from '../../src/host/process/parent-death.js';
import type { HostedPlugin } from '../../src/host/types.js';
import { isShortage, ShortageError, tellsShortage } from '../../src/lib/shortage.js';
import type { StateChange } from '../../src/model/events/host.js';
import { startHost, untilState } from './support.js';

const BOUND = { timeout: 120_000 };
const LIMITED = { ...BOUND, skip: process.platform !== 'linux' || !existsSync('/usr/bin/prlimit') };

/** Few crashes are let through, so that a shortage counted as a crash shows. */
const STRICT = { maxCrashes: 3, quarantineMs: 3_600_000, restartMaxMs: 20 };

const SOURCE = `
import { definePlugin, phases } from 'webapi-plugin-host';
export default definePlugin({
  id: 'p', apiVersion: 1, taskTypes: ['x'],
  load: () => ({ async create() { return { resourceMeta: {} }; }, async get() { return phases.running(); }, async delete() {} }),
});
`;

function folder(t: TestContext): { dir: string; file: string; flag: string } {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'plugin-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const file = path.join(dir, 'p.mjs');
  writeFileSync(file, SOURCE);
  return { dir, file, flag: path.join(dir, 'enough') };
}

/**
 * Takes this process's file handles away and gives them back, from a process that needs none of its own for that. To be
 * called first in a test: hooks run in the order they were made, and the others need file handles.
 */
async function handles(t: TestContext): Promise<{ take(): Promise<void>; giveBack(): Promise<void> }> {
  const script = `ulimit -n; while read n; do prlimit --pid ${process.pid} --nofile=$n:; echo done; done`;
  const child: ChildProcessByStdio<Writable, Readable, null> = spawn('/bin/sh', ['-c', script], {
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  child.stdout.setEncoding('utf8');
  const [before] = (await once(child.stdout, 'data')) as [string];
  const set = async (limit: string) => {
    child.stdin.write(`${limit}\n`);
    await once(child.stdout, 'data');
  };
  t.after(async () => {
    await set(before.trim());
    child.stdin.end();
    await once(child, 'exit');
  });
  return { take: () => set('1'), giveBack: () => set(before.trim()) };
}

const starved = ({ code }: StateChange) => code === 'PLUGIN_START_STARVED';

/** Resolves once the machine was short for it more often than crashes are let through. */
async function untilTriedOften(changes: readonly StateChange[]): Promise<void> {
  while (changes.filter(starved).length <= STRICT.maxCrashes) {
    assert.ok(!changes.some(({ state }) => state === 'quarantined'), 'a shortage was counted as a crash');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Once the flag is there the plugin serves, and likewise after a restart without it, where a shortage would be a crash. */
async function servesAfterShortage(flag: string, changes: StateChange[], plugin: HostedPlugin): Promise<void> {
  for (const start of ['first', 'again']) {
    if (start === 'again') {
      rmSync(flag);
      changes.length = 0;
      process.kill(plugin.pid!, 'SIGKILL');
    }
    await untilTriedOften(changes);
    writeFileSync(flag, '');
    await untilState(plugin, 'serving');
  }
  assert.ok(!changes.some(({ state }) => state === 'quarantined' || state === 'failed'));
}

test(
  'a required plugin without file handles at the first start ends nothing, is told, and comes up by itself',
  LIMITED,
  async (t) => {
    const { file } = folder(t);
    const machine = await handles(t);
    await machine.take();
    const entries = [{ source: file, id: 'p', required: true }];
    const { report, plugin, changes, logs } = await startHost(t, entries, { limits: STRICT });
    assert.deepEqual(report.fatal, []);
    assert.equal(report.results[0]?.outcome, 'starved');
    assert.equal(plugin('p').kind, undefined, 'nobody knows yet');
    assert.equal(report.results[0]?.error?.code, 'PLUGIN_START_STARVED');
    assert.equal(plugin('p').stateCode, 'PLUGIN_START_STARVED');
    assert.match(plugin('p').stateReason, /no file handles, memory, processes or disk space left/);
    await untilTriedOften(changes);
    assert.equal(plugin('p').state, 'restarting');
    assert.ok(logs.some(({ fields }) => fields.code === 'PLUGIN_START_STARVED'));
    await machine.giveBack();
    await untilState(plugin('p'), 'serving');
    assert.equal(plugin('p').stateCode, undefined);
    assert.deepEqual(
      plugin('p').taskTypes.map(({ name }) => name),
      ['x'],
    );
    assert.ok(!changes.some(({ state }) => state === 'quarantined'));
  },
);

test(
  'a plugin whose id is not configured comes up and is routed to after a start without file handles',
  LIMITED,
  async (t) => {
    const { file } = folder(t);
    const machine = await handles(t);
    await machine.take();
    const { host, report } = await startHost(t, [{ source: file }]);
    assert.equal(report.results[0]?.error?.code, 'PLUGIN_START_STARVED');
    await machine.giveBack();
    while (host.plugin('p')?.state !== 'serving') await new Promise((resolve) => setTimeout(resolve, 10));
    assert.equal(host.route('x', 0).id, 'p');
  },
);

test(
  'a restart without file handles is tried again for as long as it takes, and counts as no crash',
  LIMITED,
  async (t) => {
    const { file } = folder(t);
    const { plugin, changes } = await startHost(t, [{ source: file }], { limits: STRICT });
    const machine = await handles(t);
    await machine.take();
    process.kill(plugin('p').pid!, 'SIGKILL');
    await untilTriedOften(changes);
    assert.equal(plugin('p').state, 'restarting');
    assert.equal(plugin('p').restarts, 0);
    await machine.giveBack();
    await untilState(plugin('p'), 'serving');
    assert.equal(plugin('p').restarts, 1);
    assert.ok(!changes.some(({ state }) => state === 'quarantined' || state === 'failed'));
  },
);

test('a reload without file handles says so and leaves the old process serving', LIMITED, async (t) => {
  const machine = await handles(t);
  const { file } = folder(t);
  const { host, plugin } = await startHost(t, [{ source: file }]);
  const { pid } = plugin('p');
  await machine.take();
  await assert.rejects(host.reload('p'), { code: 'PLUGIN_START_STARVED' });
  await machine.giveBack();
  assert.equal(plugin('p').state, 'serving');
  assert.equal(plugin('p').pid, pid);
});

/** Runs before the plugin's program says that it is up. */
const preload = (flag: string, ending: string) => [
  `--import=data:text/javascript,${encodeURIComponent(
    `import { existsSync, writeSync } from 'node:fs'; if (!existsSync(${JSON.stringify(flag)})) { ${ending} }`,
  )}`,
];
const DEATHS = {
  'by a signal': `process.kill(process.pid, 'SIGABRT'); for (;;);`,
  'with the word for it on its stderr': `writeSync(2, 'Error: spawn EAGAIN\\n'); process.exit(1);`,
  'where no thread could be made': `writeSync(2, 'Assertion (0) == (uv_thread_create(&t, f, d)) failed.\\n'); process.exit(134);`,
};
for (const [how, ending] of Object.entries(DEATHS)) {
  test(
    `a process that dies before it is up, ${how}, is the machine's doing and is tried until it comes up`,
    BOUND,
    async (t) => {
      const { file, flag } = folder(t);
      const entries = [{ source: file, id: 'p', nodeOptions: preload(flag, ending) }];
      const { report, plugin, changes } = await startHost(t, entries, { limits: STRICT });
      assert.equal(report.results[0]?.error?.code, 'PLUGIN_START_STARVED');
      await servesAfterShortage(flag, changes, plugin('p'));
    },
  );
}

/** A plugin whose load() throws what the expression makes, as long as the flag is not there. */
const throwing = (flag: string, thrown: string) =>
  `import { existsSync } from 'node:fs';
${SOURCE.replace('load: () => (', `load: () => { if (!existsSync(${JSON.stringify(flag)})) throw ${thrown}; return (`).replace('async delete() {} }),', 'async delete() {} }); },')}`;

const NO_HANDLE = `Object.assign(new Error('EMFILE: too many open files'), { code: 'EMFILE' })`;
const LOADS = {
  'for want of handles': NO_HANDLE,
  'for that as its cause': `new Error('no pool', { cause: new Error('no socket', { cause: ${NO_HANDLE} }) })`,
  'where no process could be started': `Object.assign(new Error('spawn EAGAIN'), { code: 'EAGAIN' })`,
  'where the disk is full': `Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' })`,
};
for (const [how, thrown] of Object.entries(LOADS)) {
  test(
    `load() that throws ${how} is called again in a new process until it does not, and counts as no crash`,
    BOUND,
    async (t) => {
      const { file, flag } = folder(t);
      writeFileSync(file, throwing(flag, thrown));
      const { report, plugin, changes } = await startHost(t, [{ source: file, id: 'p', required: true }], {
        limits: STRICT,
      });
      assert.deepEqual([report.fatal, report.results[0]?.outcome], [[], 'starved']);
      await servesAfterShortage(flag, changes, plugin('p'));
    },
  );
}

test('load() that throws for another reason is a failed plugin, whatever it throws', BOUND, async (t) => {
  const hostile = `new (class extends Error { get code() { throw 1; } get cause() { throw 2; } })()`;
  for (const thrown of [`Object.assign(new Error('EMFILES'), { code: 'ENOENT' })`, hostile, 'null']) {
    const { file, flag } = folder(t);
    writeFileSync(file, throwing(flag, thrown));
    const { report } = await startHost(t, [{ source: file, id: 'p' }]);
    assert.equal(report.results[0]?.error?.code, 'PLUGIN_LOAD_FAILED', thrown);
  }
});

test(
  'a process that has no file handle left to import its plugin with is replaced until one has',
  LIMITED,
  async (t) => {
    const { file, flag } = folder(t);
    const take = `const { spawnSync } = await import('node:child_process');
    spawnSync('/usr/bin/prlimit', ['--pid', String(process.pid), '--nofile=1:']);`;
    const entries = [{ source: file, id: 'p', required: true, nodeOptions: preload(flag, take) }];
    const { report, plugin, changes } = await startHost(t, entries, { limits: STRICT });
    assert.deepEqual([report.fatal, report.results[0]?.outcome], [[], 'starved'], report.results[0]?.error?.message);
    await untilTriedOften(changes);
    writeFileSync(flag, '');
    await untilState(plugin('p'), 'serving');
  },
);

test('a process that ends by itself before it is up and blames nothing is a failed plugin', BOUND, async (t) => {
  const { file, flag } = folder(t);
  const { report, plugin } = await startHost(t, [
    { source: file, id: 'p', nodeOptions: preload(flag, 'process.exit(1);') },
  ]);
  assert.equal(report.results[0]?.error?.code, 'PLUGIN_IMPORT_FAILED');
  assert.equal(plugin('p').state, 'failed');
});

test('the trial of setpriv is taken for an answer only where it came to one', () => {
  const error = (code: string) => Object.assign(new Error(`spawnSync ${code}`), { code });
  assert.notDeepEqual(judge({ status: 0 }), []);
  assert.deepEqual(judge({ status: 1 }), []);
  assert.deepEqual(judge({ status: null, error: error('ENOENT') }), []);
  for (const code of ['EMFILE', 'ENFILE', 'ENOMEM', 'EAGAIN', 'ETIMEDOUT']) {
    assert.throws(() => judge({ status: null, error: error(code) }), ShortageError);
  }
  assert.throws(() => judge({ status: null }), ShortageError);
});

test('a shortage is told from a mistake by the error code, and in printed lines by the word for it', () => {
  for (const code of [
    'EMFILE',
    'ENFILE',
    'ENOMEM',
    'EAGAIN',
    'ENOBUFS',
    'ENOSPC',
    'EDQUOT',
    'EIO',
    'ESTALE',
    'ETXTBSY',
  ]) {
    assert.ok(isShortage(Object.assign(new Error('spawn'), { code })));
    assert.ok(tellsShortage(`Error: spawn ${code}`));
  }
  assert.ok(!isShortage(Object.assign(new Error('spawn ENOENT'), { code: 'ENOENT' })));
  assert.ok(!isShortage(new Error('EMFILE')));
  assert.ok(!isShortage('EMFILE'));
  assert.ok(!tellsShortage('Error: Cannot find module ./EMFILES'));
});

/** Lets system calls of this process fail as they do where the machine is short, for paths below a folder. */
function shortFor(t: TestContext, folder: string, name: 'statSync' | 'readFileSync', code: string): () => void {
  const real = fs[name] as (...args: unknown[]) => unknown;
  let short = true;
  t.mock.method(fs, name, (...args: unknown[]) => {
    if (short && String(args[0]).startsWith(folder)) throw Object.assign(new Error(`${code}: ${name}`), { code });
    return real(...args);
  });
  syncBuiltinESMExports();
  t.after(() => {
    t.mock.restoreAll();
    syncBuiltinESMExports();
  });
  return () => {
    short = false;
  };
}

for (const [name, code] of [
  ['statSync', 'ENOMEM'],
  ['readFileSync', 'EMFILE'],
  ['readFileSync', 'ENFILE'],
] as const) {
  test(
    `a plugin whose package cannot be looked at (${name}: ${code}) is found once it can, with those of its process`,
    BOUND,
    async (t) => {
      const { dir } = packageFolder(t);
      const enough = shortFor(t, dir, name, code);
      const isolation = 'shared:g';
      const { host, report, plugin, changes } = await startHost(
        t,
        [
          { source: { folder: dir }, id: 'p', required: true, isolation },
          { source: './steady.mjs', isolation, id: 'steady' },
          { source: './steady.mjs', id: 'apart' },
        ],
        { limits: STRICT, defaultForTaskTypes: { steady_task: 'apart', steady_versions: 'apart' } },
      );
      assert.deepEqual(report.fatal, []);
      assert.deepEqual(
        report.results.map(({ outcome }) => outcome),
        ['starved', 'starved', 'loaded'],
      );
      assert.match(plugin('p').stateReason, new RegExp(`it could not be looked for: ${code}`));
      await untilTriedOften(changes);
      assert.equal(plugin('p').state, 'restarting');
      await assert.rejects(host.reload('p'), { code: 'PLUGIN_START_STARVED' });
      enough();
      await untilState(plugin('p'), 'serving');
      await untilState(plugin('steady'), 'serving');
      assert.equal(plugin('p').pid, plugin('steady').pid);
      assert.equal(host.route('x', 0).id, 'p');
    },
  );
}

test('a package.json that is not readable for another reason is a failed plugin, tried no more', BOUND, async (t) => {
  const { dir } = packageFolder(t);
  shortFor(t, dir, 'readFileSync', 'EACCES');
  const { report } = await startHost(t, [{ source: { folder: dir }, id: 'p' }]);
  assert.deepEqual(
    report.results.map(({ outcome, error }) => [outcome, error?.code]),
    [['failed', 'PLUGIN_SOURCE_NOT_FOUND']],
  );
});

test('a user who may have no more processes is waited for', BOUND, async (t) => {
  const { file } = folder(t);
  diesWithParent();
  const real = childProcess.spawn as (...args: unknown[]) => childProcess.ChildProcess;
  let full = true;
  // Node tells it so: a child without an id, and the error beside.
  t.mock.method(childProcess, 'spawn', (...args: unknown[]) => {
    if (!full) return real(...args);
    const child = real('/nowhere/at-all', [], args[2]);
    child.prependListener('error', (error: NodeJS.ErrnoException) => {
      error.code = 'EAGAIN';
      error.message = 'spawn EAGAIN';
    });
    return child;
  });
  syncBuiltinESMExports();
  t.after(() => {
    t.mock.restoreAll();
    syncBuiltinESMExports();
  });
  const { report, plugin, changes } = await startHost(t, [{ source: file, id: 'p', required: true }], {
    limits: STRICT,
  });
  assert.deepEqual([report.fatal, report.results[0]?.outcome], [[], 'starved']);
  assert.match(plugin('p').stateReason, /spawn EAGAIN/);
  await untilTriedOften(changes);
  full = false;
  await untilState(plugin('p'), 'serving');
});

/** A package whose plugin serves tasks of type `x`. */
function packageFolder(t: TestContext): { readonly dir: string } {
  const { dir, file } = folder(t);
  writeFileSync(
    path.join(dir, 'package.json'),
    JSON.stringify({ type: 'module', exports: `./${path.basename(file)}` }),
  );
  return { dir };
}

/** In the plugin's own code: of what ends a process here only what nobody but the system or an operator does is no fault of it. */
for (const [signal, code] of [
  ['SIGKILL', 'PLUGIN_START_STARVED'],
  ['SIGSEGV', 'PLUGIN_IMPORT_FAILED'],
] as const) {
  test(
    `a process that ${signal} ends while it imports its plugin ${code === 'PLUGIN_START_STARVED' ? 'is tried until it comes up' : 'has failed'}`,
    BOUND,
    async (t) => {
      const { file, flag } = folder(t);
      writeFileSync(
        file,
        `import { existsSync } from 'node:fs'; if (!existsSync(${JSON.stringify(flag)})) process.kill(process.pid, '${signal}');${SOURCE}`,
      );
      const { host, report, plugin, changes } = await startHost(t, [{ source: file, id: 'p' }], { limits: STRICT });
      assert.equal(report.results[0]?.error?.code, code);
      if (code !== 'PLUGIN_START_STARVED') {
        assert.throws(() => host.route('x', 0), { code: 'TASK_TYPE_UNKNOWN' });
        assert.equal(plugin('p').state, 'failed');
        return;
      }
      // Nobody knows yet whether the task type is its own.
      assert.throws(() => host.route('x', 0), { code: 'PLUGIN_NOT_SERVING' });
      writeFileSync(flag, '');
      await untilState(plugin('p'), 'serving');
      assert.equal(host.route('x', 0).id, 'p');
      assert.ok(!changes.some(({ state }) => state === 'quarantined' || state === 'failed'));
    },
  );
}

test(
  'the task types of a plugin that was killed at its first import are unknown at no time while it comes up',
  BOUND,
  async (t) => {
    const { file, flag } = folder(t);
    writeFileSync(
      file,
      `import { existsSync } from 'node:fs';
    import { setTimeout as sleep } from 'node:timers/promises';
    if (!existsSync(${JSON.stringify(flag)})) process.kill(process.pid, 'SIGKILL');
    ${SOURCE.replace('load: () => (', 'load: async () => { while (!existsSync(FLAG)) await sleep(10); return (')
      .replace('async delete() {} }),', 'async delete() {} }); },')
      .replace('FLAG', JSON.stringify(`${flag}-2`))}`,
    );
    const { host, plugin } = await startHost(t, [{ source: file, id: 'p' }], { limits: STRICT });
    writeFileSync(flag, '');
    const codes = new Set<string>();
    const look = () => {
      try {
        codes.add(host.route('x', 0).id);
      } catch (error) {
        codes.add((error as HostError).code);
      }
    };
    // Its import is over, and load() under way, for most of this time.
    for (let looks = 0; looks < 100; looks++) {
      look();
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    writeFileSync(`${flag}-2`, '');
    for (; plugin('p').state !== 'serving'; look()) await new Promise((resolve) => setTimeout(resolve, 5));
    look();
    assert.deepEqual([...codes], ['PLUGIN_NOT_SERVING', 'p']);
  },
);
