import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import fc from 'fast-check';
import { OutputLines } from '../../src/host/process/output-lines.js';
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
