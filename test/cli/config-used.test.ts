import assert from 'node:assert/strict';
import { it } from 'node:test';
import { CONFIG_SCHEMA, loadConfig } from '../../src/config/index.js';
import { createDaemon } from '../../src/daemon.js';
import type { Node } from '../../src/model/options/spec.js';
import { compiledName } from '../../src/model/options/spec.js';
import { createLog } from '../../src/telemetry/index.js';
import { fromRoot } from '../support/paths.js';
import { tempFolder } from '../support/temp.js';

/** Read by the command line, or by the loading of the configuration itself. */
const ELSEWHERE = [
  'log.level',
  'log.format',
  'log.redact',
  'shutdown.forceAfterMs',
  'admin.tokenFile',
  'dataStore.s3.secretAccessKeyFile',
];

/** A copy that notes the path of every section and option that is read from it. */
function watched<T extends object>(node: Node, value: T, seen: Set<string>, at = ''): T {
  const childOf = (key: string): Node | undefined =>
    node.node === 'section'
      ? Object.entries(node.fields).find(([name, child]) => compiledName(name, child) === key)?.[1]
      : node.node === 'map'
        ? node.value
        : undefined;
  return new Proxy({ ...value } as T, {
    get(target, key) {
      const here = `${at}${String(key)}`;
      seen.add(here);
      const inner = Reflect.get(target, key) as object;
      const child = childOf(String(key));
      const isSection = child?.node === 'section' || (child?.node === 'map' && child.value.node === 'section');
      return child !== undefined && isSection ? watched(child, inner, seen, `${here}.`) : inner;
    },
  });
}

function leaves(node: Node, at: readonly string[]): string[] {
  if (node.node === 'section') {
    return Object.entries(node.fields).flatMap(([key, child]) => leaves(child, [...at, compiledName(key, child)]));
  }
  if (node.node === 'map')
    return node.value.node === 'section' ? leaves(node.value, [...at, 'steady']) : [at.join('.')];
  return [at.join('.')];
}

it('every option of the schema is read by a daemon that starts: none is without effect', async (t) => {
  const set = (key: string, text: string) => ({ flag: '--set', key, text });
  const source = fromRoot('test/fixtures/plugins/steady.mjs');
  const flags = [
    set('plugins.steady.source', source),
    set('grpc.port', '0'),
    set('admin.port', '0'),
    set('state.dir', tempFolder(t)),
  ];
  const loaded = loadConfig({
    cwd: '/',
    flags: [...flags, set('shutdown.drainDelay', '0ms'), set('admin.host', '127.0.0.1')],
  });
  const seen = new Set<string>();
  const log = createLog({ level: 'silent' });
  const config = { ...loaded, config: watched(CONFIG_SCHEMA, loaded.config, seen) };
  const daemon = createDaemon({ config, version: '0', log, baseDir: '/', env: {}, processMetrics: false });
  try {
    await daemon.start();
    assert.equal(daemon.state, 'ready');
  } finally {
    await daemon.stop();
  }
  const all = leaves(CONFIG_SCHEMA, []);
  assert.ok(all.length > 60);
  assert.deepEqual(
    all.filter((path) => !seen.has(path) && !ELSEWHERE.includes(path)),
    [],
  );
});
