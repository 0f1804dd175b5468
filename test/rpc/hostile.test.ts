import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import http2 from 'node:http2';
import { connect, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { createRequest, type Fixture, http2Call, SERVICE, startServer } from './support.js';

const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';
const closed = (socket: Socket): Promise<void> => new Promise((resolve) => socket.once('close', () => resolve()));

function send(t: TestContext, fixture: Fixture, bytes: string | Buffer): Socket {
  const socket = connect(fixture.port, '127.0.0.1');
  socket.on('error', () => {});
  socket.resume();
  t.after(() => socket.destroy());
  socket.end(bytes);
  return socket;
}

test('bytes that are no HTTP/2, or stop being it, end their connection and no other', async (t) => {
  // Node answers some of these with GOAWAY and then leaves the socket alone; the keepalive closes it.
  const fixture = await startServer(t, { keepaliveTimeMs: 50, keepaliveTimeoutMs: 200 });
  const frame = (hex: string) =>
    Buffer.concat([Buffer.from(PREFACE), Buffer.from('000000040000000000', 'hex'), Buffer.from(hex, 'hex')]);
  const sent = [
    'GET / HTTP/1.1\r\nHost: x\r\n\r\n',
    Buffer.from('1603010200010001fc0303', 'hex'),
    PREFACE.slice(0, 10),
    // DATA on stream 0, a frame longer than allowed, HEADERS whose block is nonsense, and random bytes.
    frame('000001000000000000ff'),
    frame('ffffff000000000001'),
    frame('000004010500000001ffffffff'),
    ...Array.from({ length: 20 }, () => Buffer.concat([Buffer.from(PREFACE), randomBytes(200)])),
  ];
  await Promise.all(sent.map((bytes) => closed(send(t, fixture, bytes))));
  assert.equal((await fixture.call('Create', createRequest())).error, undefined);
  assert.deepEqual(fixture.faults, []);
});

test('a peer that opens and resets calls as fast as it can costs its own connection at most', async (t) => {
  const fixture = await startServer(t);
  const session = http2.connect(`http://127.0.0.1:${fixture.port}`);
  session.on('error', () => {});
  t.after(() => session.destroy());
  for (let i = 0; i < 2000 && !session.destroyed; i++) {
    const stream = session.request({
      ':method': 'POST',
      ':path': `${SERVICE}/Create`,
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    stream.on('error', () => {});
    stream.close(http2.constants.NGHTTP2_CANCEL);
    if (i % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  assert.equal((await fixture.call('Create', createRequest())).error, undefined);
  assert.deepEqual([fixture.faults, fixture.server.inFlight], [[], 0]);
});

/** Of a call that never becomes one. */
async function refusal(t: TestContext, fixture: Fixture, path: string, headers: http2.OutgoingHttpHeaders = {}) {
  const { stream } = http2Call(t, fixture.port, path, Buffer.alloc(0), {}, headers);
  const [answer] = (await once(stream, 'response')) as [http2.IncomingHttpHeaders];
  return { status: Number(answer['grpc-status']), message: String(answer['grpc-message']) };
}

test('a method whose name is no part of a URL is unimplemented as any other that there is not', async (t) => {
  const fixture = await startServer(t);
  for (const name of [
    '/%',
    '/%zz',
    '/%E0%A4%A',
    `${SERVICE}/%`,
    `${SERVICE}/Status%`,
    '/%ff/message',
    '/',
    '/ä',
    '/\u00ff%',
  ]) {
    const { status, message } = await refusal(t, fixture, name);
    assert.equal(status, 12, `${name}: ${message}`);
  }
  assert.equal((await fixture.call('Create', createRequest())).error, undefined);
  assert.deepEqual(fixture.faults, []);
});

test('what is wrong with a request before it is a call is refused in words that hold anything', async (t) => {
  const fixture = await startServer(t);
  const odd = ['%', '%zz', '\u00ff', 'x'.repeat(5_000), '%E0%A4%A', '"'];
  for (const value of odd) {
    for (const header of ['grpc-timeout', 'grpc-encoding', 'content-type']) {
      const { status } = await refusal(t, fixture, `${SERVICE}/Status`, { [header]: value });
      assert.ok([3, 12].includes(status) || Number.isNaN(status), `${header} ${value}: ${status}`);
    }
  }
  assert.deepEqual(fixture.faults, []);
});

test('what the gRPC library says of metadata that it does not like goes to the log, and nowhere else', async (t) => {
  const fixture = await startServer(t);
  const written = t.mock.method(process.stderr, 'write', () => true);
  const { stream } = http2Call(
    t,
    fixture.port,
    'Create',
    createRequest(),
    {},
    // One that names a coding is a call of the library.
    { 'grpc-encoding': 'identity', 'a&b': 'x' },
  );
  await once(stream, 'response');
  assert.match(fixture.said.join(), /a&b/);
  assert.equal(written.mock.callCount(), 0);
});
