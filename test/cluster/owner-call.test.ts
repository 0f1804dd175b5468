import assert from 'node:assert/strict';
import { once } from 'node:events';
import http2 from 'node:http2';
import net from 'node:net';
import { type TestContext, test } from 'node:test';
import { status } from '@grpc/grpc-js';
import { endOf, OwnerCall, type PassedEnd, timeoutHeader } from '../../src/cluster/owner-call.js';
import { OwnerConnection } from '../../src/cluster/owner-connection.js';
import { ManualClock } from '../../src/lib/clock.js';
import { until } from '../daemon/support.js';

const MIB = 1024 * 1024;

type Serve = (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders, body: Buffer) => void;

/** An owner that answers as the test says. */
async function startOwner(t: TestContext, serve: Serve) {
  const server = http2.createServer();
  const sessions: http2.ServerHttp2Session[] = [];
  let accepted: net.Socket | undefined;
  server.prependListener('connection', (socket: net.Socket) => {
    accepted = socket;
  });
  server.on('session', (session) => {
    sessions.push(session);
    sockets.set(session, accepted as net.Socket);
  });
  server.on('stream', (stream, headers) => {
    const chunks: Buffer[] = [];
    stream.on('error', () => {});
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('end', () => {
      if (!stream.destroyed) serve(stream, headers, Buffer.concat(chunks));
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    for (const session of sessions) session.destroy();
    server.close();
  });
  return { sessions, server, address: `127.0.0.1:${(server.address() as net.AddressInfo).port}` };
}

function connect(t: TestContext, address: string, tls?: http2.SecureClientSessionOptions) {
  const clock = new ManualClock();
  const connection = new OwnerConnection({
    address,
    clock,
    random: () => 0.5,
    tls: () => tls,
    backoff: { initialMs: 100, maxMs: 1_000 },
    keepaliveMs: 10_000,
    keepaliveTimeoutMs: 5_000,
  });
  t.after(() => connection.close());
  let last: OwnerCall | undefined;
  const call = (request = Buffer.from('ask'), metadata: http2.OutgoingHttpHeaders = {}, leftMs = 1_000) =>
    new Promise<Buffer | PassedEnd>((resolve) => {
      const parts = { path: '/a.B/C', authority: 'owner', request, metadata, leftMs, maxBytes: 8 * MIB };
      last = new OwnerCall(parts, (headers) => connection.request(headers), resolve);
    });
  return { clock, connection, call, cut: (end: PassedEnd) => last?.cut(end) };
}

function framed(text: string | Buffer, flag = 0): Buffer {
  const bytes = Buffer.from(text);
  const head = Buffer.alloc(5);
  head[0] = flag;
  head.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
}

/** Answers with a message, in the pieces given, and trailers. */
function answer(stream: http2.ServerHttp2Stream, pieces: readonly Buffer[], trailers: object = { 'grpc-status': '0' }) {
  stream.respond({ 'content-type': 'application/grpc' }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers(trailers as http2.OutgoingHttpHeaders));
  for (const piece of pieces) stream.write(piece);
  stream.end();
}

const refuse = (stream: http2.ServerHttp2Stream, headers: http2.OutgoingHttpHeaders) =>
  stream.respond({ ':status': 200, 'content-type': 'application/grpc', ...headers }, { endStream: true });

/** A session gives its socket away to nobody else. */
function socketOf({ session }: http2.ServerHttp2Stream): net.Socket {
  const socket = sockets.get(session as http2.ServerHttp2Session);
  assert.ok(socket !== undefined);
  return socket;
}

const sockets = new WeakMap<http2.ServerHttp2Session, net.Socket>();

const shortly = (end: Buffer | PassedEnd) => (Buffer.isBuffer(end) ? end.toString() : status[end.code]);

test('a call arrives with its bytes, its time and its metadata, and its answer is whole in however many pieces', async (t) => {
  const seen: (readonly [http2.IncomingHttpHeaders, Buffer])[] = [];
  const { address } = await startOwner(t, (stream, headers, body) => {
    seen.push([headers, body]);
    const bytes = framed(`answer ${seen.length}`);
    const pieces = seen.length === 1 ? [bytes] : [...bytes].map((byte) => Buffer.of(byte));
    answer(stream, seen.length === 3 ? [framed(Buffer.alloc(4 * MIB, 7))] : pieces);
  });
  const { call } = connect(t, address);
  assert.equal(shortly(await call(Buffer.from('ask'), { 'x-a': 'b' })), 'answer 1');
  assert.equal(shortly(await call(Buffer.alloc(0), {}, Number.POSITIVE_INFINITY)), 'answer 2');
  assert.deepEqual(await call(Buffer.alloc(4 * MIB, 9)), Buffer.alloc(4 * MIB, 7));
  assert.deepEqual(
    seen.map(([headers]) => [
      headers[':path'],
      headers[':authority'],
      headers['grpc-timeout'],
      headers['x-a'],
      headers.te,
    ]),
    [
      ['/a.B/C', 'owner', '1000m', 'b', 'trailers'],
      ['/a.B/C', 'owner', undefined, undefined, 'trailers'],
      ['/a.B/C', 'owner', '1000m', undefined, 'trailers'],
    ],
  );
  assert.deepEqual(
    seen.map(([, body]) => body),
    [framed('ask'), framed(''), framed(Buffer.alloc(4 * MIB, 9))],
  );
});

test('the time that is left is never told shorter than it is, and has eight digits at most', () => {
  assert.deepEqual([0, 0.2, 999, 99_999_999, 100_000_000, 1e15].map(timeoutHeader), [
    '0m',
    '1m',
    '999m',
    '99999999m',
    '100000S',
    '99999999S',
  ]);
});

test('an error has its code, its words and its details, as headers alone or after an answer', async (t) => {
  const details = Buffer.from([8, 5, 255, 0]);
  const trailers = {
    'grpc-status': '5',
    'grpc-message': encodeURI('100 % of “ü”/?#'),
    'grpc-status-details-bin': details.toString('base64').replace(/=+$/, ''),
  };
  let alone = true;
  const { address } = await startOwner(t, (stream) =>
    alone ? refuse(stream, trailers) : answer(stream, [], trailers),
  );
  const { call } = connect(t, address);
  const expected = endOf(status.NOT_FOUND, '100 % of “ü”/?#', details);
  assert.deepEqual(await call(), expected);
  alone = false;
  assert.deepEqual(await call(), expected);
});

test('what is no answer ends a call with the code that says why', async (t) => {
  const cases: (readonly [string, Serve])[] = [
    ['UNKNOWN', (stream) => refuse(stream, { 'grpc-status': '99' })],
    ['UNKNOWN', (stream) => refuse(stream, { 'grpc-status': 'x', 'grpc-message': '%zz' })],
    ['UNAVAILABLE', (stream) => stream.respond({ ':status': 503 }, { endStream: true })],
    ['PERMISSION_DENIED', (stream) => stream.respond({ ':status': 403 })],
    ['UNKNOWN', (stream) => stream.respond({ ':status': 302 }, { endStream: true })],
    ['INTERNAL', (stream) => answer(stream, [])],
    ['INTERNAL', (stream) => answer(stream, [framed('whole').subarray(0, 7)])],
    ['INTERNAL', (stream) => answer(stream, [framed('one'), framed('two')])],
    ['INTERNAL', (stream) => answer(stream, [framed('packed', 1)])],
    ['UNKNOWN', (stream) => answer(stream, [framed('no status')], { 'x-a': 'b' })],
    ['INTERNAL', (stream) => answer(stream, [], { 'grpc-status': '0' })],
    ['RESOURCE_EXHAUSTED', (stream) => answer(stream, [Buffer.from([0, 0xff, 0xff, 0xff, 0xff])])],
    ['CANCELLED', (stream) => stream.close(http2.constants.NGHTTP2_CANCEL)],
    ['RESOURCE_EXHAUSTED', (stream) => stream.close(http2.constants.NGHTTP2_ENHANCE_YOUR_CALM)],
    ['INTERNAL', (stream) => stream.close(http2.constants.NGHTTP2_NO_ERROR)],
    ['UNAVAILABLE', (stream) => stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR)],
    ['UNAVAILABLE', (stream) => socketOf(stream).destroy()],
    ['UNAVAILABLE', (stream) => socketOf(stream).resetAndDestroy()],
  ];
  let serve: Serve = () => {};
  const { address } = await startOwner(t, (...call) => serve(...call));
  for (const [index, [code, each]] of cases.entries()) {
    serve = each;
    const { call } = connect(t, address);
    const end = await call();
    assert.equal(shortly(end), code, `case ${index}`);
    assert.equal((end as PassedEnd).details, undefined);
    assert.equal((end as PassedEnd).refused, false);
  }
});

test('a stream that was not looked at is told as refused, and no other end is', async (t) => {
  const { address } = await startOwner(t, (stream) => stream.close(http2.constants.NGHTTP2_REFUSED_STREAM));
  const { call } = connect(t, address);
  const end = (await call()) as PassedEnd;
  assert.deepEqual([end.code, end.refused], [status.UNAVAILABLE, true]);
});

test('after GOAWAY calls under way are answered, and the next one goes over another connection', async (t) => {
  const held: http2.ServerHttp2Stream[] = [];
  const { address, sessions } = await startOwner(t, (stream) => {
    if (sessions.length > 1) answer(stream, [framed('second connection')]);
    else held.push(stream);
  });
  const { call, clock } = connect(t, address);
  const first = call();
  await until('the call', () => held.length === 1);
  const ping = new Promise((resolve) => {
    sessions[0]?.goaway(0, 2 ** 31 - 1);
    sessions[0]?.ping(resolve);
  });
  await ping;
  assert.equal(shortly(await call()), 'second connection');
  await clock.advance(60_000);
  answer(held[0] as http2.ServerHttp2Stream, [framed('first connection')]);
  assert.equal(shortly(await first), 'first connection');
  assert.equal(sessions.length, 2);
});

test('where no connection can be made none is tried for a time that grows, and then it is', async (t) => {
  const gone = await startOwner(t, () => {});
  gone.server.close();
  const { clock, call } = connect(t, gone.address);
  const tries: string[] = [];
  for (const waitMs of [0, 50, 60, 100, 110]) {
    await clock.advance(waitMs);
    const asked = await call().catch((error: Error) => `refused: ${error.message}`);
    tries.push(typeof asked === 'string' ? asked.replace(/:\d+$/, '') : `tried: ${shortly(asked)}`);
  }
  assert.deepEqual(tries, [
    'tried: UNAVAILABLE',
    'refused: connect ECONNREFUSED 127.0.0.1',
    'tried: UNAVAILABLE',
    'refused: connect ECONNREFUSED 127.0.0.1',
    'tried: UNAVAILABLE',
  ]);
});

test('an owner that gives no sign of life while it has calls is cut off, and one that does is not', async (t) => {
  const deaf = net.createServer((socket) => socket.on('error', () => {}).resume());
  deaf.listen(0, '127.0.0.1');
  await once(deaf, 'listening');
  t.after(() => deaf.close());
  const silent = connect(t, `127.0.0.1:${(deaf.address() as net.AddressInfo).port}`);
  const lost = silent.call();
  await new Promise((resolve) => setTimeout(resolve, 50));
  await silent.clock.advance(10_000);
  await silent.clock.advance(5_000);
  const end = (await lost) as PassedEnd;
  assert.deepEqual([end.code, end.message], [status.UNAVAILABLE, 'no sign of life']);

  // Its handshake never ends.
  const unmade = connect(t, `127.0.0.1:${(deaf.address() as net.AddressInfo).port}`, {});
  const unsent = unmade.call();
  await unmade.clock.advance(15_000);
  assert.deepEqual(shortly(await unsent), 'UNAVAILABLE');

  const held: http2.ServerHttp2Stream[] = [];
  const { address } = await startOwner(t, (stream) => held.push(stream));
  const living = connect(t, address);
  const kept = living.call();
  await until('the call', () => held.length === 1);
  for (let round = 0; round < 3; round++) {
    await living.clock.advance(10_000);
    await new Promise((resolve) => setTimeout(resolve, 50));
    await living.clock.advance(4_900);
  }
  answer(held[0] as http2.ServerHttp2Stream, [framed('still here')]);
  assert.equal(shortly(await kept), 'still here');
});

test('a call that is cut is reset at the owner, and a connection that is closed takes no more', async (t) => {
  const resets: number[] = [];
  const held: http2.ServerHttp2Stream[] = [];
  const { address, sessions } = await startOwner(t, (stream) => {
    held.push(stream);
    stream.once('close', () => resets.push(stream.rstCode));
  });
  const { call, cut, connection } = connect(t, address);
  const first = call();
  await until('the call', () => held.length === 1);
  const why = endOf(status.CANCELLED, 'the caller went');
  cut(why);
  cut(endOf(status.UNKNOWN, 'once more'));
  assert.deepEqual(await first, why);
  await until('its reset', () => resets.length === 1);
  const second = call();
  await until('the second one', () => held.length === 2);
  connection.close();
  assert.equal(shortly(await second), 'UNAVAILABLE');
  await until('the end of the connection', () => sessions[0]?.destroyed);
  await assert.rejects(call(), /closed/);
  assert.equal(resets[0], http2.constants.NGHTTP2_CANCEL);
});
