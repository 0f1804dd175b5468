import assert from 'node:assert/strict';
import http2 from 'node:http2';
import { createServer } from 'node:net';
import { type TestContext, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { PlainEntrance } from '../../../src/access/entrance.js';
import { CallGuard } from '../../../src/access/guard.js';
import { Tokens } from '../../../src/access/tokens.js';
import { needOf } from '../../../src/daemon/needs.js';
import { rpcLimits } from '../../../src/daemon/options.js';
import { systemClock } from '../../../src/lib/clock.js';
import { phaseState } from '../../../src/model/phase-state.js';
import { Connections } from '../../../src/rpc/edge/connections.js';
import { Edge } from '../../../src/rpc/edge/edge.js';
import type { UnaryMethod } from '../../../src/rpc/edge/unary-calls.js';
import { createFlyteServices } from '../../../src/rpc/flyte/services.js';
import { createNativeService, NATIVE_BOUNDS } from '../../../src/rpc/native/service.js';
import type { RpcServerOptions } from '../../../src/rpc/server.js';
import { until } from '../../daemon/support.js';
import { DEFAULT_FIELD_LIMITS, DEFAULTS } from '../../support/defaults.js';
import { FakeTasks } from '../fake-tasks.js';
import { FLYTE1, FLYTE2 } from '../flyte/support.js';
import { createRequest, idl, SERVICE, startServer } from '../support.js';

const NATIVE = `${SERVICE}/Status`;
const PATHS = [NATIVE, `/${FLYTE1.asyncService}/GetTask`, `/${FLYTE2.asyncService}/GetTask`];
const turn = () => new Promise((resolve) => setImmediate(resolve));

/** One server, whose calls are answered by the edge, or by grpc-js where they name a coding, be it none. */
interface Way {
  readonly byEdge: boolean;
  /** A connection that goes on: later Nodes end one whose requests say a wrong `content-length`. */
  readonly session: http2.ClientHttp2Session;
  readonly tasks: FakeTasks;
  readonly handle: Buffer;
  /** What the metrics were told. */
  readonly counts: Map<string, number>;
  /** Calls that were made. */
  calls: number;
  unfinishedBytes(): number;
}

async function startWay(t: TestContext, byEdge: boolean, options: Partial<RpcServerOptions> = {}): Promise<Way> {
  const tasks = new FakeTasks();
  tasks.createState = phaseState('RUNNING', { reason: 'it runs' });
  const limits = DEFAULT_FIELD_LIMITS;
  const services = [
    createNativeService({ tasks, idl, limits, ...NATIVE_BOUNDS }),
    ...createFlyteServices({ tasks, limits, flyteidl: FLYTE1.idl, flyteidl2: FLYTE2.idl, maxStalenessMs: 0 }),
  ];
  const counts = new Map<string, number>();
  const count = (what: string) => counts.set(what, (counts.get(what) ?? 0) + 1);
  const { port, server, call } = await startServer(t, {
    services,
    metrics: ({ service, method }) => ({
      started: () => count(`${service}/${method} started`),
      received: () => count(`${service}/${method} received`),
      sent: () => count(`${service}/${method} sent`),
      handled: (code) => count(`${service}/${method} ${code}`),
    }),
    ...options,
  });
  await call('Create', createRequest());
  const [handle] = tasks.records.keys();
  let session: http2.ClientHttp2Session | undefined;
  t.after(() => session?.destroy());
  return {
    byEdge,
    get session() {
      if (session === undefined || session.closed || session.destroyed) {
        session = http2.connect(`http://127.0.0.1:${port}`).on('error', () => {});
      }
      return session;
    },
    tasks,
    handle: Buffer.from(handle!, 'latin1'),
    counts,
    calls: 1,
    unfinishedBytes: () => server.unfinishedBytes,
  };
}

/** What the metrics of a way were told of all its calls: a call that no handler had is counted after its caller saw its end. */
function countsOf({ calls, counts, unfinishedBytes }: Way): Promise<Map<string, number>> {
  return until(`${calls} calls to be counted`, () => {
    const started = [...counts].reduce((sum, [what, times]) => sum + (what.endsWith(' started') ? times : 0), 0);
    return started === calls && unfinishedBytes() === 0 && counts;
  });
}

/** What a caller may send, engines or others. */
interface Sent {
  readonly path: string;
  readonly known: boolean;
  /** Bytes that follow the handle's field. */
  readonly more: Buffer;
  readonly messages: number;
  readonly coding: 'none' | 'identity' | 'gzip' | 'gzip without a flag' | 'flag without gzip';
  readonly contentType: string;
  /** Where the bytes are cut in pieces that are written each by itself. */
  readonly cuts: readonly number[];
  /** Bytes that are left out at the end. */
  readonly short: number;
  readonly timeout: string | undefined;
  readonly endsWith: 'data' | 'nothing';
  readonly authorization?: string | undefined;
  /** What the request says of the bytes that it has, beside the truth. */
  readonly contentLength?: number | undefined;
  /** It lacks what every gRPC client says of trailers. */
  readonly noTe?: boolean;
  /** Headers that say nothing to the daemon, or nothing that can be read. */
  readonly odd?: http2.OutgoingHttpHeaders;
  /** The request ends with headers, as none of gRPC does. */
  readonly trailers?: boolean;
}

const DATA_FIELDS = [
  Buffer.alloc(0),
  // output_prefix of Status; task_type of GetTask, version 1.
  Buffer.from([0x12, 0x02, 0x73, 0x33]),
  Buffer.from([0x0a, 0x04, 0x64, 0x65, 0x6d, 0x6f]),
  // An empty connection, as Flyte 2 sends it; an unknown field; half a field.
  Buffer.from([0x2a, 0x00]),
  Buffer.from([0xfa, 0x07, 0x01, 0x00]),
  Buffer.from([0x12, 0x7f, 0x01]),
];

const anySent: fc.Arbitrary<Sent> = fc.record({
  path: fc.constantFrom(...PATHS),
  known: fc.boolean(),
  more: fc
    .oneof({ weight: 3, arbitrary: fc.constantFrom(...DATA_FIELDS) }, fc.uint8Array({ maxLength: 20 }))
    .map(Buffer.from),
  messages: fc.constantFrom(1, 1, 1, 1, 0, 2),
  coding: fc.constantFrom('none', 'none', 'none', 'identity', 'gzip', 'gzip without a flag', 'flag without gzip'),
  contentType: fc.constantFrom(
    'application/grpc',
    'application/grpc',
    'application/grpc',
    'application/grpc+proto',
    'application/grpc;charset=utf-8',
    'application/grpc-web',
    'Application/GRPC',
    'text/plain',
  ),
  cuts: fc.oneof(fc.constant([]), fc.array(fc.nat({ max: 400 }), { maxLength: 3 }), fc.constant([1, 2, 3, 4, 5, 6])),
  short: fc.constantFrom(0, 0, 0, 1, 6),
  timeout: fc.constantFrom(undefined, '20S', '20000m', 'soon', '99999999H', ''),
  endsWith: fc.constantFrom('data', 'nothing'),
  contentLength: fc.constantFrom(undefined, undefined, undefined, 0, -1, 1),
  noTe: fc.constantFrom(false, false, true),
  odd: fc.constantFrom<http2.OutgoingHttpHeaders>(
    {},
    {},
    { 'x-odd-bin': '!!! no base64 ???' },
    { 'x-twice': ['a', 'b'], 'grpc-accept-encoding': 'brotli' },
    { 'x-text': 'ä', 'grpc-message': '%zz%' },
    { 'grpc-status': '0', 'grpc-previous-rpc-attempts': 'many' },
    { 'x-long': 'l'.repeat(6_000) },
    { 'content-encoding': 'gzip', 'user-agent': '' },
  ),
  trailers: fc.constantFrom(false, false, false, true),
});

function bytesOf({ path, known, more, messages, coding, short }: Sent, handle: Buffer): Buffer {
  const shown = known ? handle : Buffer.from(handle).fill(7, 10, 20);
  const size = shown.length < 128 ? [shown.length] : [(shown.length & 0x7f) | 0x80, shown.length >> 7];
  const plain = Buffer.concat([Buffer.from([path === NATIVE ? 0x0a : 0x12, ...size]), shown, more]);
  const message = coding === 'gzip' ? gzipSync(plain) : plain;
  const head = Buffer.alloc(5);
  head[0] = coding === 'gzip' || coding === 'flag without gzip' ? 1 : 0;
  head.writeUInt32BE(message.length, 1);
  const all = Buffer.concat(Array.from({ length: messages }, () => Buffer.concat([head, message])));
  return all.subarray(0, Math.max(0, all.length - short));
}

/** What gRPC lets a server leave out, since its absence says the same; the edge does. */
const MEANINGLESS: Readonly<Record<string, string | undefined>> = {
  'grpc-encoding': 'identity',
  'grpc-accept-encoding': 'identity,deflate,gzip',
  'grpc-message': 'OK',
};

const saying = (headers: object): object =>
  Object.fromEntries(Object.entries(headers).filter(([name, value]) => MEANINGLESS[name] !== value));

/** Everything of the answer that says something to a caller. */
async function exchange(way: Way, sent: Sent): Promise<unknown> {
  const { session, handle } = way;
  way.calls += 1;
  const { coding, timeout } = sent;
  const named =
    coding === 'none' || coding === 'flag without gzip' ? undefined : coding.startsWith('gzip') ? 'gzip' : coding;
  const encoding = named ?? (way.byEdge ? undefined : 'identity');
  const bytes = bytesOf(sent, handle);
  const { noTe = false, contentLength: beside, odd, trailers: withTrailers = false } = sent;
  const head: http2.OutgoingHttpHeaders = {
    ':method': 'POST',
    ':path': sent.path,
    'content-type': sent.contentType,
    ...odd,
    ...(noTe ? {} : { te: 'trailers' }),
    ...(beside === undefined ? {} : { 'content-length': Math.max(0, bytes.length + beside) }),
    ...(encoding === undefined ? {} : { 'grpc-encoding': encoding }),
    ...(timeout === undefined ? {} : { 'grpc-timeout': timeout }),
    ...(sent.authorization === undefined ? {} : { authorization: sent.authorization }),
  };
  const stream = session.request(head, { waitForTrailers: withTrailers });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'x-trailer': 'of a request', 'grpc-status': '0' }));
  let headers: object | undefined;
  let trailers: object | undefined;
  const body: Buffer[] = [];
  stream.on('response', ({ date: _, ...rest }) => {
    headers = saying(rest);
  });
  stream.on('trailers', (seen) => {
    trailers = saying(seen);
  });
  stream.on('data', (chunk: Buffer) => body.push(chunk));
  stream.on('error', () => {});
  const closed = new Promise((resolve) => stream.once('close', resolve));
  let at = 0;
  for (const cut of [...sent.cuts].sort((a, b) => a - b)) {
    if (cut > at) stream.write(bytes.subarray(at, cut));
    at = Math.max(at, cut);
    await turn();
  }
  if (sent.endsWith === 'data') stream.end(bytes.subarray(at));
  else {
    stream.write(bytes.subarray(at));
    await turn();
    stream.end();
  }
  await closed;
  if (session.closed || session.destroyed) return 'the connection was ended';
  return { headers, body: Buffer.concat(body).toString('hex'), trailers, reset: stream.rstCode };
}

test('a call is answered alike by the edge and by grpc-js, whatever was sent: headers, bytes, trailers, status and metrics', async (t) => {
  const edge = await startWay(t, true);
  const grpc = await startWay(t, false);
  assert.deepEqual(edge.handle, grpc.handle);
  await fc.assert(
    fc.asyncProperty(anySent, async (sent) => {
      assert.deepEqual(await exchange(edge, sent), await exchange(grpc, sent));
    }),
    { numRuns: 150 },
  );
  assert.deepEqual(await countsOf(edge), await countsOf(grpc));
});

/** A call as a client makes it that has nothing odd about it. */
const plainly = (path: string): Sent => ({
  path,
  known: true,
  more: Buffer.alloc(0),
  messages: 1,
  coding: 'none',
  contentType: 'application/grpc',
  cuts: [],
  short: 0,
  timeout: undefined,
  endsWith: 'data',
});

test('who may not call is refused alike by both ways, and who may is answered', async (t) => {
  const tokens = new Tokens([
    { token: 'a-token-that-reads', caller: { name: 'reader', may: ['read'] } },
    { token: 'a-token-that-runs', caller: { name: 'runner', may: ['run'] } },
  ]);
  let asked = false;
  const start = (byEdge: boolean) => {
    const guard = new CallGuard({
      port: 'grpc',
      needs: (path) => needOf(path, true),
      tokens: () => (asked ? tokens : undefined),
      events: { refused: () => {} },
    });
    return startWay(t, byEdge, { access: { entrance: new PlainEntrance({ port: 'grpc', from: 'loopback' }), guard } });
  };
  const edge = await start(true);
  const grpc = await start(false);
  asked = true;
  for (const path of PATHS) {
    const codes: unknown[] = [];
    for (const token of [undefined, 'a-token-of-nobody', 'a-token-that-runs', 'a-token-that-reads']) {
      const sent = { ...plainly(path), authorization: token && `Bearer ${token}` };
      const answer = await exchange(edge, sent);
      assert.deepEqual(answer, await exchange(grpc, sent));
      const { headers, trailers } = answer as Record<'headers' | 'trailers', Record<string, string> | undefined>;
      codes.push(headers?.['grpc-status'] ?? trailers?.['grpc-status']);
    }
    assert.deepEqual(codes.map(Number), [16, 16, 7, 0], path);
  }
  assert.deepEqual(await countsOf(edge), await countsOf(grpc));
});

test('a task that changes is told alike by both ways, and one of a remote that is down; an answer that cannot be encoded is their fault alike', async (t) => {
  const ways = [await startWay(t, true), await startWay(t, false)] as const;
  const told = (path: string) => Promise.all(ways.map((way) => exchange(way, plainly(path))));
  const seen = new Set<string>();
  const change = [
    () => {},
    (way: Way) => way.tasks.down.add('demo'),
    (way: Way) => {
      for (const record of way.tasks.records.values()) record.state = phaseState('SUCCESS', { reason: 'it is over' });
    },
    (way: Way) => {
      for (const record of way.tasks.records.values()) record.state = phaseState('NO_PHASE' as never);
    },
  ];
  for (const make of change) {
    for (const way of ways) make(way);
    for (const path of PATHS) {
      const [edge, grpc] = await told(path);
      assert.deepEqual(edge, grpc);
      seen.add(JSON.stringify(edge));
    }
  }
  assert.ok(seen.size >= 7, [...seen].join('\n'));
  assert.deepEqual(await countsOf(ways[0]), await countsOf(ways[1]));
});

test('an answer larger than may be sent is refused alike by both ways', async (t) => {
  const ways = [await startWay(t, true, { maxSendBytes: 10 }), await startWay(t, false, { maxSendBytes: 10 })];
  // Create is too large as well, but the task is there.
  const [edge, grpc] = await Promise.all(ways.map((way) => exchange(way, plainly(NATIVE))));
  assert.deepEqual(edge, grpc);
  assert.match(JSON.stringify(edge), /larger%20than%20max/);
});

/** An edge whose inner server only counts what it is given. */
async function startEdge(t: TestContext, methods: ReadonlyMap<string, UnaryMethod>) {
  const limits = rpcLimits(DEFAULTS);
  const connections = new Connections(limits, systemClock);
  const edge = new Edge(limits, systemClock, connections, () => {}, methods);
  const given: { path: string; bytes: number; ended: boolean }[] = [];
  const inner = http2.createServer();
  inner.on('stream', (stream, headers) => {
    const call = { path: String(headers[':path']), bytes: 0, ended: false };
    given.push(call);
    stream.on('data', (chunk: Buffer) => {
      call.bytes += chunk.length;
    });
    stream.on('end', () => {
      call.ended = true;
      stream.respond({ 'grpc-status': '12' }, { endStream: true });
    });
  });
  edge.attach(inner);
  const outer = createServer((socket) => {
    const connection = connections.add(socket);
    if (connection !== undefined) edge.accept(connection, () => inner.emit('connection', socket));
  });
  await new Promise<void>((resolve) => outer.listen(0, '127.0.0.1', resolve));
  const session = http2.connect(`http://127.0.0.1:${(outer.address() as { port: number }).port}`);
  session.on('error', () => {});
  t.after(() => {
    session.destroy();
    outer.close();
  });
  const send = async (path: string, pieces: readonly Buffer[], headers: http2.OutgoingHttpHeaders = {}) => {
    const stream = session.request({
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/grpc',
      ...headers,
    });
    stream.on('error', () => {});
    stream.resume();
    const closed = new Promise((resolve) => stream.once('close', resolve));
    for (const piece of pieces) {
      stream.write(piece);
      await turn();
    }
    stream.end();
    await closed;
  };
  return { given, send, connections, edge, session };
}

test('what engines send is not seen by grpc-js; anything else is, whole, and each call leaves nothing counted', async (t) => {
  const asked: string[] = [];
  const method: UnaryMethod = {
    call: (request, reply) => {
      asked.push(request.toString());
      reply.arrival.taken = true;
      reply.answer(Buffer.from('answer'));
    },
  };
  const { given, send, connections, edge } = await startEdge(t, new Map([['/a.B/Hot', method]]));
  const tooLarge = Buffer.from([0, 0xff, 0xff, 0xff, 0xff, 1]);
  const message = (text: string, flag = 0) => {
    const bytes = Buffer.from(`\0\0\0\0\0${text}`);
    bytes[0] = flag;
    bytes.writeUInt32BE(text.length, 1);
    return bytes;
  };
  const known = message('known');
  for (const pieces of [
    [known],
    [known.subarray(0, 3), known.subarray(3)],
    [...known].map((byte) => Buffer.of(byte)),
  ]) {
    await send('/a.B/Hot', pieces);
    assert.deepEqual([asked.splice(0), given.splice(0)], [['known'], []]);
  }
  await send('/a.B/Hot', [message('')]);
  assert.deepEqual([asked.splice(0), given.splice(0)], [[''], []]);

  const whole = async (pieces: readonly Buffer[], headers?: http2.OutgoingHttpHeaders, path = '/a.B/Hot') => {
    await send(path, pieces, headers);
    const bytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
    assert.deepEqual(given.splice(0), [{ path, bytes, ended: true }]);
    return asked.splice(0);
  };
  assert.deepEqual(await whole([known], {}, '/a.B/Cold'), []);
  assert.deepEqual(await whole([known], { 'grpc-encoding': 'gzip' }), []);
  assert.deepEqual(await whole([known], { 'content-type': 'text/plain' }), []);
  assert.deepEqual(await whole([known.subarray(0, 3)]), []);
  assert.deepEqual(await whole([known.subarray(0, 7), known.subarray(7, 9)]), []);
  assert.deepEqual(await whole([known.subarray(0, 2), known.subarray(2), Buffer.from([0])]), []);
  assert.deepEqual(await whole([known.subarray(0, 1), Buffer.concat([known.subarray(1), known])]), []);
  assert.deepEqual(await whole([known, known]), []);
  assert.deepEqual(await whole([known, Buffer.from([0])]), []);
  assert.deepEqual(await whole([message('known', 1)]), []);
  assert.deepEqual(await whole([tooLarge]), []);
  assert.deepEqual(await whole([]), []);
  while (edge.unfinishedBytes > 0) await turn();
  assert.equal(connections.size, 1);
});

/** What grpc-js holds for a piece beside its bytes. */
const PIECE_BYTES = 512;

test('what was read ahead and is handed on is held once', async (t) => {
  const { edge, session, given } = await startEdge(t, new Map([['/a.B/Hot', { call: () => {} }]]));
  const stream = session.request({ ':method': 'POST', ':path': '/a.B/Hot', 'content-type': 'application/grpc' });
  stream.on('error', () => {});
  stream.write(Buffer.from([0, 0, 0, 0, 2, 7]));
  while (edge.unfinishedBytes === 0) await turn();
  const opened = await until('the first piece', () => edge.unfinishedBytes);
  // More than the one message that was begun.
  stream.write(Buffer.alloc(100));
  await until('it to be handed on', () => given[0]?.bytes === 106);
  assert.equal(edge.unfinishedBytes, opened + 100 + PIECE_BYTES);
  const closed = new Promise((resolve) => stream.resume().once('close', resolve));
  stream.end();
  await closed;
});
