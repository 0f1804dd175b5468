import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, openSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { compiled } from '../support/paths.js';
import { type Running, start } from '../support/spawn.js';
import { writeTree } from '../support/temp.js';
import { folderWith, QUICK } from './support.js';

const MAIN = compiled('src/main.ts');
const BOUND = { timeout: 120_000 };
const READY = /"event":"daemon\.ready"/;

const source = (version: string, more = '') => `
import { definePlugin, phases } from 'webapi-plugin-host';
${more}
export default definePlugin({
  id: 'hello', apiVersion: 1, version: '${version}', taskTypes: ['hello'],
  load: () => ({
    async create() { return { resourceMeta: {} }; },
    async get() { return phases.running(); },
    async delete() {},
  }),
});
`;

function folder(t: TestContext): string {
  return folderWith(t, { 'hello.mjs': source('1'), 'other.mjs': source('1').replace("id: 'hello'", "id: 'other'") });
}

const args = (...more: string[]) => [MAIN, 'serve', ...QUICK, '--set', 'plugins.hello.source=./hello.mjs', ...more];

function serve(t: TestContext, cwd: string, ...more: string[]): Running {
  return start(t, process.execPath, args(...more), { cwd });
}

const states = (text: string) =>
  [...text.matchAll(/"event":"daemon\.state","state":"(\w+)"/g)].map(([, state]) => state);

describe('signals of the daemon', () => {
  it('loads the plugins anew at SIGHUP and says what became of each, with the old one going on', BOUND, async (t) => {
    const cwd = folder(t);
    const other = ['--set', 'plugins.other.source=./other.mjs', '--set', 'defaultForTaskTypes.hello=hello'];
    const daemon = serve(t, cwd, ...other);
    await daemon.waitFor(READY);
    writeTree(cwd, { 'hello.mjs': source('2'), 'other.mjs': 'throw new Error("half written")' });
    daemon.child.kill('SIGHUP');
    const [line] = await daemon.waitFor(/.*"event":"daemon\.reloaded".*/);
    const { reloaded, failed } = JSON.parse(line);
    assert.deepEqual(reloaded, ['hello']);
    assert.deepEqual(
      failed.map(({ plugin, code }: { plugin: string; code: string }) => [plugin, code]),
      [['other', 'PLUGIN_IMPORT_FAILED']],
    );
    daemon.child.kill('SIGTERM');
    const { code, stdout } = await daemon.finished;
    assert.equal(code, 0);
    assert.deepEqual(states(stdout), ['starting', 'ready', 'draining', 'stopped']);
  });

  it('keeps a SIGHUP that comes during the start until it serves', BOUND, async (t) => {
    const daemon = serve(t, folder(t));
    await daemon.waitFor(/"state":"starting"/);
    daemon.child.kill('SIGHUP');
    await daemon.waitFor(/"event":"daemon\.reloaded","reloaded":\["hello"\],"failed":\[\]/);
    daemon.child.kill('SIGTERM');
    assert.equal((await daemon.finished).code, 0);
  });

  it('does not take a SIGHUP for the second signal of a stop', BOUND, async (t) => {
    const daemon = serve(t, folder(t), '--set', 'shutdown.drainDelay=1s');
    await daemon.waitFor(READY);
    daemon.child.kill('SIGTERM');
    await daemon.waitFor(/"state":"draining"/);
    daemon.child.kill('SIGHUP');
    await daemon.waitFor(/"signal":"SIGHUP","action":"nothing, it stops"/);
    assert.equal((await daemon.finished).code, 0);
  });

  it('stops in order at SIGQUIT, and at once at a second signal of another kind', BOUND, async (t) => {
    const orderly = serve(t, folder(t));
    await orderly.waitFor(READY);
    orderly.child.kill('SIGQUIT');
    const { code, stdout } = await orderly.finished;
    assert.equal(code, 0);
    assert.deepEqual(states(stdout), ['starting', 'ready', 'draining', 'stopped']);
    const forced = serve(t, folder(t), '--set', 'shutdown.drainDelay=30s');
    await forced.waitFor(READY);
    forced.child.kill('SIGQUIT');
    await forced.waitFor(/"state":"draining"/);
    forced.child.kill('SIGTERM');
    assert.equal((await forced.finished).code, 6);
  });

  it('goes on after SIGUSR1, SIGUSR2 and SIGPIPE, and opens no debugger in any process', BOUND, async (t) => {
    const daemon = serve(t, folder(t));
    const [, pid] = await daemon.waitFor(/"processId":(\d+),"state":"serving"/);
    await daemon.waitFor(READY);
    for (const signal of ['SIGUSR1', 'SIGUSR2', 'SIGPIPE', 'SIGHUP', 'SIGTERM', 'SIGINT', 'SIGQUIT'] as const) {
      process.kill(Number(pid), signal);
    }
    for (const signal of ['SIGUSR1', 'SIGUSR2', 'SIGPIPE'] as const) daemon.child.kill(signal);
    // A reload passes the event loop of both after those signals.
    daemon.child.kill('SIGHUP');
    await daemon.waitFor(/"event":"daemon\.reloaded"/);
    daemon.child.kill('SIGTERM');
    const { code, stdout, stderr } = await daemon.finished;
    assert.equal(code, 0);
    assert.doesNotMatch(stdout + stderr, /Debugger listening|plugin\.trouble/);
  });

  it('opens no debugger at a SIGUSR1 that comes during the start', BOUND, async (t) => {
    const daemon = serve(t, folder(t));
    await daemon.waitFor(/"event":"config\.loaded"/);
    while (!daemon.output().includes('"daemon.ready"')) {
      daemon.child.kill('SIGUSR1');
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    daemon.child.kill('SIGTERM');
    const { code, stderr } = await daemon.finished;
    assert.deepEqual([code, stderr], [0, '']);
  });

  it('stops in order at SIGHUP where standard input is a terminal', {
    ...BOUND,
    skip: !existsSync('/usr/bin/script'),
  }, async (t) => {
    const command = [process.execPath, ...args()].map((word) => `'${word}'`).join(' ');
    const daemon = start(t, '/usr/bin/script', ['-qec', `exec ${command}`, '/dev/null'], { cwd: folder(t) });
    const [, pid] = await daemon.waitFor(/"pid":(\d+).*"event":"daemon\.ready"/);
    process.kill(Number(pid), 'SIGHUP');
    const { code, stdout } = await daemon.finished;
    assert.equal(code, 0);
    assert.deepEqual(states(stdout), ['starting', 'ready', 'draining', 'stopped']);
  });
});

describe('standard output that takes nothing', () => {
  const full = existsSync('/dev/full');
  it('ends at SIGTERM where the disk is full', { ...BOUND, skip: !full }, async (t) => {
    const cwd = folder(t);
    const child = spawn(process.execPath, args('--admin-port', '0'), {
      cwd,
      stdio: ['ignore', openSync('/dev/full', 'w'), 'pipe'],
    });
    t.after(() => child.kill('SIGKILL'));
    // Nothing is told: the daemon serves when its plugin's process runs.
    await childOf(child.pid);
    child.kill('SIGTERM');
    const [code] = await once(child, 'exit');
    assert.equal(code, 0);
  });

  for (const [what, signals] of [
    ['in order at SIGTERM', ['SIGTERM']],
    ['at once at a second signal', ['SIGTERM', 'SIGTERM']],
  ] as const) {
    it(`ends ${what} where the reader of a pipe has stopped reading`, BOUND, async (t) => {
      const cwd = folder(t);
      const chatter = "setInterval(() => { for (let i = 0; i < 100; i++) console.log('x'.repeat(2000)); }, 10);";
      writeTree(cwd, { 'hello.mjs': source('1', chatter) });
      const delay = signals.length > 1 ? '30s' : '0ms';
      const daemon = serve(t, cwd, '--set', `shutdown.drainDelay=${delay}`);
      await daemon.waitFor(READY);
      daemon.child.stdout.pause();
      // More than the pipe takes.
      await new Promise((resolve) => setTimeout(resolve, 1_500));
      for (const signal of signals) {
        daemon.child.kill(signal);
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
      const [code] = await once(daemon.child, 'exit');
      assert.equal(code, signals.length > 1 ? 6 : 0);
      daemon.child.stdout.destroy();
    });
  }

  it('ends with its code when it crashes with nobody reading either output', BOUND, async (t) => {
    // Not before the program takes it.
    const crash = `setInterval(() => {
      if (process.listenerCount('uncaughtException') > 0) throw new Error('x'.repeat(1 << 20));
    }, 10);`;
    const cwd = folderWith(t, { 'crash.mjs': crash });
    const child = spawn(process.execPath, ['--import', './crash.mjs', ...args()], {
      cwd,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    t.after(() => child.kill('SIGKILL'));
    const [code] = await once(child, 'exit');
    assert.equal(code, 1);
  });

  it('writes all of an answer to a reader that is slow', BOUND, async (t) => {
    const cwd = folderWith(t, {});
    const many = Array.from({ length: 2_000 }, (_, i) => [`plugins.p${i}`, { source: `./${'x'.repeat(80)}.mjs` }]);
    writeTree(cwd, {
      'c.json': JSON.stringify({ plugins: Object.fromEntries(many.map(([k, v]) => [String(k).slice(8), v])) }),
    });
    const child = spawn(process.execPath, [MAIN, 'config', '-c', 'c.json'], {
      cwd,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    t.after(() => child.kill('SIGKILL'));
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (part: string) => {
      text += part;
    });
    const [code] = await once(child, 'close');
    assert.equal(code, 0);
    assert.ok(text.length > 200_000, `${text.length} characters`);
    assert.match(text, /\bp1999\b/);
  });
});

/** Resolves when a process has a child that runs a plugin. */
async function childOf(pid: number | undefined): Promise<void> {
  const file = path.join('/proc', String(pid), 'task', String(pid), 'children');
  for (;;) {
    const children = readFileSync(file, 'utf8').trim().split(/\s+/).filter(Boolean);
    const isPlugin = (child: string) => {
      try {
        return readFileSync(`/proc/${child}/cmdline`, 'utf8').includes('sandbox/main');
      } catch {
        return false;
      }
    };
    if (children.some(isPlugin)) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
