import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ownBytes } from '../../src/lib/own-bytes.js';

test('a small piece of a pool or of a large message is copied into memory of its own, with the same bytes', () => {
  for (const bytes of [Buffer.from('piece of a pool'), Buffer.alloc(1024 * 1024, 'x').subarray(10, 20)]) {
    const own = ownBytes(bytes);
    assert.deepEqual(own, bytes);
    assert.equal(own.buffer.byteLength, bytes.length);
  }
});

test('what has most of its memory for itself stays as it is, and so does what is empty and copied', () => {
  const large = Buffer.alloc(100_000, 'x');
  assert.equal(ownBytes(large), large);
  const most = large.subarray(0, 60_000);
  assert.equal(ownBytes(most), most);
  assert.equal(ownBytes(Buffer.alloc(0)).length, 0);
});
