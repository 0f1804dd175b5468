import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import tls from 'node:tls';
import { createClient, PluginHostError } from '../../src/client/index.js';
import { BOUND, configOf, spawnServe } from '../daemon/support.js';
import { type Certificate, makeCertificate } from '../support/certificates.js';
import { givenIn, suiteSecret } from '../support/suite-secrets.js';
import { tempFolder, writeTree } from '../support/temp.js';
import { startCli } from './support.js';

const TOKEN = suiteSecret('adminToken');

/** A daemon by TLS on both ports, whose clients need a certificate; and a folder with what they need. */
async function serveTls(t: TestContext) {
  const folder = tempFolder(t);
  const authority = makeCertificate({ name: 'authority', authority: true });
  const server = makeCertificate({ name: 'server', by: authority });
  const client = makeCertificate({ name: 'operator', by: authority });
  const other = makeCertificate({ name: 'other', authority: true });
  writeTree(folder, {
    'ca.pem': authority.cert,
    'other.pem': other.cert,
    'server.pem': server.cert,
    'server.key': server.key,
    'client.pem': client.cert,
    'client.key': client.key,
    'token.txt': `${TOKEN}\n`,
    'empty.txt': '\n',
  });
  const tls = {
    certFile: './server.pem',
    keyFile: './server.key',
    clientCaFile: './ca.pem',
    clientNames: ['CN=operator'],
  };
  const config = configOf({}, { grpc: { port: 0, tls }, admin: { host: '127.0.0.1', port: 0, token: TOKEN, tls } });
  const running = spawnServe(t, config, folder);
  const [, grpc = '', admin = ''] = await running.waitFor(/daemon\.ready.*?"grpc":"([^"]+)","admin":"([^"]+)"/);
  const cli = async (args: readonly string[], env: Readonly<Record<string, string>> = {}) => {
    const run = startCli(args, { cwd: folder, env });
    const code = await run.exitCode;
    return { code, stdout: run.stdout(), stderr: run.stderr() };
  };
  givenIn(path.join(folder, 'token.txt'));
  return { grpc, admin, cli, folder };
}

test(
  'commands reach a daemon that asks for certificates, by options or the environment, and say why they do not',
  BOUND,
  async (t) => {
    const { grpc, admin, cli, folder } = await serveTls(t);
    const secure = ['--ca', 'ca.pem', '--cert', 'client.pem', '--key', 'client.key'];
    const answered = async (args: readonly string[], env = {}) => {
      const { code, stderr } = await cli(args, env);
      assert.equal(code, 0, `${args}: ${stderr}`);
    };
    await answered(['plugins', '-a', grpc, ...secure]);
    await answered(['plugins', '-a', grpc, ...secure, '--server-name', 'localhost']);
    await answered(['tasks', '--admin', `https://${admin}`, ...secure, '--token-file', 'token.txt']);
    const variables = {
      PLUGIN_HOST_ADDRESS: grpc,
      PLUGIN_HOST_CA_FILE: path.join(folder, 'ca.pem'),
      PLUGIN_HOST_CERT_FILE: 'client.pem',
      PLUGIN_HOST_KEY_FILE: 'client.key',
      PLUGIN_HOST_TOKEN_FILE: 'token.txt',
    };
    await answered(['plugins'], variables);
    await answered(['tasks', '--admin', `https://${admin}`], variables);

    const refused: [readonly string[], number, RegExp][] = [
      [['plugins', '-a', grpc], 7, /no daemon can be reached/],
      [['plugins', '-a', grpc, '--ca', 'other.pem', ...secure.slice(2)], 7, /no daemon can be reached/],
      [['plugins', '-a', grpc, '--ca', 'ca.pem'], 7, /no daemon can be reached/],
      [['plugins', '-a', grpc, ...secure, '--server-name', 'elsewhere'], 7, /no daemon can be reached/],
      [
        ['tasks', '--admin', `https://${admin}`, '--ca', 'ca.pem', '--token-file', 'token.txt'],
        7,
        /CERTIFICATE_REFUSED/,
      ],
      [
        ['tasks', '--admin', `https://${admin}`, ...secure.slice(2), '--token-file', 'token.txt'],
        7,
        /cannot be reached: .*(certificate|issuer)/,
      ],
      [['tasks', '--admin', `http://${admin}`, '--token-file', 'token.txt'], 7, /cannot be reached/],
      [['plugins', '-a', grpc, '--ca', 'ca.pem', '--cert', 'client.pem'], 2, /--cert and --key/],
      [['plugins', '-a', grpc, '--ca', 'absent.pem'], 2, /--ca cannot be read: ENOENT/],
      [['plugins', '-a', grpc, ...secure, '--token-file', 'empty.txt'], 2, /holds no token/],
    ];
    for (const [args, code, message] of refused) {
      const seen = await cli(args);
      assert.match(seen.stderr, message, args.join(' '));
      assert.equal(seen.code, code, `${args}: ${seen.stderr}`);
    }
  },
);

test('a daemon whose certificate cannot be used does not start, and says which file and why', BOUND, async (t) => {
  const folder = tempFolder(t);
  const old = makeCertificate({ name: 'old', fromDays: -9, untilDays: -1 });
  writeTree(folder, { 'old.pem': old.cert, 'old.key': old.key });
  for (const [port, certFile, message] of [
    ['grpc', './old.pem', /TLS_FILES_UNUSABLE.*grpc\.tls: the certificate in .*old\.pem has expired/],
    ['admin', './gone.pem', /TLS_FILES_UNUSABLE.*admin\.tls: .*gone\.pem cannot be read: ENOENT/],
  ] as const) {
    const parts = { grpc: { port: 0 }, admin: { host: '127.0.0.1', port: 0 } };
    const config = configOf({}, { ...parts, [port]: { ...parts[port], tls: { certFile, keyFile: './old.key' } } });
    const running = spawnServe(t, config, folder);
    assert.equal((await running.finished).code, 5);
    assert.match(running.output(), message);
  }
});

/** A port that shows a certificate to whoever comes, as a daemon does that was started before it expired. */
async function showing(t: TestContext, certificate: Certificate): Promise<string> {
  const server = tls.createServer({ ...certificate, ALPNProtocols: ['h2', 'http/1.1'] });
  // Whoever does not trust it says so, and goes.
  server.on('tlsClientError', () => {});
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test(
  'the client and each command refuse a daemon whose certificate has expired, is not valid yet, is of another authority or for another name, and say which',
  BOUND,
  async (t) => {
    const authority = makeCertificate({ name: 'authority', authority: true });
    const other = makeCertificate({ name: 'other', authority: true });
    const folder = tempFolder(t);
    writeTree(folder, { 'ca.pem': authority.cert, 'token.txt': TOKEN });
    givenIn(path.join(folder, 'token.txt'));
    const elsewhere = [{ type: 2, value: 'elsewhere.example' }];
    for (const [what, certificate, why] of [
      ['expired', { by: authority, fromDays: -9, untilDays: -1 }, /certificate has expired/],
      ['not valid yet', { by: authority, fromDays: 2 }, /certificate is not yet valid/],
      ['of another authority', { by: other }, /unable to (verify the first|get local issuer) certificate/],
      ['of nobody', {}, /self.signed certificate/],
      ['for another name', { by: authority, altNames: elsewhere }, /IP: 127\.0\.0\.1 is not in the cert's list/],
    ] as const) {
      const address = await showing(t, makeCertificate({ name: 'server', ...certificate }));
      const client = createClient({ address, tls: { ca: authority.cert }, token: TOKEN, deadlineMs: 60_000 });
      t.after(() => client.close());
      await assert.rejects(client.listPlugins(), (error) => {
        assert.ok(error instanceof PluginHostError, what);
        assert.equal(error.code, 'UNAVAILABLE', what);
        assert.match(error.message, why, what);
        return true;
      });
      for (const args of [
        ['plugins', '-a', address],
        ['tasks', '--admin', `https://${address}`],
      ]) {
        const run = startCli([...args, '--ca', 'ca.pem', '--token-file', 'token.txt'], { cwd: folder });
        assert.equal(await run.exitCode, 7, `${what}: ${run.stderr()}`);
        assert.match(run.stderr(), why, what);
        assert.match(run.stderr(), /a certificate that is not trusted: see --ca and --server-name/, what);
        assert.doesNotMatch(run.stderr(), /Error(:| \[)|start one/, what);
      }
    }
  },
);
