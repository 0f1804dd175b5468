import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { type TestContext, test } from 'node:test';
import tls from 'node:tls';
import { CertificateWatch } from '../../src/access/certificate-watch.js';
import { PlainEntrance } from '../../src/access/entrance.js';
import { TlsEntrance } from '../../src/access/tls-entrance.js';
import { httpRequest } from '../../src/cli/http-request.js';
import type { ClientTls } from '../../src/client/index.js';
import { ManualClock } from '../../src/lib/clock.js';
import { MountedIdentity, noteAccess } from '../access/support.js';
import { makeCertificate } from '../support/certificates.js';
import { tempFolder } from '../support/temp.js';
import { guardBy, serveAdmin, TOKEN } from './support.js';

const AUTHORITY = makeCertificate({ name: 'authority', authority: true });
const SERVER = makeCertificate({ name: 'server', by: AUTHORITY });
const OPERATOR = makeCertificate({ name: 'operator', by: AUTHORITY });
const STRANGER = makeCertificate({ name: 'stranger', by: AUTHORITY });
const FOREIGN = makeCertificate({ name: 'operator' });
const EXPIRED = makeCertificate({ name: 'operator', by: AUTHORITY, fromDays: -9, untilDays: -1 });
const EARLY = makeCertificate({ name: 'operator', by: AUTHORITY, fromDays: 2 });

async function serveTls(t: TestContext, mutual: boolean, handshakeTimeoutMs = 10_000) {
  const events = noteAccess();
  const { files } = new MountedIdentity(tempFolder(t), SERVER, mutual ? AUTHORITY.cert : undefined);
  const watch = new CertificateWatch({ port: 'admin', files, clock: new ManualClock(0), events });
  await watch.start();
  t.after(() => watch.stop());
  const clientNames = mutual ? ['CN=operator'] : [];
  const common = { port: 'admin' as const, watch, clientNames, handshakeTimeoutMs, events };
  const entrance = new TlsEntrance({ ...common, protocol: 'http/1.1', strict: false });
  const guard = guardBy(TOKEN, events);
  const { server } = await serveAdmin(t, { access: { entrance, guard, hasTokens: true } });
  const ask = async (path: string, tls: ClientTls = {}) => {
    const url = new URL(path, `https://${server.address}`);
    const headers = { authorization: `Bearer ${TOKEN}` };
    const secure = { ca: AUTHORITY.cert, ...tls };
    const { status, text } = await httpRequest({ method: 'GET', url, headers, tls: secure, timeoutMs: 20_000 });
    return `${status} ${/"code":"(\w+)"/.exec(text)?.[1] ?? ''}`.trim();
  };
  return { server, events, ask };
}

test('by TLS everybody is told of health and metrics, and the token opens the rest', async (t) => {
  const { ask, server } = await serveTls(t, false);
  for (const path of ['/healthz', '/readyz', '/metrics', '/v1/plugins']) assert.equal(await ask(path), '200', path);
  await assert.rejects(ask('/healthz', { ca: FOREIGN.cert }), /self-signed|unable to/i);
  await assert.rejects(fetch(`http://${server.address}/healthz`));
});

test('where clients need a certificate, metrics and probes need none, and the token alone opens nothing', async (t) => {
  const { ask, events } = await serveTls(t, true);
  for (const tls of [{}, STRANGER, FOREIGN, OPERATOR]) {
    for (const path of ['/healthz', '/metrics']) assert.equal(await ask(path, tls), '200', path);
  }
  assert.deepEqual(events.told.slice(1), []);
  assert.equal(await ask('/v1/plugins', OPERATOR), '200');
  for (const [tls, reason, detail] of [
    [{}, 'no_certificate', /is needed/],
    [FOREIGN, 'certificate', /does not verify: DEPTH_ZERO_SELF_SIGNED_CERT/],
    [EXPIRED, 'certificate', /does not verify: CERT_HAS_EXPIRED/],
    [EARLY, 'certificate', /does not verify: CERT_NOT_YET_VALID/],
    [STRANGER, 'name', /is for CN=stranger/],
  ] as const) {
    assert.equal(await ask('/v1/plugins', tls), '403 CERTIFICATE_REFUSED', reason);
    assert.equal(events.told.at(-1), `refused admin ${reason}`);
    assert.match(events.details.at(-1) ?? '', detail);
  }
});

test('nobody renegotiates, as each round would cost a signature, and the connection is gone', async (t) => {
  const { server } = await serveTls(t, false);
  const port = Number(server.address.split(':').at(-1));
  const host = '127.0.0.1';
  // HTTP/2 refuses it of itself; over HTTP/1.1 what refuses it is the entrance alone.
  const socket = tls.connect({ port, host, ca: AUTHORITY.cert, maxVersion: 'TLSv1.2', ALPNProtocols: ['http/1.1'] });
  t.after(() => socket.destroy());
  socket.resume();
  await once(socket, 'secureConnect');
  const renegotiated = await new Promise<string>((resolve) => {
    socket.once('error', () => resolve('refused')).once('close', () => resolve('refused'));
    socket.renegotiate({}, (error) => resolve(error === null ? 'done' : 'refused'));
  });
  assert.equal(renegotiated, 'refused');
});

test('who never ends the handshake is cut, and holds up neither the others nor the stop', async (t) => {
  const { ask, server } = await serveTls(t, false, 300);
  const port = Number(server.address.split(':').at(-1));
  const silent = Array.from({ length: 30 }, () =>
    net
      .connect(port, '127.0.0.1')
      .on('error', () => {})
      .resume(),
  );
  await Promise.all(silent.map((socket) => once(socket, 'connect')));
  assert.equal(await ask('/healthz'), '200');
  await Promise.all(silent.map((socket) => socket.closed || once(socket, 'close')));
  const last = net
    .connect(port, '127.0.0.1')
    .on('error', () => {})
    .resume();
  await once(last, 'connect');
  await server.stop(0);
});

test('from another machine plain text gets health and metrics, and the operator’s view only where the configuration says so', async (t) => {
  const seen = async (from: 'loopback' | 'anywhere') => {
    const events = noteAccess();
    const plain = new PlainEntrance({ port: 'admin', from });
    const entrance: PlainEntrance = Object.assign(Object.create(plain), {
      admit: (raw: net.Socket, enter: Parameters<PlainEntrance['admit']>[1]) => {
        Object.defineProperty(raw, 'remoteAddress', { value: '10.0.0.9' });
        plain.admit(raw, enter);
      },
    });
    const guard = guardBy(TOKEN, events);
    const { operator } = await serveAdmin(t, { access: { entrance, guard, hasTokens: true } });
    const codes = [];
    for (const path of ['/healthz', '/metrics', '/v1/plugins']) codes.push((await operator(path)).status);
    return codes;
  };
  assert.deepEqual(await seen('loopback'), [200, 200, 403]);
  assert.deepEqual(await seen('anywhere'), [200, 200, 200]);
});
