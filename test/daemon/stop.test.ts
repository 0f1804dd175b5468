import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import type { DemoRemote } from '../../plugins/demo/remote.js';
import type { WatchUpdate } from '../../src/client/index.js';
import { decodeHandle } from '../../src/model/handle.js';
import { tempFolder, writeTree } from '../support/temp.js';
import { watchHealth } from './health-client.js';
import {
  BOUND,
  configOf,
  type DaemonProcess,
  DEMO_PLUGIN,
  demoEntry,
  freePorts,
  logOf,
  runs,
  spawnServe,
  startDemoRemote,
  startServe,
  statusWhere,
  until,
} from './support.js';

async function startRemote(t: TestContext): Promise<DemoRemote> {
  const remote = await startDemoRemote(t);
  return remote;
}

const hang = (name: string) => ({ generatedName: name, template: { type: 'demo_hang' } });

/** Reads Watch in the background; the loop ends with its signal. */
function watchAll(t: TestContext, daemon: Pick<DaemonProcess, 'client'>, resumeToken = ''): WatchUpdate[] {
  const seen: WatchUpdate[] = [];
  const stop = new AbortController();
  const loop = (async () => {
    for await (const update of daemon.client.watch({ resumeToken }, { signal: stop.signal })) seen.push(update);
  })();
  t.after(async () => {
    stop.abort();
    await loop.catch(() => undefined);
  });
  return seen;
}

test(
  'SIGTERM under load: unready first, everything served meanwhile, streams end with a token, calls finish, exit 0; the next life adopts',
  BOUND,
  async (t) => {
    const remote = await startRemote(t);
    const [grpcPort, adminPort] = await freePorts(2);
    const config = configOf(
      { demo: demoEntry(remote.url) },
      {
        grpc: { port: grpcPort },
        admin: { host: '127.0.0.1', port: adminPort },
        shutdown: { drainDelay: '4s', grace: '30s', forceAfter: '100s' },
        log: { level: 'debug' },
      },
    );
    const first = await startServe(t, config);
    const pluginPids = first.children();
    assert.equal(pluginPids.length, 1);
    const updates = watchAll(t, first);
    const health = watchHealth(t, first.grpc);
    await until('the health stream to say SERVING', () => health.states.at(-1) === 'SERVING');

    const handles: Buffer[] = [];
    for (let i = 0; i < 10; i++) handles.push((await first.client.create(hang(`t${i}`))).handle);
    for (const handle of handles)
      await statusWhere(first.client, handle, 'RUNNING', (s) => s.phaseInfo.phase === 'RUNNING');
    await until('Watch to show every task RUNNING', () => running(updates).size === handles.length);

    // A slow call of the plugin is in flight, and creates and reads of state go on, while the signal comes.
    remote.control.delayMs = 1_000;
    const calls = remote.calls.length;
    const slow = first.client.get(handles[0] as Buffer);
    const creating = Array.from({ length: 5 }, (_, i) => first.client.create(hang(`late${i}`)));
    await until('the slow read to reach the remote', () => remote.calls.length > calls);
    first.running.child.kill('SIGTERM');

    await until('readiness to be off', async () => (await first.http('/readyz')).status === 503);
    assert.match((await first.http('/readyz')).body, /"what":"daemon","why":"it is draining"/);
    assert.equal((await first.http('/healthz')).status, 200, 'a daemon that drains is alive');
    assert.equal((await first.client.status(handles[1] as Buffer)).phaseInfo.phase, 'RUNNING');
    assert.equal((await first.plugin('demo')).state, 'SERVING');
    const during = first.client.create(hang('during'));
    await until('health to say NOT_SERVING', () => health.states.at(-1) === 'NOT_SERVING');

    const answered = await Promise.all([...creating, during]);
    assert.equal((await slow).phaseInfo.phase, 'RUNNING', 'the call in flight finished');
    const { code, stderr } = await first.running.finished;
    assert.equal(code, 0, first.running.output());
    assert.equal(stderr, '');
    await health.ended;
    const last = updates.find((update) => update.kind === 'bookmark' && update.draining);
    assert.ok(last?.resumeToken, 'Watch ended with a bookmark to resume from');
    for (const pid of pluginPids) assert.equal(runs(pid), false, 'no plugin process is left');
    const steps = logOf(first.running).flatMap(({ event, step }) => (event === 'daemon.stop_step' ? [step] : []));
    const order = ['polls and calls', 'gRPC server', 'plugin processes', 'state', 'admin server'];
    assert.deepEqual(
      steps.filter((step) => order.includes(String(step))),
      order,
    );

    remote.control.delayMs = 0;
    const seenBefore = updates.length;
    const second = await startServe(t, config);
    await until('the same Watch loop to resume', () => updates.length > seenBefore);
    const all = [...handles, ...answered.map(({ handle }) => handle)];
    const made = all.filter((handle) => decodeHandle(handle).meta !== undefined);
    assert.ok(made.length >= handles.length);
    for (const handle of made) assert.equal((await second.client.status(handle)).phaseInfo.phase, 'RUNNING');
    await Promise.all(handles.map((_, i) => second.client.create(hang(`t${i}`))));
    const tokens = remote.jobs().map(({ token }) => token);
    assert.equal(new Set(tokens).size, tokens.length);
    assert.equal(remote.created, all.length, 'nobody made a second job');
    assert.equal(remote.callsOf('cancel').length, 0, 'a stop cancels nothing');

    for (const handle of made) await second.client.delete(handle);
    await until('every delete to be carried out', () => remote.callsOf('cancel').length >= made.length);
    second.running.child.kill('SIGTERM');
    assert.equal((await second.running.finished).code, 0);
  },
);

function running(updates: readonly WatchUpdate[]): Set<string> {
  return new Set(
    updates.flatMap((one) =>
      one.kind === 'change' && one.status.phaseInfo.phase === 'RUNNING' ? [one.handle.toString('hex')] : [],
    ),
  );
}

const STUCK = `
import { writeFileSync } from 'node:fs';
import { definePlugin } from 'webapi-plugin-host';
export default definePlugin({
  id: 'stuck', apiVersion: 1, taskTypes: ['stuck'],
  load: () => ({
    create: async () => ({ resourceMeta: {} }),
    get: () => { writeFileSync('reading', ''); return new Promise(() => {}); },
    delete: async () => {},
  }),
});
`;

const SLOW_IMPORT = `
import { writeFileSync } from 'node:fs';
writeFileSync('loading', String(process.pid));
`;

for (const [name, rest] of [
  ['awaits for ever', 'await new Promise(() => setInterval(() => {}, 1000));'],
  ['spins', 'for (;;) {}'],
]) {
  test(
    `SIGTERM while a plugin ${name} at its import ends the start: exit 0 and no process is left`,
    BOUND,
    async (t) => {
      const folder = tempFolder(t);
      writeTree(folder, { 'slow.mjs': SLOW_IMPORT + rest });
      const running = spawnServe(t, configOf({ slow: { source: './slow.mjs', loadTimeout: '1h' } }), folder);
      const marker = path.join(folder, 'loading');
      const pid = await until(
        'the plugin to be imported',
        () => existsSync(marker) && Number(readFileSync(marker, 'utf8')),
      );
      running.child.kill('SIGTERM');
      const { code, stderr } = await running.finished;
      assert.deepEqual([code, stderr], [0, '']);
      assert.equal(runs(pid), false);
      assert.doesNotMatch(running.output(), /"state":"ready"/);
    },
  );
}

/** A daemon with a plugin whose `get` never answers, and one such call in flight. */
async function startStuck(t: TestContext, shutdown: Record<string, string>): Promise<DaemonProcess> {
  const folder = tempFolder(t);
  writeTree(folder, { 'stuck.mjs': STUCK });
  const daemon = await startServe(t, configOf({ stuck: { source: './stuck.mjs' } }, { shutdown }), folder);
  await daemon.client.create({ generatedName: 'a', template: { type: 'stuck' } });
  await until('the read to be in flight', () => existsSync(path.join(folder, 'reading')));
  return daemon;
}

test(
  'a second signal ends the daemon at once with 6, says what was running, and leaves no plugin process',
  BOUND,
  async (t) => {
    const daemon = await startStuck(t, { drainDelay: '1h', grace: '1h', forceAfter: '2h' });
    const [pluginPid] = daemon.children();
    daemon.running.child.kill('SIGTERM');
    await daemon.running.waitFor(/"state":"draining"/);
    daemon.running.child.kill('SIGTERM');
    const { code, stderr } = await daemon.running.finished;
    assert.equal(code, 6);
    assert.match(stderr, /SHUTDOWN_FORCED: .*a second signal, SIGTERM.*1 calls of plugin stuck/);
    await until('the plugin process to end', () => !runs(pluginPid as number));
  },
);

test('a call that never ends costs one grace of the stop, not one for each step', BOUND, async (t) => {
  const daemon = await startStuck(t, { drainDelay: '0ms', grace: '3s', forceAfter: '9s' });
  const [pluginPid] = daemon.children();
  daemon.running.child.kill('SIGTERM');
  const { code } = await daemon.running.finished;
  assert.equal(code, 0, daemon.running.output());
  assert.equal(runs(pluginPid as number), false);
});

test('an operator’s pause holds no stop up, though a delete is owed', BOUND, async (t) => {
  const remote = await startRemote(t);
  const token = 'a-token-of-this-test';
  const daemon = await startServe(
    t,
    configOf(
      { demo: demoEntry(remote.url) },
      { admin: { host: '127.0.0.1', port: 0, token }, shutdown: { drainDelay: '0ms', grace: '1h', forceAfter: '2h' } },
    ),
  );
  const { handle } = await daemon.client.create(hang('a'));
  const headers = { authorization: `Bearer ${token}` };
  assert.equal((await daemon.http('/v1/plugins/demo/pause', { method: 'POST', headers })).status, 200);
  await daemon.client.delete(handle);
  daemon.running.child.kill('SIGTERM');
  assert.equal((await daemon.running.finished).code, 0);
  assert.equal(remote.callsOf('cancel').length, 0);
});

test('when the daemon is killed its plugin processes end by themselves', BOUND, async (t) => {
  const remote = await startRemote(t);
  const daemon = await startServe(
    t,
    configOf({
      demo: demoEntry(remote.url),
      'demo-sync': { source: path.join(DEMO_PLUGIN, 'sync.js'), settings: { url: remote.url } },
    }),
  );
  const pids = daemon.children();
  assert.equal(pids.length, 2);
  daemon.running.child.kill('SIGKILL');
  await daemon.running.finished;
  await until('the plugin processes to end', () => !pids.some(runs));
});
