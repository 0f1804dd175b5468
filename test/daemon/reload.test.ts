import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PluginHostError } from '../../src/client/index.js';
import { tempFolder, writeTree } from '../support/temp.js';
import { BOUND, configOf, startServe } from './support.js';

const TOKEN = 'a-token-of-this-test';

/** A plugin that takes part once a file says so, and whose tasks succeed at once. */
const SHY = `
import { existsSync } from 'node:fs';
import { definePlugin, phases, SkipPluginError } from 'webapi-plugin-host';
export default definePlugin({
  id: 'shy', apiVersion: 1, taskTypes: ['shy'],
  load: () => {
    if (!existsSync('invited')) throw new SkipPluginError('nobody invited it');
    return { create: async () => ({ resourceMeta: {} }), get: async () => phases.success(), delete: async () => {} };
  },
});
`;

test(
  'a plugin that skipped itself, and one that failed, serve tasks once a reload has brought them to life',
  BOUND,
  async (t) => {
    const folder = tempFolder(t);
    writeTree(folder, { 'shy.mjs': SHY, 'faulty.mjs': 'throw new Error("not yet")' });
    const daemon = await startServe(
      t,
      configOf(
        { shy: { source: './shy.mjs' }, faulty: { source: './faulty.mjs' } },
        { admin: { host: '127.0.0.1', port: 0, token: TOKEN } },
      ),
      folder,
    );
    const create = (type: string) => daemon.client.create({ generatedName: type, template: { type } });
    assert.equal((await daemon.plugin('shy')).state, 'SKIPPED');
    assert.equal((await daemon.plugin('faulty')).state, 'FAILED');
    assert.doesNotMatch((await daemon.http('/readyz')).body, /shy/);
    for (const type of ['shy', 'faulty']) {
      await assert.rejects(
        create(type),
        (error) => error instanceof PluginHostError && error.code === 'TASK_TYPE_UNKNOWN',
      );
    }
    writeTree(folder, { invited: '', 'faulty.mjs': SHY.replaceAll('shy', 'faulty') });
    for (const id of ['shy', 'faulty']) {
      const headers = { authorization: `Bearer ${TOKEN}` };
      const reload = await daemon.http(`/v1/plugins/${id}/reload`, { method: 'POST', headers });
      assert.equal(reload.status, 200, reload.body);
      assert.equal((await daemon.plugin(id)).state, 'SERVING');
      const { handle } = await create(id);
      assert.equal((await daemon.client.waitForEnd(handle, { timeoutMs: 60_000 })).phaseInfo.phase, 'SUCCESS');
    }
    daemon.running.child.kill('SIGTERM');
    assert.equal((await daemon.running.finished).code, 0);
  },
);

const definition = (id: string, more: string, load: string) => `
import { definePlugin, phases } from 'webapi-plugin-host';
export default definePlugin({ id: '${id}', apiVersion: 1, ${more}, load: () => { ${load} } });
`;
const WORKS =
  'return { create: async () => ({ resourceMeta: {} }), get: async () => phases.success(), delete: async () => {} };';

test(
  'the tasks of an optional plugin that failed are refused in its name, and not given to the default plugin',
  BOUND,
  async (t) => {
    const folder = tempFolder(t);
    writeTree(folder, {
      'rest.mjs': definition('rest', 'taskTypes: [], isDefault: true', WORKS),
      'loads.mjs': definition('loads', "taskTypes: ['loads']", "throw new Error('no licence');"),
      'limits.mjs': definition('limits', "taskTypes: ['limits'], config: { caching: { workers: 0 } }", WORKS),
      'imports.mjs': 'throw new Error("no such library");',
    });
    const daemon = await startServe(
      t,
      configOf(
        {
          rest: { source: './rest.mjs' },
          loads: { source: './loads.mjs' },
          limits: { source: './limits.mjs' },
          imports: { source: './imports.mjs' },
        },
        { defaultForTaskTypes: { imports: 'imports' } },
      ),
      folder,
    );
    const create = (type: string) => daemon.client.create({ generatedName: type, template: { type } });
    const reasons = { loads: /no licence/, limits: /workers is 0/, imports: /no such library/ };
    for (const [id, reason] of Object.entries(reasons)) {
      await assert.rejects(create(id), (error) => {
        assert.ok(error instanceof PluginHostError);
        assert.equal(error.code, 'PLUGIN_NOT_SERVING');
        assert.match(error.message, new RegExp(`plugin ${id} .*has failed`));
        assert.match(error.message, reason);
        return true;
      });
    }
    const { handle } = await create('anything else');
    assert.equal((await daemon.client.waitForEnd(handle, { timeoutMs: 60_000 })).phaseInfo.phase, 'SUCCESS');
    daemon.running.child.kill('SIGTERM');
    assert.equal((await daemon.running.finished).code, 0);
  },
);
