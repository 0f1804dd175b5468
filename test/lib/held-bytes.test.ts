import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { heldBytes } from '../../src/lib/held-bytes.js';

test('what data holds grows with its texts, its bytes and the number of its parts, and nothing holds nothing', () => {
  assert.equal(heldBytes(undefined), 0);
  assert.ok(heldBytes('x'.repeat(1000)) >= 1000);
  assert.ok(heldBytes(Buffer.alloc(1000)) >= 1000 && heldBytes(Buffer.alloc(1000)) < 1100);
  assert.ok(heldBytes({ a: { b: ['x'.repeat(500), Buffer.alloc(500)] } }) >= 1000);
  assert.ok(heldBytes({ [`k${'x'.repeat(1000)}`]: 1 }) >= 1000, 'names count');
  assert.ok(heldBytes(Array.from({ length: 1000 }, () => '')) >= 1000 * 8, 'many small parts count');
  assert.equal(heldBytes({ a: undefined }), heldBytes({}));
});

/** The figure by its definition: each value 32 bytes, with its text or bytes; each name by its length; nothing for what is undefined. */
function defined(value: unknown): number {
  if (value === undefined) return 0;
  if (typeof value === 'string' || value instanceof Uint8Array) return 32 + value.length;
  if (typeof value !== 'object' || value === null) return 32;
  if (Array.isArray(value)) return value.reduce((sum: number, item) => sum + defined(item), 32);
  return Object.entries(value).reduce(
    (sum, [key, item]) => sum + (item === undefined ? 0 : key.length + defined(item)),
    32,
  );
}

test('of any data the figure is the sum of its own values and of the names of those that are there', () => {
  const leaf = fc.oneof(fc.string(), fc.uint8Array(), fc.integer(), fc.boolean(), fc.constantFrom(null, undefined));
  const { data } = fc.letrec<{ data: unknown }>((tie) => ({
    data: fc.oneof(
      leaf,
      fc.array(tie('data'), { maxLength: 4 }),
      fc.dictionary(fc.oneof(fc.string(), fc.constantFrom('__proto__', '0', 'a')), tie('data')),
      // What it has from elsewhere is none of its own.
      tie('data').map((inherited) => Object.create({ inherited }, { own: { value: 'x', enumerable: true } })),
    ),
  }));
  fc.assert(fc.property(data, (value) => assert.equal(heldBytes(value), defined(value))));
});
