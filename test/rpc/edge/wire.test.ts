import assert from 'node:assert/strict';
import { once } from 'node:events';
import http2 from 'node:http2';
import net from 'node:net';
import { type TestContext, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { Server, status } from '@grpc/grpc-js';
import { decodeRpcStatus } from '../../../src/idl/rpc-status.js';
import { boundHeaders, http2ServerOf } from '../../../src/rpc/grpc-internals.js';
import { aborted } from '../../support/aborted.js';
import { createRequest, http2Call, SERVICE, startServer } from '../support.js';

const HEALTH = '/grpc.health.v1.Health';
const MiB = 1024 * 1024;
const turn = () => new Promise((resolve) => setImmediate(resolve));

function openSession(t: TestContext, port: number, settings: http2.Settings = {}): http2.ClientHttp2Session {
  // What is written and not taken counts in the client's own memory, too.
  const session = http2.connect(`http://127.0.0.1:${port}`, { settings, maxSessionMemory: 500 });
  session.on('error', () => {});
  t.after(() => session.destroy());
  return session;
}

interface End {
  readonly code: number | undefined;
  readonly reason: string | undefined;
  readonly reset: number;
}

/** A call whose request is whatever is written; `ended` resolves when the stream is closed. */
function open(session: http2.ClientHttp2Session, path: string, headers: http2.OutgoingHttpHeaders = {}) {
  const stream = session.request({
    ':method': 'POST',
    ':path': path.startsWith('/') ? path : `${SERVICE}/${path}`,
    'content-type': 'application/grpc',
    te: 'trailers',
    ...headers,
  });
  let code: number | undefined;
  let reason: string | undefined;
  const see = (seen: http2.IncomingHttpHeaders) => {
    if (seen['grpc-status'] !== undefined) code = Number(seen['grpc-status']);
    const bin = seen['grpc-status-details-bin'];
    if (bin !== undefined) reason = decodeRpcStatus(Buffer.from(String(bin), 'base64')).errorInfo?.reason;
  };
  stream.on('response', see);
  stream.on('trailers', see);
  stream.on('error', () => {});
  const ended = new Promise<End>((resolve) => {
    stream.once('close', () => resolve({ code, reason, reset: stream.rstCode }));
  });
  return { stream, ended };
}

function head(length: number, flag = 0): Buffer {
  const bytes = Buffer.alloc(5);
  bytes[0] = flag;
  bytes.writeUInt32BE(length, 1);
  return bytes;
}

test('requests that are announced and never sent hold a bounded number of bytes, and an honest large call passes beside them', async (t) => {
  const maxUnfinishedBytes = 4 * MiB;
  const { server, port, call } = await startServer(t, { maxUnfinishedBytes });
  const session = openSession(t, port);
  const liars = Array.from({ length: 20 }, () => open(session, 'Create'));
  let most = 0;
  const watching = setInterval(() => {
    most = Math.max(most, server.unfinishedBytes);
  }, 1);
  t.after(() => clearInterval(watching));
  for (const { stream } of liars) {
    stream.write(head(63 * MiB));
    stream.resume();
    stream.write(Buffer.alloc(MiB));
  }
  const ends = await Promise.race(liars.map(({ ended }) => ended));
  assert.deepEqual([ends.code, ends.reason], [status.RESOURCE_EXHAUSTED, 'REQUESTS_UNFINISHED']);
  const honest = createRequest({ outputPrefix: 'x'.repeat(1000), inputs: { literals: {} } });
  const padded = Buffer.concat([honest, Buffer.from([0xfa, 0x07, 0x80, 0x80, 0x80, 0x01]), Buffer.alloc(2 * MiB)]);
  assert.equal((await call('Create', padded)).error, undefined);
  assert.ok(most > MiB && most <= maxUnfinishedBytes, String(most));
  session.destroy();
  while (server.unfinishedBytes > 0) await turn();
});

test('liars on many connections make room for one honest request that is larger than what each of them holds', async (t) => {
  const { port, call } = await startServer(t, { maxUnfinishedBytes: 12 * MiB });
  const liars = Array.from({ length: 40 }, () => open(openSession(t, port), 'Create'));
  for (const { stream } of liars) {
    stream.resume();
    stream.write(Buffer.concat([head(63 * MiB), Buffer.alloc(256 * 1024)]));
  }
  const padding = Buffer.concat([Buffer.from([0xfa, 0x07, 0x80, 0x80, 0x80, 0x04]), Buffer.alloc(8 * MiB)]);
  const reply = await call('Create', Buffer.concat([createRequest(), padding]));
  assert.equal(reply.error, undefined);
});

test('a connection of nothing but calls that the budget ends is closed, and one that brings a whole request between is not', async (t) => {
  const cuts: string[] = [];
  const { server, port } = await startServer(t, {
    maxUnfinishedBytes: 256 * 1024,
    connectionCut: (reason) => cuts.push(reason),
  });
  const filler = { 'x-filler': 'f'.repeat(15_000) };
  const request = createRequest();
  const bytes = Buffer.concat([head(request.length), request]);
  const mixed = openSession(t, port);
  for (let round = 0; round < 4; round++) {
    const begun = Array.from({ length: 50 }, () => open(mixed, 'Create', filler));
    await Promise.race(begun.map(({ ended }) => ended));
    const whole = open(mixed, 'Create');
    whole.stream.resume().end(bytes);
    assert.equal((await whole.ended).code, status.OK);
  }
  assert.equal(mixed.destroyed, false);
  mixed.destroy();
  const session = openSession(t, port);
  const closed = once(session, 'close');
  for (let i = 0; i < 200; i++) open(session, 'Create', filler);
  await closed;
  assert.deepEqual(cuts, ['overdrawn']);
  while (server.unfinishedBytes > 0 || server.connections > 0) await turn();
});

test('calls with as much metadata as passes are all answered, also where their connection has to wait to be read', async (t) => {
  const { port, call } = await startServer(t, { maxUnfinishedBytes: 512 * MiB });
  const request = createRequest();
  const bytes = Buffer.concat([head(request.length), request]);
  const sessions = Array.from({ length: 20 }, () => openSession(t, port));
  const calls = sessions.flatMap((session) =>
    Array.from({ length: 40 }, () => {
      const one = open(session, 'Create', { 'x-filler': 'f'.repeat(15_000) });
      one.stream.resume().end(bytes);
      return one.ended;
    }),
  );
  assert.equal((await call('ListPlugins', Buffer.alloc(0))).error, undefined);
  for (const { code } of await Promise.all(calls)) assert.equal(code, status.OK);
});

test('calls whose requests wait for their turn are no noise, and a connection that brings nothing else than noise is cut', async (t) => {
  const cuts: string[] = [];
  const { port } = await startServer(t, {
    maxUnfinishedBytes: 512 * MiB,
    callsPerTurn: 1,
    defaultDeadlineMs: 600_000,
    connectionCut: (reason) => cuts.push(reason),
  });
  const padding = Buffer.concat([Buffer.from([0xfa, 0x07, 0x80, 0xf0, 0x03]), Buffer.alloc(63_488)]);
  const request = Buffer.concat([createRequest(), padding]);
  const session = openSession(t, port);
  const calls = Array.from({ length: 150 }, () => {
    const one = open(session, 'Create');
    one.stream.resume().end(Buffer.concat([head(request.length), request]));
    return one.ended;
  });
  for (const { code } of await Promise.all(calls)) assert.equal(code, status.OK);
  assert.deepEqual(cuts, []);
  const closed = once(session, 'close');
  const noise = Buffer.alloc(8 * MiB);
  // Frames of a kind that nobody knows are passed over.
  for (let at = 0; at < noise.length; at += 16_393) {
    noise.writeUIntBE(Math.min(16_384, noise.length - at - 9), at, 3);
    noise.writeUInt8(0xfa, at + 3);
    noise.writeUInt32BE(0, at + 5);
  }
  const raw = net.connect(port, '127.0.0.1');
  t.after(() => raw.destroy());
  raw.on('error', () => {}).resume();
  raw.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
  raw.write(Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]));
  raw.write(noise);
  // Its last writes may fail before that; `once` of Node would take that for the end.
  await new Promise((resolve) => raw.once('close', resolve));
  assert.deepEqual(cuts, ['noise']);
  session.close();
  await closed;
});

test('calls that no handler had are counted by their method and code, each once, and those of no method of ours together', async (t) => {
  const seen: string[] = [];
  const count = new Map<string, number>();
  const { server, port } = await startServer(t, {
    defaultDeadlineMs: 100,
    maxReceiveBytes: 1000,
    metrics: ({ service, method }) => ({
      started: () => count.set(method, (count.get(method) ?? 0) + 1),
      handled: (code, seconds) => {
        assert.ok(seconds >= 0);
        count.set(method, (count.get(method) ?? 0) - 1);
        seen.push(`${service}/${method} ${code}`);
      },
      received() {},
      sent() {},
    }),
  });
  const session = openSession(t, port);
  const send = async (path: string, bytes: Buffer, headers?: http2.OutgoingHttpHeaders) => {
    const call = open(session, path, headers);
    call.stream.resume();
    call.stream.end(bytes);
    await call.ended;
  };
  await send('ListPlugins', head(0));
  await send('Create', Buffer.alloc(0));
  await send('Create', head(2000));
  await send('Status', head(0), { 'grpc-timeout': 'soon' });
  await send('/no.Such/Method', head(0));
  await send('Status', head(0), { 'content-type': 'text/plain' });
  await open(session, 'Delete').ended;
  open(session, 'Get');
  while (server.unfinishedBytes === 0) await turn();
  session.destroy();
  while (seen.length < 8) await turn();
  const ours = (name: string) => `pluginhost.v1.PluginHost/${name}`;
  assert.deepEqual(seen, [
    ours('ListPlugins OK'),
    ours('Create INVALID_ARGUMENT'),
    ours('Create RESOURCE_EXHAUSTED'),
    ours('Status INVALID_ARGUMENT'),
    'other/other UNIMPLEMENTED',
    ours('Status UNKNOWN'),
    ours('Delete DEADLINE_EXCEEDED'),
    ours('Get CANCELLED'),
  ]);
  assert.ok([...count.values()].every((open) => open === 0));
});

test('a compressed request is counted by what it may come to', async (t) => {
  const { port } = await startServer(t, { maxUnfinishedBytes: 4 * MiB, maxReceiveBytes: 3 * MiB });
  const session = openSession(t, port);
  const packed = gzipSync(Buffer.alloc(2 * MiB));
  const bombs = Array.from({ length: 3 }, () => open(session, 'Create', { 'grpc-encoding': 'gzip' }));
  for (const { stream } of bombs) stream.write(Buffer.concat([head(packed.length, 1), packed]));
  const end = await Promise.race(bombs.map(({ ended }) => ended));
  assert.equal(end.reason, 'REQUESTS_UNFINISHED');
});

test('calls that never become a request end at their deadline, and leave nothing open', async (t) => {
  const { server, port } = await startServer(t, { defaultDeadlineMs: 100 });
  const session = openSession(t, port);
  const metadata = Object.fromEntries(Array.from({ length: 15 }, (_, i) => [`x-${i}`, 'y'.repeat(1000)]));
  const request = Buffer.concat([head(0), head(0)]).subarray(0, 5);
  const calls = [
    ...Array.from({ length: 300 }, () => open(session, 'Create')),
    ...Array.from({ length: 100 }, () => open(session, 'Status', metadata)),
    open(session, `${HEALTH}/Check`),
    open(session, `${HEALTH}/Watch`),
    open(session, 'Watch'),
    open(session, 'Create', { 'grpc-timeout': '80m' }),
  ];
  const whole = open(session, 'ListPlugins');
  whole.stream.write(request);
  const ends = await Promise.all([...calls, whole].map(({ ended }) => ended));
  for (const { code, reason } of ends) {
    assert.deepEqual([code, reason], [status.DEADLINE_EXCEEDED, 'DEADLINE_EXCEEDED']);
  }
  assert.deepEqual([server.unfinishedBytes, session.destroyed], [0, false]);
});

test('an answer that is not taken is cut at the deadline of its call', async (t) => {
  const { port } = await startServer(t, { defaultDeadlineMs: 100 });
  const session = openSession(t, port, { initialWindowSize: 0 });
  const calls = ['Create', `${HEALTH}/Check`].map((path) => {
    const call = open(session, path);
    const request = path === 'Create' ? createRequest() : Buffer.alloc(0);
    call.stream.end(Buffer.concat([head(request.length), request]));
    return call;
  });
  for (const { ended } of calls) assert.equal((await ended).reset, http2.constants.NGHTTP2_CANCEL);
});

test('streams that live on go on past the default deadline, and end at one of their own', async (t) => {
  const { server, port } = await startServer(t, { defaultDeadlineMs: 50, maxDeadlineMs: 60 });
  const session = openSession(t, port);
  const start = (path: string, headers = {}) => {
    const call = open(session, path, headers);
    call.stream.resume();
    call.stream.end(head(0));
    return call;
  };
  const living = [start('Watch'), start(`${HEALTH}/Watch`)];
  const bounded = [start('Watch', { 'grpc-timeout': '150m' }), start(`${HEALTH}/Watch`, { 'grpc-timeout': '150m' })];
  for (const { ended } of bounded) assert.equal((await ended).code, status.DEADLINE_EXCEEDED);
  assert.deepEqual(
    living.map(({ stream }) => stream.closed),
    [false, false],
  );
  assert.equal(server.openStreams, 2);
});

test('after a final status the stream is closed, though its peer goes on', async (t) => {
  const { port } = await startServer(t, { maxReceiveBytes: 1024, defaultDeadlineMs: 600_000 });
  const session = openSession(t, port);
  const unknown = open(session, '/no.Such/Method');
  assert.equal((await unknown.ended).code, status.UNIMPLEMENTED);
  const large = open(session, 'Create');
  large.stream.write(head(2000));
  assert.equal((await large.ended).code, status.RESOURCE_EXHAUSTED);
  const other = open(session, 'Create', { 'content-type': 'text/plain' });
  await other.ended;
});

test('what cannot be read is INVALID_ARGUMENT with a code of ours, in every service', async (t) => {
  const { port, faults } = await startServer(t, { reflection: true });
  const session = openSession(t, port);
  const garbage = Buffer.from([0x0a, 0xff]);
  const framed = Buffer.concat([head(garbage.length), garbage]);
  const reflection = '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo';
  const unary = ['Create', 'Status', `${HEALTH}/Check`];
  const paths = [...unary, 'Watch', `${HEALTH}/Watch`, reflection];
  const sent: [string, string, Buffer, http2.OutgoingHttpHeaders?][] = [
    ...paths.map((path): [string, string, Buffer] => ['garbage', path, framed]),
    ...unary.map((path): [string, string, Buffer] => ['nothing', path, Buffer.alloc(0)]),
    ...unary.map((path): [string, string, Buffer] => ['a part', path, head(100)]),
    ...unary.map((path): [string, string, Buffer] => ['two', path, Buffer.concat([head(0), head(0)])]),
    ...unary.map((path): [string, string, Buffer, http2.OutgoingHttpHeaders] => [
      'no gzip',
      path,
      Buffer.concat([head(3, 1), Buffer.from('abc')]),
      { 'grpc-encoding': 'gzip' },
    ]),
    ['no timeout', 'Status', head(0), { 'grpc-timeout': '5 s' }],
  ];
  for (const [what, path, bytes, headers] of sent) {
    const call = open(session, path, headers);
    call.stream.resume();
    call.stream.end(bytes);
    const { code, reason } = await call.ended;
    assert.deepEqual([code, reason], [status.INVALID_ARGUMENT, 'REQUEST_UNDECODABLE'], `${what}: ${path}`);
  }
  assert.deepEqual(faults, []);
});

test('150 small headers are taken; more than 256, or 32 KiB, end their call alone', async (t) => {
  const { port } = await startServer(t);
  const session = openSession(t, port);
  const many = (count: number, length: number) =>
    Object.fromEntries(Array.from({ length: count }, (_, i) => [`x-${i}`, 'y'.repeat(length)]));
  const send = (headers: http2.OutgoingHttpHeaders) => {
    const call = open(session, 'ListPlugins', headers);
    call.stream.resume();
    call.stream.end(head(0));
    return call.ended;
  };
  assert.equal((await send(many(150, 10))).code, status.OK);
  assert.equal((await send(many(300, 10))).code, undefined);
  assert.equal((await send(many(50, 900))).code, undefined);
  assert.equal((await send({})).code, status.OK);
});

test('a wall clock that is set back or forward ends no call and prolongs none', async (t) => {
  const { port, tasks } = await startServer(t, { defaultDeadlineMs: 20_000 });
  const real = Date.now;
  for (const step of [-60_000, 60_000, 3 * 3_600_000]) {
    t.mock.method(Date, 'now', () => real() + step);
    tasks.before = (_method, scope) => {
      const left = scope.deadlineMs - (performance.timeOrigin + performance.now());
      assert.ok(left > 1000 && left <= 5000, String(left));
    };
    const { stream } = http2Call(t, port, 'Create', createRequest(), {}, { 'grpc-timeout': '5S' });
    const [trailers] = await once(stream.resume(), 'trailers');
    assert.equal(trailers['grpc-status'], '0');
    tasks.before = (_method, scope) => aborted(scope.signal);
    const late = http2Call(t, port, 'Create', createRequest(), {}, { 'grpc-timeout': '50m' });
    const [headers] = await once(late.stream, 'response');
    assert.equal(headers['grpc-status'], String(status.DEADLINE_EXCEEDED));
    t.mock.restoreAll();
  }
});

test('thousands of calls that come at once and are reset leave others their turn', async (t) => {
  const { server, port, tasks, call } = await startServer(t, { callsPerTurn: 4 });
  let started = 0;
  tasks.before = () => {
    started += 1;
  };
  const session = openSession(t, port);
  const request = createRequest();
  const bytes = Buffer.concat([head(request.length), request]);
  const streams = Array.from({ length: 2000 }, () => {
    const { stream } = open(session, 'Create');
    stream.end(bytes);
    return stream;
  });
  const other = call('ListPlugins', Buffer.alloc(0));
  for (const stream of streams) stream.close(http2.constants.NGHTTP2_CANCEL);
  assert.equal((await other).error, undefined);
  while (server.unfinishedBytes > 0) await turn();
  assert.ok(started < 2000, String(started));
  assert.equal((await call('Create', createRequest())).error, undefined);
});

test('a grpc-js whose insides differ is refused at the start', () => {
  const other = (inside: object) => inside as unknown as Server;
  assert.throws(() => boundHeaders(other({})), /built otherwise/);
  assert.throws(() => http2ServerOf(other({ http2Servers: [] })), /built otherwise/);
  assert.throws(() => http2ServerOf(other({ http2Servers: new Map() })), /built otherwise/);
  assert.throws(() => http2ServerOf(other({ http2Servers: new Map([[http2.createServer(), {}]]) })), /0 listeners/);
  assert.throws(() => http2ServerOf(new Server()), /built otherwise/);
});
