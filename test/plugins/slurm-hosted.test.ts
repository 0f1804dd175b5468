import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { loadPluginHost } from '../../src/idl/load.js';
import { createArgs, startHost } from '../host/support.js';
import { FakeSlurm } from './slurm-fake.js';
import { scratch } from './slurm-support.js';

const PLUGIN = fileURLToPath(new URL('../../plugins/slurm', import.meta.url));

test('the plugin as the host runs it: loaded by its folder, settings checked, a job from create to its outputs', async (t) => {
  const fake = await FakeSlurm.start();
  t.after(() => fake.stop());
  const dir = scratch(t);
  mkdirSync(path.join(dir, 'out'));
  writeFileSync(path.join(dir, 'token'), 'token-1\n');
  const cluster = { url: fake.url, user: 'jobs', token: { file: path.join(dir, 'token') }, workDir: dir };
  const { report, plugin } = await startHost(t, [{ source: PLUGIN, settings: { clusters: { main: cluster } } }], {
    data: {
      dataStore: { localRoots: [dir], maxObjectBytes: 1 << 20 },
      secrets: { envPrefixes: ['FLYTE_SECRET_'] },
      maxOutputBytes: 1 << 20,
    },
  });
  assert.deepEqual(
    report.results.map(({ outcome, error }) => [outcome, error?.message]),
    [['loaded', undefined]],
  );
  const slurm = plugin('slurm');
  assert.equal(slurm.features.getMany?.maxBatch, 1000);
  const template = loadPluginHost()
    .codec('flyteidl.core.TaskTemplate')
    .encodeJson({
      type: 'slurm',
      interface: { outputs: { variables: { x: { type: { simple: 'INTEGER' } } } } },
      custom: { script: 'true\n' },
    });
  const args = createArgs({ template: Buffer.from(template), outputPrefix: path.join(dir, 'out') });
  const created = await slurm.call('create', args, { deadlineMs: undefined });
  assert.ok(created.ok && 'meta' in created.value, JSON.stringify(created));
  const item = {
    meta: created.value.meta,
    outputPrefix: path.join(dir, 'out'),
    idempotencyKey: 'key-1',
    connection: undefined,
  };
  const [job] = [...fake.jobs.values()];
  assert.ok(job);
  Object.assign(job, { job_state: 'COMPLETED', end_time: Math.floor(Date.now() / 1000) });
  writeFileSync(path.join(dir, 'out', 'outputs.json'), '{"x": 41}');
  const read = await slurm.call('getMany', { items: [item] }, { deadlineMs: undefined });
  assert.ok(read.ok, JSON.stringify(read));
  const [state] = read.value;
  assert.ok(state?.ok, JSON.stringify(state));
  assert.equal(state.value.phase, 'SUCCESS');
  assert.equal(state.value.outputs.kind, 'inline');
});

test('settings that the schema refuses keep the plugin from loading, and say where', async (t) => {
  const { report } = await startHost(t, [{ source: PLUGIN, settings: { clusters: { main: { url: 'nowhere' } } } }]);
  const [result] = report.results;
  assert.equal(result?.outcome, 'failed');
  assert.equal(result?.error?.code, 'PLUGIN_SETTINGS_INVALID');
  assert.match(result?.error?.message ?? '', /clusters\.main\.url/);
});
