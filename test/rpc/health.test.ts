import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { type ClientReadableStream, Metadata, status } from '@grpc/grpc-js';
import { service as healthDefinition } from 'grpc-health-check';
import { type Fixture, http2Call, rawCall, startServer } from './support.js';

const check = healthDefinition.Check!;
const SERVICE = '/grpc.health.v1.Health';

async function statusOf(fixture: Fixture, service: string): Promise<string> {
  const reply = await rawCall(fixture.raw(), `${SERVICE}/Check`, check.requestSerialize({ service }));
  if (reply.error !== undefined) return status[reply.error.code]!;
  return (check.responseDeserialize(reply.bytes) as { status: string }).status;
}

function watch(fixture: Fixture, service: string, options: object = {}): ClientReadableStream<{ status: string }> {
  return fixture
    .raw()
    .makeServerStreamRequest(
      `${SERVICE}/Watch`,
      check.requestSerialize,
      check.responseDeserialize as (bytes: Buffer) => { status: string },
      { service },
      new Metadata(),
      options,
    );
}

test('health answers for the daemon, its services and each plugin; a name that is none is NOT_FOUND', async (t) => {
  const fixture = await startServer(t);
  assert.equal(await statusOf(fixture, ''), 'SERVING');
  assert.equal(await statusOf(fixture, 'pluginhost.v1.PluginHost'), 'SERVING');
  assert.equal(await statusOf(fixture, 'demo'), 'SERVING');
  assert.equal(await statusOf(fixture, 'nobody'), 'NOT_FOUND');
  fixture.health.entries = [{ id: 'other', serving: true }];
  fixture.health.changed();
  assert.equal(await statusOf(fixture, 'demo'), 'NOT_SERVING', 'a plugin that is gone does not serve');
  assert.equal(await statusOf(fixture, 'other'), 'SERVING');
  fixture.health.isReady = false;
  fixture.health.changed();
  assert.equal(await statusOf(fixture, ''), 'NOT_SERVING');
  assert.equal(await statusOf(fixture, 'pluginhost.v1.PluginHost'), 'NOT_SERVING');
  assert.equal(await statusOf(fixture, 'other'), 'SERVING', 'a plugin serves though another one holds up readiness');
});

test('health Watch tells changes, NOT_SERVING once unready, and ends at the drain', async (t) => {
  const fixture = await startServer(t);
  const stream = watch(fixture, 'demo');
  const seen: string[] = [];
  stream.on('data', (message: { status: string }) => seen.push(message.status));
  await once(stream, 'data');
  fixture.health.entries = [{ id: 'demo', serving: false }];
  fixture.health.changed();
  await once(stream, 'data');
  fixture.health.changed();
  fixture.health.entries = [{ id: 'demo', serving: true }];
  fixture.health.changed();
  await once(stream, 'data');
  fixture.server.beginUnready();
  await once(stream, 'data');
  assert.equal(await statusOf(fixture, ''), 'NOT_SERVING');
  const ended = once(stream, 'end');
  fixture.server.beginDrain();
  await ended;
  assert.deepEqual(seen, ['SERVING', 'NOT_SERVING', 'SERVING', 'NOT_SERVING']);
  fixture.health.changed();
  assert.equal(
    await statusOf(fixture, 'demo'),
    'NOT_SERVING',
    'a plugin that comes up while draining is not announced',
  );
  const late = watch(fixture, '');
  const lateSeen: string[] = [];
  late.on('data', (message: { status: string }) => lateSeen.push(message.status));
  await once(late, 'end');
  assert.deepEqual(lateSeen, ['NOT_SERVING']);
});

test('health streams are bounded, and one that is left makes room', async (t) => {
  const fixture = await startServer(t, { maxStreams: 1 });
  const first = watch(fixture, '');
  first.on('error', () => {});
  await once(first, 'data');
  const second = watch(fixture, '');
  second.resume();
  const [error] = await once(second, 'error');
  assert.equal(error.code, status.RESOURCE_EXHAUSTED);
  first.cancel();
  for (;;) {
    const next = watch(fixture, '');
    const got = await Promise.race([once(next, 'data'), once(next, 'error').catch(() => undefined)]);
    if ((got as { status?: string }[])[0]?.status === 'SERVING') break;
  }
});

test('a name that nobody has is answered as such however long it is, and Watch tells when somebody takes it', async (t) => {
  const fixture = await startServer(t);
  const reply = await rawCall(
    fixture.raw(),
    `${SERVICE}/Check`,
    check.requestSerialize({ service: 'x'.repeat(100_000) }),
  );
  assert.equal(reply.error?.code, status.NOT_FOUND);
  assert.equal(reply.details?.errorInfo?.reason, 'PLUGIN_UNKNOWN');
  assert.match(reply.error.details, /pluginhost\.v1\.PluginHost, demo|demo, pluginhost\.v1\.PluginHost/);
  assert.ok(reply.error.details.length < 300);

  const long = watch(fixture, 'x'.repeat(100_000));
  long.resume();
  const [error] = await once(long, 'error');
  assert.equal(error.code, status.INVALID_ARGUMENT);

  const stream = watch(fixture, 'later');
  const seen: string[] = [];
  stream.on('data', (message: { status: string }) => seen.push(message.status));
  await once(stream, 'data');
  fixture.health.entries = [{ id: 'later', serving: true }];
  fixture.health.changed();
  await once(stream, 'data');
  assert.deepEqual(seen, ['SERVICE_UNKNOWN', 'SERVING']);
  stream.on('error', () => {});
  stream.cancel();
});

test('a health Watch that is not read gets the last status when it is, and no queue of old ones', async (t) => {
  const fixture = await startServer(t);
  const request = check.requestSerialize({ service: 'demo' });
  const { session, stream } = http2Call(t, fixture.port, `${SERVICE}/Watch`, request, { initialWindowSize: 0 });
  await once(stream, 'response');
  for (let i = 1; i <= 1001; i++) {
    fixture.health.entries = [{ id: 'demo', serving: i % 2 === 0 }];
    fixture.health.changed();
  }
  session.settings({ initialWindowSize: 65_535 });
  const chunks: Buffer[] = [];
  stream.on('data', (chunk: Buffer) => chunks.push(chunk));
  // It is ended, so that everything that waited is there.
  fixture.server.beginDrain();
  await once(stream, 'end');
  const messages: string[] = [];
  for (let bytes = Buffer.concat(chunks); bytes.length > 0; bytes = bytes.subarray(5 + bytes.readUInt32BE(1))) {
    const message = bytes.subarray(5, 5 + bytes.readUInt32BE(1));
    messages.push((check.responseDeserialize(message) as { status: string }).status);
  }
  assert.ok(messages.length < 100, `${messages.length} messages were kept`);
  assert.equal(messages.at(-1), 'NOT_SERVING');
});

test('health has the deadlines, bounds and metrics of every other service, and refuses what is no request of it', async (t) => {
  const seen: string[] = [];
  const fixture = await startServer(t, {
    maxStreams: 1,
    metrics: ({ service, method, type }) => ({
      started: () => seen.push(`${service}/${method} ${type} started`),
      handled: (code) => seen.push(`${method} ${code}`),
      received() {},
      sent() {},
    }),
  });
  assert.equal(await statusOf(fixture, ''), 'SERVING');
  assert.deepEqual(seen.splice(0), ['grpc.health.v1.Health/Check unary started', 'Check OK']);
  const bad = await rawCall(fixture.raw(), `${SERVICE}/Check`, Buffer.from([0x0a, 0x7f]));
  assert.equal(bad.details?.errorInfo?.reason, 'REQUEST_UNDECODABLE');
  assert.deepEqual(seen.splice(0).at(-1), 'Check INVALID_ARGUMENT');
  const list = await rawCall(fixture.raw(), `${SERVICE}/List`, Buffer.alloc(0));
  const { statuses } = healthDefinition.List!.responseDeserialize(list.bytes) as { statuses: Record<string, unknown> };
  assert.deepEqual(Object.keys(statuses).sort(), ['', 'demo', 'pluginhost.v1.PluginHost']);
  // A stream of health takes no place from those of tasks.
  const open = watch(fixture, '');
  open.on('error', () => {});
  await once(open, 'data');
  const other = http2Call(t, fixture.port, 'Watch', Buffer.alloc(0));
  const [headers] = await once(other.stream, 'response');
  assert.equal(headers['grpc-status'], undefined, 'it is open');
  open.cancel();
  for (let code = status.OK; code !== status.DEADLINE_EXCEEDED; ) {
    const ended = watch(fixture, 'demo', { deadline: Date.now() + 300 });
    ended.resume();
    [{ code }] = await once(ended, 'error');
    // The one that was left may have its place for a moment.
    assert.ok([status.DEADLINE_EXCEEDED, status.RESOURCE_EXHAUSTED].includes(code));
  }
});
