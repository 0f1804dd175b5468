import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { systemClock } from '../../src/lib/clock.js';
import { tempFolder } from '../support/temp.js';
import { act, isAlive, resourceArgs, startHost, untilState } from './support.js';

const BOUND = { timeout: 60_000 };
const now = { deadlineMs: undefined };

/** The file of a plugin of the test's own, in a folder that goes with it. */
function pluginFile(t: TestContext, text: string): string {
  const file = path.join(tempFolder(t, 'plugin-'), 'p.mjs');
  writeFileSync(file, text);
  return file;
}

test('plugins that share a process share its crash, and all of them are started again', BOUND, async (t) => {
  const { plugin } = await startHost(
    t,
    [
      { source: './unruly.mjs', isolation: 'shared:trusted' },
      { source: './steady.mjs', isolation: 'shared:trusted' },
      { source: './steady.mjs', id: 'apart' },
    ],
    { defaultForTaskTypes: { steady_task: 'apart', steady_versions: 'apart' } },
  );
  const [unruly, steady, apart] = [plugin('unruly'), plugin('steady'), plugin('apart')];
  assert.equal(unruly.pid, steady.pid);
  assert.notEqual(apart.pid, steady.pid);
  const down = untilState(steady, 'restarting');
  const outcome = await act(unruly, 'exit');
  assert.equal(!outcome.ok && outcome.failure.kind, 'process_died');
  await down;
  await untilState(steady, 'serving');
  await untilState(unruly, 'serving');
  assert.equal((await steady.call('get', resourceArgs({ job: 'a' }), now)).ok, true);
  assert.equal(apart.restarts, 0);
});

test('in a shared process a plugin that ends it while loading is out, and the others load', BOUND, async (t) => {
  const file = pluginFile(t, 'process.exit(9)');
  const { report, plugin } = await startHost(t, [
    { source: './steady.mjs', isolation: 'shared:g' },
    { source: file, isolation: 'shared:g' },
  ]);
  assert.deepEqual(
    report.results.map(({ error, outcome }) => error?.code ?? outcome),
    ['loaded', 'PLUGIN_IMPORT_FAILED'],
  );
  assert.equal((await plugin('steady').call('get', resourceArgs({ job: 'a' }), now)).ok, true);
});

test(
  'a plugin in a worker thread serves, sees only its environment, and is started again when its code exits',
  BOUND,
  async (t) => {
    const { plugin } = await startHost(
      t,
      [{ source: './unruly.mjs', isolation: 'worker', environment: { set: { A: '1' } } }],
      {
        env: { UNRULY_X: '2', SECRET: 'no' },
      },
    );
    const unruly = plugin('unruly');
    assert.equal(unruly.pid, undefined);
    const seen = await act(unruly, 'environment');
    const { PLUGIN_HOST_PROCESS_MARK: mark, ...variables } = (seen.ok && seen.value.customInfo) || {};
    assert.deepEqual(variables, { A: '1', UNRULY_X: '2' });
    assert.equal(typeof mark, 'string');
    for (const action of ['exit', 'rejectUnhandled', 'spin']) {
      const down = untilState(unruly, 'restarting');
      const outcome = await act(unruly, action, action === 'spin' ? 300 : 10_000);
      assert.equal(!outcome.ok && outcome.failure.kind, action === 'spin' ? 'deadline' : 'process_died', action);
      await down;
      await untilState(unruly, 'serving');
    }
    assert.equal((await act(unruly, 'fine')).ok, true);
  },
);

const version = (n: number, taskTypes = `['x']`): string => `
  import { phases } from 'webapi-plugin-host';
  export default { id: 'p', version: '${n}', apiVersion: 1, taskTypes: ${taskTypes}, load: () => ({
    async create() { return { resourceMeta: 1 } },
    get: (ctx) => new Promise((resolve) => setTimeout(resolve, ctx.resourceMeta, phases.running({ reason: 'v${n}' }))),
    async delete() {} }) }`;

test('a reload switches to the new code, lets calls of the old one finish, and ends its process', BOUND, async (t) => {
  const file = pluginFile(t, version(1));
  const { host, plugin } = await startHost(t, [{ source: file }]);
  const p = plugin('p');
  const oldPid = p.pid!;
  const slow = p.call('get', resourceArgs(2_000), now);
  writeFileSync(file, version(2, `['x', 'y']`));
  const changes: string[] = [];
  p.onStateChange((change) => changes.push(change.state));
  const reloaded = host.reload('p');
  const old = await slow;
  assert.equal(old.ok && old.value.reason, 'v1');
  await reloaded;
  assert.equal(p.version, '2');
  const fresh = await p.call('get', resourceArgs(0), now);
  assert.equal(fresh.ok && fresh.value.reason, 'v2');
  assert.equal(host.route('y', 0).id, 'p');
  assert.deepEqual(changes, ['serving'], 'it never stopped serving');
  assert.equal(isAlive(oldPid), false);
});

test('reloads that come together follow one another, and each process but the last ends', BOUND, async (t) => {
  const file = pluginFile(t, version(1));
  const { host, plugin, pids } = await startHost(t, [{ source: file }]);
  await Promise.all([host.reload('p'), host.reload('p'), host.reload('p')]);
  assert.equal(pids.size, 4);
  assert.deepEqual(
    [...pids].filter((pid) => isAlive(pid)),
    [plugin('p').pid],
  );
  assert.equal((await plugin('p').call('get', resourceArgs(0), now)).ok, true);
  await host.stop(0);
  assert.equal(isAlive([...pids].at(-1) as number), false);
});

test(
  'a stop during a reload ends the process that was being loaded, and the plugin serves no more',
  BOUND,
  async (t) => {
    const file = pluginFile(t, version(1));
    const { host, plugin } = await startHost(t, [{ source: file }]);
    const mark = path.join(path.dirname(file), 'loading');
    const waits = `import { writeFileSync } from 'node:fs'; writeFileSync(${JSON.stringify(mark)}, String(process.pid)); await new Promise(() => setInterval(() => {}, 1000));`;
    writeFileSync(file, `${waits}\n${version(2)}`);
    const reload = assert.rejects(host.reload('p'));
    while (!existsSync(mark) || readFileSync(mark, 'utf8') === '')
      await new Promise((resolve) => setTimeout(resolve, 10));
    const loading = Number(readFileSync(mark, 'utf8'));
    await host.stop(0);
    await reload;
    assert.equal(plugin('p').state, 'stopped');
    assert.equal(isAlive(loading), false);
  },
);

test(
  'a crash of the old process after a reload costs its own calls only, and nobody starts it again',
  BOUND,
  async (t) => {
    const file = pluginFile(t, version(1));
    const { host, plugin, pids } = await startHost(t, [{ source: file }]);
    const p = plugin('p');
    const oldPid = p.pid as number;
    const cut = p.call('get', resourceArgs(600_000), { deadlineMs: systemClock.now() + 600_000 });
    writeFileSync(file, version(2));
    const states: string[] = [];
    const switched = new Promise<void>((resolve) => {
      p.onStateChange((change) => {
        states.push(change.state);
        resolve();
      });
    });
    const reloaded = host.reload('p');
    await switched;
    process.kill(oldPid, 'SIGKILL');
    const outcome = await cut;
    assert.equal(!outcome.ok && outcome.failure.kind, 'process_died');
    await reloaded;
    const fresh = await p.call('get', resourceArgs(0), now);
    assert.equal(fresh.ok && fresh.value.reason, 'v2');
    assert.deepEqual(states, ['serving'], 'the new process serves all the while');
    assert.equal(pids.size, 2);
  },
);

test('a stop while a reloaded plugin still drains ends the old process too', BOUND, async (t) => {
  const file = pluginFile(t, version(1));
  const { host, plugin } = await startHost(t, [{ source: file }]);
  const p = plugin('p');
  const oldPid = p.pid as number;
  const cut = p.call('get', resourceArgs(600_000), { deadlineMs: systemClock.now() + 600_000 });
  const switched = new Promise<void>((resolve) => {
    p.onStateChange(() => resolve());
  });
  const reloaded = host.reload('p');
  await switched;
  await host.stop(0);
  assert.equal(isAlive(oldPid), false);
  const outcome = await cut;
  assert.equal(!outcome.ok && outcome.failure.kind, 'process_died');
  await reloaded;
  assert.equal(p.state, 'stopped');
});

test('a reload that fails leaves the old one serving and no process behind', BOUND, async (t) => {
  const file = pluginFile(t, version(1));
  const { host, plugin } = await startHost(t, [{ source: file }]);
  const { pid } = plugin('p');
  writeFileSync(file, 'throw new Error("half written")');
  await assert.rejects(host.reload('p'), { code: 'PLUGIN_IMPORT_FAILED' });
  writeFileSync(file, version(3).replace(`id: 'p'`, `id: 'q'`));
  await assert.rejects(host.reload('p'), { code: 'PLUGIN_ID_TAKEN' });
  await assert.rejects(host.reload('nobody'), { code: 'PLUGIN_NOT_SERVING' });
  const outcome = await plugin('p').call('get', resourceArgs(0), now);
  assert.equal(outcome.ok && outcome.value.reason, 'v1');
  assert.equal(plugin('p').pid, pid);
});

test('a plugin that failed to load serves after its file is mended and it is reloaded', BOUND, async (t) => {
  const file = pluginFile(t, version(1).replace('load:', 'lode:'));
  const { host, plugin } = await startHost(t, [{ source: file, id: 'p' }]);
  assert.equal(plugin('p').stateCode, 'PLUGIN_SHAPE_INVALID');
  writeFileSync(file, version(2));
  await host.reload('p');
  assert.equal(plugin('p').state, 'serving');
  assert.equal(host.route('x', 0).version, '2');
});

test('after a crash the report tells of the code that runs, and an event that it changed', BOUND, async (t) => {
  const file = pluginFile(t, version(1));
  const { plugin, codeChanges } = await startHost(t, [{ source: file }]);
  const crash = async () => {
    const gone = untilState(plugin('p'), 'restarting');
    process.kill(plugin('p').pid!, 'SIGKILL');
    await gone;
    await untilState(plugin('p'), 'serving');
  };
  await crash();
  assert.equal(codeChanges.length, 0, 'the same code is no news');
  writeFileSync(file, version(2));
  await crash();
  assert.equal(plugin('p').version, '2');
  assert.deepEqual(
    codeChanges.map((change) => [change.pluginId, change.previousVersion, change.version]),
    [['p', '1', '2']],
  );
  assert.notEqual(codeChanges[0]?.digest, codeChanges[0]?.previousDigest);
  writeFileSync(file, `${version(2)}// an edit that states no new version\n`);
  await crash();
  assert.equal(codeChanges.length, 2);
});

test('a plugin that a crash finds changed on disk is not served with other task types', BOUND, async (t) => {
  const file = pluginFile(t, version(1));
  const { plugin } = await startHost(t, [{ source: file }], { limits: { maxCrashes: 2 } });
  writeFileSync(file, version(2, `['other']`));
  process.kill(plugin('p').pid!, 'SIGKILL');
  await untilState(plugin('p'), 'quarantined');
  assert.match(plugin('p').stateReason, /changed on disk since it was loaded; reload it/);
});
