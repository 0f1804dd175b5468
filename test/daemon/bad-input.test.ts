import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { Client, credentials, type ServiceError } from '@grpc/grpc-js';
import { PluginHostError } from '../../src/client/index.js';
import { loadPluginHost } from '../../src/idl/load.js';
import { decodeRpcStatus } from '../../src/idl/rpc-status.js';
import { decodeHandle, encodeHandle } from '../../src/model/handle.js';
import { identityOf } from '../support/identity.js';
import { compiled } from '../support/paths.js';
import { runNode } from '../support/spawn.js';
import { tempFolder, writeTree } from '../support/temp.js';
import {
  BOUND,
  configOf,
  demoEntry,
  FIXTURE_PLUGINS,
  runs,
  spawnServe,
  startDemoRemote,
  startServe,
  until,
} from './support.js';

const TOKEN = 'a-token-of-this-test';

/** Plugins that do not load -> the code that the load report has for them. */
const BROKEN: Readonly<Record<string, { readonly text?: string; readonly code: string; readonly says: RegExp }>> = {
  missing: { code: 'PLUGIN_SOURCE_NOT_FOUND', says: /missing\.mjs/ },
  throws: { text: `throw new Error('no good day');`, code: 'PLUGIN_IMPORT_FAILED', says: /no good day/ },
  hangs: {
    text: `import { writeFileSync } from 'node:fs'; writeFileSync('hangs.pid', String(process.pid)); for (;;) {}`,
    code: 'PLUGIN_IMPORT_TIMEOUT',
    says: /longer than/,
  },
  shapeless: { text: 'export default { id: 5 };', code: 'PLUGIN_SHAPE_INVALID', says: /apiVersion is missing/ },
  future: {
    text: `export default { id: 'future', apiVersion: 99, taskTypes: ['future'], load: () => ({}) };`,
    code: 'PLUGIN_API_VERSION_UNKNOWN',
    says: /99/,
  },
  settings: {
    text: `const validate = () => ({ issues: [{ message: 'expected a URL', path: ['url'] }] });
      const settings = { '~standard': { version: 1, vendor: 'test', validate } };
      export default { id: 'settings', apiVersion: 1, taskTypes: ['settings'], settings, load: () => ({}) };`,
    code: 'PLUGIN_SETTINGS_INVALID',
    says: /settings\.url: expected a URL/,
  },
  methodless: {
    text: `export default { id: 'methodless', apiVersion: 1, taskTypes: ['methodless'], load: () => ({ create() {} }) };`,
    code: 'PLUGIN_SHAPE_INVALID',
    says: /get/,
  },
};

test('bad input through the real port is a clear error with its code, and leaves nothing behind', BOUND, async (t) => {
  const remote = await startDemoRemote(t);
  const folder = tempFolder(t);
  const files = Object.entries(BROKEN).flatMap(([id, { text }]) => (text === undefined ? [] : [[`${id}.mjs`, text]]));
  writeTree(folder, Object.fromEntries(files));
  const broken = Object.keys(BROKEN).map((id) => [
    id,
    { source: `./${id}.mjs`, loadTimeout: id === 'hangs' ? '2s' : '60s' },
  ]);
  const daemon = await startServe(
    t,
    configOf(
      {
        demo: demoEntry(remote.url, { config: { resourceQuotas: { default: 3 } } }),
        steady: { source: path.join(FIXTURE_PLUGINS, 'steady.mjs') },
        ...Object.fromEntries(broken),
      },
      { grpc: { port: 0, maxReceiveMessageBytes: '1MiB' }, admin: { host: '127.0.0.1', port: 0, token: TOKEN } },
    ),
    folder,
  );
  const { client } = daemon;

  await t.test('plugins that do not load are reported, cost no readiness and leave no process', async () => {
    for (const [id, { code, says }] of Object.entries(BROKEN)) {
      const report = await daemon.plugin(id);
      // A machine that stood still looks the same, so that one is tried again.
      const state = id === 'hangs' ? /^(?:RESTARTING|QUARANTINED)$/ : /^FAILED$/;
      assert.match(report.state, state, `${id}: ${report.stateReason}`);
      assert.equal(report.stateCode, code);
      assert.match(report.stateReason, says);
      assert.equal(report.pid, 0);
    }
    const ready = await daemon.http('/readyz');
    assert.equal(ready.status, 200);
    assert.match(ready.body, /"what":"plugin throws","why":"failed: .*no good day.*","fatal":false/);
    // On a busy machine the time for the import may be over before it began.
    const hung = path.join(folder, 'hangs.pid');
    const tried = () => existsSync(hung) && runs(Number(readFileSync(hung, 'utf8')));
    await until('only the plugins that serve to have a process', () => !tried() && daemon.children().length === 2);
  });

  const idl = loadPluginHost();
  const raw = new Client(daemon.grpc, credentials.createInsecure(), { 'grpc.max_send_message_length': -1 });
  t.after(() => raw.close());
  /** Sends bytes to a method; answers the status and the code in its rich details. */
  const send = (method: string, bytes: Buffer): Promise<{ status: number; code: string; message: string }> =>
    new Promise((resolve) => {
      const identity = (b: Buffer) => b;
      const call = `/pluginhost.v1.PluginHost/${method}`;
      raw.makeUnaryRequest(
        call,
        identity,
        identity,
        bytes,
        { deadline: Date.now() + 60_000 },
        (error: ServiceError | null) => {
          const [details] = error?.metadata.get('grpc-status-details-bin') ?? [];
          const code = Buffer.isBuffer(details) ? decodeRpcStatus(details)?.errorInfo?.reason : undefined;
          resolve({ status: error?.code ?? 0, code: code ?? '', message: error?.details ?? '' });
        },
      );
    });
  const refused = (work: Promise<unknown>, code: string, says: RegExp) =>
    assert.rejects(
      work,
      (error) => error instanceof PluginHostError && error.code === code && says.test(error.message),
      code,
    );

  await t.test('tasks', async () => {
    const create = (template: object) => client.create({ generatedName: 'bad', template: template as never });
    await refused(create({ type: 'nobody_serves_this' }), 'TASK_TYPE_UNKNOWN', /nobody_serves_this/);
    await refused(create({ type: 'steady_versions', taskTypeVersion: 7 }), 'TASK_TYPE_VERSION_UNKNOWN', /7/);
    await refused(create({}), 'REQUEST_FIELD_INVALID', /task\.template\.type/);
    const custom = { text: 'x'.repeat(900_000) };
    await refused(
      create({ type: 'demo_sleep', custom }),
      'REQUEST_TOO_LARGE',
      /task\.template\.custom: 900\d+ bytes, at most \d+/,
    );
    const request = idl.codec('pluginhost.v1.CreateRequest');
    const noTemplate = await send('Create', request.encode({ task: { generatedName: 'a' } }));
    assert.deepEqual([noTemplate.status, noTemplate.code], [3, 'REQUEST_FIELD_INVALID']);
    assert.match(noTemplate.message, /task\.template/);
    const nothing = await send('Create', Buffer.alloc(0));
    assert.deepEqual([nothing.status, nothing.code], [3, 'REQUEST_FIELD_INVALID']);
    await refused(client.do({ generatedName: 'a', template: { type: 'demo_sleep' } }), 'PLUGIN_KIND_MISMATCH', /async/);
  });

  await t.test('bytes', async () => {
    for (const method of ['Create', 'Status', 'Get', 'Delete', 'Do', 'ListPlugins']) {
      const { status, code } = await send(method, Buffer.from([0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x01]));
      assert.deepEqual([status, code], [3, 'REQUEST_UNDECODABLE'], method);
    }
    const large = await send('Status', Buffer.alloc(2 * 1024 * 1024));
    assert.equal(large.status, 8, 'RESOURCE_EXHAUSTED, by the transport');
    assert.match(large.message, /larger than max/);
  });

  await t.test('handles', async () => {
    const good = encodeHandle({
      identity: identityOf('k', { taskType: 'demo_sleep' }),
      meta: Buffer.from('{"job":"job-1"}'),
    });
    const { identity, meta } = decodeHandle(good);
    const altered = Buffer.from(good);
    altered[20] = (altered[20] as number) ^ 1;
    const later = Buffer.from(good);
    later[3] = 0x39;
    const bad: [what: string, handle: Buffer, code: string, says: RegExp][] = [
      ['truncated', good.subarray(0, good.length - 3), 'HANDLE_MALFORMED', /truncated or altered/],
      ['a few bytes', good.subarray(0, 6), 'HANDLE_MALFORMED', /ends after 6 bytes/],
      ['altered', altered, 'HANDLE_MALFORMED', /checksum/],
      ['foreign', Buffer.from('gASVDAAAAAAAAACMCGpvYi0xMjM0lC4='), 'HANDLE_MALFORMED', /bytes that Create answered/],
      ['of a later version', later, 'HANDLE_VERSION_UNKNOWN', /version/],
      [
        'of another daemon',
        encodeHandle({ identity: { ...identity, plugin: 'other' }, meta }),
        'PLUGIN_NOT_SERVING',
        /"other"/,
      ],
    ];
    for (const [what, handle, code, says] of bad) {
      for (const call of [client.status(handle), client.get(handle), client.delete(handle)]) {
        await assert.rejects(
          call,
          (error) => error instanceof PluginHostError && error.code === code && says.test(error.message),
          what,
        );
      }
    }
    await refused(client.status(Buffer.alloc(0)), 'REQUEST_FIELD_INVALID', /handle/);
    await refused(client.status(Buffer.alloc(64 * 1024)), 'REQUEST_TOO_LARGE', /handle/);
  });

  await t.test('nothing was left behind, and good tasks run', async () => {
    const tasks = await daemon.http('/v1/tasks', { headers: { authorization: `Bearer ${TOKEN}` } });
    assert.deepEqual([tasks.status, tasks.body], [200, '{"tasks":[],"next":null}\n']);
    const deletes = await daemon.http('/v1/deletes', { headers: { authorization: `Bearer ${TOKEN}` } });
    assert.equal(deletes.body, '{"deletes":[],"next":null}\n');
    assert.equal(remote.created, 0);
    const { liveTasks, waitingTasks, quotas, restarts } = await daemon.plugin('demo');
    assert.deepEqual([liveTasks, waitingTasks, restarts], [0, 0, 0]);
    assert.ok(quotas.every(({ used, waiting }) => used + waiting === 0));
    const { handle } = await client.create({ generatedName: 'good', template: { type: 'demo_sleep' } });
    assert.equal((await client.waitForEnd(handle, { timeoutMs: 60_000 })).phaseInfo.phase, 'SUCCESS');
    assert.match((await daemon.http('/metrics')).body, /^# HELP/m);
    daemon.running.child.kill('SIGTERM');
    const { code, stderr } = await daemon.running.finished;
    assert.deepEqual([code, stderr], [0, '']);
  });
});

test('config errors at every depth are all named, by serve and by check, with exit code 3', BOUND, async (t) => {
  const folder = tempFolder(t);
  const config = {
    grpc: { prot: 8000, keepalive: { time: '30' } },
    store: { maxTasks: '1000', finished: { maxBytes: '12 parsecs' } },
    shutdown: { grace: '9999h' },
    plugins: {
      demo: {
        source: './demo.mjs',
        memoryLimit: '10KiB',
        config: {
          readRateLimiter: { qpz: 1, qps: -1 },
          caching: { resyncInterval: 30 },
          resourceQuotas: { default: 1.5 },
        },
      },
      'Not An Id': { source: './x.mjs' },
    },
  };
  writeTree(folder, { 'config.json': JSON.stringify(config) });
  const wrong = [
    'grpc.prot',
    'grpc.keepalive.time',
    'store.maxTasks',
    'store.finished.maxBytes',
    'shutdown.grace',
    'plugins.demo.memoryLimit',
    'plugins.demo.config.readRateLimiter.qpz',
    'plugins.demo.config.readRateLimiter.qps',
    'plugins.demo.config.caching.resyncInterval',
    'plugins.demo.config.resourceQuotas.default',
    'Not An Id',
  ];
  for (const command of ['serve', 'check']) {
    const { code, stdout, stderr } = await runNode(t, [compiled('src/main.ts'), command, '--config', 'config.json'], {
      cwd: folder,
    });
    assert.equal(code, 3, stderr);
    assert.equal(stdout, '');
    for (const key of wrong) assert.ok(stderr.includes(key), `${command} does not name ${key}:\n${stderr}`);
    assert.equal(stderr.match(/expected|is no option|unknown/g) !== null, true);
  }
});

test(
  'a plugin that is required and does not load, and a conflict, end the start with 4, all its processes with it',
  BOUND,
  async (t) => {
    const folder = tempFolder(t);
    writeTree(folder, {
      'good.mjs': `import { writeFileSync } from 'node:fs';
      writeFileSync('good.pid', String(process.pid));
      export default { id: 'good', apiVersion: 1, taskTypes: ['t'], load: () => ({ create() {}, get() {}, delete() {} }) };`,
      'throws.mjs': `throw new Error('no good day');`,
    });
    const good = { source: './good.mjs' };
    const cases: [plugins: Record<string, unknown>, says: RegExp][] = [
      [{ good, throws: { source: './throws.mjs', required: true } }, /PLUGIN_IMPORT_FAILED: .*no good day/],
      [{ good, twin: { source: './good.mjs' } }, /ROUTE_CONFLICT: .*good, twin/],
    ];
    for (const [plugins, says] of cases) {
      const { code, stderr, stdout } = await spawnServe(t, configOf(plugins), folder).finished;
      assert.equal(code, 4, stderr);
      assert.match(stderr, says);
      assert.doesNotMatch(stdout, /"state":"ready"/);
      assert.equal(existsSync(path.join(folder, 'good.pid')), true);
      assert.equal(runs(Number(readFileSync(path.join(folder, 'good.pid'), 'utf8'))), false);
    }
  },
);
