import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type AdminParts, adminSource, readinessOf } from '../../src/daemon/admin-source.js';
import { HostError } from '../../src/errors/index.js';
import type { PluginHost } from '../../src/host/types.js';

test('a plugin that no one configured cannot be paused, resumed or reloaded, and the error says which there are', async () => {
  const host = { plugins: () => [{ id: 'slurm' }, { id: 'spark' }] };
  const source = adminSource({ host, runtimes: { get: () => undefined } } as unknown as AdminParts);
  const says = (error: unknown) =>
    HostError.is(error) && error.code === 'PLUGIN_UNKNOWN' && /"slrm"; there are: slurm, spark$/.test(error.message);
  assert.throws(() => source.pause('slrm'), says);
  assert.throws(() => source.resume('slrm'), says);
  await assert.rejects(source.reload('slrm'), says);
  assert.throws(
    () => source.pause('slurm'),
    (error) => HostError.is(error) && error.code === 'PLUGIN_NOT_SERVING',
  );
});

test('readiness names a paused plugin, which keeps nothing from being ready', () => {
  const plugin = (id: string) => ({ id, state: 'serving', stateReason: '', required: true });
  const host = { plugins: () => [plugin('a'), plugin('b')] } as unknown as PluginHost;
  const seen = readinessOf('ready', host, (id) => id === 'b');
  assert.equal(seen.ready, true);
  assert.deepEqual(seen.unready, [{ what: 'plugin b', why: 'paused by an operator', fatal: false }]);
  assert.deepEqual(readinessOf('ready', host).unready, []);
});
