import assert from 'node:assert/strict';
import { once } from 'node:events';
import http2 from 'node:http2';
import net from 'node:net';
import { type TestContext, test } from 'node:test';
import tls from 'node:tls';
import { CertificateWatch } from '../../../src/access/certificate-watch.js';
import { PlainEntrance } from '../../../src/access/entrance.js';
import { CallGuard } from '../../../src/access/guard.js';
import type { Peer } from '../../../src/access/peer.js';
import { TlsEntrance } from '../../../src/access/tls-entrance.js';
import {
  type ChangingTls,
  type Client,
  type ClientTls,
  createClient,
  PluginHostError,
} from '../../../src/client/index.js';
import { needOf } from '../../../src/daemon/needs.js';
import { ManualClock } from '../../../src/lib/clock.js';
import type { RpcServerOptions } from '../../../src/rpc/server.js';
import { MountedIdentity, noteAccess } from '../../access/support.js';
import { type Certificate, makeCertificate } from '../../support/certificates.js';
import { tempFolder } from '../../support/temp.js';
import { idl, startServer } from '../support.js';

const AUTHORITY = makeCertificate({ name: 'authority', authority: true });
const SERVER = makeCertificate({ name: 'server', by: AUTHORITY });
const ENGINE = makeCertificate({ name: 'engine', by: AUTHORITY });
const STRANGER = makeCertificate({ name: 'stranger', by: AUTHORITY });
const FOREIGN = makeCertificate({ name: 'engine', by: makeCertificate({ name: 'other', authority: true }) });
const EXPIRED = makeCertificate({ name: 'engine', by: AUTHORITY, fromDays: -9, untilDays: -1 });
const EARLY = makeCertificate({ name: 'engine', by: AUTHORITY, fromDays: 2 });

/** A machine that is busy with other things may stop for long; nothing waits for this time to pass. */
const PATIENCE_MS = 120_000;

interface Options {
  readonly mutual?: boolean;
  readonly names?: readonly string[];
  readonly server?: Partial<RpcServerOptions>;
  readonly handshakeTimeoutMs?: number;
}

/** A server that speaks TLS, whose certificate a test may exchange. */
async function startTls(t: TestContext, options: Options = {}) {
  const clock = new ManualClock(0);
  const events = noteAccess();
  const mounted = new MountedIdentity(tempFolder(t), SERVER, options.mutual ? AUTHORITY.cert : undefined);
  const watch = new CertificateWatch({ port: 'grpc', files: mounted.files, clock, events });
  await watch.start();
  t.after(() => watch.stop());
  const entrance = new TlsEntrance({
    port: 'grpc',
    watch,
    protocol: 'h2',
    clientNames: options.names ?? [],
    strict: true,
    handshakeTimeoutMs: options.handshakeTimeoutMs ?? PATIENCE_MS,
    events,
  });
  const guard = new CallGuard({ port: 'grpc', needs: (path) => needOf(path, false), events });
  const fixture = await startServer(t, {
    access: { entrance, guard },
    handshakeTimeoutMs: PATIENCE_MS,
    ...options.server,
  });
  const speak = (secure: ClientTls | ChangingTls | undefined): Client => {
    const channelOptions = { 'grpc.use_local_subchannel_pool': 1, 'grpc.enable_retries': 0 };
    const client = createClient({
      address: fixture.address,
      idl,
      tls: secure,
      channelOptions,
      deadlineMs: PATIENCE_MS,
    });
    t.after(() => client.close());
    return client;
  };
  return { ...fixture, events, clock, mounted, watch, speak };
}

/** The code that a call ends with; OK where it is answered. */
async function codeOf(client: Client): Promise<string> {
  return client.listPlugins().then(
    () => 'OK',
    (error: unknown) => (error instanceof PluginHostError ? error.code : String(error)),
  );
}

const as = (certificate: Certificate): ClientTls => ({ ca: AUTHORITY.cert, ...certificate });

test('a client that trusts the authority is answered, and one that trusts another, or speaks plain text, is not', async (t) => {
  const { speak, events } = await startTls(t);
  assert.equal(await codeOf(speak({ ca: AUTHORITY.cert })), 'OK');
  assert.equal(await codeOf(speak({ ca: FOREIGN.cert })), 'UNAVAILABLE');
  assert.equal(await codeOf(speak({ ca: AUTHORITY.cert, serverName: 'elsewhere.example' })), 'UNAVAILABLE');
  assert.equal(await codeOf(speak({ ca: AUTHORITY.cert, serverName: 'localhost' })), 'OK');
  assert.equal(await codeOf(speak({ ca: AUTHORITY.cert, serverName: '127.0.0.2' })), 'UNAVAILABLE');
  assert.equal(await codeOf(speak(undefined)), 'UNAVAILABLE');
  assert.ok(events.told.includes('refused grpc not_tls'));
});

test('of clients with certificates only those come in that an authority of ours has signed, that are valid, and whose name is allowed', async (t) => {
  const { speak, events } = await startTls(t, { mutual: true, names: ['CN=engine', 'URI:spiffe://x'] });
  assert.equal(await codeOf(speak(as(ENGINE))), 'OK');
  const refused: [ClientTls, string, string, RegExp][] = [
    [{ ca: AUTHORITY.cert }, 'UNAVAILABLE', 'no_certificate', /is needed, of an authority in grpc\.tls\.clientCaFile/],
    [as(FOREIGN), 'UNAVAILABLE', 'certificate', /does not verify: UNABLE_TO_(VERIFY_LEAF_SIGNATURE|GET_ISSUER_CERT)/],
    [as(EXPIRED), 'UNAVAILABLE', 'certificate', /does not verify: CERT_HAS_EXPIRED/],
    [as(EARLY), 'UNAVAILABLE', 'certificate', /does not verify: CERT_NOT_YET_VALID/],
    [as(STRANGER), 'CERTIFICATE_REFUSED', 'name', /is for CN=stranger, .* none of them is in grpc\.tls\.clientNames/],
  ];
  for (const [secure, code, reason, detail] of refused) {
    const client = speak(secure);
    events.told.length = 0;
    events.details.length = 0;
    assert.equal(await codeOf(client), code, reason);
    // Else it would try again, in the midst of the next one.
    client.close();
    assert.ok(events.told.includes(`refused grpc ${reason}`), `${reason}: ${events.told.join()}`);
    for (const said of events.details) assert.match(said, detail);
  }
});

test('a certificate that is exchanged under load fails no call, and new connections get the new one', async (t) => {
  const { speak, clock, mounted, watch, port } = await startTls(t, { mutual: true });
  const old = speak(as(ENGINE));
  assert.equal(await codeOf(old), 'OK');
  const served = async () => {
    const socket = tls.connect({ port, host: '127.0.0.1', ca: AUTHORITY.cert, ...ENGINE, ALPNProtocols: ['h2'] });
    await once(socket, 'secureConnect');
    const { subject } = socket.getPeerCertificate();
    socket.destroy();
    return subject.CN;
  };
  assert.equal(await served(), 'server');
  let stop = false;
  const codes = new Set<string>();
  const load = Array.from({ length: 4 }, async () => {
    while (!stop) {
      codes.add(await codeOf(old));
      codes.add(await codeOf(speak(as(ENGINE))));
    }
  });
  for (const name of ['next', 'last']) {
    const changed = new Promise<void>((resolve) => watch.onChange(() => resolve()));
    mounted.swap(makeCertificate({ name, by: AUTHORITY }));
    await clock.advance(10_000);
    while (clock.pending === 0) await new Promise((resolve) => setImmediate(resolve));
    await clock.advance(1_000);
    await changed;
    while (clock.pending === 0) await new Promise((resolve) => setImmediate(resolve));
    assert.equal(await served(), name);
  }
  stop = true;
  await Promise.all(load);
  assert.deepEqual([...codes], ['OK']);
});

test('a client whose certificate changes makes its next connection with the new one', async (t) => {
  const { speak, events, server } = await startTls(t, { mutual: true, names: ['CN=engine'] });
  let own = STRANGER;
  const listeners: (() => void)[] = [];
  const client = speak({
    current: () => ({ ca: AUTHORITY.cert, ...own }),
    onChange: (listener) => listeners.push(listener),
  });
  assert.equal(await codeOf(client), 'CERTIFICATE_REFUSED');
  own = ENGINE;
  for (const listener of listeners) listener();
  assert.ok(events.told.includes('refused grpc name'));
  // An open connection stays what it is: only its end makes another one.
  server.beginDrain();
  let code = await codeOf(client);
  for (let tries = 0; code !== 'OK' && tries < 1_000; tries++) code = await codeOf(client);
  assert.equal(code, 'OK');
});

test('nothing below TLS 1.2 is spoken, no protocol but h2, and no renegotiation', async (t) => {
  const { port, events } = await startTls(t);
  const connect = (options: tls.ConnectionOptions) => {
    const socket = tls.connect({ port, host: '127.0.0.1', ca: AUTHORITY.cert, ALPNProtocols: ['h2'], ...options });
    t.after(() => socket.destroy());
    return socket;
  };
  const ends = (socket: tls.TLSSocket) =>
    new Promise<string>((resolve) =>
      socket
        .resume()
        .once('error', () => resolve('error'))
        .once('close', () => resolve('close')),
    );
  const old = connect({ minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' });
  let secured = false;
  old.once('secureConnect', () => {
    secured = true;
  });
  await ends(old);
  assert.equal(secured, false);
  await ends(connect({ ALPNProtocols: ['http/1.1'] }));
  const none = tls.connect({ port, host: '127.0.0.1', ca: AUTHORITY.cert });
  await ends(none);
  const current = connect({ maxVersion: 'TLSv1.2' });
  current.resume();
  await once(current, 'secureConnect');
  assert.equal(current.getProtocol(), 'TLSv1.2');
  const renegotiated = await new Promise<string>((resolve) => {
    current.once('error', () => resolve('refused')).once('close', () => resolve('refused'));
    current.renegotiate({}, (error) => resolve(error === null ? 'done' : 'refused'));
  });
  assert.equal(renegotiated, 'refused');
  assert.ok(events.told.includes('refused grpc handshake'));
});

test('who comes and does not speak, or stops within the handshake, is cut at the bound, and is counted among the connections', async (t) => {
  const { port, server, speak } = await startTls(t, { handshakeTimeoutMs: 200, server: { handshakeTimeoutMs: 200 } });
  const hello = await helloBytes();
  const pieces = [Buffer.alloc(0), hello.subarray(0, 1), hello.subarray(0, hello.length - 1), hello];
  const sockets = await Promise.all(
    pieces.map(async (piece) => {
      const socket = net.connect(port, '127.0.0.1');
      t.after(() => socket.destroy());
      socket.on('error', () => {}).resume();
      await once(socket, 'connect');
      if (piece.length > 0) socket.write(piece);
      return socket;
    }),
  );
  await Promise.all(sockets.map((socket) => once(socket, 'close')));
  assert.equal(await codeOf(speak({ ca: AUTHORITY.cert })), 'OK');
  assert.equal(server.connections, 1);
});

test('bytes that are no first message of TLS end their connection at once, whatever follows them', async (t) => {
  const { port, events } = await startTls(t);
  const hello = await helloBytes();
  const cut = Buffer.from(hello);
  cut.writeUIntBE(hello.length, 6, 3); // a message that goes beyond its record
  const alert = Buffer.from([21, 3, 3, 0, 2, 2, 40]);
  for (const bytes of [
    Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
    Buffer.from('GET / HTTP/1.1\r\n\r\n'),
    cut,
    alert,
    Buffer.alloc(9),
  ]) {
    const socket = net.connect(port, '127.0.0.1');
    socket.on('error', () => {}).resume();
    await once(socket, 'connect');
    socket.write(bytes);
    await once(socket, 'close');
  }
  assert.equal(events.told.filter((line) => line === 'refused grpc not_tls').length, 5);
});

test('a first message that comes byte by byte is one all the same', async (t) => {
  const { port } = await startTls(t);
  const relay = net.createServer((inner) => {
    const outer = net.connect({ port, host: '127.0.0.1', noDelay: true });
    inner.on('error', () => {}).on('close', () => outer.destroy());
    outer.on('error', () => {}).on('close', () => inner.destroy());
    outer.pipe(inner);
    inner.on('data', async (chunk) => {
      inner.pause();
      for (const byte of chunk.subarray(0, 40)) {
        outer.write(Buffer.of(byte));
        await new Promise((resolve) => setImmediate(resolve));
      }
      outer.write(chunk.subarray(40));
      inner.resume();
    });
  });
  relay.listen(0, '127.0.0.1');
  await once(relay, 'listening');
  t.after(() => relay.close());
  const { port: at } = relay.address() as net.AddressInfo;
  const session = http2.connect(`https://127.0.0.1:${at}`, { ca: AUTHORITY.cert });
  t.after(() => session.destroy());
  await once(session, 'connect');
  assert.equal((session.socket as tls.TLSSocket).authorized, true);
});

test('a crowd of handshakes holds up nobody who has come in, and others come in beside it', async (t) => {
  const { port, speak } = await startTls(t, { server: { maxConnections: 400 } });
  const inside = speak({ ca: AUTHORITY.cert });
  assert.equal(await codeOf(inside), 'OK');
  const hello = await helloBytes();
  const crowd = Array.from({ length: 300 }, () => {
    const socket = net.connect(port, '127.0.0.1', () => socket.write(hello));
    socket.on('error', () => {}).resume();
    t.after(() => socket.destroy());
    return socket;
  });
  await Promise.all(crowd.map((socket) => once(socket, 'connect')));
  assert.deepEqual(await Promise.all(Array.from({ length: 20 }, () => codeOf(inside))), Array(20).fill('OK'));
  assert.equal(await codeOf(speak({ ca: AUTHORITY.cert })), 'OK');
});

test('a peer of another machine is answered nothing but health in plain text, unless the configuration says so', async (t) => {
  const seen = async (from: 'loopback' | 'anywhere', address: string) => {
    const events = noteAccess();
    const plain = new PlainEntrance({ port: 'grpc', from });
    // Its address is told as if it came from there.
    const entrance = {
      admit: (raw: net.Socket, enter: (socket: net.Socket, peer: Peer) => void) => {
        Object.defineProperty(raw, 'remoteAddress', { value: address });
        plain.admit(raw, enter);
      },
    };
    const guard = new CallGuard({ port: 'grpc', needs: (path) => needOf(path, false), events });
    const { client, raw } = await startServer(t, { access: { entrance, guard } });
    const health = await new Promise<string>((resolve) => {
      const pass = (bytes: Buffer) => bytes;
      raw().makeUnaryRequest('/grpc.health.v1.Health/Check', pass, pass, Buffer.alloc(0), (error) =>
        resolve(error === null ? 'OK' : error.message),
      );
    });
    return [await codeOf(client()), health, ...new Set(events.told)];
  };
  assert.deepEqual(await seen('loopback', '10.0.0.9'), ['PLAINTEXT_REFUSED', 'OK', 'refused grpc plaintext']);
  assert.deepEqual(await seen('loopback', '::ffff:127.0.0.1'), ['OK', 'OK']);
  assert.deepEqual(await seen('anywhere', '10.0.0.9'), ['OK', 'OK']);
});

/** The first message of a client. */
async function helloBytes(): Promise<Buffer> {
  const server = net.createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket = tls.connect({
    port: (server.address() as net.AddressInfo).port,
    host: '127.0.0.1',
    ALPNProtocols: ['h2'],
  });
  socket.on('error', () => {});
  const [peer] = (await once(server, 'connection')) as [net.Socket];
  const [bytes] = (await once(peer, 'data')) as [Buffer];
  peer.destroy();
  server.close();
  return bytes;
}
