import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { type Client, createClient } from '../../src/client/index.js';
import { SecretMasks } from '../../src/lib/secrets.js';
import { resourceArgs, startHost } from '../host/support.js';
import { makeCertificate } from '../support/certificates.js';
import { filesBelow, Markers } from '../support/markers.js';
import { compiled } from '../support/paths.js';
import { start } from '../support/spawn.js';
import { givenIn, searchFor } from '../support/suite-secrets.js';
import { tempFolder, writeTree } from '../support/temp.js';
import { BOUND, configOf, FIXTURE_PLUGINS, startServe, until, WIDE_LIMITS } from './support.js';

const TELLTALE = path.join(FIXTURE_PLUGINS, 'telltale.mjs');

/** One row for each way by which a secret comes in: its name. No part of a value appears elsewhere by chance. */
const WAYS_IN = [
  'adminToken',
  'storeKey',
  'urlPassword',
  'setting',
  'passed',
  'declared',
  'set',
  'file',
  'rotated',
  'connection',
  'http',
  'token',
  'handleKey',
  'named',
] as const;
type WayIn = (typeof WAYS_IN)[number];

const markers = new Markers(WAYS_IN);
const core = (name: WayIn) => markers.core(name);
const SECRETS = Object.fromEntries(WAYS_IN.map((name) => [name, `${core(name)}"/+~?&=1`])) as Record<WayIn, string>;
// One that may be the name of a metric.
SECRETS.named = `${core('named').toLowerCase()}23456789`;
// A key has so many characters at least.
SECRETS.handleKey += '23456789';
// One of a certificate has several lines.
for (const name of ['file', 'passed', 'set', 'declared'] as const) SECRETS[name] += `\n2${core(name)}\n3${core(name)}`;

/** What get does in the telltale plugin -> whether the task is over then. Each is one way out. */
const WAYS_OUT = {
  reason: false,
  remotePhase: false,
  customInfo: false,
  links: false,
  external: false,
  failure: true,
  aborted: true,
  permanent: true,
  transient: false,
  unknown: false,
  cut: false,
  unfit: false,
  printed: false,
  written: false,
  logged: false,
  metrics: false,
  outputs: true,
} as const;

const AUTHORITY = makeCertificate({ name: 'authority', authority: true });
const SERVER = makeCertificate({ name: 'server', by: AUTHORITY });

/** Neither a secret of the walk, nor a line of the daemon's private key. */
function assertNothing(text: string, where: string): void {
  markers.assertNone(text, where);
  searchFor('log', where, text);
}

interface Walk {
  readonly folder: string;
  readonly config: Readonly<Record<string, unknown>>;
  readonly env: Readonly<Record<string, string>>;
}

/** A folder and a configuration that hold every secret, each where it belongs. */
function plant(t: TestContext, format: string): Walk {
  const folder = tempFolder(t);
  const known = path.join(folder, 'known.json');
  writeTree(folder, {
    'known.json': JSON.stringify({ ...SECRETS, tlsKey: SERVER.key }),
    'secrets/group/file': `${SECRETS.file}\n`,
    'secrets/group/named': SECRETS.named,
    token: SECRETS.adminToken,
    engine: SECRETS.token,
    'handle-keys': `# the key\n${SECRETS.handleKey}\n`,
    'server.pem': SERVER.cert,
    'server.key': SERVER.key,
  });
  givenIn(known);
  const settings = {
    known,
    apiToken: SECRETS.setting,
    url: `https://someone:${encodeURIComponent(SECRETS.urlPassword)}@host/`,
    rotated: path.join(folder, 'secrets', 'group', 'rotated'),
  };
  const environment = { pass: ['PASSED_PHRASE'], set: { SET_PHRASE: SECRETS.set } };
  const entry = { source: TELLTALE, config: WIDE_LIMITS, settings, environment };
  const config = configOf(
    { telltale: entry, failing: { ...entry, settings: { ...settings, failing: true } } },
    {
      grpc: { port: 0, tls: { certFile: './server.pem', keyFile: './server.key' } },
      admin: { host: '127.0.0.1', port: 0, tokenFile: path.join(folder, 'token') },
      tokens: { engine: { file: './engine', may: ['read', 'run'] } },
      handles: { keysFile: './handle-keys' },
      dataStore: { s3: { accessKeyId: 'id-of-the-key', secretAccessKey: SECRETS.storeKey } },
      defaultForTaskTypes: { telltale: 'telltale' },
      secrets: { dir: path.join(folder, 'secrets') },
      log: { level: 'trace', format },
    },
  );
  return { folder, config, env: { PASSED_PHRASE: SECRETS.passed, DECLARED_PHRASE: SECRETS.declared } };
}

type WayOut = keyof typeof WAYS_OUT;

/** Runs a task of each way out, until what it tells has been read. `kept`: its meta holds a secret, which is nobody's to alter. */
async function tell(client: Client, ways: readonly WayOut[], kept: boolean): Promise<void> {
  const connection = { secrets: { key: SECRETS.connection } };
  for (const way of ways) {
    const over = WAYS_OUT[way];
    const template = { type: 'telltale', custom: { way, kept } };
    const { handle } = await client.create({ generatedName: `walk-${way}-${kept}`, template, connection });
    const inHandle = handle.toString('latin1').includes(core('adminToken'));
    assert.equal(inHandle, kept, 'the meta in the handle is not altered');
    const status = await until(`${way} to be told`, async () => {
      const seen = await client.status(handle, { connection });
      const { phase } = seen.phaseInfo;
      const told = phase === 'RUNNING' || phase.endsWith('FAILURE') || phase === 'ABORTED' || phase === 'SUCCESS';
      return (over ? phase !== 'RUNNING' && told : told || seen.lastError !== '') ? seen : undefined;
    });
    const { outputs, ...shown } = status.phaseInfo;
    assertNothing(JSON.stringify({ ...status, phaseInfo: shown }), `the status of ${way}`);
    assert.notEqual(status.lastErrorCode, 'ALTERED');
    if (way !== 'outputs') continue;
    assert.equal(outputs.kind, 'inline');
    const bytes = outputs.kind === 'inline' ? outputs.literalMap.toString('latin1') : '';
    for (const name of WAYS_IN) assert.ok(bytes.includes(SECRETS[name]), `outputs are not altered: ${name}`);
  }
}

/** What is kept of the tasks, which is written soon after it is told: the last of them, and no secret. */
async function assertNothingKept(state: string): Promise<void> {
  const files = () => filesBelow(state).map((file) => readFileSync(file));
  await until('the last task to be kept', () => files().some((bytes) => bytes.includes('walk-metrics-false')));
  markers.assertNoneBelow(state);
  for (const bytes of files()) searchFor('state', 'the state', bytes);
}

/** The paths of the operator's view that list something. */
const LISTINGS = [
  '/metrics',
  '/readyz',
  '/v1/tasks',
  '/v1/plugins',
  '/v1/config',
  '/v1/deletes',
  '/v1/unclear-creates',
  '/v1/orphans',
];

for (const format of ['json', 'text']) {
  test(
    `no secret leaves the daemon, whatever way it came in, by no way out, with a log in ${format}`,
    BOUND,
    async (t) => {
      const { folder, config, env } = plant(t, format);
      const daemon = await startServe(t, config, folder, env);
      const client = createClient({ address: daemon.grpc, tls: { ca: AUTHORITY.cert }, token: SECRETS.token });
      t.after(() => client.close());
      await tell(
        client,
        (Object.keys(WAYS_OUT) as WayOut[]).filter((way) => way !== 'outputs'),
        false,
      );
      await assertNothingKept(path.join(folder, 'state'));
      // Outputs are kept as they are.
      givenIn(path.join(folder, 'state'));
      await tell(client, ['reason', 'outputs'], true);
      assertNothing(JSON.stringify(await client.listPlugins()), 'ListPlugins');
      const headers = { authorization: `Bearer ${SECRETS.adminToken}` };
      // What a plugin counts is handed on now and then.
      const counted = async () => (await daemon.http('/metrics')).body.includes('pluginhost_plugin_custom_told_total');
      await until('the metrics of the plugin', counted);
      for (const listing of LISTINGS) {
        const { body } = await daemon.http(listing, { headers });
        // Handles are shown as they are.
        assertNothing(body.replace(/"handle":"[^"]*"/g, ''), listing);
      }
      // What was printed may come after what was answered.
      const printed = await until('the log', () => {
        const lines = daemon.running.output();
        return lines.split('[redacted]').length > 200 ? lines : undefined;
      });
      assertNothing(printed, 'the log');
      if (format === 'text') return;
      const commands = [['check'], ['config'], ['config', '--origins']];
      for (const command of commands) {
        const args = [compiled('src/main.ts'), ...command, '--config', path.join(folder, 'config.json')];
        const { stdout, stderr } = await start(t, process.execPath, args, { cwd: folder, env }).finished;
        assertNothing(stdout + stderr, `plugin-host ${command.join(' ')}`);
      }
      writeFileSync(path.join(folder, 'task.json'), JSON.stringify({ type: 'telltale', custom: { way: 'failure' } }));
      writeFileSync(path.join(folder, 'ca.pem'), AUTHORITY.cert);
      const shown = ['--ca', 'ca.pem', '--token-file', 'engine'];
      const run = [compiled('src/main.ts'), 'run', 'task.json', '--address', daemon.grpc, ...shown];
      const { stdout, stderr } = await start(t, process.execPath, run, { cwd: folder }).finished;
      // The handle is printed as it is; it is longer than any form of a secret.
      assertNothing((stdout + stderr).replace(/[\w-]{120,}/g, ''), 'plugin-host run');
    },
  );
}

test('no page of logs and no series shows a secret, and the token of the page is not altered', BOUND, async (t) => {
  const { config, env, folder } = plant(t, 'json');
  const { telltale } = config.plugins as Record<string, { settings: Record<string, string> }>;
  const masks = new SecretMasks();
  for (const name of ['adminToken', 'storeKey', 'file', 'rotated', 'token', 'handleKey', 'named'] as const) {
    masks.addOwn(SECRETS[name]);
  }
  masks.addOwn(SERVER.key);
  const environment = { pass: ['PASSED_PHRASE'], set: { SET_PHRASE: SECRETS.set } };
  const entry = { source: TELLTALE, settings: telltale?.settings ?? {}, environment };
  const { plugin } = await startHost(t, [entry], { env, masks, baseDir: folder });
  const args = {
    ...resourceArgs({ way: 'reason' }),
    connection: { secrets: { key: SECRETS.connection }, configs: {} },
  };
  const now = { deadlineMs: undefined };
  // The helper's credential is known once it was used.
  const template = Buffer.from('\x12\x08telltale', 'latin1');
  const create = {
    ...args,
    template,
    inputs: undefined,
    inputPrefix: '',
    metadata: {} as never,
    maxDatasetSizeBytes: 0,
  };
  await plugin('telltale').call('create', create, now);
  const logs = await plugin('telltale').call('getLogs', { ...args, lines: 1_000, token: '' }, now);
  assert.equal(logs.ok && logs.value.token, 'token-of-the-page');
  assertNothing(JSON.stringify(logs), 'a page of logs');
  const asked = { queries: [], startTimeMs: undefined, endTimeMs: undefined, stepMs: undefined };
  assertNothing(JSON.stringify(await plugin('telltale').call('getMetrics', { ...args, ...asked }, now)), 'series');
});
