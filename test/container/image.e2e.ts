import assert from 'node:assert/strict';
import { chmodSync, lstatSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { writeTree } from '../support/temp.js';
import { type Box, buildImage, type Image, removeImage, startBox } from './box.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'plugin-host-image-'));
const volume = mkdtempSync(path.join(os.tmpdir(), 'plugin-host-volume-'));
let image: Image;

before(() => {
  image = buildImage(folder);
  // The container's user has to read what is mounted.
  chmodSync(volume, 0o755);
  writeTree(volume, {
    'plugin-host.json': JSON.stringify({
      plugins: {
        demo: {
          source: '/app/dist/plugins/demo/index.js',
          required: true,
          settings: { url: 'http://127.0.0.1:9100' },
        },
      },
      shutdown: { drainDelay: '100ms' },
    }),
    'leaving.json': JSON.stringify({
      plugins: { leaving: { source: '/mnt/leaving.mjs', required: true } },
      shutdown: { drainDelay: '0ms' },
    }),
    // Each shell ends at once and leaves a process behind, whose parent is then process 1, and which ends by itself.
    'leaving.mjs': `
      import { execFileSync } from 'node:child_process';
      import { writeFileSync } from 'node:fs';
      import { definePlugin } from 'webapi-plugin-host';
      const leave = () => Number(execFileSync('/bin/sh', ['-c', 'sleep 0.2 >/dev/null & echo $!']));
      export default definePlugin({
        id: 'leaving', apiVersion: 1, taskTypes: ['leaving'],
        load: () => {
          writeFileSync('/tmp/left', JSON.stringify([leave(), leave(), leave()]));
          return { create: async () => ({ resourceMeta: {} }), get: async () => ({ phase: 'RUNNING' }), delete: async () => {} };
        },
      });
    `,
    'task.json': JSON.stringify({
      type: 'demo_sleep',
      custom: { seconds: 1, outputs: { answer: 42 } },
      interface: { outputs: { variables: { answer: { type: { simple: 'INTEGER' } } } } },
    }),
    'failing.json': JSON.stringify({ type: 'demo_fail', custom: { message: 'as it was told' } }),
  });
});
after(() => {
  removeImage(folder);
  rmSync(volume, { recursive: true, force: true });
});

/** Every path below a folder of the image, relative to it, without following links. */
function listing(inside: string): string[] {
  return readdirSync(path.join(image.rootfs, inside), { recursive: true }).map(String);
}

/** The image's own health check, as an engine would run it. */
function checkHealth(box: Box): { healthy: boolean; said: string } {
  const [kind, ...command] = image.config.Healthcheck.Test;
  assert.equal(kind, 'CMD');
  const { status, stdout, stderr } = box.exec(command);
  return { healthy: status === 0, said: stdout + stderr };
}

/** Asks as a probe does, until the answer is yes. */
async function until(what: string, box: Box, probe: () => { healthy: boolean; said: string }): Promise<void> {
  const end = Date.now() + 60_000;
  for (;;) {
    const { healthy, said } = probe();
    if (healthy) return;
    if (Date.now() > end) throw new Error(`not ${what}: ${said}\n${box.output()}`);
    await sleep(250);
  }
}

/** The readiness probe of an orchestrator. */
function checkReady(box: Box): { healthy: boolean; said: string } {
  const ask = "fetch('http://127.0.0.1:9090/readyz').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))";
  const { status, stdout, stderr } = box.exec(['node', '-e', ask]);
  return { healthy: status === 0, said: stdout + stderr };
}

/** What the image starts below its init. */
const program = () => image.config.Entrypoint.slice(image.config.Entrypoint.indexOf('--') + 1);
const cli = (box: Box, ...words: string[]) => box.exec([...program(), ...words]);

/** Ids, in the container, of the processes below its process 1, and how `/proc` tells their states. */
function processes(box: Box): Map<number, { readonly state: string; readonly command: string }> {
  const ask = `for (const pid of require('fs').readdirSync('/proc').filter(Number)) try {
    const read = (name) => require('fs').readFileSync('/proc/' + pid + '/' + name, 'utf8');
    console.log(JSON.stringify([Number(pid), { state: /^State:\\s+(\\S)/m.exec(read('status'))[1], command: read('cmdline') }]));
  } catch {}`;
  const { stdout } = box.exec(['node', '-e', ask]);
  return new Map(
    stdout
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line)),
  );
}

test('the image runs as a numbered user who is not root, in exec form, and tells engines how to check it', () => {
  const { config } = image;
  assert.match(config.User, /^[1-9]\d*:[1-9]\d*$/);
  assert.deepEqual(config.Entrypoint.slice(0, 2), ['/usr/bin/tini', '--']);
  assert.deepEqual(config.Cmd, ['serve']);
  assert.equal(config.Healthcheck.Test[0], 'CMD');
  assert.equal(config.Labels['org.opencontainers.image.licenses'], 'Apache-2.0');
});

test('the image holds what runs, and neither tools, tests, sources nor the configuration of the machine that built it', () => {
  const files = listing('app');
  assert.ok(files.includes('dist/src/index.js') && files.includes('proto/pluginhost/v1/plugin_host.proto'));
  assert.ok(files.some((file) => file.startsWith('node_modules/@grpc/grpc-js/build/')));
  const unwanted =
    /^(dist\/(test|bench)|src|test|scripts)\b|^node_modules\/(typescript|@biomejs|@bufbuild|@types)\b|\.map$|\.d\.ts$|npmrc$/;
  assert.deepEqual(
    files.filter((file) => unwanted.test(file)),
    [],
  );
  assert.deepEqual(
    listing('root').filter((file) => /npm/.test(file)),
    [],
  );
});

test('nothing in the image belongs to the user it runs as', () => {
  const uid = Number(image.config.User.split(':')[0]);
  const files = listing('app');
  assert.ok(files.length > 500);
  assert.deepEqual(
    files.filter((file) => {
      const { uid: owner, mode } = lstatSync(path.join(image.rootfs, 'app', file));
      return owner === uid || ((mode & 0o170000) !== 0o120000 && (mode & 0o002) !== 0);
    }),
    [],
  );
});

test('without a daemon the health check fails and says why', async (t) => {
  const box = await startBox(t, image, { command: ['sleep', '60'] });
  const { healthy, said } = checkHealth(box);
  assert.equal(healthy, false);
  assert.match(said, /not healthy on port 9090: /);
  process.kill(box.pid(), 'SIGKILL');
  await box.ended;
});

test('the daemon of the image becomes healthy, runs tasks and ends with 0 at SIGTERM, on a read-only root', async (t) => {
  const box = await startBox(t, image, {
    env: { PLUGIN_HOST_CONFIG: '/mnt/plugin-host.json' },
    volume: [volume, '/mnt'],
  });
  box.start(['node', '/app/dist/plugins/demo/remote.js', '--port', '9100']);
  await until('healthy', box, () => checkHealth(box));
  await until('ready', box, () => checkReady(box));

  const status = readFileSync(`/proc/${box.pid()}/status`, 'utf8');
  const uid = image.config.User.split(':')[0];
  assert.match(status, new RegExp(`^Uid:\\s+${uid}\\s+${uid}\\s`, 'm'));
  assert.match(status, /^NSpid:\s+\d+\s+1$/m);
  const inside = processes(box);
  assert.match(inside.get(1)?.command ?? '', /^\/usr\/bin\/tini\0/);
  const daemons = [...inside.values()].filter(({ command }) =>
    /^node\0(?:.*\0)?\/app\/dist\/src\/main\.js\0serve\0/.test(command),
  );
  assert.equal(daemons.length, 1, 'the daemon runs below the init');
  assert.equal(
    daemons[0]?.command.includes('--disable-sigusr1'),
    process.allowedNodeEnvironmentFlags.has('--disable-sigusr1'),
    'Node gets the flag where it knows it',
  );
  assert.match(box.exec(['touch', '/app/written']).stderr, /Read-only file system/);

  const good = cli(box, 'run', '/mnt/task.json', '--timeout', '50s', '--json');
  assert.equal(good.status, 0, `${good.stdout}${good.stderr}\n${box.output()}`);
  assert.match(good.stdout, /"SUCCESS"/);
  assert.match(good.stdout, /"answer":\s*42/);
  const bad = cli(box, 'run', '/mnt/failing.json', '--timeout', '50s', '--json');
  assert.notEqual(bad.status, 0, bad.stdout);
  assert.match(bad.stdout, /"PERMANENT_FAILURE"/);
  assert.match(bad.stdout, /as it was told/);

  process.kill(box.pid(), 'SIGTERM');
  assert.deepEqual(await box.ended, { code: 0, signal: null }, box.output());
});

for (const reaped of [true, false]) {
  test(
    reaped
      ? 'what a plugin starts and leaves behind is reaped when it ends'
      : 'without the init what a plugin leaves behind stays as a zombie',
    async (t) => {
      const box = await startBox(t, image, {
        ...(reaped ? {} : { command: ['node', '/app/dist/src/main.js', ...image.config.Cmd] }),
        env: { PLUGIN_HOST_CONFIG: '/mnt/leaving.json' },
        volume: [volume, '/mnt'],
      });
      await until('ready', box, () => checkReady(box));
      const left = JSON.parse(box.exec(['cat', '/tmp/left']).stdout) as number[];
      assert.equal(left.length, 3);
      const states = () => {
        const found = processes(box);
        return left.map((pid) => found.get(pid)?.state ?? 'gone');
      };
      const wanted = reaped ? 'gone' : 'Z';
      await until(`all ${wanted}`, box, () => ({
        healthy: states().every((one) => one === wanted),
        said: states().join(),
      }));
      process.kill(box.pid(), 'SIGTERM');
      assert.deepEqual(await box.ended, { code: 0, signal: null }, box.output());
    },
  );
}

test('a daemon that cannot start ends with a code that is not 0, and says why', async (t) => {
  const box = await startBox(t, image, { env: { PLUGIN_HOST_GRPC_PORTT: '1' } });
  const { code } = await box.ended;
  assert.notEqual(code, 0);
  assert.match(box.output(), /PLUGIN_HOST_GRPC_PORTT/);
});
