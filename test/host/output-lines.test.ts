import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import fc from 'fast-check';
import { OutputLines } from '../../src/host/process/output-lines.js';
import { ManualClock } from '../../src/lib/clock.js';
import { SecretMasks } from '../../src/lib/secrets.js';

const clock = { now: () => 0, setTimer: () => ({ cancel: () => undefined }) } as never;

/** The lines that a log gets of these pieces. */
async function printed(secret: string, pieces: readonly Buffer[]): Promise<string> {
  const masks = new SecretMasks();
  masks.addOwn(secret);
  const stream = new PassThrough();
  const lines: string[] = [];
  new OutputLines(stream, {
    clock,
    linesPerSecond: 100_000,
    onDropped: () => assert.fail('no line is dropped'),
    onLine: (line) => lines.push(line),
    mask: (text) => masks.mask(text),
    openAt: (text) => masks.openAt(text),
  });
  for (const piece of pieces) stream.write(piece);
  stream.end();
  await new Promise((resolve) => stream.once('end', resolve));
  return lines.join('');
}

const SECRET = fc
  .string({ unit: fc.constantFrom('é', 'x', 'Y', '1', '-', '€'), minLength: 12, maxLength: 5_000 })
  .filter((text) => new Set(text).size > 2);

test('however a process cuts what it prints, in characters, bytes or long lines, no part of a secret is logged', async () => {
  await fc.assert(
    fc.asyncProperty(
      SECRET,
      // Around the length at which a line is told in pieces, and anywhere.
      fc.oneof(fc.integer({ min: 8_100, max: 8_192 }), fc.integer({ min: 0, max: 20_000 })),
      fc.array(fc.nat({ max: 400 }), { minLength: 1, maxLength: 12 }),
      async (secret, before, steps) => {
        const all = Buffer.from(`${'.'.repeat(before)}${secret}${'.'.repeat(300)}\n`);
        const cuts = steps.map((step) => before + step).filter((cut) => cut < all.length);
        const at = [0, ...cuts.sort((a, b) => a - b), all.length];
        const text = await printed(
          secret,
          at.slice(1).map((end, i) => all.subarray(at[i], end)),
        );
        const left = text.replaceAll('[redacted]', '').replace(/[.…]/g, '');
        assert.ok('[redacted]'.includes(left), left.slice(0, 100));
      },
    ),
    { numRuns: 300 },
  );
});

test('a long line without a secret is told in pieces, and none of it waits for a secret that never comes', async () => {
  const text = await printed('secret-value', [
    Buffer.from('a'.repeat(9_000)),
    Buffer.from(`${'b'.repeat(5_000)}secret-\n`),
  ]);
  assert.ok(text === `${'a'.repeat(9_000)}${'b'.repeat(5_000)}secret-`, `${text.length} characters`);
});

/** What a process prints, with what the daemon does about it; `seconds` end when the test says so. */
function printer({ linesPerSecond = 200, secret = 'secret-value', also = [] as readonly string[] } = {}) {
  const daemons = new SecretMasks();
  for (const one of also) daemons.addOwn(one);
  const masks = new SecretMasks({ also: daemons });
  masks.addOwn(secret);
  const clock = new ManualClock();
  const stream = new PassThrough({ highWaterMark: 16 * MIB });
  const seen = { lines: [] as string[], dropped: 0, looked: 0 };
  const looked = <T>(text: string, result: T): T => {
    seen.looked += text.length;
    return result;
  };
  const output = new OutputLines(stream, {
    clock,
    linesPerSecond,
    onDropped: (lines) => {
      seen.dropped += lines;
    },
    onLine: (line) => seen.lines.push(line),
    mask: (text) => looked(text, masks.mask(text)),
    openAt: (text) => looked(text, masks.openAt(text)),
  });
  return { clock, stream, seen, output };
}

/** Its rests are waited for. */
async function ended({ clock, stream }: ReturnType<typeof printer>): Promise<void> {
  stream.end();
  while (!stream.readableEnded) {
    await clock.advance(20);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** What was written is read as far as it may be. */
const read = () => new Promise((resolve) => setImmediate(resolve));

/** Of one read of a pipe. */
const CHUNK = 64 * 1024;
const MIB = 1024 * 1024;

/** What a pipe brings, read by read, each as its time has come. */
async function flood({ clock, stream }: ReturnType<typeof printer>, text: string, bytes: number): Promise<void> {
  const chunk = Buffer.from(text.repeat(Math.ceil(CHUNK / text.length)));
  for (let at = 0; at < bytes; at += chunk.length) {
    stream.write(chunk);
    await clock.advance(20);
    await read();
  }
}

for (const [what, text] of Object.entries({
  'text without an end': 'x',
  'short lines': 'x\n',
  'empty lines': ' \n',
  'long lines': `${'x'.repeat(8_000)}\n`,
  'lines that are longer than what is read at once': `${'x'.repeat(3 * CHUNK)}\n`,
})) {
  test(`a flood of ${what} costs no more looks at it than it is long, and what is kept of it stays small`, async () => {
    const one = printer();
    await flood(one, text, 16 * MIB);
    await ended(one);
    const per = one.seen.looked / (16 * MIB);
    assert.ok(per <= 2.5, `each character was looked at ${per} times`);
    const seconds = (16 * MIB) / CHUNK / 50;
    assert.ok(one.seen.lines.length <= 200 * (seconds + 1), `${one.seen.lines.length} lines`);
    assert.ok(one.seen.lines.every((line) => line.length <= 8_193));
    await one.clock.advance(1_000);
    assert.equal(one.clock.pending, 0);
  });
}

test('beyond what a second has room for no line is masked, and each is counted', async () => {
  const one = printer({ linesPerSecond: 10 });
  one.stream.write('a\n\n  \nb\n'.repeat(1_000));
  await read();
  const looked = one.seen.looked;
  one.stream.write('c\n'.repeat(1_000));
  one.stream.write('d'.repeat(20_000));
  await read();
  assert.deepEqual(
    one.seen.lines,
    Array.from({ length: 10 }, (_, at) => 'ab'[at % 2]),
  );
  assert.equal(one.seen.looked - looked, 20_000, 'where a secret may begin is looked for, and no more');
  await one.clock.advance(1_000);
  assert.equal(one.seen.dropped, 2 * 1_000 - 10 + 1_000 + Math.ceil(20_000 / 8_192));
  one.stream.write('\ne\n');
  await read();
  assert.equal(one.seen.lines.at(-1), 'e');
});

test('where a part of a long line is left out, no part of a secret is logged of the rest', async () => {
  const pieces = fc.oneof(fc.integer({ min: 8_100, max: 8_192 }), fc.nat({ max: 20_000 }));
  await fc.assert(
    fc.asyncProperty(
      SECRET,
      pieces,
      pieces,
      fc.option(fc.nat({ max: 400 })),
      fc.boolean(),
      async (secret, before, after, at, two) => {
        // What the daemon knows may begin as the secret of the process ends.
        const one = printer({ linesPerSecond: 1, secret, also: two ? [`${secret.at(-1)!}-of-the-daemon`] : [] });
        const cut = at ?? Buffer.byteLength(secret);
        const line = Buffer.from(`${'.'.repeat(before)}${secret}${'.'.repeat(after)}\n`);
        one.stream.write('.\n');
        await read();
        // The second is used up until the pipe brings the rest, which begins in the secret, just behind it or after it.
        one.stream.write(line.subarray(0, before + cut));
        await read();
        await one.clock.advance(1_000);
        one.stream.write(line.subarray(before + cut));
        await ended(one);
        const left = one.seen.lines.join('').replaceAll('[redacted]', '').replace(/[.…]/g, '');
        assert.ok('[redacted]'.includes(left), left.slice(0, 100));
      },
    ),
    { numRuns: 500 },
  );
});

test('what a process says of its end is known also where its line is one of too many', async () => {
  const one = printer({ linesPerSecond: 1 });
  one.stream.write('said\n'.repeat(100));
  await read();
  one.stream.write(
    `Error: not this\n${'x\n'.repeat(100)}TypeError: of secret-value\nErrors, by ErrorReporter\nENOMEM: none left\n`,
  );
  await read();
  assert.deepEqual(
    [one.seen.lines, one.output.lastError, one.output.toldShortage],
    [['said'], 'TypeError: of [redacted]', true],
  );
});

test('what goes on after the beginning of a long secret, byte by byte, is looked at no faster than what comes at once', async () => {
  const secret = Array.from({ length: 60_000 }, (_, at) => String.fromCharCode(97 + ((at * at) % 26))).join('');
  const one = printer({ secret });
  one.stream.write(secret.slice(0, 40_000));
  await read();
  const before = one.seen.looked;
  for (let at = 40_000; at < 40_500; at++) one.stream.write(secret[at]!);
  for (let ms = 0; ms < 200; ms += 20) {
    await one.clock.advance(20);
    await read();
  }
  // 4 MiB a second are read, and looked at twice.
  const most = 0.2 * 4 * MIB * 3;
  assert.ok(one.seen.looked - before <= most, `${one.seen.looked - before} characters were looked at, ${most} at most`);
});

test('a process that ends while it prints a secret has told nothing of it', async () => {
  const one = printer();
  one.stream.write('token=secret-val');
  await ended(one);
  assert.deepEqual(one.seen.lines, ['token=[redacted]…']);
});

test('a process that prints more than 4 MiB a second waits, and all others get their turn meanwhile', async () => {
  const one = printer();
  const bytes = () => 3 * MIB - one.stream.readableLength;
  for (let at = 0; at < 48; at++) one.stream.write(Buffer.alloc(CHUNK, 'x'));
  await read();
  assert.ok(one.stream.isPaused() && bytes() <= 3 * CHUNK, `${bytes()} bytes at once`);
  for (let second = 0; second < 0.6; second += 0.1) {
    await one.clock.advance(100);
    await read();
    const most = 3 * CHUNK + (second + 0.1) * 4 * MIB;
    assert.ok(bytes() <= most, `${bytes()} bytes within ${second + 0.1} s, at most ${most}`);
  }
  for (let ms = 0; ms < 300; ms += 20) {
    await one.clock.advance(20);
    await read();
  }
  assert.equal(one.stream.readableLength, 0);
});
