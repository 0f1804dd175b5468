import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, lstatSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fromRoot } from '../support/paths.js';
import { tempFolder, writeTree } from '../support/temp.js';
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
      plugins: {
        leaving: { source: '/mnt/leaving.mjs', required: true, sandbox: { childProcesses: true, write: ['/tmp'] } },
      },
      shutdown: { drainDelay: '0ms' },
    }),
    // Each shell ends at once and leaves a process behind, whose parent is then process 1, and which ends by itself.
    'leaving.mjs': `
      import { execFileSync } from 'node:child_process';
      import { writeFileSync } from 'node:fs';
      import { definePlugin } from 'webapi-plugin-host';
      const wait = '"$0" -e "setTimeout(() => {}, 200)" >/dev/null 2>&1 & echo $!';
      const leave = () => Number(execFileSync('/bin/sh', ['-c', wait, process.execPath]));
      export default definePlugin({
        id: 'leaving', apiVersion: 1, taskTypes: ['leaving'],
        load: () => {
          writeFileSync('/tmp/left', JSON.stringify([leave(), leave(), leave()]));
          return { create: async () => ({ resourceMeta: {} }), get: async () => ({ phase: 'RUNNING' }), delete: async () => {} };
        },
      });
    `,
    'held.json': JSON.stringify(prying({ write: ['/tmp'] })),
    'free.json': JSON.stringify(prying({ permissions: false })),
    // Tries what code of an attacker would, and tells what came of it.
    'prying.mjs': `
      import { execFileSync } from 'node:child_process';
      import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
      import { definePlugin } from 'webapi-plugin-host';
      const outcome = (act) => { try { act(); return 'done'; } catch (error) { return error.code; } };
      const tell = () => ({
        lists: outcome(() => readdirSync('/var/lib/plugin-host')),
        reads: outcome(() => readFileSync('/var/lib/plugin-host/state.json')),
        writes: outcome(() => writeFileSync('/var/lib/plugin-host/planted', '')),
        looks: outcome(() => readFileSync('/proc/' + process.ppid + '/environ')),
        signals: outcome(() => process.kill(process.ppid, 0)),
        starts: outcome(() => execFileSync('/bin/sh', ['-c', ':'])),
      });
      export default definePlugin({
        id: 'prying', apiVersion: 1, taskTypes: ['prying'],
        load: () => {
          writeFileSync('/tmp/pried', JSON.stringify(tell()));
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

/** A configuration of a plugin that tries what an attacker would. */
function prying(sandbox: object): object {
  return {
    plugins: { prying: { source: '/mnt/prying.mjs', required: true, sandbox } },
    shutdown: { drainDelay: '0ms' },
  };
}

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
  assert.ok(files.includes('dist/src/index.js'));
  assert.ok(files.some((file) => file.startsWith('node_modules/@grpc/grpc-js/build/')));
  const unwanted =
    /^(dist\/(test|bench)|src|test|scripts|proto)\b|^node_modules\/(typescript|@biomejs|@bufbuild|@types)\b|\.map$|\.d\.ts$|npmrc$/;
  assert.deepEqual(
    files.filter((file) => unwanted.test(file)),
    [],
  );
  assert.deepEqual(
    listing('.').filter((file) => /(^|\/)\.?npm/.test(file) && !file.startsWith('app/node_modules/')),
    [],
  );
});

test('of programs the image holds Node, and what the daemon starts, alone', () => {
  const everything = readdirSync(image.rootfs, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => path.join(parentPath, name));
  const modes = everything.map(
    (file) => [path.relative(path.resolve(image.rootfs), file), lstatSync(file).mode] as const,
  );
  assert.deepEqual(
    modes.filter(([, mode]) => (mode & 0o6000) !== 0),
    [],
    'nothing gives rights to who starts it',
  );
  const programs = modes.filter(([file, mode]) => (mode & 0o111) !== 0 && !/^app\/|\.so(\.\d+)*$/.test(file));
  assert.deepEqual(programs.map(([file]) => path.basename(file)).sort(), [
    'dash',
    'node',
    'prlimit',
    'setpriv',
    'tini',
  ]);
  const tools =
    /^(npm|npx|corepack|yarn|apt|apt-get|dpkg|perl.*|python.*|bash|busybox|env|cat|ls|cp|mount|su|login|passwd)$/;
  assert.deepEqual(
    modes.filter(([file]) => tools.test(path.basename(file)) && !/^(app\/|etc\/passwd$|usr\/share\/doc)/.test(file)),
    [],
  );
});

test('the image tells which packages its files are from, and those that Debian has newer versions of are found', (t) => {
  const scan = (root: string) =>
    spawnSync('bash', [fromRoot('scripts', 'container-scan.sh'), root], { encoding: 'utf8' });
  const today = scan(image.rootfs);
  assert.match(today.stdout, /^\d+ packages, \d+ with a newer version$/m, today.stderr);
  assert.equal(today.status, / 0 with/.test(today.stdout) ? 0 : 1);
  const status = readFileSync(path.join(image.rootfs, 'var/lib/dpkg/status'), 'utf8');
  for (const name of ['libc6', 'libstdc++6', 'util-linux', 'tini', 'dash']) {
    assert.ok(status.includes(`Package: ${name}\n`), `${name} in\n${status}`);
  }
  assert.doesNotMatch(status, /^Package: (apt|dpkg|perl-base|bash|coreutils)$/m);
  const old = tempFolder(t);
  writeTree(old, {
    'var/lib/dpkg/status': status.replace(/(Package: libc6\n(?:.+\n)*?Version: )\S+/, '$1' + '2.36-1'),
  });
  const found = scan(old);
  assert.equal(found.status, 1);
  assert.match(found.stdout, /^libc6\//m, found.stderr);
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
  const box = await startBox(t, image, { command: ['node', '-e', 'setTimeout(() => {}, 60_000)'] });
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
  assert.ok(daemons[0]?.command.includes('--disable-sigusr1'), 'the debugger stays shut');
  assert.match(box.exec(['node', '-v']).stdout, /^v24\./);
  const plugins = [...inside.values()].filter(({ command }) => command.includes('\0--permission\0'));
  assert.equal(plugins.length, 1, 'the plugin is held');
  for (const place of ['/app/written', '/usr/bin/written', '/written']) {
    assert.match(box.exec(['node', '-e', `fs.writeFileSync('${place}', '')`]).stderr, /EROFS/);
  }
  for (const tool of ['npm', 'npx', 'corepack', 'apt-get', 'dpkg', 'perl', 'bash', 'env', 'cat', 'ls']) {
    assert.match(box.exec([tool]).stderr, /No such file or directory/, tool);
  }

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

const pried = async (t: TestContext, config: string) => {
  const box = await startBox(t, image, { env: { PLUGIN_HOST_CONFIG: `/mnt/${config}` }, volume: [volume, '/mnt'] });
  await until('ready', box, () => checkReady(box));
  const origins = cli(box, 'config', '--origins').stdout;
  const found = JSON.parse(box.exec(['node', '-p', "fs.readFileSync('/tmp/pried', 'utf8')"]).stdout);
  process.kill(box.pid(), 'SIGTERM');
  assert.deepEqual(await box.ended, { code: 0, signal: null }, box.output());
  return { origins, found };
};
const DENIED = 'ERR_ACCESS_DENIED';

test('without a word of the configuration a plugin in the image reaches neither the state nor the daemon', async (t) => {
  const { origins, found } = await pried(t, 'held.json');
  assert.match(origins, /^sandbox\.permissions = true {2}# file \/app\/image-config\.json:3$/m);
  assert.deepEqual(found, {
    lists: DENIED,
    reads: DENIED,
    writes: DENIED,
    looks: DENIED,
    signals: DENIED,
    starts: DENIED,
  });
});

test('the configuration can let a plugin in the image out', async (t) => {
  const { found } = await pried(t, 'free.json');
  assert.deepEqual([found.reads, found.writes, found.looks, found.starts], ['done', 'done', 'done', 'done']);
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
      const left = JSON.parse(box.exec(['node', '-p', "fs.readFileSync('/tmp/left', 'utf8')"]).stdout) as number[];
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
