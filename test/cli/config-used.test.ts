import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { it } from 'node:test';
import { CONFIG_SCHEMA, loadConfig } from '../../src/config/index.js';
import { createDaemon, type Daemon } from '../../src/daemon.js';
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
  // Once a database was reached, which takes more than Node (test/postgres).
  'state.postgres.leaseMs',
  // The same, by one of several replicas (test/replicas).
  'cluster.advertise',
  'cluster.serverName',
  'cluster.loopback',
  'cluster.inbox',
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

const set = (key: string, text: string) => ({ flag: '--set', key, text });

/** The options that a daemon reads with these settings; `start` runs it. */
async function readBy(
  settings: readonly ReturnType<typeof set>[],
  start: (daemon: Daemon) => Promise<void>,
): Promise<Set<string>> {
  const source = fromRoot('test/fixtures/plugins/steady.mjs');
  const flags = [
    set('plugins.steady.source', source),
    set('grpc.port', '0'),
    set('admin.port', '0'),
    set('shutdown.drainDelay', '0ms'),
    set('admin.host', '127.0.0.1'),
  ];
  const loaded = loadConfig({ cwd: '/', flags: [...flags, ...settings] });
  const seen = new Set<string>();
  const log = createLog({ level: 'silent' });
  const config = { ...loaded, config: watched(CONFIG_SCHEMA, loaded.config, seen) };
  const daemon = createDaemon({ config, version: '0', log, baseDir: '/', env: {}, processMetrics: false });
  try {
    await start(daemon);
  } finally {
    await daemon.stop();
  }
  return seen;
}

it('every option of the schema is read by a daemon that starts: none is without effect', async (t) => {
  const folder = tempFolder(t);
  const tokenFile = path.join(folder, 'token');
  writeFileSync(tokenFile, 'a-token-of-some-length');
  const token = [set('tokens.steady.file', tokenFile), set('tokens.steady.may', 'read')];
  const inFolder = await readBy([set('state.dir', path.join(folder, 'state')), ...token], async (daemon) => {
    await daemon.start();
    assert.equal(daemon.state, 'ready');
  });
  const anyFile = fromRoot('package.json');
  const postgres = (key: string, text: string) => set(`state.postgres.${key}`, text);
  const files = ['passwordFile', 'caFile', 'certFile', 'keyFile'].map((key) => postgres(key, anyFile));
  // Nothing listens on port 1.
  const nowhere = [postgres('host', '127.0.0.1'), postgres('port', '1'), postgres('startTimeout', '0ms')];
  const inPostgres = await readBy(
    [set('state.engine', 'postgres'), postgres('tls', 'verify'), ...files, ...nowhere],
    (daemon) => assert.rejects(daemon.start(), { code: 'STATE_UNREACHABLE' }),
  );
  const all = leaves(CONFIG_SCHEMA, []);
  assert.ok(all.length > 60);
  assert.deepEqual(
    all.filter((option) => !inFolder.has(option) && !inPostgres.has(option) && !ELSEWHERE.includes(option)),
    [],
  );
});
