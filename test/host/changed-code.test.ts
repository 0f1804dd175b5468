import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import type { HostedPlugin } from '../../src/host/types.js';
import { tempFolder } from '../support/temp.js';
import { startHost, untilState } from './support.js';

const BOUND = { timeout: 60_000 };

const KINDS = {
  async: `async create() { return { resourceMeta: {} }; }, async get() { return phases.running(); }, async delete() {}`,
  sync: `async do() { return phases.success({}); }`,
} as const;

const code = (id: string, version: number, methods: string, limits = '') => `
  import { phases } from 'webapi-plugin-host';
  export default { id: '${id}', version: '${version}', apiVersion: 1, taskTypes: ['${id}'], ${limits} load: () => ({ ${methods} }) };`;

function moduleOf(t: TestContext): { readonly file: string; write(text: string): void } {
  const file = path.join(tempFolder(t, 'plugin-'), 'p.mjs');
  return { file, write: (text) => writeFileSync(file, text) };
}

/** Ends the plugin's process, once it is in none of these states. */
async function crash(plugin: HostedPlugin, ...then: Parameters<typeof untilState>[1][]): Promise<void> {
  const gone = untilState(plugin, 'restarting');
  process.kill(plugin.pid!, 'SIGKILL');
  await gone;
  for (const state of then) await untilState(plugin, state);
}

for (const [was, is] of [
  ['async', 'sync'],
  ['sync', 'async'],
] as const) {
  test(
    `a plugin that a crash finds ${is} on disk and was ${was} serves no call until somebody reloads it`,
    BOUND,
    async (t) => {
      const module = moduleOf(t);
      module.write(code('p', 1, KINDS[was]));
      const { host, plugin, codeChanges } = await startHost(t, [{ source: module.file }], {
        limits: { maxCrashes: 3 },
      });
      module.write(code('p', 2, KINDS[is]));
      await crash(plugin('p'), 'quarantined');
      const { kind, version, pid, stateReason } = plugin('p');
      assert.deepEqual([kind, version, pid], [was, '1', undefined], 'what does not run is not told');
      assert.match(
        stateReason,
        new RegExp(`its kind \\(${was}, now ${is}\\) changed on disk since it was loaded; reload it`),
      );
      assert.equal(codeChanges.length, 0);
      await host.reload('p');
      assert.deepEqual([plugin('p').state, plugin('p').kind, plugin('p').version], ['serving', is, '2']);
    },
  );
}

test('a plugin whose kind changed and changed back comes up again by itself', BOUND, async (t) => {
  const module = moduleOf(t);
  module.write(code('p', 1, KINDS.async));
  const { plugin, changes } = await startHost(t, [{ source: module.file }]);
  module.write(code('p', 2, KINDS.sync));
  await crash(plugin('p'));
  while (!changes.some(({ reason }) => /its kind .* changed on disk/.test(reason))) await untilNext(plugin('p'));
  module.write(code('p', 3, KINDS.async));
  await untilState(plugin('p'), 'serving');
  assert.deepEqual([plugin('p').kind, plugin('p').version], ['async', '3']);
});

test('of plugins that share a process the one whose kind changed is out, and the others go on', BOUND, async (t) => {
  const [changing, steady] = [moduleOf(t), moduleOf(t)];
  changing.write(code('p', 1, KINDS.async));
  steady.write(code('q', 1, KINDS.async));
  const isolation = 'shared:g';
  const { plugin } = await startHost(t, [
    { source: changing.file, isolation },
    { source: steady.file, isolation },
  ]);
  changing.write(code('p', 2, KINDS.sync));
  steady.write(code('q', 2, KINDS.async));
  const out = untilState(plugin('p'), 'failed');
  await crash(plugin('q'), 'serving');
  await out;
  assert.deepEqual(
    [plugin('p').stateCode, plugin('p').kind, plugin('p').version],
    ['PLUGIN_SHAPE_INVALID', 'async', '1'],
  );
  assert.equal(plugin('q').version, '2');
});

for (const [what, text] of [
  ['does not load', code('p', 2, `...(() => { throw new Error('half written'); })()`)],
  [
    'asks for limits that are none',
    code('p', 2, KINDS.async, 'config: { resourceMetaLimit: -1, readRateLimiter: { qps: -1 } },'),
  ],
] as const) {
  test(`newer code that ${what} after a crash is not told as running, and the next that does is`, BOUND, async (t) => {
    const module = moduleOf(t);
    module.write(code('p', 1, KINDS.async));
    const { plugin, codeChanges } = await startHost(t, [{ source: module.file }], {
      limits: { maxCrashes: 2, quarantineMs: 100 },
    });
    module.write(text);
    await crash(plugin('p'), 'quarantined');
    assert.equal(plugin('p').version, '1');
    assert.equal(codeChanges.length, 0);
    module.write(code('p', 3, KINDS.async));
    await untilState(plugin('p'), 'serving');
    assert.equal(plugin('p').version, '3');
    assert.deepEqual(
      codeChanges.map(({ previousVersion, version }) => [previousVersion, version]),
      [['1', '3']],
    );
  });
}

/** The next change of state. */
function untilNext(plugin: HostedPlugin): Promise<void> {
  return new Promise((resolve) => {
    const unlisten = plugin.onStateChange(() => {
      unlisten();
      resolve();
    });
  });
}
