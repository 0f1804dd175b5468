import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type AdminParts, adminSource } from '../../src/daemon/admin-source.js';
import { HostError } from '../../src/errors/index.js';
import { loadPluginHost } from '../../src/idl/load.js';
import { isFitName } from '../../src/lib/text.js';
import { decodeHandle } from '../../src/model/handle.js';
import { phaseState } from '../../src/model/phase-state.js';
import type { PluginReport } from '../../src/model/plugin-report.js';
import { encodeReports } from '../../src/rpc/native/plugin-reports.js';
import { StatusEncoder } from '../../src/rpc/native/status-bytes.js';
import { madeUp, mutated } from '../model/made-up-handles.js';
import { created, HINTS, makeHarness, ok, settle } from '../tasks/harness.js';

const idl = loadPluginHost();
const codec = idl.codec('pluginhost.v1.ListPluginsResponse');
const page = { limit: 1000, after: '' };
const all = { ...page, plugin: undefined, phase: undefined, stage: undefined, project: undefined, id: undefined };

test('whatever handles are sent, the load report, the operator’s lists and Status stay encodable and whole', async () => {
  const h = await makeHarness();
  h.plugin.on.create = () => created('{"job":1}', phaseState('RUNNING'));
  h.plugin.on.get = () => ok(phaseState('RUNNING'));
  const { handle } = await settle(h.clock, h.tasks.create(h.spec('good'), h.scope()));
  const good = decodeHandle(handle);
  const source = adminSource({
    tasks: h.tasks,
    runtimes: { get: () => h.runtime },
  } as unknown as AdminParts);
  const encoder = new StatusEncoder(idl);
  let held = 0;
  for (const bytes of fc.sample(fc.oneof(madeUp(good), mutated(good)), 600)) {
    try {
      const task = await settle(h.clock, h.tasks.status(bytes, HINTS, h.scope(1_000)));
      held += 1;
      encoder.response(task, false);
    } catch (error) {
      assert.ok(HostError.is(error) && /^(HANDLE_|PLUGIN_NOT_SERVING)/.test(error.code), String(error));
    }
  }
  assert.ok(held > 5, `${held} were taken`);
  const { plugins } = codec.decode(encodeReports(codec, h.tasks.listPlugins()));
  assert.deepEqual([plugins.length, plugins[0].id, plugins[0].stateReason], [1, 'fake', '']);
  const { rows } = source.tasks(all);
  assert.ok(rows.length > 0 && rows.every((row) => row.unshown === undefined));
  assert.ok(isFitName(JSON.stringify([rows, source.plugins()])));
  await h.stop();
});

const report: PluginReport = {
  id: 'a',
  version: '1',
  kind: 'async',
  taskTypes: [{ name: 't', versions: [1] }],
  isDefault: false,
  state: 'SERVING',
  stateReason: '',
  stateCode: '',
  source: 's',
  config: undefined,
  quotas: [{ namespace: 'q', total: 1, used: 0, waiting: 0 }],
  liveTasks: 3,
  waitingTasks: 0,
  pid: 1,
  restarts: 0,
  rssBytes: 1,
  environment: ['HOME'],
};

test('what cannot be encoded is left out of the load report and told, and every other row is there', () => {
  const bad: Partial<PluginReport>[] = [
    { quotas: [...report.quotas, { namespace: '\ud800', total: 0, used: 1, waiting: 0 }] },
    { environment: ['HOME', 'x\udfff'] },
    { source: '\ud800' },
    { restarts: 1e300 },
    { stateReason: '\ud800' },
  ];
  for (const parts of bad) {
    const rows = [report, { ...report, id: 'b', ...parts }, { ...report, id: 'c' }];
    const { plugins } = codec.decode(encodeReports(codec, rows));
    assert.deepEqual(
      plugins.map((row: { id: string }) => row.id),
      ['a', 'b', 'c'],
    );
    assert.match(plugins[1].stateReason, /1 parts of this row cannot be shown/);
    assert.deepEqual([plugins[1].quotas.length, plugins[1].environment, plugins[1].liveTasks], [1, ['HOME'], 3]);
    assert.deepEqual([plugins[0].stateReason, plugins[2].stateReason], ['', '']);
  }
  const nameless = codec.decode(encodeReports(codec, [{ ...report, id: '\ud800' }, report]));
  assert.equal(nameless.plugins.length, 1, 'a row without a name that can be told is left out');
});
