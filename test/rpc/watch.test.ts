import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { type ClientReadableStream, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import type { Message } from '../../src/idl/codec.js';
import { decodeRpcStatus } from '../../src/idl/rpc-status.js';
import { phaseState } from '../../src/model/phase-state.js';
import type { TaskRecord } from '../../src/model/task-record.js';
import { DEFAULT_FIELD_LIMITS } from '../support/defaults.js';
import { type Fixture, http2Call, idl, SERVICE, startServer } from './support.js';

const response = idl.codec('pluginhost.v1.WatchResponse');
const pass = (bytes: Buffer) => bytes;

/** Opens Watch with plain grpc-js, to be read by hand. */
function open(fixture: Fixture, request: Message = {}): ClientReadableStream<Buffer> {
  const bytes = idl.codec('pluginhost.v1.WatchRequest').encode(request);
  return fixture.raw().makeServerStreamRequest(`${SERVICE}/Watch`, pass, pass, bytes, new Metadata(), {});
}

/** The messages of a stream, decoded, until it ends. */
async function* messages(stream: ClientReadableStream<Buffer>): AsyncGenerator<Message, void> {
  for await (const bytes of stream) yield response.decode(bytes as Buffer);
}

async function failure(stream: ClientReadableStream<Buffer>): Promise<ServiceError> {
  stream.resume();
  const [error] = (await once(stream, 'error')) as [ServiceError];
  return error;
}

async function task(fixture: Fixture, name: string): Promise<TaskRecord> {
  const { handle } = await fixture.client().create({ generatedName: name, template: { type: 'demo' } });
  return fixture.tasks.peek(handle)!;
}

/** Waits, without a clock, until the condition holds. */
async function until(t: TestContext, condition: () => boolean): Promise<void> {
  while (!condition()) {
    if (t.signal.aborted) throw new Error('the test ended first');
    await new Promise((resolve) => setImmediate(resolve));
  }
}

test('Watch sends a token at once, then each change with the state of its task', async (t) => {
  const fixture = await startServer(t);
  const record = await task(fixture, 'a');
  const stream = messages(open(fixture, { plugins: ['demo'], includeCurrent: true }));
  const first = (await stream.next()).value!;
  assert.deepEqual([first.event, first.resumeToken, first.bookmark.draining], ['bookmark', '0', false]);
  fixture.tasks.ring.append(record);
  const second = (await stream.next()).value!;
  assert.equal(second.resumeToken, '1');
  assert.deepEqual(second.change.handle, record.answeredHandle);
  assert.deepEqual(
    [second.change.plugin, second.change.taskType, second.change.deleted, second.change.status.phaseInfo.phase],
    ['demo', 'demo', false, 'QUEUED'],
  );
  fixture.tasks.down.add('demo');
  fixture.tasks.ring.append(record, true);
  const third = (await stream.next()).value!;
  assert.deepEqual([third.change.deleted, third.change.status.remoteDown], [true, true]);
  fixture.tasks.ring.push({ kind: 'lagged', resumeToken: '3', dropped: 12 });
  assert.equal((await stream.next()).value!.lagged.dropped, '12');
  const [filter] = fixture.tasks.ring.filters;
  assert.deepEqual(filter, { plugins: ['demo'], handles: [], resumeToken: '', includeCurrent: true });
  await stream.return();
});

test('a change that cannot be encoded is told as missed, and the stream goes on', async (t) => {
  const fixture = await startServer(t);
  const bad = await task(fixture, 'a');
  const good = await task(fixture, 'b');
  const stream = messages(open(fixture));
  await stream.next();
  Object.assign(bad, { state: phaseState('UNDEFINED') });
  fixture.tasks.ring.append(bad);
  fixture.tasks.ring.append(good);
  const missed = (await stream.next()).value!;
  assert.deepEqual([missed.event, missed.resumeToken, missed.lagged.dropped], ['lagged', '1', '1']);
  assert.deepEqual((await stream.next()).value!.change.handle, good.answeredHandle);
  const [fault] = fixture.faults as { method: string; error: { code: string } }[];
  assert.deepEqual([fault?.method, fault?.error.code], ['/pluginhost.v1.PluginHost/Watch', 'ENCODE_INVALID']);
  await stream.return();
});

test('a stream that is left frees its reader and its place among the bounded streams', async (t) => {
  const fixture = await startServer(t);
  const stream = open(fixture);
  await messages(stream).next();
  stream.on('error', () => {});
  stream.cancel();
  await until(t, () => fixture.tasks.ring.readers.size === 0 && fixture.server.openStreams === 0);
  assert.equal(fixture.server.inFlight, 0);
});

test('streams beyond the bound get TOO_MANY_STREAMS, and the place is free again afterwards', async (t) => {
  const fixture = await startServer(t, { maxStreams: 2 });
  const streams = [open(fixture), open(fixture)];
  for (const stream of streams) await messages(stream).next();
  const error = await failure(open(fixture));
  assert.equal(error.code, status.RESOURCE_EXHAUSTED);
  const [details] = error.metadata.get('grpc-status-details-bin');
  const read = decodeRpcStatus(details as Buffer);
  assert.equal(read.errorInfo!.reason, 'TOO_MANY_STREAMS');
  assert.ok(read.retryAfterMs! > 0);
  streams[0]!.on('error', () => {});
  streams[0]!.cancel();
  await until(t, () => fixture.server.openStreams === 1);
  const third = messages(open(fixture));
  assert.equal((await third.next()).value!.event, 'bookmark');
});

test('bad filters and tokens end the stream with INVALID_ARGUMENT', async (t) => {
  const fixture = await startServer(t, {}, { limits: { ...DEFAULT_FIELD_LIMITS, watchEntries: 2, handleBytes: 10 } });
  const cases: [Message, RegExp][] = [
    [{ plugins: ['a', 'b', 'c'] }, /plugins: 3 entries, at most 2/],
    [{ handles: [Buffer.alloc(0)] }, /handles\[0\]: is not set/],
    [{ handles: [Buffer.alloc(11)] }, /handles\[0\]: 11 bytes/],
    [{ resumeToken: 'foreign' }, /resume_token "foreign"/],
  ];
  for (const [request, message] of cases) {
    const error = await failure(open(fixture, request));
    assert.equal(error.code, status.INVALID_ARGUMENT);
    assert.match(error.details, message);
  }
  assert.deepEqual([fixture.tasks.ring.readers.size, fixture.server.openStreams, fixture.faults.length], [0, 0, 0]);
});

test('a quiet stream gets bookmarks', async (t) => {
  const fixture = await startServer(t, {}, { bookmarkIntervalMs: 5 });
  const stream = messages(open(fixture));
  for (let i = 0; i < 3; i++) assert.equal((await stream.next()).value!.event, 'bookmark');
  fixture.tasks.ring.append(await task(fixture, 'a'));
  for (;;) {
    const message = (await stream.next()).value!;
    if (message.event === 'change') break;
    assert.equal(message.event, 'bookmark');
  }
  await stream.return();
});

test('a reader that stops reading holds up its own reader of the ring, and nothing piles up', async (t) => {
  const fixture = await startServer(t);
  const record = await task(fixture, 'a');
  Object.assign(record, { state: phaseState('RUNNING', { reason: 'x'.repeat(8000) }) });
  const total = 5000;
  for (let i = 0; i < total; i++) fixture.tasks.ring.append(record);
  // grpc-js's own client reads ahead, so this one is plain HTTP/2.
  const request = idl.codec('pluginhost.v1.WatchRequest').encode({ resumeToken: '0' });
  const { stream } = http2Call(t, fixture.port, 'Watch', request);
  await once(stream, 'response');
  // Not read: the windows fill up, and pulling from the ring stops for good.
  let last = -1;
  for (let steady = 0; steady < 500; ) {
    await new Promise((resolve) => setImmediate(resolve));
    const { pulled } = fixture.tasks.ring;
    steady = pulled === last && pulled > 0 ? steady + 1 : 0;
    last = pulled;
  }
  assert.ok(last < 100, `${last} of ${total} changes were pulled for a reader that reads nothing`);
  stream.resume();
  await until(t, () => fixture.tasks.ring.pulled === total);
});

test('at the drain Watch ends with a bookmark that says so, and a new one ends at once', async (t) => {
  const fixture = await startServer(t);
  const stream = messages(open(fixture));
  await stream.next();
  fixture.tasks.ring.append(await task(fixture, 'a'));
  assert.equal((await stream.next()).value!.event, 'change');
  fixture.server.beginDrain();
  const last = (await stream.next()).value!;
  assert.deepEqual([last.event, last.bookmark?.draining, last.resumeToken], ['bookmark', true, '1']);
  assert.equal((await stream.next()).done, true);
  const events: boolean[] = [];
  for await (const message of messages(open(fixture, { resumeToken: '1' }))) events.push(message.bookmark.draining);
  assert.equal(events.at(-1), true);
});

test('the draining bookmark of the use case itself ends the stream too, and is not sent twice', async (t) => {
  const fixture = await startServer(t);
  const stream = messages(open(fixture));
  await stream.next();
  fixture.tasks.ring.push({ kind: 'bookmark', resumeToken: '7', draining: true });
  const rest: Message[] = [];
  for await (const message of stream) rest.push(message);
  assert.deepEqual(
    rest.map((m) => [m.resumeToken, m.bookmark.draining]),
    [['7', true]],
  );
});
