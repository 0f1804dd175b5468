import assert from 'node:assert/strict';
import { once } from 'node:events';
import http2 from 'node:http2';
import { connect, type Socket } from 'node:net';
import { test } from 'node:test';
import { Client, credentials, Metadata, status } from '@grpc/grpc-js';
import { rpcLimits } from '../../src/daemon/options.js';
import { createDeferred } from '../../src/lib/deferred.js';
import type { RpcServiceModule } from '../../src/rpc/methods.js';
import { createRpcServer } from '../../src/rpc/server.js';
import { aborted } from '../support/aborted.js';
import { DEFAULTS } from '../support/defaults.js';
import { createRequest, FakeHealth, http2Call, idl, rawCall, SERVICE, startServer } from './support.js';

const quiet = {
  ...rpcLimits(DEFAULTS),
  health: new FakeHealth(),
  reflection: false,
  log: { fault: () => {}, library: () => {} },
};

/** Resolves when the socket is closed, also by an error. */
const closed = (socket: Socket): Promise<void> => new Promise((resolve) => socket.once('close', () => resolve()));

test('an address that is taken, or is none, is LISTEN_FAILED with address and reason', async (t) => {
  const { port } = await startServer(t);
  for (const [host, taken, reason] of [
    ['127.0.0.1', port, /EADDRINUSE/],
    ['203.0.113.7', 0, /EADDRNOTAVAIL/],
  ] as const) {
    const server = createRpcServer({ host, port: taken, services: [], ...quiet });
    await assert.rejects(server.listen(), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'LISTEN_FAILED');
      assert.match(error.message, reason);
      assert.ok(error.message.includes(`${host}:${taken}`));
      return true;
    });
    assert.equal(server.state, 'stopped');
  }
});

test('listen is allowed once', async (t) => {
  const { server } = await startServer(t);
  await assert.rejects(server.listen(), { code: 'DAEMON_STATE', message: /state listening/ });
});

test('a service must have a handler of the right kind for each method, and no other', () => {
  const definition = idl.rawService('pluginhost.v1.PluginHost');
  const build = (handlers: RpcServiceModule['handlers']) =>
    createRpcServer({ host: '127.0.0.1', port: 0, services: [{ name: 's', definition, handlers }], ...quiet });
  assert.throws(() => build({}), /Create needs a unary handler, got none/);
  assert.throws(() => build({ Nothing: { kind: 'unary', handle: (bytes) => bytes } }), /for no method: Nothing/);
});

test('at the bound of connections the longest idle one gives way to a newcomer, and one with a call never', async (t) => {
  const { server, port, tasks } = await startServer(t, { maxConnections: 2 });
  let held = 0;
  tasks.before = async (_method, scope) => {
    held += 1;
    await aborted(scope.signal);
  };
  const busy = http2Call(t, port, 'Create', createRequest());
  while (held < 1) await new Promise((resolve) => setImmediate(resolve));
  const idle = connect(port, '127.0.0.1');
  t.after(() => idle.destroy());
  idle.on('error', () => {});
  await once(idle, 'data');
  const second = http2Call(t, port, 'Create', createRequest());
  await closed(idle);
  while (held < 2) await new Promise((resolve) => setImmediate(resolve));
  // Both have calls now: it is the newcomer that is refused.
  const third = connect(port, '127.0.0.1');
  third.on('error', () => {});
  await closed(third);
  assert.deepEqual([server.connections, busy.session.destroyed, second.session.destroyed], [2, false, false]);
});

test('a connection that does not say its preface and SETTINGS in time is closed, however it trickles', async (t) => {
  const { server, port } = await startServer(t, { handshakeTimeoutMs: 60 });
  const preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
  const sockets = ['', 'P', preface, 'trickle'].map((bytes) => {
    const socket = connect(port, '127.0.0.1').resume();
    socket.on('error', () => {});
    if (bytes !== 'trickle') socket.write(bytes);
    else for (const [i, byte] of [...preface].entries()) setTimeout(() => socket.write(byte), i * 20).unref();
    return socket;
  });
  await Promise.all(sockets.map(closed));
  while (server.connections > 0) await new Promise((resolve) => setImmediate(resolve));
  const honest = http2.connect(`http://127.0.0.1:${port}`);
  t.after(() => honest.destroy());
  honest.on('error', () => {});
  await once(honest, 'remoteSettings');
  await new Promise((resolve) => setTimeout(resolve, 120));
  assert.equal(honest.destroyed, false);
});

test('a connection without calls is closed after the idle time, and one with a call is not', async (t) => {
  const { port, tasks } = await startServer(t, { maxConnectionIdleMs: 50 });
  tasks.before = (_method, scope) => aborted(scope.signal);
  const busy = http2Call(t, port, 'Create', createRequest());
  const idle = http2.connect(`http://127.0.0.1:${port}`);
  t.after(() => idle.destroy());
  idle.on('error', () => {});
  const goaway = new Promise((resolve) => idle.once('goaway', resolve));
  await once(idle, 'close');
  assert.equal(await goaway, http2.constants.NGHTTP2_NO_ERROR);
  assert.equal(busy.session.destroyed, false);
});

test('GOAWAY at the drain; what still arrives on the old connection and on new ones is served', async (t) => {
  const { server, port, call } = await startServer(t);
  const session = http2.connect(`http://127.0.0.1:${port}`);
  t.after(() => session.destroy());
  session.on('error', () => {});
  await once(session, 'remoteSettings');
  const goaway = once(session, 'goaway');
  server.beginDrain();
  // Sent before the GOAWAY was read.
  const stream = session.request({
    ':method': 'POST',
    ':path': `${SERVICE}/ListPlugins`,
    'content-type': 'application/grpc',
    te: 'trailers',
  });
  const trailers = once(stream, 'trailers');
  stream.resume();
  stream.end(Buffer.alloc(5));
  const [code, lastStream] = await goaway;
  assert.deepEqual([code, lastStream], [0, 2 ** 31 - 1]);
  const [{ 'grpc-status': grpcStatus }] = await trailers;
  assert.equal(Number(grpcStatus), status.OK);
  assert.equal((await call('Create', createRequest())).error, undefined);
  assert.equal(server.state, 'draining');
});

test('stop lets a call under way finish, refuses new connections, and says that it was clean', async (t) => {
  const { server, tasks, call, address } = await startServer(t);
  const entered = createDeferred<void>();
  const release = createDeferred<void>();
  tasks.before = async () => {
    entered.resolve();
    await release.promise;
  };
  const reply = call('Create', createRequest());
  await entered.promise;
  const stopped = server.stop(60_000);
  assert.equal(server.stop(0), stopped, 'a repeat answers the same');
  assert.equal(server.state, 'stopping');
  const late = new Client(address, credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 });
  t.after(() => late.close());
  assert.equal((await rawCall(late, `${SERVICE}/ListPlugins`, Buffer.alloc(0), 5000)).error!.code, status.UNAVAILABLE);
  release.resolve();
  assert.equal((await reply).error, undefined);
  assert.equal(await stopped, true);
  assert.deepEqual([server.state, server.connections], ['stopped', 0]);
});

test('stop with open Watch, health and reflection streams is clean, though their readers would stay for ever', async (t) => {
  const { server, raw } = await startServer(t, { reflection: true });
  const pass = (bytes: Buffer) => bytes;
  const client = raw();
  const watch = client.makeServerStreamRequest(`${SERVICE}/Watch`, pass, pass, Buffer.alloc(0), new Metadata(), {});
  const health = client.makeServerStreamRequest(
    '/grpc.health.v1.Health/Watch',
    pass,
    pass,
    Buffer.alloc(0),
    new Metadata(),
    {},
  );
  const reflection = client.makeBidiStreamRequest(
    '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo',
    pass,
    pass,
    new Metadata(),
    {},
  );
  // list_services
  reflection.write(Buffer.from('3a012a', 'hex'));
  const ends = [watch, health, reflection].map((stream) => once(stream, 'end'));
  for (const stream of [watch, health, reflection]) await once(stream, 'data');
  for (const stream of [watch, health, reflection]) stream.resume();
  assert.equal(await server.stop(60_000), true);
  await Promise.all(ends);
});

test('a call that never ends is cut after the grace, and stop says so', async (t) => {
  const { server, tasks, call } = await startServer(t);
  const entered = createDeferred<void>();
  tasks.before = () => {
    entered.resolve();
    return new Promise(() => {});
  };
  const reply = call('Create', createRequest());
  await entered.promise;
  assert.equal(await server.stop(50), false);
  assert.notEqual((await reply).error, undefined);
  assert.equal(server.state, 'stopped');
});

test('a stream whose reader does not read is cut after the grace', async (t) => {
  const { server, tasks, port } = await startServer(t);
  for (let i = 0; i < 1000; i++) tasks.ring.push({ kind: 'lagged', resumeToken: 'x'.repeat(8000), dropped: i });
  const request = idl.codec('pluginhost.v1.WatchRequest').encode({ resumeToken: '0' });
  await once(http2Call(t, port, 'Watch', request).stream, 'response');
  assert.equal(await server.stop(50), false);
  assert.deepEqual([server.state, server.inFlight, tasks.ring.readers.size], ['stopped', 0, 0]);
});

test('forceStop ends everything in any state, and twice', async (t) => {
  const { server } = await startServer(t);
  await Promise.all([server.forceStop(), server.forceStop()]);
  assert.equal(server.state, 'stopped');
  assert.equal(await server.stop(1000), true);
  const never = createRpcServer({ host: '127.0.0.1', port: 0, services: [], ...quiet });
  await never.forceStop();
  assert.equal(never.state, 'stopped');
});

test('every call is observed with its method, status and messages', async (t) => {
  const seen: string[] = [];
  const { call, tasks } = await startServer(t, {
    defaultDeadlineMs: 50,
    metrics: ({ service, method, type }) => ({
      started: () => void seen.push(`started ${service} ${method} ${type}`),
      handled: (code, seconds) => void seen.push(`handled ${method} ${code} ${seconds >= 0}`),
      received: () => void seen.push(`received ${method}`),
      sent: () => void seen.push(`sent ${method}`),
    }),
  });
  await call('Create', createRequest());
  assert.deepEqual(seen.splice(0), [
    'started pluginhost.v1.PluginHost Create unary',
    'received Create',
    'sent Create',
    'handled Create OK true',
  ]);
  await call('Status', Buffer.alloc(0));
  assert.deepEqual(seen.splice(0).at(-1), 'handled Status INVALID_ARGUMENT true');
  tasks.before = async (_method, { signal }) => {
    await aborted(signal);
  };
  await call('Create', createRequest(), { deadlineMs: Number.POSITIVE_INFINITY });
  while (!seen.some((line) => line.startsWith('handled'))) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(seen.at(-1), 'handled Create DEADLINE_EXCEEDED true');
});

test('a peer that answers no ping loses its connection, one that does keeps it', async (t) => {
  const { server, port } = await startServer(t, { keepaliveTimeMs: 20, keepaliveTimeoutMs: 4000 });
  const mute = connect(port, '127.0.0.1');
  mute.on('error', () => {});
  // A preface and empty SETTINGS, and then silence; pings go unanswered.
  mute.write(
    Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), Buffer.from('000000040000000000', 'hex')]),
  );
  mute.resume();
  const session = http2.connect(`http://127.0.0.1:${port}`);
  t.after(() => session.destroy());
  // The server is torn down first, and may reset what is still open.
  session.on('error', () => {});
  let pings = 0;
  session.on('ping', () => {
    pings += 1;
  });
  await closed(mute);
  while (pings < 3) await once(session, 'ping');
  assert.equal(session.destroyed, false);
  assert.equal(server.connections, 1);
});
