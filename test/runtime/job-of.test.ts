import assert from 'node:assert/strict';
import { test } from 'node:test';
import { jobOf } from '../../src/runtime/polling.js';

const LENGTHS = [0, 1, 16, 60, 127, 128, 129, 16_384];

/** A meta of so many bytes, of all values a byte has. */
const metaOf = (length: number): Buffer => Buffer.from(Array.from({ length }, (_, at) => (at * 7 + length) % 256));

test('a meta names the same job as bytes and as the text that a record keeps of them, and another meta names another', () => {
  for (const length of LENGTHS) assert.equal(jobOf(metaOf(length).toString('latin1')), jobOf(metaOf(length)));
  assert.equal(new Set(LENGTHS.map((length) => jobOf(metaOf(length)))).size, LENGTHS.length);
  for (const length of LENGTHS.slice(1)) {
    const other = metaOf(length);
    other[length - 1]! ^= 1;
    assert.notEqual(jobOf(other), jobOf(metaOf(length)));
  }
});

test('the name of a job stays small, however large its meta is', () => {
  for (const length of LENGTHS) assert.ok(jobOf(metaOf(length)).length <= 128);
});
