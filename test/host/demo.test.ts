import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createDemoRemote, type DemoRemote } from '../../plugins/demo/remote.js';
import { makeLiteralCodec } from '../../src/data/literal-codec.js';
import type { HostedPlugin } from '../../src/host/types.js';
import { loadFlyteidlCore } from '../../src/idl/load-core.js';
import { structFromJson } from '../../src/idl/struct.js';
import type { JsonObject } from '../../src/lib/json.js';
import { createArgs, startHost } from './support.js';

const BOUND = { timeout: 60_000 };
const DEMO = fileURLToPath(new URL('../../plugins/demo', import.meta.url));
const idl = loadFlyteidlCore();
const literals = makeLiteralCodec(idl);

function template(type: string, custom: JsonObject, outputs: readonly string[] = []): Buffer {
  const integer = { type: { simple: 'INTEGER' } };
  return idl.codec('flyteidl.core.TaskTemplate').encode({
    type,
    custom: structFromJson(custom),
    interface: { outputs: { variables: Object.fromEntries(outputs.map((name) => [name, integer])) } },
  });
}

async function startDemo(t: TestContext): Promise<{ remote: DemoRemote; demo: HostedPlugin; sync: HostedPlugin }> {
  let now = 1_000_000;
  const remote = createDemoRemote({ clock: { now: () => now++ } });
  const url = await remote.start();
  t.after(() => remote.stop());
  const { report, plugin } = await startHost(t, [
    { source: { file: `${DEMO}/index.js` }, settings: { url } },
    { source: { file: `${DEMO}/sync.js` }, settings: { url } },
  ]);
  assert.deepEqual(
    report.results.map(({ error }) => error),
    [undefined, undefined],
  );
  return { remote, demo: plugin('demo'), sync: plugin('demo-sync') };
}

const create = (demo: HostedPlugin, type: string, custom: JsonObject, key = 'key-1', outputs: readonly string[] = []) =>
  demo.call(
    'create',
    createArgs({ template: template(type, custom, outputs), inputs: literals.writeMap({ n: 7 }), idempotencyKey: key }),
    { deadlineMs: undefined },
  );

const about = (meta: Buffer) => ({ meta, outputPrefix: '', idempotencyKey: 'key-1', connection: undefined });

test('a demo job runs, echoes its inputs, and a repeated create finds it', BOUND, async (t) => {
  const { remote, demo } = await startDemo(t);
  const first = await create(demo, 'demo_sleep', { seconds: 0.002 }, 'a', ['n']);
  assert.ok(first.ok);
  assert.equal(first.value.state?.phase, 'RUNNING');
  assert.equal(first.value.existing, false);
  const again = await create(demo, 'demo_sleep', { seconds: 0.002 }, 'a', ['n']);
  assert.ok(again.ok && again.value.existing);
  assert.equal(remote.created, 1);

  const read = await demo.call('get', about(first.value.meta), { deadlineMs: undefined });
  assert.ok(read.ok && read.value.outputs.kind === 'inline');
  assert.deepEqual(literals.readMap(read.value.outputs.literalMap), { n: 7 });
  assert.equal(read.value.phase, 'SUCCESS');
  assert.deepEqual(
    remote.calls.map(({ kind, status }) => `${kind} ${status}`),
    ['create 201', 'create 200', 'read 200'],
  );
});

test('failures keep their kind, code and whether another attempt helps', BOUND, async (t) => {
  const { demo } = await startDemo(t);
  const user = await create(demo, 'demo_fail', { message: 'bad script', code: 'Script' }, 'a');
  assert.deepEqual(user.ok && [user.value.state?.phase, user.value.state?.error], [
    'PERMANENT_FAILURE',
    { code: 'Script', message: 'bad script', kind: 'USER' },
  ]);
  const system = await create(demo, 'demo_fail', { blame: 'system', retryable: true }, 'b');
  assert.equal(system.ok && system.value.state?.phase, 'RETRYABLE_FAILURE');
  assert.equal(system.ok && system.value.state?.error?.kind, 'SYSTEM');
});

test('throttling, outages, refusals and lost jobs arrive as what they are', BOUND, async (t) => {
  const { remote, demo } = await startDemo(t);
  const job = await create(demo, 'demo_hang', {});
  assert.ok(job.ok);
  const read = async () => {
    const outcome = await demo.call('get', about(job.value.meta), { deadlineMs: undefined });
    return outcome.ok ? outcome.value.phase : outcome.failure.kind;
  };
  remote.control.throttle = { calls: 1, retryAfterSeconds: 2 };
  const throttled = await demo.call('get', about(job.value.meta), { deadlineMs: undefined });
  assert.equal(!throttled.ok && throttled.failure.retryAfterMs, 2_000);
  remote.control.down = true;
  assert.equal(await read(), 'transient');
  remote.control.down = false;
  await remote.stop();
  assert.equal(await read(), 'transient');
  await remote.start();
  assert.equal(await read(), 'RUNNING');
  remote.control.rejectCreates = 'no more disk';
  const refused = await create(demo, 'demo_sleep', {}, 'b');
  assert.equal(!refused.ok && refused.failure.kind, 'permanent');
  assert.match(refused.ok ? '' : refused.failure.message, /HTTP 400: no more disk/);
  remote.lose();
  assert.equal(await read(), 'not_found');
});

test('a create whose answer was lost on the way is found by its repeat', BOUND, async (t) => {
  const { remote, demo } = await startDemo(t);
  remote.control.dropAnswers = 1;
  const lost = await create(demo, 'demo_sleep', { seconds: 5 });
  assert.equal(!lost.ok && lost.failure.kind, 'transient');
  const found = await create(demo, 'demo_sleep', { seconds: 5 });
  assert.ok(found.ok && found.value.existing);
  assert.equal(remote.created, 1);
});

test('a batch reads many jobs with one call, with an outcome for each', BOUND, async (t) => {
  const { remote, demo } = await startDemo(t);
  const metas: Buffer[] = [];
  for (const key of ['a', 'b', 'c']) {
    const job = await create(demo, 'demo_hang', {}, key);
    if (job.ok) metas.push(job.value.meta);
  }
  remote.lose(['job-2']);
  const batch = await demo.call('getMany', { items: metas.map(about) }, { deadlineMs: undefined });
  assert.deepEqual(batch.ok && batch.value.map((one) => (one.ok ? one.value.phase : one.failure.kind)), [
    'RUNNING',
    'not_found',
    'RUNNING',
  ]);
  assert.deepEqual(
    remote.callsOf('readMany').map(({ items }) => items),
    [3],
  );
});

test('a delete cancels the job; logs can be read', BOUND, async (t) => {
  const { demo, remote } = await startDemo(t);
  const job = await create(demo, 'demo_hang', {}, 'a');
  assert.ok(job.ok);
  const logs = await demo.call('getLogs', { ...about(job.value.meta), lines: 0, token: '' }, { deadlineMs: undefined });
  assert.deepEqual(logs.ok && logs.value, { lines: [{ message: 'job job-1' }, { message: 'running' }], token: '' });
  const gone = await demo.call('delete', { ...about(job.value.meta), reason: 'test' }, { deadlineMs: undefined });
  assert.equal(gone.ok, true);
  assert.equal(remote.jobOf('a')?.state, 'CANCELLED');
});

test('the sync plugin answers within one call', BOUND, async (t) => {
  const { sync } = await startDemo(t);
  assert.equal(sync.kind, 'sync');
  const args = createArgs({ template: template('demo_sync', {}, ['n']), inputs: literals.writeMap({ n: 3 }) });
  const done = await sync.call('do', args, { deadlineMs: undefined });
  assert.ok(done.ok && done.value.outputs.kind === 'inline');
  assert.deepEqual(literals.readMap(done.value.outputs.literalMap), { n: 3 });
});

test('a demo plugin without the URL of its remote says so', BOUND, async (t) => {
  const { report } = await startHost(t, [{ source: { file: `${DEMO}/index.js` }, settings: { bach: true } }]);
  assert.match(report.results[0]!.error!.message, /settings\.bach: no such setting/);
});
