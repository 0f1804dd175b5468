import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import type { PluginFailure } from '../../src/model/plugin-call.js';
import { tempFolder, writeTree } from '../support/temp.js';
import { act, createArgs, resourceArgs, startHost } from './support.js';

const BOUND = { timeout: 60_000 };

test('what a plugin throws or answers wrongly becomes the row of the outcome table', BOUND, async (t) => {
  const { plugin, logs } = await startHost(t, [{ source: './unruly.mjs' }]);
  const unruly = plugin('unruly');
  const rows: Record<string, Partial<PluginFailure>> = {
    throttled: { kind: 'throttled', code: 'PLUGIN_THREW_THROTTLED', retryAfterMs: 1_500, message: 'slow down' },
    transient: { kind: 'transient', code: 'ECONNREFUSED', faultKind: 'SYSTEM', retryAfterMs: undefined },
    notCreated: { kind: 'transient', notCreated: true },
    permanent: { kind: 'permanent', code: 'NoQuota', faultKind: 'SYSTEM' },
    permanentUser: { kind: 'permanent', code: 'PLUGIN_THREW_PERMANENT', faultKind: 'USER' },
    notFound: { kind: 'not_found', code: 'PLUGIN_THREW_NOT_FOUND' },
    unknown: { kind: 'unknown', code: 'PLUGIN_THREW_UNKNOWN', message: 'a bug of the plugin' },
    text: { kind: 'unknown', message: 'just a text' },
    nothing: { kind: 'invalid', message: 'get(): the answer is missing; expected a PhaseInfo' },
    undefinedPhase: { kind: 'invalid', code: 'PLUGIN_ANSWER_INVALID' },
    unknownPhase: { kind: 'invalid', code: 'PLUGIN_ANSWER_INVALID' },
    badReason: { kind: 'invalid', message: 'get(): reason is 7; expected a text' },
    outputsWhileRunning: {
      kind: 'invalid',
      message: 'get(): outputs is an object; expected no outputs in phase RUNNING',
    },
    unconvertible: { kind: 'permanent', code: 'LITERAL_UNCONVERTIBLE' },
  };
  for (const [action, expected] of Object.entries(rows)) {
    const outcome = await act(unruly, action);
    assert.equal(outcome.ok, false, action);
    const seen = Object.fromEntries(Object.keys(expected).map((key) => [key, outcome.failure[key as 'kind']]));
    assert.deepEqual(seen, expected, action);
  }
  assert.equal(unruly.restarts, 0);
  const stack = logs.find((event) => event.message === 'get() threw');
  assert.match(String(stack?.fields.stack), /RangeError: a bug of the plugin\n\s+at .*unruly\.mjs/);
  assert.equal(stack?.pluginId, 'unruly');
});

test('a secret that a plugin reads is masked in its errors, reasons, log lines and prints', BOUND, async (t) => {
  const { plugin, logs, logged } = await startHost(t, [{ source: './unruly.mjs' }], {
    env: { FLYTE_SECRET_DEMO_KEY: 'open-sesame' },
  });
  const thrown = await act(plugin('unruly'), 'printSecret');
  const reason = await act(plugin('unruly'), 'secretInReason');
  await logged((event) => event.source === 'stdout');
  assert.equal(!thrown.ok && thrown.failure.message, 'failed with [redacted]');
  assert.equal(reason.ok && reason.value.reason, '[redacted]');
  assert.doesNotMatch(JSON.stringify(logs), /open-sesame/);
  assert.ok(logs.some((event) => event.source === 'stdout' && event.message === 'the secret is [redacted]'));
});

test(
  'a secret that came with a task is masked in what its plugin prints, whether it is read alone or in a batch',
  BOUND,
  async (t) => {
    const folder = tempFolder(t);
    writeTree(folder, {
      'printing.mjs': `import { writeSync } from 'node:fs';
      import { phases } from 'webapi-plugin-host';
      const read = ({ connection }) => { writeSync(1, 'with ' + connection.secrets.key + '\\n'); return phases.running(); };
      export default { id: 'printing', apiVersion: 1, taskTypes: ['x'], load: () => ({
        async create() {}, get: async (ctx) => read(ctx), async delete() {},
        getMany: { maxBatch: 9, read: async (all) => all.map((ctx) => ({ status: 'fulfilled', value: read(ctx) })) },
      }) }`,
    });
    const { plugin, logs, logged } = await startHost(t, [{ source: `${folder}/printing.mjs` }]);
    const withKey = (key: string) => resourceArgs({}, { connection: { secrets: { key }, configs: {} } });
    const prints = (n: number) => logs.filter(({ source }) => source === 'stdout').length >= n;
    await plugin('printing').call(
      'getMany',
      { items: [withKey('open-sesame'), withKey('mellon-friend')] },
      { deadlineMs: undefined },
    );
    await plugin('printing').call('get', withKey('swordfish'), { deadlineMs: undefined });
    await logged(() => prints(3));
    const told = logs.filter(({ source }) => source === 'stdout').map(({ message }) => message);
    assert.deepEqual(told, Array(3).fill('with [redacted]'));
  },
);

test('a secret variable of the operator is masked in what an import throws', BOUND, async (t) => {
  const folder = tempFolder(t);
  writeTree(folder, { 'leaky.mjs': "throw new Error('cannot use ' + process.env.REMOTE_TOKEN);" });
  const { report, logs } = await startHost(
    t,
    [{ source: `${folder}/leaky.mjs`, environment: { pass: [], set: { REMOTE_TOKEN: 'open-sesame' } } }],
    {},
  );
  const [result] = report.results;
  assert.equal(result?.error?.code, 'PLUGIN_IMPORT_FAILED');
  assert.match(result.error.message, /cannot use \[redacted\]/);
  assert.doesNotMatch(JSON.stringify(logs), /open-sesame/);
});

test('an async status or batchKey is told as what it is, and its rejection ends no process', BOUND, async (t) => {
  const folder = tempFolder(t);
  writeTree(folder, {
    'p.mjs': `export default { id: 'p', apiVersion: 1, taskTypes: ['x'], load: () => ({
      async create() {}, async get() { return {}; }, async delete() {},
      async status() { throw new Error('nobody sees this'); },
      getMany: { maxBatch: 2, async batchKey() { throw new Error('nor this'); }, read: async () => [] } }) }`,
  });
  const { plugin } = await startHost(t, [{ source: `${folder}/p.mjs` }]);
  const { pid } = plugin('p');
  const now = { deadlineMs: undefined };
  for (const outcome of [
    await plugin('p').call('get', resourceArgs(1), now),
    await plugin('p').call('batchKeys', { metas: [Buffer.from('1'), Buffer.from('2')] }, now),
  ]) {
    assert.equal(!outcome.ok && outcome.failure.code, 'PLUGIN_ANSWER_INVALID');
    assert.match(outcome.ok ? '' : outcome.failure.message, /answered a promise/);
  }
  assert.equal((await plugin('p').call('delete', { ...resourceArgs(1), reason: '' }, now)).ok, true);
  assert.equal(plugin('p').pid, pid);
});

test('a batch key that is too long to be kept with every task is refused', BOUND, async (t) => {
  const folder = tempFolder(t);
  writeTree(folder, {
    'p.mjs': `export default { id: 'p', apiVersion: 1, taskTypes: ['x'], load: () => ({
      async create() {}, async get() { return {}; }, async delete() {},
      getMany: { maxBatch: 2, batchKey: (length) => 'k'.repeat(length), read: async () => [] } }) }`,
  });
  const { plugin } = await startHost(t, [{ source: `${folder}/p.mjs` }]);
  const keys = (length: number) =>
    plugin('p').call('batchKeys', { metas: [Buffer.from(String(length))] }, { deadlineMs: undefined });
  assert.equal((await keys(1024)).ok, true);
  const refused = await keys(1025);
  assert.equal(!refused.ok && refused.failure.code, 'PLUGIN_ANSWER_INVALID');
  assert.match(
    refused.ok ? '' : refused.failure.message,
    /batchKey\(\) answered 1025 characters; expected at most 1024/,
  );
});

test('secrets in a list of settings are masked by the name of the list', BOUND, async (t) => {
  const folder = tempFolder(t);
  writeTree(folder, {
    'leaky.mjs': `export default { id: 'leaky', apiVersion: 1, taskTypes: ['x'],
      load: ({ settings }) => { throw new Error('cannot use ' + settings.auth.tokens[1].value + settings.auth.tokens[0]); } }`,
  });
  const settings = { auth: { tokens: ['open-sesame', { value: 'a value' }] } };
  const { report, logs } = await startHost(t, [{ source: `${folder}/leaky.mjs`, settings }]);
  assert.match(report.results[0]?.error?.message ?? '', /cannot use a value\[redacted\]/);
  assert.doesNotMatch(JSON.stringify(logs), /open-sesame/);
});

test('every method reaches the plugin and comes back as plain data of the daemon', BOUND, async (t) => {
  const { plugin, metrics } = await startHost(t, [{ source: './steady.mjs', config: { caching: { workers: 3 } } }]);
  const steady = plugin('steady');
  const now = { deadlineMs: undefined };
  assert.deepEqual(steady.features, {
    getMany: { maxBatch: 10, batchKeys: true },
    findsByKey: true,
    getLogs: true,
    getMetrics: true,
    resourceRequirements: true,
    adoptMeta: true,
  });
  assert.equal(steady.version, '1.2.3');
  assert.deepEqual(steady.config.caching, { size: 7, resyncIntervalMs: 10_000, workers: 3, maxSystemFailures: 5 });
  assert.deepEqual(steady.taskTypes, [
    { name: 'steady_task', versions: undefined },
    { name: 'steady_versions', versions: [1, 2] },
  ]);

  const { template, metadata } = createArgs();
  const requirements = await steady.call('resourceRequirements', { template, metadata }, now);
  assert.deepEqual(requirements.ok && requirements.value, { namespace: 'cpu', constraints: { project: 3 } });

  const created = await steady.call('create', createArgs({ idempotencyKey: 'abc' }), now);
  assert.equal(created.ok && created.value.state?.reason, 'it runs');
  assert.equal(created.ok && created.value.meta.toString(), '{"job":"abc","inputs":"{}"}');

  const metas = ['a1', 'gone', 'b1'].map((job) => resourceArgs({ job }));
  const keys = await steady.call('batchKeys', { metas: metas.map(({ meta }) => meta) }, now);
  assert.deepEqual(keys.ok && keys.value.keys, ['a', 'g', 'b']);
  const batch = await steady.call('getMany', { items: [...metas, resourceArgs({}, { meta: Buffer.from('{') })] }, now);
  assert.deepEqual(batch.ok && batch.value.map((one) => (one.ok ? one.value.phase : one.failure.code)), [
    'SUCCESS',
    'PLUGIN_THREW_NOT_FOUND',
    'SUCCESS',
    'RESOURCE_META_INVALID',
  ]);
  const logs = await steady.call('getLogs', { ...metas[0]!, lines: 5, token: 't' }, now);
  assert.deepEqual(logs.ok && logs.value, { lines: [{ message: 'page t' }], token: 'next' });
  const series = await steady.call(
    'getMetrics',
    { ...metas[0]!, queries: [], startTimeMs: undefined, endTimeMs: undefined, stepMs: undefined },
    now,
  );
  assert.deepEqual(series.ok && series.value.series, [{ metric: 'cpu', points: [{ timestampMs: 1, value: 0.5 }] }]);
  const known = await steady.call('adoptMeta', { foreign: Buffer.from('{"job":"old"}'), taskType: 'x' }, now);
  assert.equal(known.ok && known.value.meta?.toString(), '{"job":"old"}');
  const unknown = await steady.call('adoptMeta', { foreign: Buffer.from([1]), taskType: 'x' }, now);
  assert.deepEqual(unknown.ok && unknown.value, { meta: undefined });
  const deleted = await steady.call('delete', { ...metas[0]!, reason: 'r' }, now);
  assert.deepEqual(deleted, { ok: true, value: {} });

  while (metrics.length === 0) await new Promise((resolve) => setTimeout(resolve, 20));
  assert.deepEqual(metrics, [{ pluginId: 'steady', kind: 'count', name: 'creates', value: 1 }]);
});

test(
  'what the plugin lacks is told without asking it; without requirements the quota namespace is default',
  BOUND,
  async (t) => {
    const { plugin } = await startHost(t, [{ source: './unruly.mjs' }]);
    const unruly = plugin('unruly');
    const now = { deadlineMs: undefined };
    const logs = await unruly.call('getLogs', { ...resourceArgs({}), lines: 0, token: '' }, now);
    assert.equal(!logs.ok && logs.failure.code, 'PLUGIN_METHOD_MISSING');
    const { template, metadata } = createArgs();
    const requirements = await unruly.call('resourceRequirements', { template, metadata }, now);
    assert.deepEqual(requirements.ok && requirements.value, { namespace: 'default' });
  },
);

test('a call past its deadline, given up, or too large never reaches the plugin', BOUND, async (t) => {
  const { plugin } = await startHost(t, [{ source: './unruly.mjs' }], { limits: { maxRequestBytes: 64 * 1024 } });
  const unruly = plugin('unruly');
  assert.equal(((await act(unruly, 'exit', -1)) as { failure: PluginFailure }).failure.kind, 'deadline');
  const signal = AbortSignal.abort();
  const cancelled = await unruly.call('get', resourceArgs({ do: 'exit' }), { deadlineMs: undefined, signal });
  assert.equal(!cancelled.ok && cancelled.failure.kind, 'cancelled');
  const large = await unruly.call('get', resourceArgs({ do: 'exit', fill: 'x'.repeat(70_000) }), {
    deadlineMs: undefined,
  });
  assert.deepEqual(!large.ok && [large.failure.kind, large.failure.code], ['not_admitted', 'REQUEST_TOO_LARGE']);
  assert.equal((await act(unruly, 'fine')).ok, true);
  assert.equal(unruly.restarts, 0);
});

test(
  'a process that does not read fills its channel: writable turns false, calls beyond the bound are refused',
  BOUND,
  async (t) => {
    const { plugin } = await startHost(t, [{ source: './unruly.mjs' }], {
      limits: { highWaterBytes: 128 * 1024, maxQueuedBytes: 1024 * 1024, hangMs: 60_000, silentMs: 600_000 },
    });
    const unruly = plugin('unruly');
    const spin = act(unruly, 'spin');
    const big = resourceArgs({ do: 'fine', fill: 'x'.repeat(200_000) });
    const calls = Array.from({ length: 20 }, () => unruly.call('get', big, { deadlineMs: undefined }));
    assert.equal(unruly.writable, false);
    const first = await Promise.race(calls);
    assert.deepEqual(!first.ok && [first.failure.kind, first.failure.code], [
      'not_admitted',
      'PLUGIN_CHANNEL_OVERLOADED',
    ]);
    process.kill(unruly.pid!, 'SIGKILL');
    const kinds = (await Promise.all([spin, ...calls])).map((one) => (one.ok ? 'ok' : one.failure.kind));
    assert.ok(kinds.includes('process_died') && kinds.includes('not_admitted') && !kinds.includes('ok'));
  },
);

/** A plugin whose create answers this. */
async function createWith(t: TestContext, expression: string, extra = '') {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'plugin-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  writeFileSync(
    path.join(dir, 'p.mjs'),
    `import { phases } from 'webapi-plugin-host';
     export default { id: 'p', apiVersion: 1, taskTypes: ['x'], load: () => ({ ${extra}
       async create() { return ${expression} }, async get() {}, async delete() {} }) }`,
  );
  const { plugin, logs } = await startHost(t, [{ source: './p.mjs' }], { baseDir: dir });
  return { outcome: await plugin('p').call('create', createArgs(), { deadlineMs: undefined }), logs };
}

test('a resource meta above 16 KiB is refused, one above 1 KiB is warned about', BOUND, async (t) => {
  const refused = await createWith(t, `{ resourceMeta: 'x'.repeat(16 * 1024) }`);
  assert.equal(!refused.outcome.ok && refused.outcome.failure.code, 'RESOURCE_META_TOO_LARGE');
  const warned = await createWith(t, `{ resourceMeta: 'x'.repeat(1024) }`);
  assert.equal(warned.outcome.ok, true);
  assert.ok(warned.logs.some(({ level, message }) => level === 'warn' && /resource meta is large/.test(message)));
});

test('a codec carries what JSON cannot, and one that does not round-trip is refused', BOUND, async (t) => {
  const codec = (decode: string) =>
    `metaCodec: { encode: (meta) => Buffer.from(meta.since.toISOString()), decode: (bytes) => (${decode}) },`;
  const create = '{ resourceMeta: { since: new Date(0) } }';
  const good = await createWith(t, create, codec('{ since: new Date(Buffer.from(bytes).toString()) }'));
  assert.equal(good.outcome.ok && good.outcome.value.meta.toString(), '1970-01-01T00:00:00.000Z');
  const bad = await createWith(t, create, codec('{ since: new Date(1) }'));
  assert.equal(!bad.outcome.ok && bad.outcome.failure.code, 'RESOURCE_META_INVALID');
  assert.equal(!bad.outcome.ok && bad.outcome.failure.kind, 'invalid');
});

test(
  'of a batch whose states are too much for one answer those that fit are answered, the others in their turn',
  BOUND,
  async (t) => {
    const dir = mkdtempSync(path.join(os.tmpdir(), 'plugin-'));
    t.after(() => rmSync(dir, { recursive: true, force: true }));
    const file = path.join(dir, 'p.mjs');
    writeFileSync(
      file,
      `import { phases } from 'webapi-plugin-host';
    export default { id: 'p', apiVersion: 1, taskTypes: ['x'], load: () => ({
      async create() {}, async get() {}, async delete() {},
      getMany: { maxBatch: 100, read: async (ctxs) => ctxs.map((ctx) => ({
        status: 'fulfilled', value: phases.running({ customInfo: { text: 'x'.repeat(ctx.resourceMeta) } }) })) },
    }) }`,
    );
    const { plugin } = await startHost(t, [{ source: file }], { limits: { maxAnswerBytes: 64 * 1024 } });
    const read = async (sizes: readonly number[]) => {
      const items = sizes.map((size) => resourceArgs(size));
      const outcome = await plugin('p').call('getMany', { items }, { deadlineMs: undefined });
      assert.ok(outcome.ok);
      return outcome.value.map((one) => (one.ok ? 'ok' : `${one.failure.kind} ${one.failure.code}`));
    };
    assert.deepEqual(await read([20_000, 20_000]), ['ok', 'ok']);
    const long = await read(Array.from({ length: 10 }, () => 20_000));
    assert.deepEqual([long.indexOf('cancelled CALL_CANCELLED'), new Set(long).size], [2, 2]);
    assert.deepEqual(await read([70_000, 100]), ['invalid PLUGIN_ANSWER_INVALID', 'cancelled CALL_CANCELLED']);
  },
);
