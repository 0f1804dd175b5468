import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { createClient } from '../../src/client/index.js';
import { compiled } from '../support/paths.js';
import { start } from '../support/spawn.js';
import { tempFolder, writeTree } from '../support/temp.js';
import { BOUND, configOf, until } from './support.js';

/** The plugin's own folder cannot be looked at for want of memory until there is a file `enough`. */
const SHORT = `
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
const real = fs.statSync;
fs.statSync = (path, ...rest) => {
  if (String(path).includes('plugin-folder') && !fs.existsSync('enough')) {
    throw Object.assign(new Error('ENOMEM: not enough memory, stat'), { code: 'ENOMEM' });
  }
  return real(path, ...rest);
};
syncBuiltinESMExports();
`;

const PLUGIN = `
import { definePlugin, phases } from 'webapi-plugin-host';
export default definePlugin({
  id: 'p', version: '7', apiVersion: 1, taskTypes: ['x'],
  load: () => ({ async create() { return { resourceMeta: {} }; }, async get() { return phases.running(); }, async delete() {} }),
});
`;

function shortMachine(t: TestContext, command: string, ...more: string[]) {
  const cwd = tempFolder(t);
  const plugins = { p: { source: './plugin-folder', required: true } };
  writeTree(cwd, {
    'short.mjs': SHORT,
    'plugin-folder/index.mjs': PLUGIN,
    'config.json': JSON.stringify(command === 'serve' ? configOf(plugins) : { plugins }),
  });
  const args = ['--import', './short.mjs', compiled('src/main.ts'), command, '--config', 'config.json', ...more];
  return { cwd, running: start(t, process.execPath, args, { cwd }) };
}

test(
  'a daemon whose required plugin the machine has nothing left for serves unready, tells why, and becomes ready',
  BOUND,
  async (t) => {
    const { cwd, running } = shortMachine(t, 'serve');
    const [, grpc, admin] = await running.waitFor(/"event":"daemon\.ready","grpc":"([^"]+)","admin":"([^"]+)"/);
    assert.match(running.output(), /"event":"plugin\.starved","plugin":"p"/);
    assert.doesNotMatch(running.output(), /plugin\.loaded|plugin\.load_failed/);
    const ready = async () => {
      const answer = await fetch(`http://${admin}/readyz`);
      return { status: answer.status, body: await answer.text() };
    };
    const unready = await ready();
    assert.equal(unready.status, 503);
    assert.match(unready.body, /could not be looked for: ENOMEM/);
    const client = createClient({ address: grpc as string });
    t.after(() => client.close());
    const report = async () => (await client.listPlugins())[0];
    const starved = await report();
    assert.deepEqual([starved?.id, starved?.state, starved?.stateCode], ['p', 'RESTARTING', 'PLUGIN_START_STARVED']);
    assert.deepEqual(
      [starved?.kind, starved?.config, starved?.version],
      [undefined, undefined, ''],
      'it was never loaded',
    );
    writeTree(cwd, { enough: '' });
    await until('readiness', async () => (await ready()).status === 200);
    const serving = await report();
    assert.deepEqual([serving?.state, serving?.kind, serving?.version], ['SERVING', 'async', '7']);
    running.child.kill('SIGTERM');
    assert.equal((await running.finished).code, 0);
  },
);

/** Somebody with no name and no rights, whose processes are counted for nobody else. */
const NOBODY = '43210';
const AS = [`--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups', '--inh-caps=-all'];

/**
 * Whether that user can run this Node, read this folder, and be limited. The trial goes by way of a shell: what setpriv
 * itself starts is still started with root's rights, what the daemon starts is not.
 */
function able(): boolean {
  const script = `fs.readFileSync(${JSON.stringify(compiled('src/main.ts'))})`;
  const words = [...AS, '/bin/sh', '-c', '"$0" -e "$1"', process.execPath, script];
  return spawnSync('/usr/bin/setpriv', words).status === 0 && existsSync('/usr/bin/prlimit');
}

test('a plugin whose process ends when its user may have no more of them is no crash, and comes back when he may', {
  ...BOUND,
  skip: !able() && 'it takes root, setpriv and prlimit, and a folder and a Node that others can read',
}, async (t) => {
  const cwd = tempFolder(t);
  writeTree(cwd, {
    'p.mjs': PLUGIN,
    'config.json': JSON.stringify(configOf({ p: { source: './p.mjs' } }, { state: { engine: 'none' } })),
  });
  chmodSync(cwd, 0o755);
  const words = [...AS, process.execPath, compiled('src/main.ts'), 'serve', '--config', 'config.json'];
  const running = start(t, '/usr/bin/setpriv', words, { cwd, env: { HOME: cwd } });
  const [, child] = await running.waitFor(/"processId":(\d+),"state":"serving"/);
  await running.waitFor(/"event":"daemon\.ready"/);
  const daemon = running.child.pid as number;
  const limit = (most: string) => {
    const change = ['/usr/bin/prlimit', '--pid', String(daemon), `--nproc=${most}:`];
    const { status, stderr } = spawnSync('/usr/bin/setpriv', [...AS, ...change]);
    assert.equal(status, 0, String(stderr));
  };
  limit('1');
  process.kill(Number(child), 'SIGKILL');
  await running.waitFor(/"event":"plugin\.trouble".*the machine has no/);
  limit('1000');
  await running.waitFor(/"state":"serving","previous":"restarting"/);
  assert.doesNotMatch(running.output(), /quarantined/);
  running.child.kill('SIGTERM');
  assert.equal((await running.finished).code, 0);
});

test('a check on such a machine ends with 5 and blames the machine, not the plugin', BOUND, async (t) => {
  const { code, stdout } = await shortMachine(t, 'check').running.finished;
  assert.equal(code, 5);
  assert.match(stdout, /PLUGIN_START_STARVED: .*the machine has no file handles, memory, processes or disk space left/);
  const json = await shortMachine(t, 'check', '--json').running.finished;
  assert.deepEqual(
    JSON.parse(json.stdout).results.map(({ outcome }: { outcome: string }) => outcome),
    ['starved'],
  );
});
