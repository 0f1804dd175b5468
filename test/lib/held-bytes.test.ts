import assert from 'node:assert/strict';
import { test } from 'node:test';
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
