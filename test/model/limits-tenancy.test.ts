import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { guardOf, tenancyText } from '../../src/model/limits-tenancy.js';

test('a commit under a tenancy compares its part and its tenure, whoever owned the part', () => {
  const tenancy = fc.record({
    owner: fc.uint8Array({ minLength: 8, maxLength: 8 }).map((bytes) => Buffer.from(bytes).toString('hex')),
    part: fc.nat(31),
    tenure: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
  });
  fc.assert(
    fc.property(tenancy, (said) => {
      assert.deepEqual(guardOf(tenancyText(said)), { part: said.part, tenure: String(said.tenure) });
    }),
  );
});

test('what names no tenancy is nothing that a commit could compare', () => {
  for (const text of ['', 'a', 'a/1', '/0/1', 'a/0/0', 'a/-1/1', 'a/0/1/2', 'a/0/1 ', 'a/0/01', 'a/00/1', 'a/0/1e3']) {
    assert.throws(() => guardOf(text), /is no tenancy of limits/, text);
  }
});
