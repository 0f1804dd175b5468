import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { Metadata, status } from '@grpc/grpc-js';
import { systemClock } from '../../src/lib/clock.js';
import { createDeferred } from '../../src/lib/deferred.js';
import { phaseState } from '../../src/model/phase-state.js';
import { abortCode, aborted } from '../support/aborted.js';
import { createRequest, type Fixture, http2Call, SERVICE, startServer } from './support.js';

/** Holds up Create until released; `entered` resolves when the use case was reached. */
function holdCreate(fixture: Fixture) {
  const entered = createDeferred<void>();
  const release = createDeferred<void>();
  const undelivered = createDeferred<void>();
  fixture.tasks.before = async () => {
    entered.resolve();
    await release.promise;
  };
  fixture.tasks.onUndelivered = () => undelivered.resolve();
  return { entered: entered.promise, release: () => release.resolve(), undelivered: undelivered.promise };
}

test('a Create that was answered as a whole is not undelivered', async (t) => {
  const fixture = await startServer(t);
  assert.equal((await fixture.call('Create', createRequest())).error, undefined);
  // A later call on the same connection: by now the first one is closed on the server.
  await fixture.call('ListPlugins', Buffer.alloc(0));
  assert.equal(fixture.tasks.undeliveredCount, 0);
});

test('a Create whose caller cancels is undelivered, once, and its signal is aborted', async (t) => {
  const fixture = await startServer(t);
  const held = holdCreate(fixture);
  const client = fixture.raw();
  const pass = (bytes: Buffer) => bytes;
  const ended = createDeferred<number>();
  const call = client.makeUnaryRequest(`${SERVICE}/Create`, pass, pass, createRequest(), new Metadata(), {}, (error) =>
    ended.resolve(error?.code ?? 0),
  );
  await held.entered;
  const { signal } = fixture.tasks.scopes[0]!;
  const gone = aborted(signal);
  call.cancel();
  assert.equal(await ended.promise, status.CANCELLED);
  await gone;
  assert.equal(abortCode(signal), 'CALL_CANCELLED');
  held.release();
  await held.undelivered;
  assert.equal(fixture.tasks.undeliveredCount, 1);
});

test("a Create past its caller's deadline is undelivered, and its signal says which", async (t) => {
  const fixture = await startServer(t);
  // The connection is there before the deadline runs.
  await fixture.call('ListPlugins', Buffer.alloc(0));
  const held = holdCreate(fixture);
  const reply = fixture.call('Create', createRequest(), { deadlineMs: 500 });
  await held.entered;
  const { signal, deadlineMs } = fixture.tasks.scopes[0]!;
  assert.ok(deadlineMs <= systemClock.now() + 500);
  const gone = aborted(signal);
  assert.equal((await reply).error!.code, status.DEADLINE_EXCEEDED);
  await gone;
  held.release();
  await held.undelivered;
  assert.equal(fixture.tasks.undeliveredCount, 1);
});

test('a Create whose connection breaks before the answer is undelivered', async (t) => {
  const fixture = await startServer(t);
  const held = holdCreate(fixture);
  const { session } = http2Call(t, fixture.port, 'Create', createRequest());
  await held.entered;
  session.destroy();
  await aborted(fixture.tasks.scopes[0]!.signal);
  held.release();
  await held.undelivered;
  assert.equal(fixture.tasks.undeliveredCount, 1);
});

test('a Create whose answer was handed over and could not leave is undelivered', async (t) => {
  const fixture = await startServer(t);
  const undelivered = createDeferred<void>();
  fixture.tasks.onUndelivered = () => undelivered.resolve();
  // With a window of 0 bytes the answer waits in the server.
  const window = { initialWindowSize: 0 };
  const { session, stream } = http2Call(t, fixture.port, 'Create', createRequest(), window);
  await once(stream, 'response');
  assert.equal(fixture.tasks.undeliveredCount, 0);
  session.destroy();
  await undelivered.promise;
  assert.equal(fixture.tasks.undeliveredCount, 1);
});

test('a call without a deadline gets the default one and is answered at it; what settles later is undelivered', async (t) => {
  const fixture = await startServer(t, { defaultDeadlineMs: 100 });
  const held = holdCreate(fixture);
  const before = systemClock.now();
  const reply = fixture.call('Create', createRequest(), { deadlineMs: Number.POSITIVE_INFINITY });
  await held.entered;
  const { deadlineMs, signal } = fixture.tasks.scopes[0]!;
  assert.ok(deadlineMs >= before + 100 && deadlineMs <= systemClock.now() + 100);
  const { error, details } = await reply;
  assert.equal(error!.code, status.DEADLINE_EXCEEDED);
  assert.equal(details!.errorInfo!.reason, 'DEADLINE_EXCEEDED');
  assert.equal(signal.aborted, true);
  held.release();
  await held.undelivered;
});

test('a longer deadline than the maximum is cut to it', async (t) => {
  const fixture = await startServer(t, { maxDeadlineMs: 120 });
  const held = holdCreate(fixture);
  const reply = fixture.call('Create', createRequest(), { deadlineMs: 600_000 });
  await held.entered;
  assert.ok(fixture.tasks.scopes[0]!.deadlineMs <= systemClock.now() + 120);
  const { error, details } = await reply;
  assert.equal(error!.code, status.DEADLINE_EXCEEDED);
  assert.match(details!.message, /no answer within the deadline/);
  held.release();
  await held.undelivered;
});

test('a deadline beyond what the transport can reckon is cut to the maximum as well', async (t) => {
  const { port, tasks } = await startServer(t, { maxDeadlineMs: 60_000 });
  // Long enough for a timer that ran over to cut the call.
  tasks.before = () => new Promise((resolve) => setTimeout(resolve, 50));
  for (const timeout of ['597H', '35792M', '2147484S', '99999999H', '99999999m']) {
    const startedAt = systemClock.now();
    const { stream } = http2Call(t, port, 'Create', createRequest(), {}, { 'grpc-timeout': timeout });
    let code: unknown;
    for (const event of ['response', 'trailers']) {
      stream.on(event, (headers) => {
        code = headers['grpc-status'] ?? code;
      });
    }
    await once(stream.resume(), 'close');
    assert.equal(code, String(status.OK), timeout);
    const { deadlineMs } = tasks.scopes.at(-1)!;
    assert.ok(deadlineMs >= startedAt + 60_000 && deadlineMs <= systemClock.now() + 60_000, timeout);
  }
});

test('a Create whose answer cannot be encoded is an error to the caller, and undelivered', async (t) => {
  const fixture = await startServer(t);
  fixture.tasks.createState = phaseState('UNDEFINED');
  const { details } = await fixture.call('Create', createRequest());
  assert.equal(details!.errorInfo!.reason, 'ENCODE_INVALID');
  assert.equal(fixture.tasks.undeliveredCount, 1);
});

test('an answered call is not aborted afterwards', async (t) => {
  const fixture = await startServer(t);
  fixture.tasks.before = (_method, scope) => assert.equal(scope.signal.aborted, false);
  await fixture.call('Create', createRequest());
  await fixture.call('ListPlugins', Buffer.alloc(0));
  assert.equal(fixture.tasks.scopes[0]!.signal.aborted, false);
});
