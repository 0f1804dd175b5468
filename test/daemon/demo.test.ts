import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PluginHostError, type TaskStatus } from '../../src/client/index.js';
import { BOUND, configOf, demoEntry, startDemoRemote, startServe, statusWhere, until, WIDE_LIMITS } from './support.js';

const TOKEN = 'a-token-of-this-test';

const running = ({ phaseInfo }: TaskStatus) => phaseInfo.phase === 'RUNNING';

test('the demo plugin end to end: throttles, outage, quota, lost jobs, orphans, pause', BOUND, async (t) => {
  const remote = await startDemoRemote(t);
  const daemon = await startServe(
    t,
    configOf(
      { demo: demoEntry(remote.url, { config: { ...WIDE_LIMITS, resourceQuotas: { narrow: 1 } } }) },
      {
        admin: { host: '127.0.0.1', port: 0, token: TOKEN },
        tasks: { visibilityGrace: '0ms', notFoundTime: '0ms', orphanGrace: '500ms' },
      },
    ),
  );
  const { client } = daemon;
  const task = (name: string, type: string, custom = {}) => ({ generatedName: name, template: { type, custom } });
  const post = (path: string, token = TOKEN) =>
    daemon.http(path, { method: 'POST', headers: { authorization: `Bearer ${token}` } });
  const end = (handle: Uint8Array) => client.waitForEnd(handle, { timeoutMs: 60_000 });

  await t.test('a throttle pauses the calls and counts against no task', async () => {
    const before = await client.create(task('before', 'demo_sleep', { seconds: 2 }));
    await statusWhere(client, before.handle, 'RUNNING', running);
    const seen: TaskStatus[] = [];
    remote.control.throttle = { calls: 3, retryAfterSeconds: 1 };
    const ended = await client.waitForEnd(before.handle, { timeoutMs: 60_000, onStatus: (one) => seen.push(one) });
    const after = await client.create(task('after', 'demo_sleep'));
    assert.equal(ended.phaseInfo.phase, 'SUCCESS');
    assert.equal((await end(after.handle)).phaseInfo.phase, 'SUCCESS');
    assert.ok(remote.calls.some(({ status }) => status === 429));
    assert.ok(seen.every(({ consecutiveFailures }) => consecutiveFailures === 0));
    const throttles = /pluginhost_throttles_total\{[^}]*plugin="demo"[^}]*\} (\d+)/.exec(
      (await daemon.http('/metrics')).body,
    );
    assert.ok(Number(throttles?.[1]) >= 1);
    assert.equal(remote.control.throttle.calls, 0);
  });

  await t.test('an outage ends no task; what comes meanwhile waits, and all goes on afterwards', async () => {
    const hung = await Promise.all([1, 2, 3].map((i) => client.create(task(`hang${i}`, 'demo_hang'))));
    for (const { handle } of hung) await statusWhere(client, handle, 'RUNNING', running);
    remote.control.down = true;
    await until('the plugin to be REMOTE_DOWN', async () => (await daemon.plugin('demo')).state === 'REMOTE_DOWN');
    for (const { handle } of hung) {
      const status = await client.status(handle);
      assert.deepEqual([status.phaseInfo.phase, status.remoteDown], ['RUNNING', true]);
    }
    const late = await client.create(task('late', 'demo_sleep'), { deadlineMs: 3_000 });
    assert.equal(late.status.phaseInfo.phase, 'WAITING_FOR_RESOURCES');
    // Creates are judged apart from reads: either waits for the reads, or is the one that is tried.
    const why = /remote is down|reads fail at the remote|creating failed and is repeated: .*HTTP 503/;
    await statusWhere(client, late.handle, 'waiting for the remote', ({ phaseInfo: { phase, reason } }) => {
      return phase === 'WAITING_FOR_RESOURCES' && why.test(reason);
    });
    assert.equal((await daemon.http('/healthz')).status, 200, 'liveness does not depend on a remote');
    assert.equal((await daemon.http('/readyz')).status, 200);
    remote.control.down = false;
    assert.equal((await end(late.handle)).phaseInfo.phase, 'SUCCESS');
    await until('the plugin to be SERVING', async () => (await daemon.plugin('demo')).state === 'SERVING');
    for (const { handle } of hung) {
      await statusWhere(client, handle, 'RUNNING without failures', (s) => running(s) && s.consecutiveFailures === 0);
      await client.delete(handle);
    }
    await until(
      'the jobs to be cancelled',
      () => remote.jobs().filter(({ state }) => state === 'CANCELLED').length === 3,
    );
  });

  await t.test('without a token of its quota a task waits and says so, and starts when one is freed', async () => {
    const first = await client.create(task('q1', 'demo_hang', { quota: 'narrow' }));
    const second = await client.create(task('q2', 'demo_sleep', { quota: 'narrow' }), { deadlineMs: 1_500 });
    assert.equal(second.status.phaseInfo.phase, 'WAITING_FOR_RESOURCES');
    assert.match(second.status.phaseInfo.reason, /quota namespace "narrow"/);
    const quota = async () => (await daemon.plugin('demo')).quotas.find(({ namespace }) => namespace === 'narrow');
    assert.deepEqual(await quota(), { namespace: 'narrow', total: 1, used: 1, waiting: 1 });
    await client.delete(first.handle);
    assert.equal((await end(second.handle)).phaseInfo.phase, 'SUCCESS');
    await until('the token to be free', async () => (await quota())?.used === 0);
  });

  await t.test('a job that the remote has lost ends its task as RESOURCE_LOST, and is cancelled', async () => {
    const { handle } = await client.create(task('lost', 'demo_hang'));
    await statusWhere(client, handle, 'RUNNING', running);
    const cancels = remote.callsOf('cancel').length;
    remote.lose();
    const { phaseInfo } = await end(handle);
    assert.deepEqual(
      [phaseInfo.phase, phaseInfo.error?.code, phaseInfo.error?.kind],
      ['RETRYABLE_FAILURE', 'RESOURCE_LOST', 'SYSTEM'],
    );
    await until('the owed delete to reach the remote', () => remote.callsOf('cancel').length > cancels);
  });

  await t.test('a create whose caller left while it hung is deleted at the remote after the grace', async () => {
    const creates = remote.callsOf('create').length;
    remote.control.delayMs = 1_500;
    const gone = new AbortController();
    const create = client.create(task('orphan', 'demo_hang'), { signal: gone.signal });
    await until('the create to reach the remote', () => remote.callsOf('create').length > creates);
    gone.abort();
    await assert.rejects(create, (error) => error instanceof PluginHostError && error.status === 'CANCELLED');
    remote.control.delayMs = 0;
    // The delete of the lost job is repeated for a while yet, so cancels are not counted.
    await until('the orphan to be cancelled', () => remote.jobs().some(({ state }) => state === 'CANCELLED'));
    assert.deepEqual(
      remote.jobs().map(({ state }) => state),
      ['CANCELLED'],
      'the job was made, and is gone',
    );
    await until('nothing to be left', async () => {
      const { liveTasks, waitingTasks } = await daemon.plugin('demo');
      return liveTasks + waitingTasks === 0;
    });
  });

  await t.test('an operator pauses and resumes a plugin with the token, and only with it', async () => {
    const held = await client.create(task('held', 'demo_hang'));
    await statusWhere(client, held.handle, 'RUNNING', running);
    assert.equal((await daemon.http('/v1/plugins/demo/pause', { method: 'POST' })).status, 401);
    const wrong = await post('/v1/plugins/demo/pause', 'another-token-of-16');
    assert.match(wrong.body, /ADMIN_TOKEN_WRONG/);
    assert.equal((await daemon.plugin('demo')).state, 'SERVING');

    assert.equal((await post('/v1/plugins/demo/pause')).status, 200);
    assert.equal((await daemon.plugin('demo')).state, 'PAUSED');
    assert.equal(running(await client.status(held.handle)), true);
    // A read that was under way when the pause came answers one more Get.
    await until('a Get to be refused', () =>
      client.get(held.handle).then(
        () => false,
        (error) => error instanceof PluginHostError && error.code === 'PLUGIN_PAUSED',
      ),
    );
    const waiting = await client.create(task('waiting', 'demo_sleep'), { deadlineMs: 1_500 });
    assert.equal(waiting.status.phaseInfo.phase, 'WAITING_FOR_RESOURCES');
    const cancels = remote.callsOf('cancel').length;
    await client.delete(held.handle);
    assert.equal(remote.callsOf('cancel').length, cancels, 'a pause holds deletes back as well');

    assert.equal((await post('/v1/plugins/demo/resume')).status, 200);
    assert.equal((await end(waiting.handle)).phaseInfo.phase, 'SUCCESS');
    await until('the owed delete to be carried out', () => remote.callsOf('cancel').length > cancels);
    assert.equal((await post('/v1/plugins/nobody/pause')).status >= 400, true);
  });

  daemon.running.child.kill('SIGTERM');
  const { code, stderr, stdout } = await daemon.running.finished;
  assert.deepEqual([code, stderr], [0, '']);
  assert.doesNotMatch(stdout, /"event":"(daemon|rpc)\.fault"/);
});
