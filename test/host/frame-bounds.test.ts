import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { encodeFrame, FrameDecoder } from '../../src/channel/frame.js';
import { CHILD_BOUNDS } from '../../src/channel/frame-bounds.js';
import { jsonSize } from '../../src/channel/json-size.js';
import type { ChildMessage, HostMessage } from '../../src/channel/messages.js';
import { FrameLedger } from '../../src/host/process/frame-ledger.js';
import { ManualClock } from '../../src/lib/clock.js';

const MIB = 1024 * 1024;
const MAX = 16 * MIB;

function frame(json: string, beside = Buffer.alloc(0)): Buffer {
  const text = Buffer.from(json);
  const head = Buffer.alloc(8);
  head.writeUInt32BE(4 + text.length + beside.length, 0);
  head.writeUInt32BE(text.length, 4);
  return Buffer.concat([head, text, beside]);
}

/** What comes out of these bytes at the daemon's end. */
function decode(...chunks: readonly Buffer[]): unknown {
  const decoder = new FrameDecoder(MAX, CHILD_BOUNDS);
  for (const chunk of chunks) {
    decoder.push(chunk);
    const next = decoder.next();
    if (next !== undefined) return next.message;
  }
  return undefined;
}

const line = (fields: string) => `{"t":"log","p":0,"level":"info","msg":"x","fields":${fields}}`;
const answer = (value: string) => `{"t":"answer","id":1,"v":${value}}`;

function countOf(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 1;
  return Object.values(value).reduce((sum: number, item) => sum + countOf(item), 1);
}

function depthOf(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  return 1 + Math.max(0, ...Object.values(value).map(depthOf));
}

test('values and depth are counted on the bytes, never lower than a parser finds them', () => {
  const max = { values: Number.POSITIVE_INFINITY, depth: Number.POSITIVE_INFINITY };
  fc.assert(
    fc.property(fc.jsonValue(), fc.boolean(), (value, spaced) => {
      const size = jsonSize(Buffer.from(JSON.stringify(value, undefined, spaced ? 1 : undefined)), max);
      assert.ok(size.values >= countOf(value), `${size.values} for ${countOf(value)}`);
      assert.ok(size.values <= 2 * countOf(value));
      assert.equal(size.depth, depthOf(value));
    }),
    { numRuns: 1_000 },
  );
  assert.deepEqual(jsonSize(Buffer.from('["[,{","\\"[,","\\\\"]'), max), { values: 4, depth: 1 });
});

test('each kind of frame has a bound of its own, which is held before the frame is whole or parsed', () => {
  const head = (json: string, claim: number) => {
    const bytes = frame(json);
    bytes.writeUInt32BE(claim + 4, 0);
    bytes.writeUInt32BE(claim, 4);
    return bytes;
  };
  const nested = (depth: number) => `${'['.repeat(depth)}${']'.repeat(depth)}`;
  const refused: Record<string, Buffer> = {
    'a line of a megabyte, by its first bytes': head(line('{'), MIB),
    'a pong of a megabyte, by its first bytes': head('{"t":"pong","rss":123456,', MIB),
    'an answer of more text, by its head': head(answer('['), MIB + 1).subarray(0, 8),
    'a line of many values': frame(line(`{"a":[${'1,'.repeat(6_000)}1]}`)),
    'measurements without end': frame(
      `{"t":"metric","p":0,"kind":"count","name":"a","values":[${'1,'.repeat(6_000)}1]}`,
    ),
    'an answer of very many values': frame(answer(`[${'{},'.repeat(100_001)}{}]`)),
    'an answer that nests deep': frame(answer(nested(500))),
    'a line that nests deep': frame(line(nested(5_000))),
    'a line with bytes beside it': frame(line('{}'), Buffer.alloc(10)),
    'no known kind': frame('{"t":"constructor"}'),
    'a kind that does not come first': frame('{"id":1,"t":"answer"}'),
    'two kinds': frame('{"t":"answer","id":1,"v":{},"t":"log"}'),
    'no object': frame('["t"]'),
  };
  for (const [what, bytes] of Object.entries(refused)) {
    assert.throws(() => decode(bytes), { name: 'ChannelError' }, what);
  }
  assert.ok(decode(frame(answer(`[${'{},'.repeat(40_000)}{}]`))));
  assert.ok(decode(frame(answer('"'.padEnd(MIB - 100, 'x').concat('"')))));
});

test('no more is copied out of a frame than came in, however often it is referred to', () => {
  const bytes = Buffer.alloc(1000, 65);
  const whole = '{"$b":[0,1000]}';
  assert.deepEqual(decode(frame(answer(`{"a":${whole}}`), bytes)), { t: 'answer', id: 1, v: { a: bytes } });
  assert.deepEqual(decode(frame(answer('[{"$b":[0,500]},{"$s":[500,500]}]'), bytes)), {
    t: 'answer',
    id: 1,
    v: [bytes.subarray(0, 500), 'A'.repeat(500)],
  });
  for (const again of [whole, '{"$s":[0,1000]}', '{"$b":[999,1]}']) {
    assert.throws(() => decode(frame(answer(`[${whole},${again}]`), bytes)), { code: 'GARBAGE' }, again);
  }
});

test('large texts and bytes of an honest answer go beside its text, and arrive the same', () => {
  const round = (value: unknown) =>
    (decode(Buffer.concat(encodeFrame({ t: 'answer', id: 1, v: value }, MAX, CHILD_BOUNDS).parts)) as { v: unknown }).v;
  const lines = Array.from({ length: 10_000 }, (_, i) => ({
    message: `${i} ${'höher'.repeat(60)}`,
    timestampMs: 1_700_000_000_000 + i,
    originator: 'USER',
  }));
  const values: unknown[] = [
    { outputs: Buffer.alloc(8 * MIB, 1), reason: 'x'.repeat(8_192) },
    { lines, token: 'next' },
    { logs: [{ uri: 'z'.repeat(900_000) }] },
    { $s: [0, 1], $b: 'x', nested: { $o: { $s: 'long'.repeat(2_000) } } },
  ];
  for (const value of values) assert.deepEqual(round(value), value);
  const cut = round({ reason: `cut ${'x'.repeat(5_000)}\ud83d` }) as { reason: string };
  assert.ok(cut.reason.endsWith('x\ufffd'));
});

test('what is above a bound is not sent, and says so', () => {
  const send = (message: unknown) => encodeFrame(message, MAX, CHILD_BOUNDS);
  const many = Array.from({ length: 100_001 }, () => ({}));
  assert.throws(() => send({ t: 'answer', id: 1, v: many }), {
    code: 'TOO_LARGE',
    message: /more values than the 100000/,
  });
  assert.throws(() => send({ t: 'log', msg: 'x'.repeat(70_000) }), {
    code: 'TOO_LARGE',
    message: /more bytes of text/,
  });
});

test('half a surrogate pair is replaced however it is escaped, and nothing that only looks like one', () => {
  const texts = String.raw`"\ud800" "a\uDC00b" "\\ud800" "\\\ud83dx" "\ud800\ud800" "\\\\ud800"`.split(' ');
  const seen = texts.map((text) => (decode(frame(answer(text))) as { v: unknown }).v);
  assert.deepEqual(seen, ['\ufffd', 'a\ufffdb', '\\ud800', '\\\ufffdx', '\ufffd\ufffd', '\\\\ud800']);
});

test('bytes that come one by one are held once and no more', () => {
  const value = { t: 'answer', id: 1, v: { a: Buffer.alloc(300_000, 7), b: 'x'.repeat(10_000) } };
  const bytes = Buffer.concat(encodeFrame(value, MAX, CHILD_BOUNDS).parts);
  const decoder = new FrameDecoder(MAX, CHILD_BOUNDS);
  const before = process.memoryUsage();
  for (let at = 0; at < bytes.length - 1; at++) {
    decoder.push(bytes.subarray(at, at + 1));
    assert.equal(decoder.next(), undefined);
  }
  const after = process.memoryUsage();
  assert.ok(after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers < 32 * MIB);
  decoder.push(bytes.subarray(-1));
  assert.deepEqual(decoder.next()?.message, value);
  assert.equal(decoder.heldBytes, 0);
});

const HONEST = {
  linesPerSecond: 10,
  lineBytesPerSecond: 50_000,
  measurementsPerSecond: 20,
  measurementBytesPerSecond: 960,
};

test('a process answers once what it was asked for; what nobody asked for breaks the channel', () => {
  const ledger = () => new FrameLedger({ clock: new ManualClock(), ...HONEST });
  const call = { t: 'call', p: 0, id: 7, m: 'get', a: {}, left: 1, at: 0 } as HostMessage;
  const failure = { kind: 'unknown', message: '', code: '', faultKind: 'SYSTEM', retryAfterMs: undefined } as const;
  const pairs: [HostMessage | undefined, ChildMessage][] = [
    [undefined, { t: 'ready' }],
    [{ t: 'ping' }, { t: 'pong', rss: 1, abandoned: 0 }],
    [{ t: 'close' }, { t: 'closed' }],
    [call, { t: 'answer', id: 7, v: {} }],
    [call, { t: 'error', id: 7, f: failure }],
    [
      { t: 'import', p: 0, url: '', label: '' },
      { t: 'failed', p: 0, failure: { code: 'INTERNAL', message: '' } },
    ],
  ];
  for (const [asked, said] of pairs) {
    const book = ledger();
    if (asked !== undefined) {
      assert.throws(() => book.received(said, 100), { code: 'GARBAGE', message: /nobody asked for/ });
      book.sent(asked);
    }
    book.received(said, 100);
    assert.throws(() => book.received(said, 100), { code: 'GARBAGE' }, said.t);
  }
  const book = ledger();
  book.sent(call);
  assert.throws(() => book.received({ t: 'answer', id: 8, v: {} }, 100), { code: 'GARBAGE' });
});

test('lines and measurements may come late and all at once, but not without end', async () => {
  const clock = new ManualClock();
  const book = new FrameLedger({ clock, linesPerSecond: 10, measurementsPerSecond: 20 });
  const log: ChildMessage = { t: 'log', p: 0, level: 'info', msg: '', fields: {} };
  const metric: ChildMessage = { t: 'metric', p: 0, kind: 'count', name: 'a', values: Array(9).fill(1) };
  for (let second = 0; second < 300; second++) {
    for (let i = 0; i < 10; i++) book.received(log, 100);
    book.received(metric, 200);
    book.received(metric, 200);
    await clock.advance(1_000);
  }
  for (let i = 0; i < 1_000; i++) book.received(log, 100);
  assert.throws(() => book.received(log, 100), { code: 'TOO_LARGE', message: /log lines a second/ });
  for (let i = 0; i < 200; i++) book.received(metric, 200);
  assert.throws(() => book.received(metric, 200), { code: 'TOO_LARGE', message: /measurements a second/ });
});

test('few large lines are a flood as many small ones are', async () => {
  const clock = new ManualClock();
  const book = new FrameLedger({ clock, ...HONEST });
  const log: ChildMessage = { t: 'log', p: 0, level: 'info', msg: '', fields: {} };
  for (let second = 0; second < 100; second++) {
    for (let i = 0; i < 5; i++) book.received(log, 10_000);
    await clock.advance(1_000);
  }
  for (let i = 0; i < 8; i++) book.received(log, 60_000);
  assert.throws(() => book.received(log, 60_000), { code: 'TOO_LARGE', message: /bytes of log lines a second/ });
});

test('small lines, or metrics, of many values are a flood as well, since each value costs', () => {
  const book = new FrameLedger({ clock: new ManualClock(), ...HONEST });
  const log: ChildMessage = { t: 'log', p: 0, level: 'info', msg: '', fields: {} };
  for (let i = 0; i < 50; i++) book.received(log, 2_000, 500);
  const metric: ChildMessage = { t: 'metric', p: 0, kind: 'count', name: 'a', values: Array(20).fill(1) };
  for (let i = 0; i < 25; i++) book.received(metric, 60, 20);
  assert.throws(() => book.received(metric, 60, 20), { code: 'TOO_LARGE', message: /bytes of measurements a second/ });
  assert.throws(() => book.received(log, 2_000, 500), { code: 'TOO_LARGE', message: /bytes of log lines a second/ });
});

test('what nests deep is refused on its bytes, before anything is parsed', () => {
  const nested = (depth: number) => frame(answer(`${'['.repeat(depth)}${']'.repeat(depth)}`));
  assert.ok(decode(nested(199)));
  for (const depth of [400, 5_000, 500_000]) {
    assert.throws(() => decode(nested(depth)), { code: 'GARBAGE', message: /"answer" is nested too deeply/ });
  }
});

test('the count stops where the bound is broken', () => {
  const many = Buffer.from(`[${'1,'.repeat(50_000)}1]`);
  assert.equal(jsonSize(many, { values: 10, depth: 10 }).values, 11);
  assert.equal(jsonSize(Buffer.from('['.repeat(50_000)), { values: 1e9, depth: 10 }).depth, 11);
});

test('a frame that claims more than a message may have, or bytes that it does not carry, is refused', () => {
  const claims = frame(answer('1'), Buffer.alloc(10));
  claims.writeUInt32BE(MAX + 1, 0);
  assert.throws(() => decode(claims.subarray(0, 8)), { code: 'TOO_LARGE' });
  const bytes = Buffer.alloc(1000, 65);
  for (const range of ['[500,501]', '[1001,0]', '[0,1001]', '[-1,1]', '[0.5,1]', '[0]', '"x"', '[4294967296,1]']) {
    for (const mark of ['$b', '$s']) {
      const reference = `{"${mark}":${range}}`;
      assert.throws(() => decode(frame(answer(reference), bytes)), { code: 'GARBAGE' }, reference);
    }
  }
});
