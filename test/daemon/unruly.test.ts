import assert from 'node:assert/strict';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TaskStatus } from '../../src/client/index.js';
import { tempFolder, writeTree } from '../support/temp.js';
import { healthClient } from './health-client.js';
import {
  BOUND,
  configOf,
  type DaemonProcess,
  demoEntry,
  FIXTURE_PLUGINS,
  logOf,
  runs,
  startDemoRemote,
  startServe,
  until,
} from './support.js';

/** What the get of a plugin does -> what becomes of its process. Each is a plugin of its own. */
const DEADLY = ['exit', 'killSelf', 'rejectUnhandled', 'garbage', 'hugeFrame', 'spin'] as const;
const HOARDERS = ['heapLoop', 'heapParse', 'heapFill', 'buffers'] as const;
const SURVIVORS = ['never', 'floodLogs', 'floodStdout'] as const;
/** Ended where the machine is quick enough for it to pass its bound in a second; it costs nobody anything in either case. */
const FLOODERS = ['floodChannel'] as const;

/** The unruly plugin of the host's tests, under an id and a task type of its own; `custom.do` says what get does. */
function unruly(action: string): string {
  return `import unruly from ${JSON.stringify(path.join(FIXTURE_PLUGINS, 'unruly.mjs'))};
    const create = async (ctx) => ({ resourceMeta: { do: ctx.taskReader.read().custom.do } });
    export default {
      ...unruly, id: '${idOf(action)}', taskTypes: ['${action}'], load: (setup) => ({ ...unruly.load(setup), create }),
    };`;
}

const idOf = (action: string) => action.toLowerCase();

/** Everything that must answer from memory, and tasks of another plugin, over and over until stopped. */
function bystanders(t: TestContext, daemon: DaemonProcess, handles: readonly Buffer[]) {
  const health = healthClient(t, daemon.grpc);
  const { client } = daemon;
  const done = { rounds: 0, tasks: 0 };
  let stopped = false;
  const answering = async () => {
    while (!stopped) {
      for (const handle of handles) {
        const { phaseInfo } = await client.status(handle);
        assert.ok(!['SUCCESS', 'PERMANENT_FAILURE', 'RETRYABLE_FAILURE', 'ABORTED'].includes(phaseInfo.phase));
      }
      assert.ok((await client.listPlugins()).length > handles.length);
      assert.equal(await health('demo'), 'SERVING');
      assert.equal((await daemon.http('/healthz')).status, 200);
      assert.match((await daemon.http('/metrics')).body, /^pluginhost_/m);
      done.rounds += 1;
      await sleep(50);
    }
  };
  const running = async () => {
    while (!stopped) {
      const name = `bystander-${done.tasks}`;
      const { handle } = await client.create({ generatedName: name, template: { type: 'demo_sleep' } });
      const { phaseInfo } = await client.waitForEnd(handle, { timeoutMs: 60_000 });
      assert.equal(phaseInfo.phase, 'SUCCESS');
      done.tasks += 1;
    }
  };
  const both = Promise.all([answering(), running()]);
  both.catch(() => undefined);
  return {
    done,
    async stop() {
      stopped = true;
      await both;
    },
  };
}

test('plugins that misbehave in every way cost only their own calls', BOUND, async (t) => {
  const remote = await startDemoRemote(t);
  const folder = tempFolder(t);
  const actions = [...DEADLY, ...HOARDERS, ...SURVIVORS, ...FLOODERS];
  writeTree(folder, Object.fromEntries(actions.map((action) => [`${action}.mjs`, unruly(action)])));
  // A daemon that floods keep busy reads no task more often than it has to.
  const config = { caching: { resyncInterval: '5s' } };
  // Who floods may take its time and some memory over it; on a slow machine it takes more of both.
  const limits = (action: string) =>
    action.startsWith('flood') ? {} : { memoryLimit: '160MiB', callTimeout: '1s', required: action === 'exit', config };
  const entries = actions.map((action) => [idOf(action), { source: `./${action}.mjs`, ...limits(action) }]);
  const daemon = await startServe(t, configOf({ demo: demoEntry(remote.url), ...Object.fromEntries(entries) }), folder);
  const { client } = daemon;
  const create = async (action: string, what: string) =>
    (await client.create({ generatedName: `${action}-${what}`, template: { type: action, custom: { do: what } } }))
      .handle;

  // One well-behaved task of each plugin, which its culprit drags along.
  const innocent = new Map<string, Buffer>();
  for (const action of actions) innocent.set(action, await create(action, 'fine'));
  const culprits = new Map<string, Buffer>();
  const others = bystanders(t, daemon, [...innocent.values()]);

  for (const action of [...DEADLY, ...SURVIVORS, ...FLOODERS]) culprits.set(action, await create(action, action));
  const died = async (action: string) => {
    await until(`the process of ${action} to be replaced`, async () => {
      const { state, restarts } = await daemon.plugin(idOf(action));
      return restarts > 0 || state === 'RESTARTING' || state === 'QUARANTINED';
    });
    // the line comes over another pipe than the answer, and may come after it
    await until(`the log to tell of ${action}`, () =>
      logOf(daemon.running).some(
        ({ event, plugin, state }) =>
          event === 'plugin.trouble' && plugin === idOf(action) && /^(restarting|quarantined)$/.test(String(state)),
      ),
    );
  };
  await Promise.all(DEADLY.map(died));
  await until('the plugin that crashes again and again to be quarantined', async () => {
    const { state, stateReason } = await daemon.plugin('exit');
    return state === 'QUARANTINED' && /crashed \d+ times/.test(stateReason);
  });
  const ready = await daemon.http('/readyz');
  assert.equal(ready.status, 503);
  assert.match(ready.body, /"what":"plugin exit","why":"quarantined: [^"]*","fatal":true/);

  for (const action of HOARDERS) {
    culprits.set(action, await create(action, action));
    await died(action);
    await client.delete(culprits.get(action) as Buffer);
    culprits.delete(action);
  }

  // None of their tasks is lost or ended; what failed says so.
  const statusOf = async (action: string): Promise<TaskStatus> => client.status(culprits.get(action) as Buffer);
  for (const action of DEADLY) {
    const { phaseInfo, lastErrorCode } = await statusOf(action);
    assert.ok(['QUEUED', 'RUNNING'].includes(phaseInfo.phase), `${action}: ${phaseInfo.phase}`);
    assert.match(lastErrorCode, /^PLUGIN_/, action);
  }
  await until(
    'the call that never answers to end at its deadline',
    async () => (await statusOf('never')).lastErrorCode === 'PLUGIN_DEADLINE',
  );
  for (const action of ['floodLogs', 'floodStdout']) {
    await until(`the answer behind ${action}`, async () => (await statusOf(action)).phaseInfo.phase === 'RUNNING');
  }
  const troubled = logOf(daemon.running).filter(
    ({ event, plugin }) => event === 'plugin.trouble' && SURVIVORS.some((action) => plugin === idOf(action)),
  );
  assert.deepEqual(troubled, []);
  for (const action of SURVIVORS) assert.equal((await daemon.plugin(idOf(action))).restarts, 0, action);

  const before = { ...others.done };
  await until('the bystanders to go on', () => others.done.rounds > before.rounds && others.done.tasks > before.tasks);
  await others.stop();
  assert.equal((await daemon.plugin('demo')).restarts, 0);

  // A plugin whose culprit is gone serves its other task again.
  await client.delete(culprits.get('killSelf') as Buffer);
  const spare = innocent.get('heapFill') as Buffer;
  await until('the task beside a culprit to be read', async () => {
    const { phaseInfo, consecutiveFailures } = await client.status(spare);
    return phaseInfo.phase === 'RUNNING' && consecutiveFailures === 0;
  });

  const children = daemon.children();
  daemon.running.child.kill('SIGTERM');
  const { code, stdout } = await daemon.running.finished;
  assert.equal(code, 0);
  assert.doesNotMatch(stdout, /"event":"(daemon|rpc)\.fault"/);
  assert.deepEqual(children.filter(runs), []);
});
