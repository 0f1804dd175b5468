import assert from 'node:assert/strict';
import http2 from 'node:http2';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createClient, PluginHostError, type WatchUpdate } from '../../src/client/index.js';
import { HostError } from '../../src/errors/index.js';
import { type PhaseState, phaseState } from '../../src/model/phase-state.js';
import { type Fixture, idl, startServer } from '../rpc/support.js';

/** Changes a task as the store would, and tells Watch. */
function move(fixture: Fixture, handle: Buffer, state: PhaseState): void {
  const record = fixture.tasks.peek(handle)!;
  record.state = state;
  record.phaseVersion += 1;
  record.revision += 1;
  fixture.tasks.ring.append(record);
}

const until = async (condition: () => boolean): Promise<void> => {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
};

test('an error of the daemon arrives with code, status, delay, details and field', async (t) => {
  const fixture = await startServer(t);
  fixture.tasks.before = () => {
    throw new HostError('STORE_FULL', 'full', { retryAfterMs: 1500, details: { field: 'task', held: '5' } });
  };
  await assert.rejects(
    fixture.client().create({ generatedName: 'a', template: { type: 'demo' } }),
    (error: PluginHostError) => {
      assert.ok(error instanceof PluginHostError);
      assert.deepEqual(
        [error.code, error.status, error.message, error.retryAfterMs],
        ['STORE_FULL', 'RESOURCE_EXHAUSTED', 'full', 1500],
      );
      assert.deepEqual({ ...error.details }, { field: 'task', held: '5' });
      assert.deepEqual(error.violations, [{ field: 'task', description: 'full' }]);
      return true;
    },
  );
});

test('an error of the transport has the name of its status as code', async (t) => {
  const fixture = await startServer(t);
  const client = fixture.client();
  await fixture.server.forceStop();
  await assert.rejects(client.listPlugins({ deadlineMs: 5000 }), { code: 'UNAVAILABLE', status: 'UNAVAILABLE' });
});

test('a token that no header carries is refused before anything is sent, and no error shows it', async (t) => {
  const fixture = await startServer(t);
  for (const token of ['a-secret-of-mine\n', 'a-secret-of-mine\r\nx: y', 'a-secret-of-mine ä', '']) {
    const client = createClient({ address: `127.0.0.1:${fixture.port}`, token: () => token, idl });
    t.after(() => client.close());
    const refusal = (error: Error) => error instanceof TypeError && !error.stack?.includes('a-secret');
    await assert.rejects(client.create({ generatedName: 'a', template: { type: 'demo' } }), refusal);
    await assert.rejects(async () => {
      for await (const _ of client.watch()) assert.fail('nothing is told');
    }, refusal);
  }
  assert.equal(fixture.tasks.specs.length, 0);
});

test('a bad template or input is refused before anything is sent', async (t) => {
  const fixture = await startServer(t);
  const client = fixture.client();
  await assert.rejects(client.create({ generatedName: 'a', template: { typ: 'demo' } }), {
    code: 'REQUEST_FIELD_INVALID',
    message: /TaskTemplate has no field typ/,
  });
  await assert.rejects(client.create({ generatedName: 'a', template: { type: 'demo' }, inputs: { literals: 5 } }), {
    message: /LiteralMap\.literals/,
  });
  assert.equal(fixture.tasks.specs.length, 0);
});

test('inputs given as values are written as the template declares them, and outputs are read as values', async (t) => {
  const fixture = await startServer(t);
  const client = fixture.client();
  const variable = (simple: string) => ({ type: { simple } });
  const template = {
    type: 'demo',
    interface: { inputs: { variables: { ratio: variable('FLOAT'), count: variable('INTEGER') } } },
  };
  await client.create({ generatedName: 'a', template, inputValues: { ratio: 1, count: 2 } });
  const { literals } = idl.codec('flyteidl.core.LiteralMap').decode(fixture.tasks.specs[0]!.inputs!);
  assert.deepEqual([literals.ratio.scalar.primitive.floatValue, literals.count.scalar.primitive.integer], [1, '2']);
  await assert.rejects(client.create({ generatedName: 'a', template, inputValues: { count: 'two' } }), {
    code: 'LITERAL_UNCONVERTIBLE',
  });
  await assert.rejects(
    client.create({ generatedName: 'a', template, inputs: {}, inputValues: {} }),
    /give one of them/,
  );
  const literalMap = fixture.tasks.specs[0]!.inputs!;
  fixture.tasks.doState = phaseState('SUCCESS', { outputs: { kind: 'inline', literalMap, names: ['ratio', 'count'] } });
  const done = await client.do({ generatedName: 'b', template });
  assert.deepEqual({ ...client.outputValues(done) }, { ratio: 1, count: 2 });
  assert.equal(client.outputValues({ ...done, outputs: { kind: 'prefix' } }), undefined);
});

test('a call can be given up, before and while it runs', async (t) => {
  const fixture = await startServer(t);
  const client = fixture.client();
  const stop = new AbortController();
  fixture.tasks.before = () => {
    stop.abort();
    return new Promise(() => {});
  };
  const options = { signal: stop.signal };
  await assert.rejects(client.create({ generatedName: 'a', template: { type: 'demo' } }, options), {
    code: 'CANCELLED',
  });
  await assert.rejects(client.listPlugins(options), { code: 'CANCELLED', message: /before it was sent/ });
});

test('Watch goes on by itself after the daemon drained and another one took its place, with nothing lost or doubled', async (t) => {
  const first = await startServer(t);
  const client = createClient({ address: first.address, idl });
  t.after(() => client.close());
  const { handle } = await client.create({ generatedName: 'a', template: { type: 'demo' } });
  const stop = new AbortController();
  const updates: WatchUpdate[] = [];
  const reading = (async () => {
    for await (const update of client.watch({ plugins: ['demo'] }, { signal: stop.signal })) updates.push(update);
  })();
  await until(() => updates.length === 1);
  move(first, handle, phaseState('RUNNING'));
  await until(() => updates.length === 2);
  assert.equal(await first.server.stop(60_000), true);
  await until(() => updates.at(-1)!.kind === 'bookmark');
  // The next daemon, on the same address, holds what happened meanwhile.
  const second = await startServer(t, { port: first.port });
  second.tasks.ring.events.push(...first.tasks.ring.events);
  second.tasks.records.set(handle.toString('latin1'), first.tasks.peek(handle)!);
  move(second, handle, phaseState('SUCCESS'));
  await until(() => updates.some((update) => update.kind === 'change' && update.resumeToken === '2'));
  stop.abort();
  await reading;
  const changes = updates.filter((update) => update.kind === 'change');
  assert.deepEqual(
    changes.map((change) => change.resumeToken),
    ['1', '2'],
  );
  assert.deepEqual(second.tasks.ring.filters[0], {
    plugins: ['demo'],
    handles: [],
    resumeToken: '1',
    includeCurrent: false,
  });
});

/** A server that answers nothing, at a port that stays the same, and the sessions that are open with it. */
function makeSilent(t: TestContext) {
  const open = new Set<http2.ServerHttp2Session>();
  let port = 0;
  let server: http2.Http2Server | undefined;
  const up = async () => {
    const next = http2.createServer();
    next.on('session', (session) => {
      open.add(session);
      session.once('close', () => open.delete(session)).on('error', () => {});
    });
    next.on('stream', (stream) => stream.on('error', () => {}));
    await new Promise<void>((resolve) => next.listen(port, '127.0.0.1', resolve));
    server = next;
    port = (next.address() as AddressInfo).port;
    return `127.0.0.1:${port}`;
  };
  const down = () => {
    for (const session of open) session.destroy();
    return new Promise((resolve) => server?.close(resolve));
  };
  t.after(down);
  return { open, up, down };
}

/** Waits longer than a connection on this machine takes to come and, where it was begun all the same, to go. */
async function settles(open: ReadonlySet<unknown>): Promise<void> {
  for (let looks = 0; looks < 50 && (looks < 10 || open.size > 0); looks++) await sleep(20);
}

test('a client that is closed in the turn of its first call keeps no connection', async (t) => {
  const { open, up } = makeSilent(t);
  const address = await up();
  for (let i = 0; i < 10; i++) {
    const client = createClient({ address, idl });
    const call = client.listPlugins();
    client.close();
    await assert.rejects(call, PluginHostError);
  }
  await settles(open);
  assert.equal(open.size, 0);
});

test('a client that is closed while it waits to connect again connects no more', async (t) => {
  const { open, up, down } = makeSilent(t);
  const address = await up();
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  // The pool of its connections, which lets go every ten seconds of what nobody uses, begins with it.
  const client = createClient({ address, idl, channelOptions: { 'grpc.use_local_subchannel_pool': 1 } });
  const first = client.listPlugins();
  while (open.size === 0) await sleep(1);
  t.mock.timers.tick(9_900);
  await down();
  await assert.rejects(first, PluginHostError);
  await assert.rejects(client.listPlugins(), { code: 'UNAVAILABLE' });
  client.close();
  await sleep(1);
  t.mock.timers.tick(100);
  await up();
  // The shortest time after which it tries again is a second, a fifth more or less.
  t.mock.timers.tick(1_200);
  await settles(open);
  assert.equal(open.size, 0);
});

test('Watch throws what resuming cannot cure, and tells that it lagged', async (t) => {
  const fixture = await startServer(t);
  const client = fixture.client();
  const bad = client.watch({ resumeToken: 'foreign' })[Symbol.asyncIterator]();
  await assert.rejects(bad.next(), { code: 'RESUME_TOKEN_INVALID', status: 'INVALID_ARGUMENT' });
  const stream = client.watch()[Symbol.asyncIterator]();
  await stream.next();
  fixture.tasks.ring.push({ kind: 'lagged', resumeToken: '9', dropped: 3 });
  assert.deepEqual((await stream.next()).value, { kind: 'lagged', resumeToken: '9', dropped: 3 });
  await stream.return!();
  await until(() => fixture.server.openStreams === 0);
});

test('waitForEnd answers the terminal state and shows each on the way', async (t) => {
  const fixture = await startServer(t);
  const client = fixture.client();
  const { handle } = await client.create({ generatedName: 'a', template: { type: 'demo' } });
  const seen: string[] = [];
  const waiting = client.waitForEnd(handle, { onStatus: ({ phaseInfo }) => seen.push(phaseInfo.phase) });
  await until(() => fixture.tasks.ring.readers.size === 1);
  move(fixture, handle, phaseState('RUNNING'));
  await until(() => seen.includes('RUNNING'));
  move(fixture, handle, phaseState('PERMANENT_FAILURE', { error: { code: 'c', message: 'm', kind: 'USER' } }));
  const end = await waiting;
  assert.deepEqual(
    [end.phaseInfo.phase, end.phaseInfo.error],
    ['PERMANENT_FAILURE', { code: 'c', message: 'm', kind: 'USER' }],
  );
  assert.deepEqual([...new Set(seen)], ['QUEUED', 'RUNNING', 'PERMANENT_FAILURE']);
  assert.equal(
    (await client.waitForEnd(handle)).phaseInfo.phase,
    'PERMANENT_FAILURE',
    'a task that is over answers at once',
  );
  await until(() => fixture.tasks.ring.readers.size === 0);
});

test('waitForEnd reads Status again when Watch lagged', async (t) => {
  const fixture = await startServer(t);
  const client = fixture.client();
  const { handle } = await client.create({ generatedName: 'a', template: { type: 'demo' } });
  const waiting = client.waitForEnd(handle);
  await until(() => fixture.tasks.ring.readers.size === 1);
  const record = fixture.tasks.peek(handle)!;
  record.state = phaseState('SUCCESS');
  record.revision += 1;
  fixture.tasks.ring.push({ kind: 'lagged', resumeToken: '5', dropped: 0 });
  assert.equal((await waiting).phaseInfo.phase, 'SUCCESS');
});

test('waitForEnd stays with a daemon that goes away and comes back, and fails at once where none is', async (t) => {
  const fixture = await startServer(t);
  const client = fixture.client();
  const { handle } = await client.create({ generatedName: 'a', template: { type: 'demo' } });
  const told: string[] = [];
  const waiting = client.waitForEnd(handle, { onUnreachable: ({ code }) => told.push(code) });
  await until(() => fixture.tasks.ring.readers.size === 1);
  const record = fixture.tasks.peek(handle)!;
  record.state = phaseState('SUCCESS');
  record.revision += 1;
  // As after a restart: not answered from memory.
  fixture.tasks.peek = () => undefined;
  fixture.tasks.status = async () => {
    if (told.length < 2) throw new HostError('DAEMON_DRAINING', 'on its way out', { retryAfterMs: 1 });
    return record;
  };
  fixture.tasks.ring.push({ kind: 'lagged', resumeToken: '5', dropped: 0 });
  assert.equal((await waiting).phaseInfo.phase, 'SUCCESS');
  assert.deepEqual(told, ['DAEMON_DRAINING', 'DAEMON_DRAINING']);
  await fixture.server.forceStop();
  await assert.rejects(client.waitForEnd(handle), { code: 'UNAVAILABLE' });
});

test('Watch tells of an unreachable daemon while it tries again', async (t) => {
  const fixture = await startServer(t);
  const stop = new AbortController();
  const told: string[] = [];
  const onUnreachable = ({ code }: PluginHostError) => {
    told.push(code);
    if (told.length === 2) stop.abort();
  };
  const updates = fixture.client().watch({}, { signal: stop.signal, onUnreachable });
  const reading = (async () => {
    for await (const _update of updates);
  })();
  await until(() => fixture.tasks.ring.readers.size === 1);
  await fixture.server.forceStop();
  await reading;
  assert.equal(told.at(-1), 'UNAVAILABLE');
});

test('waitForEnd ends when the task is deleted, the time is up, or the caller gives up', async (t) => {
  const fixture = await startServer(t);
  const client = fixture.client();
  const { handle } = await client.create({ generatedName: 'a', template: { type: 'demo' } });
  await assert.rejects(client.waitForEnd(handle, { timeoutMs: 30 }), {
    code: 'DEADLINE_EXCEEDED',
    message: /within 30 ms/,
  });
  const stop = new AbortController();
  const given = client.waitForEnd(handle, { signal: stop.signal, timeoutMs: 2 ** 31 });
  await until(() => fixture.tasks.ring.readers.size === 1);
  stop.abort();
  await assert.rejects(given, { code: 'CANCELLED' });
  await until(() => fixture.tasks.ring.readers.size === 0);
  const deleted = client.waitForEnd(handle);
  await until(() => fixture.tasks.ring.readers.size === 1);
  fixture.tasks.ring.append(fixture.tasks.peek(handle)!, true);
  await assert.rejects(deleted, { code: 'TASK_DELETED' });
});
