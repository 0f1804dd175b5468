import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, watch } from 'node:fs';
import net from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import { createClient } from '../../src/client/index.js';
import { compiled, fromRoot } from '../support/paths.js';
import { type Running, runNode, start } from '../support/spawn.js';
import { folderWith, QUICK } from './support.js';

const HELLO = `
import { definePlugin, phases } from 'webapi-plugin-host';
export default definePlugin({
  id: 'hello', apiVersion: 1, taskTypes: ['hello'],
  load: () => ({
    async create(ctx) { return { resourceMeta: { id: ctx.idempotencyKey } }; },
    async get() { return phases.success({ greeting: 'hello' }); },
    async delete() {},
  }),
});
`;

const NEVER = 'await new Promise(() => setInterval(() => {}, 1000));';

const MAIN = compiled('src/main.ts');

function serve(t: TestContext, cwd: string, args: readonly string[]): Running {
  return start(t, process.execPath, [MAIN, 'serve', ...QUICK, ...args], { cwd });
}

function plugin(name: string): string[] {
  return ['--set', `plugins.${name}.source=./${name}.mjs`];
}

/** Resolves when a file in the folder is written. */
async function changed(t: TestContext, folder: string): Promise<void> {
  const watcher = watch(folder);
  t.after(() => watcher.close());
  await once(watcher, 'change');
}

/** The address in the line that says that the daemon serves. */
async function addressOf(daemon: Running): Promise<string> {
  const [, address] = await daemon.waitFor(/"event":"daemon\.ready","grpc":"([^"]+)"/);
  return address as string;
}

describe('plugin-host serve', () => {
  it('logs a rejection that nobody awaits and serves on, instead of ending with all its tasks', async (t) => {
    const stray =
      "setInterval(() => globalThis.stray?.(), 5); process.on('SIGUSR2', () => { globalThis.stray = () => { globalThis.stray = undefined; Promise.reject(new Error('nobody awaits me')); }; });";
    const cwd = folderWith(t, { 'hello.mjs': HELLO, 'stray.mjs': stray });
    const args = ['--import', './stray.mjs', MAIN, 'serve', ...QUICK, ...plugin('hello')];
    const daemon = start(t, process.execPath, args, { cwd });
    const address = await addressOf(daemon);
    daemon.child.kill('SIGUSR2');
    await daemon.waitFor(/"event":"daemon\.fault".*nobody awaits me/);
    const plugins = await runNode(t, [MAIN, 'plugins'], { cwd, env: { PLUGIN_HOST_ADDRESS: address } });
    assert.match(plugins.stdout, /^hello +SERVING/m);
    daemon.child.kill('SIGTERM');
    assert.equal((await daemon.finished).code, 0);
  });

  it('serves a task from the command line and ends with 0 after SIGTERM', async (t) => {
    const cwd = folderWith(t, { 'hello.mjs': HELLO, 'task.yaml': 'type: hello\n' });
    const daemon = serve(t, cwd, plugin('hello'));
    const address = await addressOf(daemon);
    const env = { PLUGIN_HOST_ADDRESS: address };
    const task = await runNode(t, [MAIN, 'run', 'task.yaml'], { cwd, env });
    assert.deepEqual([task.code, task.stdout], [0, 'greeting: hello\n'], task.stderr);
    const plugins = await runNode(t, [MAIN, 'plugins'], { cwd, env });
    assert.match(plugins.stdout, /^hello +SERVING/m);
    daemon.child.kill('SIGTERM');
    const { code, stdout } = await daemon.finished;
    assert.equal(code, 0);
    const states = [...stdout.matchAll(/"event":"daemon\.state","state":"(\w+)"/g)].map(([, state]) => state);
    assert.deepEqual(states, ['starting', 'ready', 'draining', 'stopped']);
  });

  it('ends with 0 when it is stopped while a plugin still loads', async (t) => {
    const cwd = folderWith(t, { 'never.mjs': NEVER });
    const daemon = serve(t, cwd, plugin('never'));
    await daemon.waitFor(/"state":"starting"/);
    daemon.child.kill('SIGTERM');
    const { code, stderr } = await daemon.finished;
    assert.deepEqual([code, stderr], [0, '']);
  });

  it('ends with 6 at a second signal, saying so', async (t) => {
    const cwd = folderWith(t, { 'hello.mjs': HELLO });
    const daemon = serve(t, cwd, [...plugin('hello'), '--set', 'shutdown.drainDelay=30s']);
    await addressOf(daemon);
    daemon.child.kill('SIGTERM');
    await daemon.waitFor(/"state":"draining"/);
    daemon.child.kill('SIGINT');
    const { code, stderr, stdout } = await daemon.finished;
    assert.equal(code, 6);
    assert.match(stderr, /SHUTDOWN_FORCED: the stop was forced \(a second signal, SIGINT\)/);
    assert.match(stdout, /"event":"daemon\.stop_forced"/);
  });

  it('ends with 6 when shutdown.forceAfter is over, naming what still runs', async (t) => {
    const stuck = "get() { writeFileSync(import.meta.dirname + '/reading', ''); return new Promise(() => {}); },";
    const source = `import { writeFileSync } from 'node:fs';${HELLO.replace(/async get\(\) .*/, stuck)}`;
    const cwd = folderWith(t, { 'hello.mjs': source });
    const reading = changed(t, cwd);
    // The force timer is set first and as long as the grace, so that it ends first.
    const times = ['--set', 'shutdown.grace=1s', '--set', 'shutdown.forceAfter=1s'];
    const daemon = serve(t, cwd, [...plugin('hello'), ...times]);
    const address = await addressOf(daemon);
    const client = createClient({ address });
    t.after(() => client.close());
    await client.create({ generatedName: 'a', template: { type: 'hello' } });
    await reading;
    daemon.child.kill('SIGTERM');
    const { code, stderr } = await daemon.finished;
    assert.equal(code, 6);
    assert.match(stderr, /SHUTDOWN_FORCED: .*shutdown\.forceAfter.*still running: .*plugin hello/);
  });

  it('tells failures of the start apart: configuration 3, plugins 4, address 5', async (t) => {
    const cwd = folderWith(t, { 'broken.mjs': 'throw new Error("at import");', 'bad.yaml': 'grpc: {port: x}\n' });
    const config = await serve(t, cwd, ['-c', 'bad.yaml']).finished;
    assert.equal(config.code, 3);
    assert.match(config.stderr, /file bad\.yaml:1: grpc\.port: seen "x"/);
    assert.equal(config.stdout, '');

    const required = await serve(t, cwd, [...plugin('broken'), '--set', 'plugins.broken.required=true']).finished;
    assert.equal(required.code, 4);
    assert.match(required.stderr, /plugin-host: PLUGIN_IMPORT_FAILED: .*at import/);

    const other = net.createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => other.once('listening', resolve));
    t.after(() => other.close());
    const { port } = other.address() as net.AddressInfo;
    for (const flag of ['--port', '--admin-port']) {
      const taken = await serve(t, cwd, [flag, String(port)]).finished;
      assert.equal(taken.code, 5, flag);
      assert.match(taken.stderr, /plugin-host: LISTEN_FAILED: /);
    }
  });

  it('writes no secret of its configuration, and goes on without a plugin that is not required', async (t) => {
    const cwd = folderWith(t, { 'broken.mjs': "throw new Error('leaks ' + process.env.TOKEN);" });
    const secret = 'hunter2-hunter2-hunter2';
    const daemon = serve(t, cwd, [
      ...plugin('broken'),
      ...['--set', `plugins.broken.environment.set.TOKEN=${secret}`, '--set', `admin.token=${secret}`],
    ]);
    await addressOf(daemon);
    daemon.child.kill('SIGINT');
    const { code, stdout, stderr } = await daemon.finished;
    assert.equal(code, 0);
    assert.match(stdout, /"event":"plugin\.load_failed"/);
    assert.doesNotMatch(stdout + stderr, /hunter2/);
  });
});

describe('plugin-host check', () => {
  it('says why a plugin could not be loaded, however much it printed before it ended', async (t) => {
    const loud = `import { writeSync } from 'node:fs';
      const lines = Buffer.from(('x'.repeat(99) + '\\n').repeat(3_400) + 'TypeError: too loud\\n');
      for (let at = 0; at < lines.length; ) {
        try {
          at += writeSync(2, lines, at);
        } catch (error) {
          if (error.code !== 'EAGAIN') throw error;
        }
      }
      process.exit(3);`;
    const cwd = folderWith(t, { 'loud.mjs': loud });
    for (let again = 0; again < 4; again++) {
      const { code, stdout } = await runNode(t, [MAIN, 'check', ...plugin('loud')], { cwd });
      assert.equal(code, 4, stdout);
      assert.match(stdout, /^loud +FAILED/m);
      assert.match(stdout, /exit code 3 \(TypeError: too loud\)/);
    }
  });

  it('reports each plugin and ends with 0 or 4, without listening', async (t) => {
    const cwd = folderWith(t, { 'hello.mjs': HELLO, 'broken.mjs': 'export default { id: 5 };' });
    const good = await runNode(t, [MAIN, 'check', ...plugin('hello')], { cwd });
    assert.equal(good.code, 0, good.stderr);
    assert.match(good.stdout, /The configuration is valid\.\nPLUGIN +STATE/);
    assert.match(good.stdout, /^hello +SERVING/m);
    const args = [MAIN, 'check', ...plugin('hello'), ...plugin('broken'), ...plugin('gone')];
    const bad = await runNode(t, args, { cwd });
    assert.equal(bad.code, 4);
    assert.match(bad.stdout, /^hello +SERVING/m);
    assert.match(bad.stdout, /PLUGIN_SHAPE_INVALID/);
    assert.match(bad.stdout, /PLUGIN_SOURCE_NOT_FOUND/);
    assert.equal(bad.stderr, '', 'what the report says is not said twice');
    const json = JSON.parse((await runNode(t, [...args, '--json'], { cwd })).stdout);
    assert.deepEqual(
      json.results.map(({ outcome, error }: { outcome: string; error?: { code: string } }) => [outcome, error?.code]),
      [
        ['loaded', undefined],
        ['failed', 'PLUGIN_SHAPE_INVALID'],
        ['failed', 'PLUGIN_SOURCE_NOT_FOUND'],
      ],
    );
    const thrower = {
      'throws.mjs': "console.log('hello from it');\nfunction deep() {\n  throw new Error('no');\n}\ndeep();",
    };
    const thrown = await runNode(t, [MAIN, 'check', ...plugin('throws')], { cwd: folderWith(t, thrower) });
    assert.equal(thrown.code, 4);
    assert.match(thrown.stderr, /importing the plugin threw\nError: no\n +at deep .*throws\.mjs:3:9/);
    assert.doesNotMatch(thrown.stderr, /node:|hello/);
    const empty = await runNode(t, [MAIN, 'check'], { cwd });
    assert.deepEqual([empty.code, empty.stdout], [0, 'The configuration is valid.\nNo plugins are configured.\n']);
    assert.match(empty.stderr, /^warning: no plugin is configured/);
    const config = await runNode(t, [MAIN, 'check', '--set', 'grpc.prot=1'], { cwd });
    assert.equal(config.code, 3);
  });

  for (const [signal, exitCode] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)
    it(`can be ended by ${signal} while a plugin loads`, async (t) => {
      const cwd = folderWith(t, {
        'never.mjs': `import fs from 'node:fs';\nfs.writeFileSync('loading', '');\n${NEVER}`,
      });
      const loading = changed(t, cwd);
      const forever = ['--set', 'plugins.never.loadTimeout=1h'];
      const check = start(t, process.execPath, [MAIN, 'check', ...plugin('never'), ...forever], { cwd });
      await loading;
      check.child.kill(signal);
      const { code } = await check.finished;
      assert.equal(code, exitCode);
    });
});

describe('the package', () => {
  it('ends with 1 and says so when its output cannot be written', { skip: !existsSync('/dev/full') }, async (t) => {
    const full = await runNode(t, [
      '-e',
      `
      const { spawnSync } = require('node:child_process');
      const { openSync } = require('node:fs');
      const { status, stderr } = spawnSync(process.execPath, [${JSON.stringify(MAIN)}, '--version'], { stdio: ['ignore', openSync('/dev/full', 'w'), 'pipe'] });
      console.log(status, String(stderr));
    `,
    ]);
    assert.match(full.stdout, /^1 plugin-host: standard output cannot be written: ENOSPC/);
  });

  it('runs as its bin says', async (t) => {
    const { bin, version } = (await import(`file://${fromRoot('package.json')}`, { with: { type: 'json' } })).default;
    const { stdout, code } = await runNode(t, [fromRoot(bin['plugin-host']), '--version']);
    assert.deepEqual([code, stdout], [0, `${version}\n`]);
  });
});
