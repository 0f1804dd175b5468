import assert from 'node:assert/strict';
import { once } from 'node:events';
import http2 from 'node:http2';
import type { AddressInfo } from 'node:net';
import net from 'node:net';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Metadata, Server, ServerCredentials } from '@grpc/grpc-js';
import { CertificateWatch } from '../../src/access/certificate-watch.js';
import { CallGuard } from '../../src/access/guard.js';
import { TlsEntrance } from '../../src/access/tls-entrance.js';
import { type ChangingTls, createClient } from '../../src/client/index.js';
import { Forwarder } from '../../src/cluster/forwarder.js';
import { ownersOf } from '../../src/cluster/owners.js';
import type { SeatRole } from '../../src/cluster/seat.js';
import { needOf } from '../../src/daemon/needs.js';
import { HostError } from '../../src/errors/index.js';
import { type Clock, ManualClock, systemClock } from '../../src/lib/clock.js';
import { passedOn } from '../../src/rpc/forwarding.js';
import { createNativeService, NATIVE_BOUNDS } from '../../src/rpc/native/service.js';
import type { MemberRow } from '../../src/state/index.js';
import { MountedIdentity, noteAccess } from '../access/support.js';
import { FakeTasks } from '../rpc/fake-tasks.js';
import { createRequest, http2Call, idl, rawCall, SERVICE, startServer } from '../rpc/support.js';
import { makeCertificate } from '../support/certificates.js';
import { DEFAULT_FIELD_LIMITS } from '../support/defaults.js';
import { tempFolder } from '../support/temp.js';

const MIB = 1024 * 1024;

/** A seat whose role and owner the test says. */
class FakeSeat {
  role: SeatRole = 'standby';
  readonly epoch = 'me';
  readonly parts = 1;
  owner: MemberRow | undefined;
  readonly #listeners = new Set<() => void>();

  ownerOf(): MemberRow | undefined {
    return this.owner;
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  is(owner: string | undefined, epoch = owner): void {
    const row = { name: 'other', version: '1', counter: '1', joinedAtMs: 0, ownsSinceMs: 0 };
    this.owner = owner === undefined ? undefined : { ...row, epoch: epoch as string, address: owner };
    this.changed();
  }

  changed(): void {
    for (const listener of this.#listeners) listener();
  }
}

/** A server that passes calls on, with what it would answer them with itself. */
async function startStandby(t: TestContext, tls?: () => ChangingTls, clock: Clock = systemClock) {
  const seat = new FakeSeat();
  const standIn = new FakeTasks();
  const mayStandIn = { now: false };
  const codes: string[] = [];
  const forwarder = new Forwarder({
    owners: ownersOf(seat),
    epoch: seat.epoch,
    clock,
    patienceMs: 10_000,
    tls,
    maxReceiveBytes: 64 * MIB,
    maxSendBytes: 64 * MIB,
    mayStandIn: () => mayStandIn.now,
    passed: (code) => codes.push(code),
  });
  t.after(() => forwarder.close());
  const own = new FakeTasks();
  const serviceOf = (tasks: FakeTasks) =>
    createNativeService({ tasks, idl, limits: DEFAULT_FIELD_LIMITS, ...NATIVE_BOUNDS });
  const server = await startServer(t, { services: [passedOn(serviceOf(own), forwarder, serviceOf(standIn))] });
  return { seat, own, standIn, mayStandIn, forwarder, codes, ...server };
}

test('a call goes on as the bytes it came in, with its deadline, and its answer comes back as it was', async (t) => {
  const owner = await startServer(t);
  const { seat, own, call, codes } = await startStandby(t);
  seat.is(owner.address);
  const request = createRequest();
  const direct = await owner.call('Create', request);
  const passed = await call('Create', request, { deadlineMs: 7_000 });
  assert.deepEqual(passed.bytes, direct.bytes);
  const leftMs = (owner.tasks.scopes[1]?.deadlineMs ?? 0) - systemClock.now();
  assert.ok(leftMs > 3_000 && leftMs <= 7_000, `${leftMs} ms of 7 s`);
  assert.deepEqual(
    owner.tasks.scopes.map(({ relayed }) => relayed),
    [false, true],
    'whether the answer arrives is not seen there',
  );
  assert.equal(own.specs.length, 0, 'nothing is done here');
  const handle = idl.codec('pluginhost.v1.CreateResponse').decode(passed.bytes).handle as Buffer;
  const status = idl.codec('pluginhost.v1.StatusRequest').encode({ handle });
  assert.equal((await call('Status', status)).error, undefined);
  assert.deepEqual(codes, ['OK', 'OK']);
});

test('a call that is passed on is none of grpc-js here, nor at its owner', async (t) => {
  const owner = await startServer(t);
  const { seat, port } = await startStandby(t);
  seat.is(owner.address);
  const ways: unknown[] = [];
  owner.tasks.before = (_method, scope) => void ways.push((scope as { header?(name: string): unknown }).header?.('te'));
  const { stream } = http2Call(t, port, 'Create', createRequest());
  const [headers] = await once(stream, 'response');
  assert.deepEqual([headers[':status'], headers['grpc-accept-encoding']], [200, undefined]);
  // Among what grpc-js takes out of the metadata.
  assert.deepEqual(ways, ['trailers']);
});

test('an error comes back with its code, its text and its details', async (t) => {
  const owner = await startServer(t);
  const { seat, call, codes, faults } = await startStandby(t);
  seat.is(owner.address);
  const direct = await owner.call('Status', Buffer.alloc(0));
  const passed = await call('Status', Buffer.alloc(0));
  assert.equal(passed.error?.code, direct.error?.code);
  assert.equal(passed.error?.details, direct.error?.details);
  assert.deepEqual(passed.details, direct.details);
  assert.deepEqual(codes, ['INVALID_ARGUMENT']);
  assert.deepEqual(faults, []);
});

test('a call without an owner waits for one, and is refused with a delay when none comes in time', async (t) => {
  const owner = await startServer(t);
  const { seat, call } = await startStandby(t);
  const waiting = call('Create', createRequest());
  await sleep(100);
  seat.is(owner.address);
  assert.equal((await waiting).error, undefined);
  seat.is(undefined);
  const refused = await call('Create', createRequest(), { deadlineMs: 600 });
  assert.equal(refused.details?.errorInfo?.reason, 'OWNER_AWAY');
  assert.equal(refused.details?.retryAfterMs, 1_000);
});

test('a call that no owner answers is answered in its place, soon, where all take in what is promised, and not else', async (t) => {
  const { seat, own, standIn, mayStandIn, call } = await startStandby(t);
  const refused = await call('Create', createRequest(), { deadlineMs: 600 });
  assert.equal(refused.details?.errorInfo?.reason, 'OWNER_AWAY');
  assert.equal(standIn.specs.length, 0);
  mayStandIn.now = true;
  const beganMs = performance.now();
  assert.equal((await call('Create', createRequest(), { deadlineMs: 1_500 })).error, undefined);
  assert.ok(performance.now() - beganMs >= 400, 'a third of its time');
  // One that is seen, and whose connections are refused.
  seat.is('127.0.0.1:1');
  assert.equal((await call('Create', createRequest(), { deadlineMs: 1_500 })).error, undefined);
  assert.deepEqual([standIn.specs.length, own.specs.length], [2, 0]);
});

test('an owner that is slow, or says that it has the part no more, is not stood in for', async (t) => {
  const owner = await startServer(t);
  const { seat, standIn, mayStandIn, call } = await startStandby(t);
  mayStandIn.now = true;
  seat.is(owner.address);
  owner.tasks.before = () => sleep(700);
  assert.equal((await call('Create', createRequest(), { deadlineMs: 1_500 })).error, undefined);
  owner.tasks.before = () => {
    throw new HostError('OWNER_AWAY', 'it has it no more');
  };
  const refused = await call('Create', createRequest(), { deadlineMs: 1_500 });
  assert.equal(refused.details?.errorInfo?.reason, 'OWNER_AWAY');
  assert.equal(standIn.specs.length, 0);
});

test('the port of an owner is closed where nothing listens, or another replica has its address, and such a one is stood in for; one that is silent is not closed', async (t) => {
  const [owner, other] = await Promise.all([startServer(t), startStandby(t)]);
  const { seat, standIn, mayStandIn, forwarder, call } = await startStandby(t);
  mayStandIn.now = true;
  const silent = net.createServer((socket) => socket.on('error', () => {}).resume());
  silent.listen(0, '127.0.0.1');
  await once(silent, 'listening');
  t.after(() => silent.close());
  seat.is(owner.address, 'lives');
  assert.equal((await call('Create', createRequest(), { deadlineMs: 1_500 })).error, undefined);
  seat.is(`127.0.0.1:${(silent.address() as AddressInfo).port}`, 'silent');
  await call('Create', createRequest(), { deadlineMs: 600 });
  await sleep(300);
  seat.is('127.0.0.1:1', 'closed');
  assert.equal((await call('Create', createRequest(), { deadlineMs: 1_500 })).error, undefined);
  assert.deepEqual(
    ['lives', 'silent', 'closed', 'never asked'].map((epoch) => forwarder.isClosed(epoch)),
    [false, false, true, false],
  );
  assert.equal(standIn.specs.length, 1);
  seat.is(other.address, 'before');
  assert.equal((await call('Create', createRequest(), { deadlineMs: 1_500 })).error, undefined);
  assert.ok(forwarder.isClosed('before'));
  assert.equal(standIn.specs.length, 2);
});

test('where nobody can stand in either, the call waits for the next owner', async (t) => {
  const owner = await startServer(t);
  const { seat, standIn, mayStandIn, call } = await startStandby(t);
  mayStandIn.now = true;
  let asked = 0;
  standIn.before = () => {
    asked += 1;
    throw new HostError('OWNER_AWAY', 'the part was taken meanwhile');
  };
  const waiting = call('Create', createRequest(), { deadlineMs: 6_000 });
  while (asked === 0) await sleep(20);
  seat.is(owner.address);
  assert.equal((await waiting).error, undefined);
  assert.equal(owner.tasks.specs.length, 1);
  assert.equal(asked, 1);
});

test('a call whose owner goes away is made anew at the next one', async (t) => {
  const [first, second] = await Promise.all([startServer(t), startServer(t)]);
  const { seat, call } = await startStandby(t);
  seat.is(first.address);
  first.tasks.before = () => new Promise(() => {});
  const passed = call('Create', createRequest());
  while (first.tasks.specs.length === 0) await sleep(10);
  seat.is(second.address);
  assert.equal((await passed).error, undefined);
  assert.equal(second.tasks.specs.length, 1);
});

test('a call that was under way for longer than one waits for an owner is made anew at the next one, too', async (t) => {
  const [first, second] = await Promise.all([startServer(t), startServer(t)]);
  const clock = new ManualClock(Date.now());
  const { seat, call } = await startStandby(t, undefined, clock);
  seat.is(first.address);
  first.tasks.before = () => new Promise(() => {});
  const passed = call('Do', createRequest(), { deadlineMs: 60_000 });
  while (first.tasks.specs.length === 0) await sleep(10);
  await clock.advance(12_000);
  seat.is(undefined);
  await sleep(50);
  await clock.advance(3_000);
  seat.is(second.address);
  await clock.advance(1_000);
  assert.equal((await passed).error, undefined);
  assert.equal(second.tasks.specs.length, 1);
});

test('a call waits for an owner once for each that goes, and not longer for asking one again and again', async (t) => {
  const gone = await startServer(t);
  await gone.server.forceStop();
  const clock = new ManualClock(Date.now());
  const { seat, call } = await startStandby(t, undefined, clock);
  seat.is(gone.address);
  let over = false;
  const refused = call('Create', createRequest(), { deadlineMs: 60_000 }).finally(() => {
    over = true;
  });
  let passedMs = 0;
  for (; !over; passedMs += 100) {
    await clock.advance(100);
    await sleep(5);
  }
  assert.equal((await refused).details?.errorInfo?.reason, 'OWNER_AWAY');
  assert.ok(passedMs >= 9_000 && passedMs < 20_000, `${passedMs} ms`);
});

test('a call whose owner cannot be reached is tried again, also where it is this replica in the end', async (t) => {
  const gone = await startServer(t);
  await gone.server.forceStop();
  const { seat, own, call } = await startStandby(t);
  seat.is(gone.address);
  const passed = call('Create', createRequest());
  await sleep(200);
  seat.role = 'owner';
  seat.changed();
  assert.equal((await passed).error, undefined);
  assert.equal(own.specs.length, 1, 'answered here');
});

test('a call that its owner has not looked at is made again at once', async (t) => {
  const owner = http2.createServer();
  t.after(() => owner.close());
  const sessions = new Set<http2.ServerHttp2Session>();
  owner.on('session', (session) => {
    sessions.add(session);
    t.after(() => session.destroy());
  });
  let calls = 0;
  owner.on('stream', (stream) => {
    calls += 1;
    stream.on('error', () => {});
    if (calls < 3) {
      stream.close(http2.constants.NGHTTP2_REFUSED_STREAM);
      return;
    }
    stream.respond({ 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
    stream.end(Buffer.from([0, 0, 0, 0, 1, 7]));
  });
  owner.listen(0, '127.0.0.1');
  await once(owner, 'listening');
  // Time stands still: whoever waits, waits for ever.
  const { seat, call } = await startStandby(t, undefined, new ManualClock(Date.now()));
  seat.is(`127.0.0.1:${(owner.address() as AddressInfo).port}`);
  assert.deepEqual((await call('Create', createRequest())).bytes, Buffer.from([7]));
  assert.equal(calls, 3);
});

test('a call that was passed on already is refused by who is no owner, and tried again by who passed it on', async (t) => {
  const last = await startServer(t);
  const [middle, outer] = await Promise.all([startStandby(t), startStandby(t)]);
  middle.seat.is(last.address);
  middle.mayStandIn.now = true;
  outer.seat.is(middle.address);
  const passed = outer.call('Create', createRequest());
  await sleep(300);
  assert.equal(last.tasks.specs.length, 0, 'one hop');
  assert.equal(middle.standIn.specs.length, 0, 'who passed it on may stand in');
  outer.seat.is(last.address);
  assert.equal((await passed).error, undefined);
});

test('the token and the trace of a call go along, and nothing else of its metadata', async (t) => {
  const seen: Metadata[] = [];
  const owner = await startServer(t);
  const { seat, raw } = await startStandby(t);
  const { seat: lastSeat, address, own } = await startStandby(t);
  lastSeat.role = 'owner';
  own.before = (_method, scope) => {
    const call = scope as unknown as { header(name: string): string | undefined };
    const metadata = new Metadata();
    for (const name of ['authorization', 'traceparent', 'tracestate', 'x-other', 'plugin-host-hop']) {
      const value = call.header(name);
      if (value !== undefined) metadata.set(name, value);
    }
    seen.push(metadata);
  };
  seat.is(address);
  const metadata = new Metadata();
  metadata.set('authorization', 'Bearer t');
  metadata.set('traceparent', '00-1-2-01');
  metadata.set('x-other', 'o');
  const same = (bytes: Buffer): Buffer => bytes;
  const error = await new Promise((resolve) => {
    raw().makeUnaryRequest(`${SERVICE}/Create`, same, same, createRequest(), metadata, (end) => resolve(end));
  });
  assert.equal(error, null);
  assert.deepEqual(seen[0]?.getMap(), { authorization: 'Bearer t', traceparent: '00-1-2-01', 'plugin-host-hop': 'me' });
  assert.equal(owner.tasks.specs.length, 0);
});

test('a Watch is passed on, ends at the owner when its reader goes, and ends here at a stop', async (t) => {
  const owner = await startServer(t);
  const standby = await startStandby(t);
  standby.seat.is(owner.address);
  const client = createClient({
    address: standby.address,
    idl,
    channelOptions: { 'grpc.use_local_subchannel_pool': 1 },
  });
  t.after(() => client.close());
  const reading = new AbortController();
  const read = (async () => {
    for await (const _ of client.watch({}, { signal: reading.signal }));
  })().catch(() => undefined);
  const isOpen = async (count: number) => {
    while (owner.server.openStreams !== count) await sleep(20);
  };
  await isOpen(1);
  reading.abort();
  await read;
  await isOpen(0);
  const raw = standby.raw().makeServerStreamRequest(
    `${SERVICE}/Watch`,
    (bytes: Buffer) => bytes,
    (bytes: Buffer) => bytes,
    Buffer.alloc(0),
  );
  const ended = new Promise<{ readonly details?: string }>((resolve) => raw.on('error', resolve));
  raw.resume();
  await isOpen(1);
  standby.server.beginDrain();
  assert.match((await ended).details ?? '', /stopping/);
  await isOpen(0);
});

test('a stream is read no faster than its owner takes it', async (t) => {
  const owner = new Server();
  const same = (bytes: Buffer): Buffer => bytes;
  // It takes nothing.
  owner.register('/a.B/Stream', () => undefined, same, same, 'bidi');
  const port = await new Promise<number>((resolve, reject) => {
    owner.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  t.after(() => owner.forceShutdown());
  const seat = new FakeSeat();
  const bounds = { maxReceiveBytes: MIB, maxSendBytes: MIB };
  const forwarder = new Forwarder({
    owners: ownersOf(seat),
    epoch: seat.epoch,
    clock: systemClock,
    patienceMs: 10_000,
    ...bounds,
  });
  t.after(() => forwarder.close());
  seat.is(`127.0.0.1:${port}`);
  let read = 0;
  const requests = (async function* () {
    for (; read < 2_000; read++) yield Buffer.alloc(64 * 1024);
  })();
  const caller = new AbortController();
  const call = { path: '/a.B/Stream', deadlineMs: Number.POSITIVE_INFINITY, signal: caller.signal };
  const answers = await forwarder.stream(0, { ...call, header: () => undefined }, requests);
  assert.ok(answers !== undefined);
  const over = assert.rejects(answers[Symbol.asyncIterator]().next());
  for (let before = -1; before !== read || read === 0; await sleep(200)) before = read;
  assert.ok(read < 200, `${read} of 2,000 messages were read for an owner that takes none`);
  caller.abort();
  await over;
});

test('a caller that leaves takes the call away from the owner', async (t) => {
  const owner = await startServer(t);
  const { seat, raw } = await startStandby(t);
  seat.is(owner.address);
  let aborted = false;
  owner.tasks.before = (_method, { signal }) =>
    new Promise((resolve) => {
      signal.addEventListener('abort', () => {
        aborted = true;
        resolve();
      });
    });
  await rawCall(raw(), `${SERVICE}/Create`, createRequest(), 300);
  while (!aborted) await sleep(20);
});

test('an owner that asks for certificates takes what a replica passes on with its own, and with its next one', async (t) => {
  const authority = makeCertificate({ name: 'authority', authority: true });
  const replica = () => makeCertificate({ name: 'replica', by: authority });
  const events = noteAccess();
  const mounted = new MountedIdentity(tempFolder(t), replica(), authority.cert);
  const watch = new CertificateWatch({ port: 'grpc', files: mounted.files, clock: new ManualClock(0), events });
  await watch.start();
  t.after(() => watch.stop());
  const entrance = new TlsEntrance({
    port: 'grpc',
    watch,
    protocol: 'h2',
    clientNames: ['CN=replica'],
    strict: true,
    handshakeTimeoutMs: 60_000,
    events,
  });
  const guard = new CallGuard({ port: 'grpc', needs: (path) => needOf(path, false), events });
  const owner = await startServer(t, { access: { entrance, guard } });
  let shown = replica();
  const tls = () => ({ current: () => ({ ca: authority.cert, ...shown }), onChange: () => {} });
  const { seat, call } = await startStandby(t, tls);
  seat.is(owner.address, 'first');
  assert.equal((await call('Create', createRequest())).error, undefined);
  shown = makeCertificate({ name: 'stranger', by: authority });
  seat.is(owner.address, 'second');
  assert.equal((await call('Create', createRequest())).details?.errorInfo?.reason, 'CERTIFICATE_REFUSED');
  shown = replica();
  seat.is(owner.address, 'third');
  assert.equal((await call('Create', createRequest())).error, undefined);
});
