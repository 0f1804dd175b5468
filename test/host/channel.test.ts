import assert from 'node:assert/strict';
import { Duplex } from 'node:stream';
import { test } from 'node:test';
import { MessageChannel } from 'node:worker_threads';
import fc from 'fast-check';
import { Channel, type ChannelOptions } from '../../src/channel/channel.js';
import { encodeFrame, FrameDecoder } from '../../src/channel/frame.js';
import { CHILD_BOUNDS } from '../../src/channel/frame-bounds.js';
import { parseChildMessage } from '../../src/channel/messages.js';
import { pack } from '../../src/channel/pack.js';
import { PortStream } from '../../src/channel/port-stream.js';
import { ManualClock } from '../../src/lib/clock.js';
import { type MessageWriter, SelfWritten } from '../../src/lib/self-written.js';

const MAX = 1024 * 1024;
const BOUND = { timeout: 30_000 };

const bytesOf = (message: unknown, max = MAX): Buffer => Buffer.concat(encodeFrame(message, max).parts);

function decodeAll(chunks: Iterable<Buffer>, max = MAX): unknown[] {
  const decoder = new FrameDecoder(max);
  const out: unknown[] = [];
  for (const chunk of chunks) {
    // A pipe is read into the same memory again and again.
    const passing = Buffer.from(chunk);
    decoder.push(passing);
    for (let next = decoder.next(); next !== undefined; next = decoder.next()) out.push(next.message);
    decoder.keep();
    passing.fill(0xff);
  }
  assert.equal(decoder.heldBytes, 0);
  return out;
}

/** Plain data with bytes anywhere, and with keys that look like our own marks. */
const key = fc.oneof(fc.string(), fc.constantFrom('$b', '$l', '$o', '__proto__', 'constructor', 'toJSON'));
const { tree } = fc.letrec((tie) => ({
  leaf: fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.double({ noNaN: true, noDefaultInfinity: true }).map((n) => (Object.is(n, -0) ? 0 : n)),
    fc.boolean(),
    fc.constant(null),
    fc.uint8Array({ maxLength: 64 }).map((bytes) => Buffer.from(bytes)),
  ),
  tree: fc.oneof(
    { depthSize: 'small' },
    tie('leaf'),
    fc.array(tie('tree'), { maxLength: 5 }),
    fc
      .array(fc.tuple(key, tie('tree')), { maxLength: 5 })
      // fromEntries defines, so that `__proto__` is an own key here too.
      .map((entries) => Object.fromEntries(entries)),
  ),
}));

test('whatever plain data with bytes is sent arrives the same, however the stream is cut', () => {
  fc.assert(
    fc.property(fc.array(tree, { maxLength: 6 }), fc.infiniteStream(fc.integer({ min: 1, max: 40 })), (sent, cuts) => {
      const stream = Buffer.concat(sent.map((message) => bytesOf(message)));
      const chunks: Buffer[] = [];
      for (let at = 0; at < stream.length; ) {
        const size = cuts.next().value as number;
        chunks.push(stream.subarray(at, at + size));
        at += size;
      }
      assert.deepEqual(decodeAll(chunks), sent);
    }),
    { numRuns: 300 },
  );
});

test('frames that are cut up by the pipe, each a little later, are put together in the same memory', (t) => {
  const made = t.mock.method(Buffer, 'allocUnsafeSlow');
  const decoder = new FrameDecoder(MAX);
  const frame = bytesOf('x'.repeat(64_900));
  const stream = Buffer.concat(Array.from({ length: 200 }, () => frame));
  let seen = 0;
  for (let at = 0; at < stream.length; at += 65_536) {
    decoder.push(stream.subarray(at, at + 65_536));
    while (decoder.next() !== undefined) seen += 1;
    decoder.keep();
  }
  assert.deepEqual([seen, decoder.heldBytes], [200, 0]);
  assert.ok(made.mock.callCount() <= 2, `memory was made ${made.mock.callCount()} times`);
});

test('a large frame that comes in pieces takes twice its bytes at most, and none of it is kept for small ones', (t) => {
  const made = t.mock.method(Buffer, 'allocUnsafeSlow');
  const most = () => Math.max(0, ...made.mock.calls.map(({ arguments: [bytes] }) => bytes as number));
  const max = 8 * MAX;
  const decoder = new FrameDecoder(max);
  const send = (bytes: Buffer) => {
    for (let at = 0; at < bytes.length; at += 10_000) {
      decoder.push(bytes.subarray(at, at + 10_000));
      while (decoder.next() !== undefined);
      decoder.keep();
    }
  };
  const large = bytesOf('x'.repeat(5 * MAX), max);
  const small = bytesOf('x'.repeat(20_000));
  for (const behind of [0, 900]) {
    made.mock.resetCalls();
    send(Buffer.concat([large, small.subarray(0, behind)]));
    assert.ok(most() <= 2 * large.length + 20_000, `${most()} bytes for ${large.length}`);
    const last = made.mock.calls.at(-1)!.arguments[0] as number;
    if (behind > 0) assert.ok(last <= MAX, `${last} bytes are kept for what came behind it`);
    made.mock.resetCalls();
    // The last piece of the large one brought some of it.
    send(small.subarray(behind));
    send(small);
    assert.ok(made.mock.callCount() <= 1 && most() <= MAX, `${most()} bytes for a small one`);
    assert.equal(decoder.heldBytes, 0);
  }
});

test('bytes that are no frames give messages or an error of the channel, never anything else', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 5 }), (chunks) => {
      const decoder = new FrameDecoder(64);
      try {
        for (const chunk of chunks) {
          decoder.push(Buffer.from(chunk));
          while (decoder.next() !== undefined);
        }
      } catch (error) {
        assert.equal((error as Error).name, 'ChannelError');
      }
    }),
    { numRuns: 500 },
  );
});

test('a message above the bound is not encoded, and a frame that claims to be is refused by its head', () => {
  assert.throws(() => bytesOf('x'.repeat(100), 50), { name: 'ChannelError', code: 'TOO_LARGE' });
  assert.throws(() => bytesOf({ a: Buffer.alloc(100) }, 50), { code: 'TOO_LARGE' });
  const decoder = new FrameDecoder(50);
  decoder.push(bytesOf('x'.repeat(100)).subarray(0, 8));
  assert.throws(() => decoder.next(), { code: 'TOO_LARGE' });
});

test('frames with broken lengths, text, references or escapes are garbage', () => {
  const frame = (json: string, lengths: { total?: number; text?: number } = {}): Buffer => {
    const text = Buffer.from(json);
    const head = Buffer.alloc(8);
    head.writeUInt32BE(lengths.total ?? text.length + 4, 0);
    head.writeUInt32BE(lengths.text ?? text.length, 4);
    return Buffer.concat([head, text]);
  };
  const broken = [
    frame('{}', { total: 2 }),
    frame('{}', { text: 3 }),
    frame('{"a":'),
    frame('{"$b":[0,1]}'),
    frame('{"$b":[-1,0]}'),
    frame('{"$b":"all"}'),
    frame('{"$o":3}'),
    frame('{"$l":3}'),
    frame('{"$l":"\u0100"}'),
    frame(`${'['.repeat(500)}${']'.repeat(500)}`),
  ];
  for (const [index, bytes] of broken.entries()) {
    assert.throws(() => decodeAll([bytes]), { name: 'ChannelError', code: 'GARBAGE' }, `case ${index}`);
  }
});

test('an object that writes itself arrives as the plain data that it stands for, bytes as bytes wherever they lie', () => {
  class Written extends SelfWritten {
    constructor(readonly bytes: Buffer) {
      super();
    }

    write(writer: MessageWriter): string {
      const value = writer.value({ $l: [1, undefined], left: undefined });
      return `{"text":${writer.text('a "quoted" one')},"bytes":${writer.bytes(this.bytes.toString('latin1'))},"value":${value}}`;
    }
  }
  const all = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
  for (const [bytes, beside] of [
    [Buffer.alloc(0), 0],
    [all, 0],
    [Buffer.concat([all, all]), 512],
  ] as const) {
    const message = { before: [bytes], it: new Written(bytes) };
    assert.equal(pack({ it: message.it }).attachmentBytes, beside);
    const plain = { text: 'a "quoted" one', bytes, value: { $l: [1, null] } };
    assert.deepEqual(decodeAll([bytesOf(message)]), [{ before: [bytes], it: plain }]);
  }
});

test('what is not plain data is not sent', () => {
  const cycle: { self?: unknown } = {};
  cycle.self = cycle;
  for (const value of [1n, Number.NaN, () => 1, Symbol('x'), new Date(), new Map(), cycle]) {
    assert.throws(() => pack({ value }), { code: 'UNSENDABLE' });
  }
  assert.equal(pack({ a: undefined, b: 1 }).json, '{"b":1}');
  // What somebody gave every object is of no message.
  Object.defineProperty(Object.prototype, 'everywhere', { value: 1, enumerable: true, configurable: true });
  try {
    assert.equal(pack({ a: 1, b: { c: 2 } }).json, '{"a":1,"b":{"c":2}}');
  } finally {
    Reflect.deleteProperty(Object.prototype, 'everywhere');
  }
});

test('messages of a plugin process are taken only in their known shapes', () => {
  for (const value of [
    null,
    'ready',
    [],
    {},
    { t: 'constructor' },
    { t: 'answer', id: -1 },
    { t: 'answer', id: '1' },
    { t: 'error', id: 1, f: { kind: 'transient' } },
    { t: 'error', id: 1, f: { kind: 'odd', message: '', code: '', faultKind: 'USER' } },
    { t: 'failed', p: 0, failure: { code: 'NO_SUCH_CODE', message: '' } },
    { t: 'metric', p: 0, kind: 'count', name: 'x', values: ['1'] },
    { t: 'pong', rss: 1.5, abandoned: 0 },
    { t: 'imported', p: 0, facts: { id: 'x' } },
    { t: 'loaded', p: 0, facts: { kind: 'async', features: {} } },
  ]) {
    assert.throws(() => parseChildMessage(value), { code: 'GARBAGE' }, JSON.stringify(value));
  }
});

/** Two ends of a pipe in memory; each holds what the other has not read, up to its high-water mark. */
function pipe(): [Duplex, Duplex] {
  const ends: Duplex[] = [];
  const resume: (() => void)[] = [() => undefined, () => undefined];
  for (const side of [0, 1]) {
    ends[side] = new Duplex({
      allowHalfOpen: false,
      highWaterMark: 16 * 1024,
      read: () => resume[side]!(),
      write: (chunk: Buffer, _encoding, done) => {
        if (ends[1 - side]!.push(chunk)) done();
        else {
          resume[1 - side] = () => {
            resume[1 - side] = () => undefined;
            done();
          };
        }
      },
      final: (done) => {
        ends[1 - side]!.push(null);
        done();
      },
    });
  }
  return [ends[0]!, ends[1]!];
}

const quiet: ChannelOptions = {
  maxInBytes: MAX,
  maxOutBytes: MAX,
  highWaterBytes: 64 * 1024,
  onMessage: () => undefined,
  onClose: () => undefined,
};

test(
  'what a pipe reads into the same memory again and again arrives whole, also where the receiver is behind',
  BOUND,
  async () => {
    const count = 300;
    const messages = Array.from({ length: count }, (_, i) => ({ i, text: String(i).repeat(1_000 + 97 * (i % 50)) }));
    const all = Buffer.concat(messages.map((message) => bytesOf(message)));
    const memory = Buffer.alloc(10_000);
    const stream = new Duplex({ read: () => undefined, write: (_chunk, _encoding, done) => done() });
    const seen: unknown[] = [];
    new Channel(stream, { ...quiet, onMessage: (message) => seen.push(message) });
    for (let at = 0; at < all.length; ) {
      const bytes = all.copy(memory, 0, at, at + memory.length);
      at += bytes;
      stream.emit('data', memory.subarray(0, bytes));
      // Now and then a turn goes by, and what is left is handled in the next.
      if (at % 30_000 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    memory.fill(0);
    while (seen.length < count && !stream.destroyed) await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(seen, messages);
  },
);

test('messages of one turn leave in one write and arrive in order', BOUND, async () => {
  const [left, right] = pipe();
  let writes = 0;
  const uncork = left.uncork.bind(left);
  left.uncork = () => {
    writes++;
    uncork();
  };
  const seen: unknown[] = [];
  await new Promise<void>((resolve) => {
    new Channel(right, { ...quiet, onMessage: (message) => seen.push(message) === 100 && resolve() });
    const sender = new Channel(left, quiet);
    for (let i = 0; i < 100; i++) sender.send({ i });
  });
  assert.deepEqual(
    seen,
    Array.from({ length: 100 }, (_, i) => ({ i })),
  );
  assert.equal(writes, 1);
});

test('a receiver that does not read makes the sender unwritable, and it recovers when it does', BOUND, async () => {
  const [left, right] = pipe();
  const sender = new Channel(left, quiet);
  for (let i = 0; i < 20; i++) sender.send({ text: 'x'.repeat(10_000) });
  assert.equal(sender.writable, false);
  assert.ok(sender.queuedBytes > 64 * 1024);
  let seen = 0;
  const drained = sender.drained();
  new Channel(right, { ...quiet, onMessage: () => seen++ });
  await drained;
  assert.equal(sender.writable, true);
  while (seen < 20) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(sender.queuedBytes, 0);
});

test('a flood is handled a turn at a time, so that others get theirs', BOUND, async () => {
  const [left, right] = pipe();
  const perTurn: number[] = [];
  let seen = 0;
  new Channel(right, { ...quiet, onMessage: () => seen++ });
  const flood = Buffer.concat(Array.from({ length: 5_000 }, (_, i) => bytesOf({ i })));
  left.write(flood);
  while (seen < 5_000) {
    const before = seen;
    await new Promise((resolve) => setImmediate(resolve));
    perTurn.push(seen - before);
  }
  assert.ok(Math.max(...perTurn) <= 512, `${Math.max(...perTurn)} messages in one turn`);
  assert.ok(perTurn.length > 5);
});

/** A pipe with so many chunks in it, which gives one after the other within a turn, as the system's do. */
function fullPipe(chunks: readonly Buffer[]): Duplex {
  const left = [...chunks];
  const stream = new Duplex({
    read: () => process.nextTick(() => left.length > 0 && stream.push(left.shift())),
    write: (_chunk, _encoding, done) => done(),
  });
  return stream;
}

const FLOODS = {
  'of small messages': { message: { t: 'x' }, handleMs: 0, atMost: 256 },
  'of large ones': { message: 'x'.repeat(64 * 1024), handleMs: 0, atMost: 16 },
  'that takes long': { message: { t: 'x' }, handleMs: 1, atMost: 4 },
};
for (const [what, { message, handleMs, atMost }] of Object.entries(FLOODS)) {
  test(`a flood ${what} takes its part of a turn and no more, however many chunks come in it`, BOUND, async () => {
    let seen = 0;
    const onMessage = () => {
      for (const end = performance.now() + handleMs; performance.now() < end; );
      seen++;
    };
    const count = 5 * atMost;
    new Channel(fullPipe(Array.from({ length: count }, () => bytesOf(message))), { ...quiet, onMessage });
    while (seen < count) {
      const before = seen;
      await new Promise((resolve) => setImmediate(resolve));
      assert.ok(seen - before <= atMost, `${seen - before} messages in one turn, at most ${atMost} are allowed`);
    }
  });
}

test('a message that takes long ends its turn, so that others get theirs', BOUND, async () => {
  const [left, right] = pipe();
  let seen = 0;
  const slow = () => {
    const end = performance.now() + 6;
    while (performance.now() < end);
    seen++;
  };
  new Channel(right, { ...quiet, onMessage: slow });
  left.write(Buffer.concat(Array.from({ length: 20 }, (_, i) => bytesOf({ i }))));
  while (seen < 20) {
    const before = seen;
    await new Promise((resolve) => setImmediate(resolve));
    assert.ok(seen - before <= 2, `${seen - before} slow messages in one turn`);
  }
});

const RATES = {
  bytes: { rate: { bytesPerSecond: 1_000, valuesPerSecond: 1e9 }, message: { t: 'answer', id: 1, v: 'x'.repeat(400) } },
  values: {
    rate: { bytesPerSecond: 1e9, valuesPerSecond: 1_500 },
    message: { t: 'answer', id: 1, v: Array(500).fill(1) },
  },
};
for (const [what, { rate, message }] of Object.entries(RATES)) {
  test(`what comes above the ${what} of a second waits in its pipe until the second is over`, BOUND, async () => {
    const [left, right] = pipe();
    const clock = new ManualClock();
    let seen = 0;
    const onMessage = () => void seen++;
    new Channel(right, { ...quiet, inBounds: CHILD_BOUNDS, inRate: { clock, ...rate }, onMessage });
    left.write(Buffer.concat(Array.from({ length: 9 }, () => bytesOf(message))));
    const settled = async () => {
      for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
      return seen;
    };
    for (const most of [3, 6, 9]) {
      assert.equal(await settled(), most);
      assert.equal(right.isPaused(), true);
      await clock.advance(1_000);
    }
    assert.equal(right.isPaused(), false);
    left.write(bytesOf(message));
    assert.equal(await settled(), 10);
  });
}

test(
  'what comes faster than steadily is read evenly over time; other messages are as long as it does not',
  BOUND,
  async () => {
    const clock = new ManualClock();
    const stream = fullPipe([
      ...Array.from({ length: 20 }, () => bytesOf({ t: 'answer', id: 1, v: 'x'.repeat(900) })),
      ...Array.from({ length: 40 }, () => bytesOf({ t: 'log', k: 'x'.repeat(976) })),
    ]);
    const seen: string[] = [];
    const steadyRate = { clock, kinds: new Set(['log']), bytesPerSecond: 100_000, atOnceBytes: 10_000 };
    new Channel(stream, { ...quiet, steadyRate, onMessage: (message) => seen.push((message as { t: string }).t) });
    const settled = async () => {
      for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
      return seen.length;
    };
    assert.equal(await settled(), 20 + 10);
    for (let ms = 0; ms < 260; ms += 20) {
      const before = seen.length;
      await clock.advance(20);
      const more = (await settled()) - before;
      assert.ok(more >= 1 && more <= 3, `${more} messages of 1,000 bytes in 20 ms at 100,000 bytes a second`);
    }
    assert.ok(seen.length >= 20 + 34 && seen.length <= 20 + 40, `${seen.length} messages`);
  },
);

test('garbage closes the channel once, with the reason, and nothing is sent or received after', BOUND, async () => {
  const [left, right] = pipe();
  const errors: unknown[] = [];
  const seen: unknown[] = [];
  const closed = new Promise<void>((resolve) => {
    const channel = new Channel(right, {
      ...quiet,
      onMessage: (message) => seen.push(message),
      onClose: (error) => {
        errors.push(error);
        assert.throws(() => channel.send({}), { code: 'CLOSED' });
        assert.equal(channel.closed, true);
        resolve();
      },
    });
  });
  left.write(Buffer.concat([bytesOf({ ok: 1 }), Buffer.from('garbage garbage'), bytesOf({ ok: 2 })]));
  await closed;
  assert.deepEqual(seen, [{ ok: 1 }]);
  assert.equal(errors.length, 1);
  assert.equal((errors[0] as { code: string }).code, 'TOO_LARGE');
});

test('ending a channel sends what is queued first; the other side closes without an error', BOUND, async () => {
  const [left, right] = pipe();
  const seen: unknown[] = [];
  const error = await new Promise<Error | undefined>((resolve) => {
    new Channel(right, { ...quiet, onMessage: (message) => seen.push(message), onClose: resolve });
    const sender = new Channel(left, quiet);
    sender.send({ last: 'words' });
    sender.end();
  });
  assert.equal(error, undefined);
  assert.deepEqual(seen, [{ last: 'words' }]);
});

test('a message port carries the same channel, one unread chunk at a time', BOUND, async (t) => {
  const { port1, port2 } = new MessageChannel();
  const left = new PortStream(port1);
  const right = new PortStream(port2);
  t.after(() => {
    left.destroy();
    right.destroy();
  });
  const sender = new Channel(left, quiet);
  for (let i = 0; i < 50; i++) sender.send({ i, data: Buffer.alloc(5_000, i) });
  assert.equal(sender.writable, false);
  const seen: { i: number; data: Buffer }[] = [];
  await new Promise<void>((resolve) => {
    new Channel(right, { ...quiet, onMessage: (message) => seen.push(message as never) === 50 && resolve() });
  });
  assert.deepEqual(
    seen.map(({ i, data }) => [i, data.length, data[0]]),
    Array.from({ length: 50 }, (_, i) => [i, 5_000, i]),
  );
});
